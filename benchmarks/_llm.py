"""The one LLM of a benchmark that must not call any: it counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llama_index.core.settings import Settings

from llama_index_raganything.testing import ScriptedTextLLM


@contextmanager
def counted_llm() -> Iterator[ScriptedTextLLM]:
    """Make an LLM that counts its calls the only one there is."""
    before = Settings._llm  # Reading the property would make an OpenAI client.
    llm = ScriptedTextLLM()
    Settings.llm = llm
    try:
        yield llm
    finally:
        Settings._llm = before  # As above.
