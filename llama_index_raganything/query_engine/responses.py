"""Responses that keep their citations: carried by source nodes through whatever gathers them, and read back.

LlamaIndex's routers, sub-question engines and agents write an answer of their own from answers of ours, and keep the
source nodes of these but not their metadata. So each cited source node carries its citation too.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
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
from pydantic import BaseModel, ValidationError

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.elements import CITED_KEY
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.query_engine.citations import MARKER, Citation, answer_citations, citation, cited_numbers
from llama_index_raganything.query_engine.context.neighbours import elements_on_pages

_SOURCE_PREFIX = re.compile(r"Source (\d+):\n?")

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
"""What citations can be asked of; the ``BaseModel`` is an agent's ``AgentOutput``."""


@strict_arguments
def citations_of(response: CitedResponse, store: Any = None) -> list[Citation]:
    """Return what the ``[n]`` of a response lead to.

    A response of ours, also through a tool, a query transformation or a router with one choice, tells its own
    citations, in order of first appearance. Where LlamaIndex wrote one answer from several of ours (a router with
    several choices, sub-questions, an agent's tool calls), all citations of these answers are returned, one answer
    after the other: ``number`` is the one printed in that answer and ``answer`` counts the answers that cite, because
    two of them may use the same number. Where our synthesizer wrote that answer, its ``[n]`` is a sub-answer, and all
    citations of the n-th have this number. Of ``CitationQueryEngine`` they are those sources that its text names.
    Answers from sources that nobody numbered have none.

    A stream must have ended: until then there are no citations. ``CitationQueryEngine``'s streams must have been read
    by ``str(response)`` or ``get_response()``, since they keep their text in no other case.

    >>> for citation in citations_of(engine.query("Which region grew fastest?")):  # doctest: +SKIP
    ...     print(citation.number, citation.file_name, citation.page, citation.bbox, citation.quote)

    Args:
        response: A response of a query engine or chat engine, the output of a tool, or an agent's ``AgentOutput``.
        store: Vector store or docstore that holds all nodes, such as ``index.node_store``. With it the citations of
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


def carriers(sources: Iterable[NodeWithScore]) -> list[NodeWithScore]:
    """Return copies of source nodes that can carry citations; the retrieved nodes stay as they were."""
    return [NodeWithScore(node=_carrier(scored), score=scored.score) for scored in sources]


def carry(sources: Sequence[NodeWithScore], citations: Sequence[Mapping[str, Any]], answer: str) -> None:
    """Let each cited source node carry its citation.

    Args:
        sources: Copies made by :func:`carriers`, the first being ``[1]``.
        citations: The citations of one answer; see :func:`~.citations.citation`.
        answer: The answer, by which its citations are told from those of another one.
    """
    told = json.dumps([answer, list(citations)], ensure_ascii=False, sort_keys=True, default=str)
    name = hashlib.sha256(told.encode()).hexdigest()[:12]
    for each in citations:
        record = {"of": name, "citation": dict(each)}
        sources[each["n"] - 1].node.metadata[CITED_KEY] = json.dumps(record, ensure_ascii=False, default=str)


def _carrier(scored: NodeWithScore) -> Any:
    node = scored.node
    update: dict[str, Any] = {"metadata": {key: value for key, value in node.metadata.items() if key != CITED_KEY}}
    for name in ("excluded_llm_metadata_keys", "excluded_embed_metadata_keys"):
        update[name] = [*(key for key in getattr(node, name) if key != CITED_KEY), CITED_KEY]
    return node.model_copy(update=update)


def _citations(response: Any, store: Any) -> list[Citation]:
    if isinstance(response, ToolOutput):
        return _citations(response.raw_output, store)
    nodes = _sources_of(response)
    metadata = getattr(response, "metadata", None)
    if isinstance(metadata, dict) and isinstance(metadata.get("citations"), list):
        return _through_answers([Citation.model_validate(each) for each in metadata["citations"]], nodes)
    outputs = _outputs_of(response)
    answers = [found for found in (_citations(output, store) for output in outputs) if found]
    if len(answers) == 1 and isinstance(response, AgentChatResponse | StreamingAgentChatResponse):
        return answers[0]
    if answers:
        return _counted(answers)
    return _counted(_carried(nodes)) or _of_named_sources(_text_of(response), nodes, store)


def _through_answers(own: list[Citation], nodes: Sequence[NodeWithScore]) -> list[Citation]:
    """Lead on to the documents where our synthesizer wrote from answers, as under LlamaIndex's sub-questions."""
    if all(each.in_document for each in own):
        return own
    # A sub-answer that cites has markers, and its sources, which carry the citations, come in the same order.
    texts = [number for number, scored in enumerate(nodes, 1) if MARKER.search(NodeView(scored.node).text)]
    answers = [found for found in _carried(nodes) if found[0].in_document]
    behind = dict(zip([n for n in texts if not _is_of_document(nodes[n - 1])], answers, strict=False))
    return [
        found.model_copy(update={"number": each.number})
        for each in own
        for found in ([each] if each.in_document else behind.get(each.number, [each]))
    ]


