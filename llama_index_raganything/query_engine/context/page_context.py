"""``PageContextPostprocessor``: what an LLM reads of retrieved nodes, nothing twice, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.utils import get_tokenizer
from pydantic import BeforeValidator, Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._pickling import Named
from llama_index_raganything.elements import SECTION_SEPARATOR
from llama_index_raganything.nodes import NodeView, fetch_nodes, fetch_pages, own_page_id
from llama_index_raganything.query_engine.citations import SOURCE_FRAME
from llama_index_raganything.query_engine.context.excerpts import GAP, excerpts
from llama_index_raganything.retrievers.evidence.candidates import DEFAULT_TOP_K
from llama_index_raganything.tables.pipe_tables import join_table_parts, table_spans
from llama_index_raganything.text.terms import content_tokens, tokenize

DEFAULT_CONTEXT_TOKENS: Final = 6000
"""Tokens of all sources together, where the LLM's window takes twice as many: about nine pages of real PDFs."""

_LEAST_TOKENS: Final = 256
_TOKENS_PER_PAGE: Final = 300
"""A page has about 700 tokens, and passages are chosen from 2.5 times as many pages as fit."""

_MOST_PAGES: Final = 50
_MOST_ELEMENTS: Final = 100
"""Elements read of a page at most; a spreadsheet "page" may have thousands."""

_MENTION_CHARS: Final = 200
_NEW_SHARE: Final = 0.3
_NEW_WORDS: Final = 4
_LEAST_ROWS: Final = 2
_FAR: Final = 4
"""Lines of a page that may lie between two rows of one table, such as a row that wraps."""

_LONG_CELL: Final = 20
"""Characters from which equal neighbouring cells are taken for one merged cell, and not for equal values."""

_SHOWN_PAGE: Final = "page number"
_SHOWN_SECTION: Final = "heading"


