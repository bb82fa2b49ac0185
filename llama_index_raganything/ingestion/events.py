"""Instrumentation events of ingestion, for LlamaIndex's dispatcher."""

from __future__ import annotations

from llama_index.core.instrumentation.events import BaseEvent


class IngestionStartEvent(BaseEvent):
    """A run begins: what it was given is known, and nothing is parsed yet.

    Attributes:
        documents: How many documents it was given.
    """

    documents: int

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the event."""
        return "IngestionStartEvent"


class IngestionEndEvent(BaseEvent):
    """A run is over.

    Attributes:
        added: How many documents were new.
        updated: How many had changed.
        unchanged: How many were in already.
        moved: How many were found under another path.
        failed: How many failed.
        nodes: How many nodes were written.
        ended_early: Why the run ended before all documents were tried; empty when it did not.
    """

    added: int
    updated: int
    unchanged: int
    moved: int
    failed: int
    nodes: int
    ended_early: str = ""

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the event."""
        return "IngestionEndEvent"


class DocumentIngestionStartEvent(BaseEvent):
    """A document was parsed, or could not be, and is about to be enriched, embedded and written.

    Attributes:
        source: Path, URL or other name of the document.
        doc_id: Its id.
    """

    source: str
    doc_id: str

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the event."""
        return "DocumentIngestionStartEvent"


class DocumentIngestionEndEvent(BaseEvent):
    """A document is in, or failed.

    Attributes:
        source: Path, URL or other name of the document.
        doc_id: Its id.
        nodes: How many nodes were written.
        error: Why it failed, or None.
    """

    source: str
    doc_id: str
    nodes: int = 0
    error: str | None = None

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the event."""
        return "DocumentIngestionEndEvent"
