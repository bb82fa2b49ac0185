"""``ElementDescriber``: elements of any other content type in words."""

from __future__ import annotations

from pydantic import Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.enrich.base import ElementNodes
from llama_index_raganything.enrich.describe import Describer, Subject, text_of
from llama_index_raganything.errors import EnrichmentError


@strict_arguments
class ElementDescriber(Describer):
    """Describe elements of any content type by their text, with RAG-Anything's ``GenericModalProcessor``.

    >>> from llama_index_raganything.enrich import ElementDescriber
    >>> from llama_index_raganything.testing import ScriptedTextLLM
    >>> describer = ElementDescriber(llm=ScriptedTextLLM(), content_types=("code", "sensor_series"))

    Args:
        content_types: The content types, of the package's or of your own.
        max_content_chars: Characters of an element that are sent.
    """

    content_types: tuple[str, ...] = Field(default=("code",), description="Content types that are processed.")
    max_content_chars: int = Field(default=32_000, gt=0, description="Characters of an element that are sent.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "ElementDescriber"

    def _processor_name(self) -> str:
        return "GenericModalProcessor"

    def _subject(self, element: ElementNodes) -> Subject:
        text = "\n\n".join(text_of(part).strip() for part in element.parts).strip()
        if not text:
            message = f"The {element.content_type} element has no text to describe."
            raise EnrichmentError(message)
        text = text[: self.max_content_chars]
        # RAG-Anything shows the model an entry as Python writes it; processors of your own get the entry.
        return Subject(text if self.processor_class is None else {"type": element.content_type, "text": text})