def default_context_tokens(llm: LLM) -> int:
    """Return how many tokens of sources an LLM is given by default: half of what its window leaves to the prompt."""
    prompt = llm.metadata.context_window - max(0, llm.metadata.num_output)
    return max(_LEAST_TOKENS, min(DEFAULT_CONTEXT_TOKENS, prompt // 2))


def results_to_read(tokens: int) -> int:
    """Return how many results to retrieve for a context of some tokens: the default, or enough to fill it."""
    return max(DEFAULT_TOP_K, min(_MOST_PAGES, tokens // _TOKENS_PER_PAGE))


def _callable_or_none(value: Any) -> Any:
    # LlamaIndex serialises a function as something that no validator takes.
    return value if callable(value) else None


@strict_arguments
class PageContextPostprocessor(Named, BaseNodePostprocessor):
    """Give an LLM whole pages while they fit, then the passages that matter, within a budget of tokens.

    A retrieved page or element becomes the text of its page. What only the page's elements say (recognised text,
    descriptions) follows it, and the table that was found takes the place of the lines that flatten it. Each page is
    given once, to the node that is ranked first; a further element on it is represented by its caption or first words.
    Nodes without a page stay whole as long as they fit. What does not fit is shortened by
    :func:`~.excerpts.excerpts`, and nodes of which nothing fits are left out. Ids, scores and order stay, so that the
    results can be cited as what was retrieved. One page number is shown: the printed one, with the physical one where
    they differ.

    Without a store the nodes are taken as they are. Use it as the last postprocessor but for
    :class:`MultimodalContextPostprocessor`.

    Args:
        store: A vector store with ``get_nodes(node_ids=...)`` or a docstore that holds pages and elements.
        max_tokens: Tokens of all nodes together, as the LLM reads them.
        tokenizer: Splits a text into tokens, of which only the number counts; LlamaIndex's by default.
    """

    store: Any = Field(default=None, exclude=True, description="Vector store or docstore with pages and elements.")
    max_tokens: int = Field(default=DEFAULT_CONTEXT_TOKENS, gt=0, description="Tokens of all nodes together.")
    tokenizer: Annotated[Callable[[str], Sequence[Any]] | None, BeforeValidator(_callable_or_none)] = Field(
        default=None, exclude=True, description="Turns a text into tokens."
    )

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        kept = [scored for scored in nodes if not _is_blank(scored.node)]
        pages = fetch_pages(self.store, kept)
        ids = [element for page in pages.values() for element in NodeView(page).element_node_ids[:_MOST_ELEMENTS]]
        sources = _placed(_sources(kept, pages, fetch_nodes(self.store, ids)))
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


@dataclass(frozen=True, slots=True)
class _Source:
    """A node with the text that represents it."""

    node: BaseNode
    score: float | None
    text: str


def _sources(
    nodes: Sequence[NodeWithScore], pages: Mapping[str, BaseNode], elements: Mapping[str, BaseNode]
) -> list[_Source]:
    """Return the nodes to give, each with its text; a page is given once."""
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


def _is_blank(node: BaseNode) -> bool:
    return not NodeView(node).has_image and not node.get_content(metadata_mode=MetadataMode.LLM).strip()


def _best_first(scores: Sequence[float | None]) -> list[int]:
    """Return places of sources, best first.

    The order is kept, as one by date is meant, but for that of ``LongContextReorder``, which puts the best at both
    ends because LLMs read the ends best.
    """
    known = [score for score in scores if score is not None]
    places = list(range(len(scores)))
    lowest = known.index(min(known)) if known else 0
    falls, rises = known[: lowest + 1], known[lowest:]
    at_both_ends = len(rises) > 1 and falls == sorted(falls, reverse=True) and rises == sorted(rises)
    return sorted(places, key=lambda place: -known[place]) if at_both_ends and len(known) == len(scores) else places


def _mention(node: BaseNode, text: str) -> str:
    """Return the caption or the first words of an element whose page is given already."""
    view = NodeView(node)
    mention = view.caption or view.label or " ".join(text.split())
    return mention if len(mention) <= _MENTION_CHARS else f"{mention[:_MENTION_CHARS].rsplit(' ', 1)[0]} {GAP}"


def _text_of(page: BaseNode, found: BaseNode, elements: Mapping[str, BaseNode]) -> str:
    """Return the text of a page, with the table that was found on it as a table."""
    own = [elements[node_id] for node_id in NodeView(page).element_node_ids if node_id in elements]
    texts = [NodeView(node).text for node in own]
    whole = NodeView(page).text
    return page_text(whole, texts, _tables(found, own))


def _tables(found: BaseNode, elements: Sequence[BaseNode]) -> list[str]:
    """Return the table that was found, itself or as the best element of its page; none where that is no table."""
    by_id = {node.node_id: node for node in elements}
    ids = [str(each.get("node_id")) for each in NodeView(found).best_elements[:1]]
    best = by_id.get(next(iter(ids), "") if NodeView(found).is_page else found.node_id)
    if best is None or NodeView(best).kind != "table":
        return []
    key = best.metadata.get("element_id")
    parts = [node for node in elements if node is best or (key and node.metadata.get("element_id") == key)]
    return [join_table_parts([NodeView(part).text for part in parts])]


def _placed(sources: Sequence[_Source]) -> list[_Source]:
    """Return sources that name their place briefly: one page number, title and section where they change."""
    latest: dict[str, BaseNode] = {}
    placed = []
    for source in sources:
        document = NodeView(source.node).document_id or source.node.node_id
        placed.append(replace(source, node=_with_place(source.node, latest.get(document))))
        latest[document] = source.node
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


# -- the text of one page ----------------------------------------------------------------------------------------------


def page_text(page: str, elements: Sequence[str], tables: Sequence[str] = ()) -> str:
    """Join the text of a page and those of its elements without repeating what both say.

    Of real documents 16 % of the characters were repeated where an element and its page were both given.

    Args:
        page: The page's own text.
        elements: Texts of its elements, in reading order. Those of which the page has nearly every word add nothing;
            the recognised text or description of an image is added at the end.
        tables: Tables on the page that are asked for; each takes the place of the lines that flatten it. One without
            rows in Markdown, which a parser did not understand, says no more than the page and is left out.
    """
    text = page
    for table in tables:
        if _has_rows(table):
            text = with_table(text, _without_spread_cells(table))
    have = set(content_tokens(text))
    added = [text] if text.strip() else []
    for element in elements:
        words = set(content_tokens(element))
        new = words - have
        if len(new) >= max(_NEW_WORDS, _NEW_SHARE * len(words)):
            added.append(element)
            have |= words
    return "\n\n".join(added)


def with_table(page: str, table: str) -> str:
    """Put a Markdown table in place of the lines of a page that flatten it, or after the page where none do.

    A line is dropped only where the table has all its numbers and words, so that nothing is lost.

    Args:
        table: The table, with caption and notes.
    """
    lines = page.split("\n")
    cells = set(tokenize(table))
    rows = [place for place, line in enumerate(lines) if _is_row(line, cells)]
    start, stop = _densest(rows)
    inside = set(rows[start:stop])
    if len(inside) < _LEAST_ROWS:
        return f"{page}\n\n{table}" if page.strip() else table
    first = min(inside)
    kept: list[str] = []
    for place, line in enumerate(lines):
        if place == first:
            kept += ["", table, ""]
        if place not in inside:
            kept.append(line)
    return "\n".join(kept).strip("\n")


def _has_rows(table: str) -> bool:
    """Return whether a text has a Markdown table in it: a line of cells with a rule under it."""
    return any(table_spans(table.split("\n")))


def _without_spread_cells(table: str) -> str:
    """Keep a long text that fills neighbouring cells, as parsers spread merged ones, in the first of them alone."""
    return "\n".join(_merged(line) if line.startswith("|") else line for line in table.split("\n"))


def _merged(row: str) -> str:
    cells = row.split("|")
    kept = [
        "  " if place and len(cell) >= _LONG_CELL and cell == cells[place - 1] else cell
        for place, cell in enumerate(cells)
    ]
    return "|".join(kept)


def _is_row(line: str, cells: Collection[str]) -> bool:
    tokens = tokenize(line)
    return bool(tokens) and all(token in cells for token in tokens)


def _densest(places: Sequence[int]) -> tuple[int, int]:
    """Return the longest run of places of which each is near the next; a page may have the words elsewhere too."""
    best = (0, 0)
    start = 0
    for index in range(1, len(places) + 1):
        if index == len(places) or places[index] - places[index - 1] > _FAR:
            if index - start > best[1] - best[0]:
                best = (start, index)
            start = index
    return best
