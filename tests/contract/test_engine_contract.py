from __future__ import annotations

from typing import ClassVar

from engine_suite import EngineSuite, ListRetriever

from llama_index_raganything.query_engine.engine import RAGAnythingQueryEngine
from llama_index_raganything.query_engine.extractive.synthesizer import ExtractiveSynthesizer
from llama_index_raganything.testing import ScriptedChatLLM, ScriptedTextLLM

REPLY = "It delivers 4.2 litres per minute [Source 1], really [7]."
LLM_EVENTS = [
    "QueryStartEvent",
    "RetrievalStartEvent",
    "RetrievalEndEvent",
    "SynthesizeStartEvent",
    "LLMPredictStartEvent",
    "LLMPredictEndEvent",
    "SynthesizeEndEvent",
    "QueryEndEvent",
]


class TestExtractive(EngineSuite):
    expected_events: ClassVar = [name for name in LLM_EVENTS if not name.startswith("LLM")]

    def make_engine(self, nodes, streaming=False):
        return RAGAnythingQueryEngine(ListRetriever(nodes), ExtractiveSynthesizer(streaming=streaming))


class TestTextLLM(EngineSuite):
    expected_events: ClassVar = LLM_EVENTS

    def make_engine(self, nodes, **options):
        return RAGAnythingQueryEngine.from_args(ListRetriever(nodes), llm=ScriptedTextLLM(replies=[REPLY]), **options)


class TestMultimodalLLM(EngineSuite):
    expected_events: ClassVar = [*LLM_EVENTS[:5], "LLMChatStartEvent", "LLMChatEndEvent", *LLM_EVENTS[5:]]

    def make_engine(self, nodes, **options):
        return RAGAnythingQueryEngine.from_args(ListRetriever(nodes), llm=ScriptedChatLLM(replies=[REPLY]), **options)


class TestTextLLMWithVisionLLM(EngineSuite):
    """Two LLMs: the sources of the suite have no images, so the text LLM answers unless a question carries one."""

    expected_events: ClassVar = LLM_EVENTS

    def make_engine(self, nodes, **options):
        return RAGAnythingQueryEngine.from_args(
            ListRetriever(nodes),
            llm=ScriptedTextLLM(replies=[REPLY]),
            vision_llm=ScriptedChatLLM(replies=[REPLY]),
            **options,
        )
