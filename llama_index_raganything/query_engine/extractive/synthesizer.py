"""``ExtractiveSynthesizer``: answers without an LLM, which quote and cite."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.callbacks import CallbackManager
from llama_index.core.indices.prompt_helper import ChatPromptHelper, PromptHelper
from llama_index.core.llms import MockLLM
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.types import RESPONSE_TEXT_TYPE

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.attachments import AttachedQuery
from llama_index_raganything.nodes import NodeView, elements_beside, fetch_nodes
from llama_index_raganything.query_engine.citations import (
    attach_citations,
    citable_copies,
    citation,
    marker,
    without_markers,
)
from llama_index_raganything.query_engine.context.images import ImageFiles, evidence_images
from llama_index_raganything.query_engine.extractive.missing_facts import missing_facts
from llama_index_raganything.query_engine.extractive.quotes import Quote, find_quotes
from llama_index_raganything.query_engine.prompts import not_found_answer
from llama_index_raganything.query_engine.question_images import SAME_IMAGE, same_image_quotes
from llama_index_raganything.query_engine.synthesis.base import (
    SynthesizerBase,
    awhole_response,
    whole_response,
)
from llama_index_raganything.questions.question import may_name_facts
from llama_index_raganything.ranking.evidence_ranker import read_evidence
from llama_index_raganything.retrievers.inventory.retriever import INVENTORY_TYPE, entry_line, read_entries
from llama_index_raganything.text.characters import HAN
from llama_index_raganything.text.terms import simple_tokens

_CJK: Final = re.compile(rf"[{HAN}]")
_NAMING_KEYS: Final = ("file_name", "title", "section", "label", "caption")


@strict_arguments
class ExtractiveSynthesizer(SynthesizerBase):
    """Answer without an LLM: quote the sentences, table cells and images that cover the question, with ``[n]``.

    Args:
        streaming: Return the answer piece by piece.
        callback_manager: LlamaIndex callbacks.
        store: Vector store or docstore that holds all nodes; the other elements of the retrieved nodes'
            pages may then be quoted too, and are added to the sources when they are.
        asset_root: Folder of the assets, for the list of images beside the answer.
    """

    def __init__(
        self,
        streaming: bool = False,
        callback_manager: CallbackManager | None = None,
        store: Any = None,
        asset_root: str | None = None,
    ) -> None:
        # The base class would otherwise build LlamaIndex's default LLM, a paid third party.
        super().__init__(
            llm=MockLLM(),
            callback_manager=callback_manager,
            prompt_helper=PromptHelper(tokenizer=simple_tokens),
            chat_prompt_helper=ChatPromptHelper(tokenizer=simple_tokens),
            streaming=streaming,
        )
        self._store = store
        self._files = ImageFiles(asset_root)

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        """Do nothing: quoting needs no prompt."""

    def get_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> RESPONSE_TEXT_TYPE:  # noqa: ARG002  # core's signature
        """Answer from plain texts.

        Args:
            text_chunks: Texts, best first; the first is ``[1]``.
            **response_kwargs: Ignored.

        Returns:
            The answer.
        """
        sources = [NodeWithScore(node=TextNode(text=chunk)) for chunk in text_chunks]
        return "".join(_pieces(query_str, _quotes_for(QueryBundle(query_str), sources)))

    async def aget_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from plain texts; see :meth:`get_response`."""
        return self.get_response(query_str, text_chunks, **response_kwargs)

    def _respond(
        self,
        query: QueryBundle,
        nodes: Sequence[NodeWithScore],
        additional: Sequence[NodeWithScore],
        options: dict[str, Any],  # noqa: ARG002  # for an LLM
    ) -> RESPONSE_TYPE:
        return whole_response(*self._answer(query, nodes, additional), streaming=self._streaming)

    async def _arespond(
        self,
        query: QueryBundle,
        nodes: Sequence[NodeWithScore],
        additional: Sequence[NodeWithScore],
        options: dict[str, Any],  # noqa: ARG002  # for an LLM
    ) -> RESPONSE_TYPE:
        answer = await asyncio.to_thread(self._answer, query, nodes, additional)
        return awhole_response(*answer, streaming=self._streaming)

    def _answer(
        self, query: QueryBundle, nodes: Sequence[NodeWithScore], additional: Sequence[NodeWithScore]
    ) -> tuple[list[str], list[NodeWithScore], dict[str, Any]]:
        listed = any(NodeView(source.node).kind == INVENTORY_TYPE for source in nodes)
        inventory = inventory_answer(nodes) if listed else None
        if inventory is not None:
            return self._answered(inventory[0], nodes, inventory[1], additional)
        pages = nodes
        nodes = best_elements_of(nodes, self._store)
        around = elements_beside(self._store, nodes)
        known = [*nodes, *(NodeWithScore(node=node) for _, node in around)]
        ranks = [*range(len(nodes)), *(index for index, _ in around)]
        question = query.question if isinstance(query, AttachedQuery) else query.query_str
        quotes, sources = _keep_sources(_quotes_for(query, known, ranks, pages), known, len(nodes))
        shown = any(SAME_IMAGE in read_evidence(source.node) for source in nodes)
        same = same_image_quotes(question, nodes) if shown else []
        quoted = {number: text for number, text, _ in same}
        for quote in quotes:
            quoted.setdefault(quote.number, quote.text)
        pieces = [*(sentence for _, _, sentence in same), *(_pieces(question, quotes) if quotes or not same else [])]
        return self._answered(
            pieces, sources, [citation(n, sources[n - 1], text) for n, text in quoted.items()], additional
        )

    def _answered(
        self,
        pieces: list[str],
        sources: Sequence[NodeWithScore],
        citations: list[dict[str, Any]],
        additional: Sequence[NodeWithScore],
    ) -> tuple[list[str], list[NodeWithScore], dict[str, Any]]:
        """Return the pieces of an answer, its sources, each cited one with its citation, and its metadata."""
        metadata = self._metadata([*sources, *additional])
        metadata |= {"citations": citations, "answered": bool(citations), "images": self._images(sources)}
        carrying = citable_copies(sources)
        attach_citations(carrying, citations, "".join(pieces))
        return pieces, [*carrying, *additional], metadata

    def _images(self, sources: Sequence[NodeWithScore]) -> list[dict[str, Any]]:
        views = [NodeView(source.node) for source in sources]
        return evidence_images(sources, self._files) if any(v.has_image or v.best_elements for v in views) else []