def _is_of_document(scored: NodeWithScore) -> bool:
    return Citation.model_validate(citation(1, scored, "")).in_document


def _sources_of(response: Any) -> list[NodeWithScore]:
    sources = getattr(response, "source_nodes", None)
    return [scored for scored in sources if isinstance(scored, NodeWithScore)] if isinstance(sources, list) else []


def _outputs_of(response: Any) -> list[ToolOutput]:
    """Return what the tools of a chat response or of an agent gave."""
    calls = getattr(response, "tool_calls", None)
    if isinstance(calls, list):
        return [call.tool_output for call in calls if isinstance(getattr(call, "tool_output", None), ToolOutput)]
    sources = getattr(response, "sources", None)
    return [output for output in sources if isinstance(output, ToolOutput)] if isinstance(sources, list) else []


def _counted(answers: Iterable[Sequence[Citation]]) -> list[Citation]:
    """Number several answers from 1; one that was gathered from several itself counts as these."""
    counted: list[Citation] = []
    last = 0
    for found in answers:
        inner = {each.answer for each in found}
        numbers = {name: last + place for place, name in enumerate(sorted(inner, key=lambda name: name or 0), 1)}
        counted.extend(each.model_copy(update={"answer": numbers[each.answer]}) for each in found)
        last += len(inner)
    return counted


def _carried(nodes: Sequence[NodeWithScore]) -> list[list[Citation]]:
    """Return the citations that source nodes carry, one list per answer."""
    answers: dict[str, dict[int, Citation]] = {}
    for scored in nodes:
        try:
            record = json.loads(scored.node.metadata.get(CITED_KEY) or "null")
            found = Citation.model_validate(record["citation"])
            answers.setdefault(str(record["of"]), {}).setdefault(found.number, found)
        except (ValueError, TypeError, KeyError, ValidationError):
            # None, or one that somebody else put there.
            continue
    return [[found[number] for number in sorted(found)] for found in answers.values()]


def _of_named_sources(text: str, nodes: Sequence[NodeWithScore], store: Any) -> list[Citation]:
    """Return the citations of an answer from sources that say their number ("Source 2:"), as LlamaIndex makes them."""
    named = [_SOURCE_PREFIX.match(NodeView(scored.node).text) for scored in nodes]
    if not nodes or any(match is None or int(match[1]) != place for place, match in enumerate(named, 1)):
        return []
    sources = [
        NodeWithScore(node=_without_prefix(scored, match.end()), score=scored.score)
        for scored, match in zip(nodes, named, strict=True)
        if match is not None
    ]
    cited = {number: sources[number - 1] for number in cited_numbers(text) if 1 <= number <= len(sources)}
    found = answer_citations(text, sources, elements_on_pages(store, cited))
    return [Citation.model_validate(each) for each in found]


def _without_prefix(scored: NodeWithScore, start: int) -> TextNode:
    node = scored.node
    return TextNode(
        id_=node.node_id,
        text=NodeView(node).text[start:].strip(),
        metadata=node.metadata,
        relationships=node.relationships,
    )


def _text_of(response: Any) -> str:
    """Return the text of a response as far as it is there; a stream is not read for it."""
    for name in ("response_txt", "response"):
        text = getattr(response, name, None)
        if isinstance(text, str):
            return text
    return ""
