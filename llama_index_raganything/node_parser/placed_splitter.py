"""``PlacedSplitter``: any LlamaIndex splitter, with page, box and section on its chunks."""

from __future__ import annotations

import asyncio
import inspect
import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any, Final, Self

from llama_index.core.callbacks import CallbackManager
from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    MediaResource,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
    TransformComponent,
)
from llama_index.core.utils import get_tqdm_iterable
from pydantic import Field, SerializeAsAny

from llama_index_raganything._arguments import argument_names, refuse_unknown, strict_arguments
from llama_index_raganything.documents.packing import Contents, document_contents, document_pages, packed
from llama_index_raganything.elements import (
    EXCLUDED_EMBED_KEYS,
    EXCLUDED_LLM_KEYS,
    SECTION_SEPARATOR,
    Element,
    content_id,
)
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.node_parser.chunking import SectionPath, page_labels, union_of
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser, joined_keys
from llama_index_raganything.nodes import NodeView

_TELLING: Final = 20
"""Minimum characters, blanks aside, of a line that is searched alone where its whole chunk is not found."""


@dataclass(frozen=True)
class _Stretch:
    """A part of a document that is split by itself, as a document of its own."""

    document: Document
    start: int


@strict_arguments
class PlacedSplitter(NodeParser):
    """Split documents with any LlamaIndex splitter, and give each chunk its page, box and section.

    Chunks of documents of ``RAGAnythingReader`` get what they overlap in the document's text: ``page``,
    ``page_label``, ``bbox`` (around all that is in them, in thousandths of the page), ``section``, and ``element_id``,
    ``label``, ``caption`` and ``asset`` where only one element has one. What differs within a chunk is left out. All
    other documents and nodes pass through the splitter as they are.

    >>> from llama_index.core.node_parser import SentenceSplitter
    >>> from llama_index_raganything import PlacedSplitter
    >>> splitter = PlacedSplitter(SentenceSplitter(chunk_size=512))

    Args:
        splitter: A node parser or other transformation that makes chunks of documents.
        by_page: Give the splitter one page at a time, so that no chunk, and no window of sentences, reaches over the
            end of a page and each has its page. False gives it whole documents.
        asset_root: Folder of the crops of images. With it each image becomes an ``ImageNode`` beside the
            chunks, as ``RAGAnythingNodeParser`` makes it; without it there are chunks only.

    Raises:
        ConfigurationError: ``splitter`` is no transformation, or knows places already.
    """

    splitter: SerializeAsAny[TransformComponent] = Field(description="Makes chunks of documents.")
    splitter_class: str = Field(description="Name of the splitter's class; some have no class_name of their own.")
    by_page: bool = Field(default=True, description="Give the splitter one page at a time.")
    asset_root: str | None = Field(default=None, description="Folder of crops; with it images are nodes too.")

    def __init__(
        self,
        splitter: TransformComponent,
        *,
        by_page: bool = True,
        asset_root: str | Path | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        if not isinstance(splitter, TransformComponent) or isinstance(splitter, RAGAnythingNodeParser | PlacedSplitter):
            reason = (
                "puts places on its nodes by itself; use it alone"
                if isinstance(splitter, TransformComponent)
                else "is no transformation of LlamaIndex; wrap a splitter of LangChain in LangchainNodeParser"
            )
            message = f"splitter={type(splitter).__name__} {reason}."
            raise ConfigurationError(message)
        super().__init__(
            splitter=splitter,
            splitter_class=type(splitter).__name__,
            by_page=by_page,
            asset_root=None if asset_root is None else str(asset_root),
            callback_manager=callback_manager or CallbackManager([]),
        )

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "PlacedSplitter"

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Make the component from what ``to_dict`` returned.

        Args:
            data: The dictionary.
            **kwargs: Arguments that win over it; ``splitter`` where the splitter's class cannot be found by its name.

        Returns:
            The component.

        Raises:
            ConfigurationError: There is no splitter, or it cannot be made from its dictionary.
        """
        refuse_unknown(cls.__name__, kwargs, argument_names(cls))
        # What else core writes are fields that the splitter has itself.
        own = cls.model_fields.keys() - argument_names(cls) | {"class_name"}
        values = {key: value for key, value in data.items() if key not in own} | kwargs
        if isinstance(values.get("splitter"), dict):
            values["splitter"] = _component(values["splitter"], str(data.get("splitter_class", "")))
        if "splitter" not in values:
            raise ConfigurationError("The dictionary names no splitter; pass it: from_dict(data, splitter=...).")
        return cls(**values)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle a copy of the splitter: core takes functions that do not pickle out of the component itself."""
        try:
            splitter = self.splitter.model_copy(deep=True)
        except Exception:  # noqa: BLE001  # a client inside an embedding model, say, that cannot be copied
            splitter = self.splitter.model_copy()
        return super(PlacedSplitter, self.model_copy(update={"splitter": splitter})).__getstate__()

    def _parse_nodes(self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any) -> list[BaseNode]:
        made: list[BaseNode] = []
        for node in get_tqdm_iterable(nodes, show_progress, "Parsing nodes"):
            contents = document_contents(node) if isinstance(node, Document) else None
            if not isinstance(node, Document) or contents is None or not contents.elements:
                made += self.splitter([node], **kwargs)
                continue
            stretches = list(self._stretches(node, contents))
            made += self._placed(
                node, contents, stretches, [self.splitter([part.document], **kwargs) for part in stretches]
            )
        return made

    async def _aparse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        # In a thread, because some splitters, HierarchicalNodeParser among them, split only when called without await.
        return await asyncio.to_thread(self._parse_nodes, nodes, show_progress, **kwargs)

    def _postprocess_parsed_nodes(
        self,
        nodes: list[BaseNode],
        parent_doc_map: dict[str, Document],  # noqa: ARG002  # core's signature
    ) -> list[BaseNode]:
        # The splitter has done it: core's version would link images with chunks and lose ends of hierarchies.
        return nodes

    def _stretches(self, document: Document, contents: Contents) -> Iterator[_Stretch]:
        pages = [page for page in document_pages(contents) if contents.text[page.start : page.end].strip()]
        whole = len(pages) < 2 or not self.by_page
        for page in pages[:1] if whole else pages:
            start, end = (0, len(contents.text)) if whole else (page.start, page.end)
            # Ids of their own, because a function that makes ids of chunks counts from nought for each document.
            identity = document.node_id if whole else content_id(document.node_id, "stretch", start)
            elements = [
                element
                for element, span in zip(contents.elements, contents.spans, strict=True)
                if whole or (element.page == page.number if span is None else start <= span[0] < end)
            ]
            part = document.model_copy(
                update={
                    "id_": identity,
                    "text_resource": MediaResource(text=contents.text[start:end]),
                    "metadata": dict(contents.metadata),
                    "relationships": {NodeRelationship.CHILD: packed(elements, identity)},
                }
            )
            yield _Stretch(part, start)

    def _placed(
        self,
        document: BaseNode,
        contents: Contents,
        stretches: Sequence[_Stretch],
        chunks: Sequence[Sequence[BaseNode]],
    ) -> list[BaseNode]:
        places = Places(contents)
        source = _source_of(document, contents)
        for stretch, made in zip(stretches, chunks, strict=True):
            _place(stretch, made, places)
            for chunk in made:
                if chunk.source_node is None or chunk.source_node.node_id == stretch.document.node_id:
                    chunk.relationships[NodeRelationship.SOURCE] = source
        if getattr(self.splitter, "include_prev_next_rel", False):
            # The last chunk of a page and the first of the next; not in hierarchies, whose levels come one by one.
            for (*_, last), (first, *_) in pairwise([made for made in chunks if made]):
                if last.parent_node is None and first.parent_node is None:
                    last.relationships.setdefault(NodeRelationship.NEXT, first.as_related_node_info())
                    first.relationships.setdefault(NodeRelationship.PREVIOUS, last.as_related_node_info())
        return [chunk for made in chunks for chunk in made] + self._images(document)

    def _images(self, document: BaseNode) -> list[BaseNode]:
        if self.asset_root is None:
            return []
        parser = RAGAnythingNodeParser(asset_root=self.asset_root, page_nodes=False, include_prev_next_rel=False)
        nodes = parser([document])
        return [node for node in nodes if isinstance(node, ImageNode) and node.metadata.get("content_type") == "image"]


def _source_of(document: BaseNode, contents: Contents) -> RelatedNodeInfo:
    if document.source_node is not None:
        return document.source_node
    return document.as_related_node_info().model_copy(update={"metadata": contents.metadata})


def _place(stretch: _Stretch, chunks: Sequence[BaseNode], places: Places) -> None:
    """Give the chunks of a stretch page, box and section, and character positions in the whole document."""
    finder = TextFinder(stretch.document.text)
    found: dict[str, tuple[int, int]] = {}
    position = 0
    for chunk in chunks:
        text = NodeView(chunk).text
        parent = chunk.parent_node
        # A chunk of a chunk counts from the beginning of that one.
        base = found[parent.node_id][0] if parent is not None and parent.node_id in found else 0
        own = getattr(chunk, "start_char_idx", None)
        if own is not None and finder.is_at(text, base + own):
            span: tuple[int, int] | None = (base + own, base + own + len(text))
        else:
            span = finder.find(text, base or position)
        spans = [span] if span is not None else finder.find_lines(text)
        if span is not None:
            found[chunk.node_id] = span
            position = span[0] if parent is not None else span[0] + 1
            if isinstance(chunk, TextNode):
                chunk.start_char_idx, chunk.end_char_idx = (stretch.start + edge for edge in span)
        known = places.metadata([(stretch.start + start, stretch.start + end) for start, end in spans])
        chunk.metadata = chunk.metadata | known
        chunk.excluded_embed_metadata_keys = joined_keys(EXCLUDED_EMBED_KEYS, chunk.excluded_embed_metadata_keys)
        chunk.excluded_llm_metadata_keys = joined_keys(EXCLUDED_LLM_KEYS, chunk.excluded_llm_metadata_keys)


def _component(data: dict[str, Any], class_name: str = "") -> TransformComponent:
    """Make a component from its dictionary, with those inside it."""
    name = class_name or data.get("class_name")
    kind = next((kind for kind in _components() if name in (kind.__name__, kind.class_name())), None)
    if kind is None:
        message = f"No splitter named {name!r} is imported; pass the splitter itself: from_dict(data, splitter=...)."
        raise ConfigurationError(message)
    # LlamaIndex writes a function as a dict that its own validator then refuses.
    values = {key: _revived(value) for key, value in data.items() if key not in {"class_name", "id_func"}}
    try:
        return kind.from_dict(values)
    except (ValueError, TypeError) as error:
        message = f"{name} cannot be made from its dictionary ({error}); pass it: from_dict(data, splitter=...)."
        raise ConfigurationError(message) from error


def _revived(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "class_name" in value:
        return _component(value)
    return {key: _revived(inner) for key, inner in value.items()}


def _components() -> Iterator[type[TransformComponent]]:
    """Yield the classes of components that are imported, node parsers first."""
    waiting = NodeParser.__subclasses__() + TransformComponent.__subclasses__()
    while waiting:
        kind = waiting.pop(0)
        waiting += kind.__subclasses__()
        if not inspect.isabstract(kind):
            yield kind


class TextFinder:
    """Finds chunks in the text that they were cut from, as it is or with other white space."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._marks = ""
        self._positions: list[int] = []

    def is_at(self, chunk: str, start: int) -> bool:
        """Return whether a chunk is at a position."""
        return start >= 0 and bool(chunk) and self._text.startswith(chunk, start)

    def find(self, chunk: str, start: int) -> tuple[int, int] | None:
        """Find a chunk, first from a place on, then anywhere.

        Args:
            start: Where to begin.

        Returns:
            Its first character and the one after its last, or None.
        """
        chunk = chunk.strip()
        if not chunk:
            return None
        for begin in (start, 0):
            found = self._text.find(chunk, begin)
            if found >= 0:
                return found, found + len(chunk)
            span = self._find_marks(_marks(chunk), begin)
            if span is not None:
                return span
        return None

    def find_lines(self, chunk: str) -> list[tuple[int, int]]:
        """Find the lines of a chunk that are in the text exactly once.

        Args:
            chunk: Text of a chunk that is no stretch of the text, such as one with a summary in it.

        Returns:
            First characters of the lines, and those after their last.
        """
        spans = []
        for line in chunk.split("\n"):
            marks = _marks(line)
            if len(marks) < _TELLING:
                continue
            span = self._find_marks(marks, 0)
            if span is not None and self._find_marks(marks, span[0] + 1) is None:
                spans.append(span)
        return spans

    def _find_marks(self, marks: str, begin: int) -> tuple[int, int] | None:
        if not self._positions:
            self._positions = [place for place, mark in enumerate(self._text) if not mark.isspace()]
            self._marks = _marks(self._text)
        first = self._marks.find(marks, bisect_left(self._positions, begin))
        if first < 0:
            return None
        return self._positions[first], self._positions[first + len(marks) - 1] + 1


def _marks(text: str) -> str:
    return "".join(text.split())


@dataclass(frozen=True)
class _Passage:
    element: Element
    start: int
    end: int
    section: tuple[str, ...]


class Places:
    """Pages, boxes and sections of the stretches of a document's text."""

    def __init__(self, contents: Contents) -> None:
        self._labels = page_labels(contents.elements)
        self._passages: list[_Passage] = []
        path = SectionPath()
        for element, span in zip(contents.elements, contents.spans, strict=True):
            if element.type == "heading":
                path.enter(element)
            if span is not None:
                self._passages.append(_Passage(element, *span, path.names))
        self._starts = [passage.start for passage in self._passages]
        self._ends = [passage.end for passage in self._passages]

    def metadata(self, spans: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """Return metadata of stretches of the text, where it is the same for everything that they overlap.

        Args:
            spans: First characters, and those after the last.

        Returns:
            ``page``, ``page_label``, ``bbox`` (around all elements), ``section`` (that holds them all); ``element_id``
            of a single element; ``label`` with its ``caption``, and ``asset``, where only one element has one.
        """
        passages = [passage for start, end in spans for passage in self._between(start, end)]
        elements = [passage.element for passage in passages]
        if not elements:
            return {}
        pages = {element.page for element in elements} - {None}
        page = pages.pop() if len(pages) == 1 else None
        labelled = {element.label: element for element in elements if element.label}
        caption, label = "", None
        if len(labelled) == 1:
            (label, named), *_ = labelled.items()
            caption = " ".join(named.caption.split())[:600]
        assets = {element.asset for element in elements if element.asset and element.type != "page"}
        box = union_of(element.bbox for element in elements if element.page == page) if page is not None else None
        found = {
            "page": page,
            "page_label": self._labels.get(page) if page is not None else None,
            "bbox": json.dumps(list(box), separators=(",", ":")) if box else None,
            "section": _common([passage.section for passage in passages]),
            "caption": caption,
            "label": label,
            "element_id": elements[0].fingerprint() if len(elements) == 1 else None,
            "asset": assets.pop() if len(assets) == 1 else None,
        }
        return {key: value for key, value in found.items() if value not in (None, "")}

    def _between(self, start: int, end: int) -> Sequence[_Passage]:
        return self._passages[bisect_right(self._ends, start) : bisect_left(self._starts, end)]


def _common(sections: Sequence[tuple[str, ...]]) -> str:
    """Return the section that holds all of some sections."""
    shared = takewhile(lambda names: len(set(names)) == 1, zip(*sections, strict=False))
    return SECTION_SEPARATOR.join(names[0] for names in shared)