def best_elements_of(nodes: Sequence[NodeWithScore], store: Any) -> list[NodeWithScore]:
    """Replace each retrieved page by its best element, which has a box to cite; pages without a known one stay.

    Args:
        nodes: Retrieved nodes.
        store: Vector store or docstore that holds the elements; without one the pages stay.
    """
    best = {
        scored.node.node_id: str(found[0].get("node_id"))
        for scored in nodes
        if (found := NodeView(scored.node).best_elements)
    }
    elements = fetch_nodes(store, list(best.values()))
    return [
        NodeWithScore(node=elements.get(best.get(scored.node.node_id, ""), scored.node), score=scored.score)
        for scored in nodes
    ]


def _quotes_for(
    query: QueryBundle,
    known: Sequence[NodeWithScore],
    ranks: Sequence[int] | None = None,
    pages: Sequence[NodeWithScore] = (),
) -> list[Quote]:
    """Quote for the question with its attachments and, where nothing answers that, for the question alone.

    Nothing is quoted where a fact of the question is neither in what may be quoted nor on the pages around it.
    """
    if isinstance(query, AttachedQuery):
        # Its attachments may hold the numbers that it names.
        return find_quotes(query.query_str, known, ranks) or find_quotes(query.question, known, ranks)
    asked = query.query_str
    if may_name_facts(asked) and missing_facts(asked, [_all_text(source) for source in (*known, *pages)]):
        return []
    return find_quotes(asked, known, ranks)


def _all_text(source: NodeWithScore) -> str:
    """Return the text of a source and the names above it."""
    metadata = source.node.metadata
    return "\n".join([*(str(metadata[key]) for key in _NAMING_KEYS if metadata.get(key)), NodeView(source.node).text])


def _keep_sources(
    quotes: Sequence[Quote], known: Sequence[NodeWithScore], retrieved: int
) -> tuple[list[Quote], list[NodeWithScore]]:
    """Keep all retrieved sources and, after them, those of the others that are quoted; renumber the quotes."""
    added = sorted({quote.number for quote in quotes if quote.number > retrieved})
    numbers = {number: retrieved + place for place, number in enumerate(added, 1)}
    renumbered = [replace(quote, number=numbers.get(quote.number, quote.number)) for quote in quotes]
    return renumbered, [*known[:retrieved], *(known[number - 1] for number in added)]


def _pieces(question: str, quotes: Sequence[Quote]) -> list[str]:
    """Return the answer in pieces, one per quote."""
    if not quotes:
        return [not_found_answer(question)]
    pieces: list[str] = []
    for index, quote in enumerate(quotes):
        plain = quote.kind == "sentence" and (index == 0 or quotes[index - 1].kind == "sentence")
        gap = "" if index == 0 else " " if plain else "\n"
        pieces.append(f"{gap}{without_markers(quote.text)} {marker(quote.number)}")
    return pieces


def inventory_answer(sources: Sequence[NodeWithScore]) -> tuple[list[str], list[dict[str, Any]]] | None:
    """Return the answer that an inventory's summary among the sources gives.

    Args:
        sources: Source nodes; the first is ``[1]``.

    Returns:
        The answer in pieces, each item followed by the number of its source, and the citations; None when there is
        no summary among the sources.
    """
    found = ((number, source, read_entries(source.node)) for number, source in enumerate(sources, 1))
    place, summary, entries = next((each for each in found if each[2] is not None), (0, None, None))
    if summary is None or entries is None:
        return None
    numbers = {source.node.node_id: number for number, source in enumerate(sources, 1)}
    cited = {place: NodeView(summary.node).text}
    lines = []
    chinese = bool(_CJK.search("".join(entry.heading for entry in entries)))
    for entry in entries:
        items = []
        for node_id, text in entry.items:
            number = numbers.get(node_id)
            items.append(without_markers(text) + (f" {marker(number)}" if number else ""))
            if number:
                cited.setdefault(number, text)
        heading = f"{without_markers(entry.heading)} {marker(place)}"
        lines.append(entry_line(heading, items, entry.more, chinese=chinese))
    pieces = [line if index == 0 else f"\n{line}" for index, line in enumerate(lines)]
    return pieces, [citation(number, sources[number - 1], quote) for number, quote in cited.items()]
