"""``EquationDescriber``: an LLM explains equations."""

from __future__ import annotations

import re

from pydantic import Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.enrich.base import ElementNodes
from llama_index_raganything.enrich.describers.base import Describer, Subject, body_paragraphs
from llama_index_raganything.errors import EnrichmentError
from llama_index_raganything.nodes import NodeView

_DISPLAY = re.compile(r"\$\$\s*(.+?)\s*\$\$", re.DOTALL)
_MAX_CHARS = 20_000


@strict_arguments
class EquationDescriber(Describer):
    """Describe equations with an LLM; see :class:`~llama_index_raganything.enrich.describers.base.Describer`.

    The model reads the LaTeX, which stays in the node below the description.
    """

    content_types: tuple[str, ...] = Field(default=("equation",), description="Content types that are processed.")

    def _processor_name(self) -> str:
        return "EquationModalProcessor"

    def _subject(self, element: ElementNodes) -> Subject:
        text = "\n\n".join(NodeView(part).text for part in element.parts)
        found = _DISPLAY.findall(text)
        latex = "\n".join(found) if found else "\n\n".join(body_paragraphs(element.first))
        if not latex.strip():
            message = "The equation has no LaTeX and no text."
            raise EnrichmentError(message)
        return Subject({"text": latex[:_MAX_CHARS], "text_format": "latex" if found else ""})
