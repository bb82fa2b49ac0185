"""``PageContextPostprocessor``: what an LLM reads of retrieved nodes, each thing once, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.utils import get_tokenizer
from pydantic import BeforeValidator, Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.elements import SECTION_SEPARATOR
from llama_index_raganything.node_parser.table_chunks import join_table_parts
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.query_engine.context.excerpts import GAP, excerpts
from llama_index_raganything.query_engine.context.neighbours import fetch_nodes, fetch_pages, own_page_id
from llama_index_raganything.query_engine.context.node_images import attached_elements, has_image
from llama_index_raganything.query_engine.context.page_text import page_text
from llama_index_raganything.query_engine.synthesis.citing import SOURCE_FRAME
from llama_index_raganything.retrievers.evidence.base import DEFAULT_TOP_K

DEFAULT_CONTEXT_TOKENS: Final = 6000
"""Tokens of all sources together, where the LLM's window takes twice as many: about nine pages of real PDFs."""

_LEAST_TOKENS: Final = 256
_TOKENS_PER_PAGE: Final = 300
"""A page has about 700 tokens, and passages are chosen from 2.5 times as many pages as fit."""

_MOST_PAGES: Final = 50
_MOST_ELEMENTS: Final = 100
"""Elements read of a page at most; a spreadsheet "page" may have thousands."""

_MENTION_CHARS: Final = 200
_SHOWN_PAGE: Final = "page number"
_SHOWN_SECTION: Final = "heading"


