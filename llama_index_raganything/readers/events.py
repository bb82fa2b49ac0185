"""Instrumentation events of reading, for LlamaIndex's dispatcher."""

from __future__ import annotations

from llama_index.core.instrumentation.events import BaseEvent


class ParseStartEvent(BaseEvent):
    """A file is about to be parsed, or looked up in the parse cache.

    Attributes:
        source: Path or URL of the file.
        parser: Parser that the reader was asked for.
    """

    source: str
    parser: str

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the event."""
        return "ParseStartEvent"


class ParseEndEvent(BaseEvent):
    """A file was parsed, or failed.

    Attributes:
        source: Path or URL of the file.
        parser: Parser and version that was used; empty when none was reached.
        elements: How many elements it has.
        cached: Whether they came from the parse cache.
        error: Class name of the error, or None.
    """

    source: str
    parser: str = ""
    elements: int = 0
    cached: bool = False
    error: str | None = None

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the event."""
        return "ParseEndEvent"
