"""``citations_of``: the citations of any response, also where LlamaIndex wrote one answer from several of ours.

They are looked for in this order:

1. the metadata of a response of ours;
2. the responses behind it: of an agent's tool calls, of a chat engine's query engine;
3. the source nodes, each of which holds its citation (see :func:`~.citations.attach_citations`), as under routers and
   sub-questions;
4. sources that name their number, as those of ``CitationQueryEngine``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import Any

from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import ToolOutput
from pydantic import BaseModel

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.nodes import NodeView, elements_on_pages
from llama_index_raganything.query_engine.citations import (
    MARKER,
    Citation,
    answer_citations,
    attached_citations,
    citation,
    cited_numbers,
)

_NUMBERED_SOURCE = re.compile(r"Source (\d+):\n?")

CitedResponse = (
    Response
    | StreamingResponse
    | AsyncStreamingResponse
    | PydanticResponse
    | AgentChatResponse
    | StreamingAgentChatResponse
    | ToolOutput
    | BaseModel
)
"""Responses that may have citations; the ``BaseModel`` is an agent's ``AgentOutput``."""


@strict_arguments
def citations_of(response: CitedResponse, store: Any = None) -> list[Citation]:
    """Return what the ``[n]`` of a response lead to.

    A response of ours, also through a tool, a query transformation or a router with one choice, has its own
    citations, in order of first appearance. Where LlamaIndex wrote one answer from several of ours (a router with
    several choices, sub-questions, an agent's tool calls), the citations of all these answers are returned, one answer
    after the other: ``number`` is the number printed in that answer and ``answer`` counts the answers that cite,
    because two of them may use the same number. Where our synthesizer wrote the answer from sub-answers, all citations
    of the n-th sub-answer have the number n. For ``CitationQueryEngine`` they are the sources that its text cites.
    Answers from sources that nobody numbered have none.

    A stream must have ended: until then there are no citations. ``CitationQueryEngine``'s streams must have been read
    by ``str(response)`` or ``get_response()``, since they keep their text in no other case.

    >>> for citation in citations_of(engine.query("Which region grew fastest?")):  # doctest: +SKIP
    ...     print(citation.number, citation.file_name, citation.page, citation.bbox, citation.quote)

    Args:
        response: A response of a query engine or chat engine, the output of a tool, or an agent's ``AgentOutput``.
        store: Vector store or docstore that holds all nodes, such as ``index.store``. With it the citations of
            ``CitationQueryEngine`` lead from a page to the box of the element on it; ours do so without.

    Returns:
        The citations; none where nothing is cited.

    Raises:
        ConfigurationError: The object is no response.
    """
    if not any(hasattr(response, name) for name in ("source_nodes", "raw_output", "tool_calls")):
        message = (
            f"Citations are in responses of query and chat engines, in ToolOutput and in AgentOutput; "
            f"{type(response).__name__} is none of them."
        )
        raise ConfigurationError(message)
    return _citations(response, store)


@strict_arguments
async def acitations_of(response: CitedResponse, store: Any = None) -> list[Citation]:
    """Async twin of :func:`citations_of`; only a ``store`` makes it wait."""
    return await asyncio.to_thread(citations_of, response, store)


def _citations(response: Any, store: Any) -> list[Citation]:
    if isinstance(response, ToolOutput):
        return _citations(response.raw_output, store)
    sources = _sources_of(response)
    metadata = getattr(response, "metadata", None)
    if isinstance(metadata, dict) and isinstance(metadata.get("citations"), list):
        own = [Citation.model_validate(each) for each in metadata["citations"]]
        return own if all(each.in_document for each in own) else _through_sub_answers(own, sources)
    answers = [found for output in _tool_outputs(response) if (found := _citations(output, store))]
    if len(answers) == 1 and isinstance(response, AgentChatResponse | StreamingAgentChatResponse):
        return answers[0]
    return _counted(answers or attached_citations(sources)) or _of_numbered_sources(_text_of(response), sources, store)


def _through_sub_answers(own: Sequence[Citation], sources: Sequence[NodeWithScore]) -> list[Citation]:
    """Put the citations of a sub-answer in the place of one that leads to the sub-answer itself.

    LlamaIndex's sub-question engine gives our synthesizer the sub-answers as sources and, after them, the sources of
    these, which hold the citations in the same order. A sub-answer that cites has markers.
    """
    sub_answers = [
        number
        for number, scored in enumerate(sources, 1)
        if MARKER.search(NodeView(scored.node).text)
        and not Citation.model_validate(citation(number, scored, "")).in_document
    ]
    cited = [found for found in attached_citations(sources) if found[0].in_document]
    behind = dict(zip(sub_answers, cited, strict=False))
    return [
        found.model_copy(update={"number": each.number})
        for each in own
        for found in ([each] if each.in_document else behind.get(each.number, [each]))
    ]


def _counted(answers: Iterable[Sequence[Citation]]) -> list[Citation]:
    """Number answers from 1; one that was gathered from several counts as these."""
    counted: list[Citation] = []
    last = 0
    for found in answers:
        inner = sorted({each.answer or 0 for each in found})
        numbers = {answer: number for number, answer in enumerate(inner, last + 1)}
        counted.extend(each.model_copy(update={"answer": numbers[each.answer or 0]}) for each in found)
        last += len(inner)
    return counted


def _of_numbered_sources(text: str, nodes: Sequence[NodeWithScore], store: Any) -> list[Citation]:
    """Return the citations of an answer from sources that say their number ("Source 2:"), as LlamaIndex makes them."""
    sources: list[NodeWithScore] = []
    for number, scored in enumerate(nodes, 1):
        match = _NUMBERED_SOURCE.match(NodeView(scored.node).text)
        if match is None or int(match[1]) != number:
            return []
        node = scored.node
        own = NodeView(node).text[match.end() :].strip()
        shown = TextNode(id_=node.node_id, text=own, metadata=node.metadata, relationships=node.relationships)
        sources.append(NodeWithScore(node=shown, score=scored.score))
    cited = {number: sources[number - 1] for number in cited_numbers(text) if 1 <= number <= len(sources)}
    found = answer_citations(text, sources, elements_on_pages(store, cited))
    return [Citation.model_validate(each) for each in found]


def _sources_of(response: Any) -> list[NodeWithScore]:
    sources = getattr(response, "source_nodes", None)
    return [scored for scored in sources if isinstance(scored, NodeWithScore)] if isinstance(sources, list) else []


def _tool_outputs(response: Any) -> list[ToolOutput]:
    """Return what the tools of an agent, or of a chat response, returned."""
    calls = getattr(response, "tool_calls", None)
    found = [getattr(call, "tool_output", None) for call in calls] if isinstance(calls, list) else None
    if found is None:
        found = getattr(response, "sources", None)
    return [output for output in found if isinstance(output, ToolOutput)] if isinstance(found, list) else []


def _text_of(response: Any) -> str:
    """Return the text of a response as far as it is there; a stream is not read for it."""
    for name in ("response_txt", "response"):
        text = getattr(response, name, None)
        if isinstance(text, str):
            return text
    return ""