def default_context_tokens(llm: LLM) -> int:
    """Return how many tokens of sources an LLM is given by default: half of what its window leaves to the prompt."""
    told = llm.metadata
    return max(_LEAST_TOKENS, min(DEFAULT_CONTEXT_TOKENS, (told.context_window - max(0, told.num_output)) // 2))


def results_to_read(tokens: int) -> int:
    """Return how many results to retrieve for a context: the default, and more where that would leave it half empty.

    Args:
        tokens: Tokens of all sources together.
    """
    return max(DEFAULT_TOP_K, min(_MOST_PAGES, tokens // _TOKENS_PER_PAGE))


def _callable_or_none(value: Any) -> Any:
    # LlamaIndex serialises a function as something that no validator takes.
    return value if callable(value) else None


@strict_arguments
class PageContextPostprocessor(BaseNodePostprocessor):
    """Give an LLM whole pages while they fit, then the passages that matter, within a budget of tokens.

    A retrieved page, or an element that stands on one, becomes the text of its page, with what only the page's
    elements say (recognised text, descriptions) after it, and the table that was found as Markdown in place of the
    lines that flatten it. Each page is given once, to the node that is ranked first; of a further element on it the
    caption or the first words are given. Nodes without a page stay whole as long as they fit.
    What does not fit is chosen by :func:`~.excerpts.excerpts`; nodes of which
    nothing fits are left out. Ids, scores and order stay, so that the results can be cited as what was retrieved. One
    page number is shown: the printed one, with the physical one where they differ.

    Without a store the nodes are taken as they are. Use it as the last postprocessor but for
    :class:`MultimodalContextPostprocessor`.

    Args:
        store: Where pages and elements are: a vector store with ``get_nodes(node_ids=...)`` or a docstore.
        max_tokens: Tokens of all nodes together, as the LLM reads them.
        tokenizer: Turns a text into tokens, of which only the number counts; LlamaIndex's by default.
    """

    store: Any = Field(default=None, exclude=True, description="Vector store or docstore with pages and elements.")
    max_tokens: int = Field(default=DEFAULT_CONTEXT_TOKENS, gt=0, description="Tokens of all nodes together.")
    tokenizer: Annotated[Callable[[str], Sequence[Any]] | None, BeforeValidator(_callable_or_none)] = Field(
        default=None, exclude=True, description="Turns a text into tokens."
    )

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "PageContextPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        told = [scored for scored in nodes if _tells_anything(scored.node)]
        sources = _placed(_sources(told, fetch_pages(self.store, told), self._elements))
        frame = self._count(SOURCE_FRAME)
        heads = [
            frame + self._count(f"{source.node.get_metadata_str(mode=MetadataMode.LLM)}\n\n") for source in sources
        ]
        question = query_bundle.query_str if query_bundle is not None else ""
        order = _best_first([source.score for source in sources])
        ranked = [sources[place].text for place in order]
        texts = excerpts(question, ranked, self.max_tokens, self._count, [heads[place] for place in order])
        given = dict(zip(order, texts, strict=True))
        return [
            NodeWithScore(node=_with_text(source.node, text), score=source.score)
            for place, source in enumerate(sources)
            if (text := given[place]) is not None
        ]

    def _count(self, text: str) -> int:
        return len((self.tokenizer or get_tokenizer())(text))

    def _elements(self, pages: Iterable[BaseNode]) -> dict[str, BaseNode]:
        """Return the elements of pages, by id."""
        ids = [element for page in pages for element in NodeView(page).element_node_ids[:_MOST_ELEMENTS]]
        return fetch_nodes(self.store, ids)


@dataclass(frozen=True, slots=True)
class _Source:
    """A node with the text that stands for it."""

    node: BaseNode
    score: float | None
    text: str


def _sources(
    nodes: Sequence[NodeWithScore],
    pages: Mapping[str, BaseNode],
    read: Callable[[Iterable[BaseNode]], Mapping[str, BaseNode]],
) -> list[_Source]:
    """Return the nodes to give, each with its text; a page is given once."""
    elements = read(pages.values())
    given: set[str] = set()
    sources: list[_Source] = []
    for scored in nodes:
        node = scored.node
        page = pages.get(own_page_id(node))
        text = NodeView(node).text
        if page is None:
            sources.append(_Source(node, scored.score, text))
        elif page.node_id not in given:
            given.add(page.node_id)
            sources.append(_Source(node, scored.score, _text_of(page, node, elements)))
        elif page is not node:
            sources.append(_Source(node, scored.score, _mention(node, text)))
    return sources


def _tells_anything(node: BaseNode) -> bool:
    return has_image(node) or bool(node.get_content(metadata_mode=MetadataMode.LLM).strip())


def _best_first(scores: Sequence[float | None]) -> list[int]:
    """Return places of sources, best first: as they stand, but for those with the best at both ends.

    ``LongContextReorder`` puts them so, as LLMs read the ends best. Other orders, such as by date, are meant.
    """
    known = [score for score in scores if score is not None]
    places = list(range(len(scores)))
    lowest = known.index(min(known)) if known else 0
    falls, rises = known[: lowest + 1], known[lowest:]
    at_both_ends = len(rises) > 1 and falls == sorted(falls, reverse=True) and rises == sorted(rises)
    return sorted(places, key=lambda place: -known[place]) if at_both_ends and len(known) == len(scores) else places


def _mention(node: BaseNode, text: str) -> str:
    """Return what tells an element whose page is given already: its caption, or its first words."""
    told = str(node.metadata.get("caption") or node.metadata.get("label") or "") or " ".join(text.split())
    return told if len(told) <= _MENTION_CHARS else f"{told[:_MENTION_CHARS].rsplit(' ', 1)[0]} {GAP}"


def _text_of(page: BaseNode, found: BaseNode, elements: Mapping[str, BaseNode]) -> str:
    """Return the text of a page, with the table that was found on it as a table."""
    own = [elements[node_id] for node_id in NodeView(page).element_node_ids if node_id in elements]
    texts = [NodeView(node).text for node in own]
    whole = NodeView(page).text
    return page_text(whole, texts, _tables(found, own))


def _tables(found: BaseNode, elements: Sequence[BaseNode]) -> list[str]:
    """Return the table that was found, itself or as the best element of its page; none where that is another thing."""
    by_id = {node.node_id: node for node in elements}
    best = by_id.get(_best_element(found)) if NodeView(found).is_page else by_id.get(found.node_id)
    if best is None or best.metadata.get("content_type") != "table":
        return []
    key = best.metadata.get("element_id")
    parts = [node for node in elements if node is best or (key and node.metadata.get("element_id") == key)]
    return [join_table_parts([NodeView(part).text for part in parts])]


def _best_element(page: BaseNode) -> str:
    best = attached_elements(page)[:1]
    return str(best[0].get("node_id")) if best else ""


def _placed(sources: Sequence[_Source]) -> list[_Source]:
    """Return sources that tell an LLM their place briefly: one page number, title and section where they change."""
    told: dict[str, BaseNode] = {}
    placed = []
    for source in sources:
        name = str(source.node.metadata.get("doc_id") or source.node.ref_doc_id or source.node.node_id)
        placed.append(replace(source, node=_with_place(source.node, told.get(name))))
        told[name] = source.node
    return placed


def _with_place(node: BaseNode, before: BaseNode | None) -> BaseNode:
    """Return a copy of a node for an LLM to read after another node of the same document.

    It shows the printed page number, with the other one where they differ, and of title and section what is new.
    """
    metadata = node.metadata
    page, label, title, section = (metadata.get(key) for key in ("page", "page_label", "title", "section"))
    shown: dict[str, Any] = {}
    hidden: list[str] = []
    if page and label:
        hidden.append("page_label")
        if str(label) != str(page):
            hidden.append("page")
            shown[_SHOWN_PAGE] = f"{label} (page {page} of the file)"
    if before is not None:
        if title and title == before.metadata.get("title"):
            hidden.append("title")
        if section:
            hidden.append("section")
            new = _new_headings(str(section), str(before.metadata.get("section") or ""))
            shown |= {_SHOWN_SECTION: new} if new else {}
    return node.model_copy(
        update={
            "metadata": shown | metadata,
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, *hidden],
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, *shown],
        }
    )


def _new_headings(section: str, before: str) -> str:
    """Return the headings of a path in which it differs from the one before it."""
    own, other = section.split(SECTION_SEPARATOR), before.split(SECTION_SEPARATOR)
    common = next((place for place, (one, two) in enumerate(zip(own, other, strict=False)) if one != two), None)
    return SECTION_SEPARATOR.join(own[min(len(own), len(other)) if common is None else common :])


def _with_text(node: BaseNode, text: str) -> BaseNode:
    return node.model_copy(update={"text": text}) if isinstance(node, TextNode) and text != node.text else node
