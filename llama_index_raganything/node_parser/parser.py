"""``RAGAnythingNodeParser``: documents in, ``TextNode`` and ``ImageNode`` out."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

from llama_index.core.callbacks import CallbackManager
from llama_index.core.node_parser import NodeParser, SentenceSplitter
from llama_index.core.node_parser.node_utils import build_nodes_from_splits
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.utils import get_tqdm_iterable
from pydantic import BeforeValidator, Field, PrivateAttr, field_validator

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.documents.packing import document_contents
from llama_index_raganything.elements import (
    EXCLUDED_EMBED_KEYS,
    EXCLUDED_LLM_KEYS,
    METADATA_KEYS,
    SCHEMA_VERSION,
    content_id,
)
from llama_index_raganything.errors import BlockedSourceError, ConfigurationError
from llama_index_raganything.images import IMAGE_SUFFIXES
from llama_index_raganything.node_parser.chunking import (
    DEFAULT_CHUNK_OVERLAP,
    DEFAULT_CHUNK_SIZE,
    DEFAULT_TABLE_CHUNK_SIZE,
    Chunk,
    Chunker,
    ChunkOptions,
    places_of,
    split_bytes,
)
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.readers.common.base import AssetStore
from llama_index_raganything.text.sentences import split_sentences
from llama_index_raganything.text.terms import simple_tokens

_VALUE_CHARS: Final = 1024
_METADATA_CHARS: Final = 16_384


def _keep_callable(value: Any) -> Any:
    # LlamaIndex writes an id function as a dict that its own validator then refuses.
    return value if callable(value) else None


@strict_arguments
class RAGAnythingNodeParser(NodeParser):
    """Turn documents of ``RAGAnythingReader`` into nodes, and split all others like ``SentenceSplitter``.

    Text is chunked inside its section and page; tables, images, equations, code and media are nodes of
    their own, with caption, footnote and the sentences that mention them; each page is a node too and the
    PARENT of the nodes on it. Node ids come from content and position: the same document gives the
    same ids in every run.

    Where a document's text was changed after reading, the text wins, see
    :func:`~llama_index_raganything.documents.document_elements`: no node repeats what was taken out of it or
    shows an image of it. Files in ``asset_root`` remain, and so do file name, source and metadata of your own.

    Args:
        chunk_overlap: Tokens that two pieces of one long paragraph share.
        table_chunk_size: Tokens of a part of a table or of code; a larger one is cut by rows or lines.
        page_nodes: Make one node per page.
        asset_root: Folder of the crops and media that elements refer to; without it no node gets an image.
        tokenizer: Turns a text into tokens, of which only the number counts; words and CJK characters by default.

    Raises:
        ConfigurationError: ``chunk_overlap`` is not smaller than ``chunk_size``.
    """

    chunk_size: int = Field(default=DEFAULT_CHUNK_SIZE, gt=0, description="Tokens of a text chunk.")
    chunk_overlap: int = Field(
        default=DEFAULT_CHUNK_OVERLAP, ge=0, description="Tokens that pieces of a paragraph share."
    )
    table_chunk_size: int = Field(
        default=DEFAULT_TABLE_CHUNK_SIZE, gt=0, description="Tokens of a part of a table or code."
    )
    page_nodes: bool = Field(default=True, description="Make one node per page.")
    asset_root: str | None = Field(default=None, description="Folder of crops and media.")
    version: int = Field(default=SCHEMA_VERSION, description="Version of the nodes made; part of cache keys.")
    tokenizer: Annotated[Callable[[str], Sequence[Any]] | None, BeforeValidator(_keep_callable)] = Field(
        default=None, exclude=True, description="Turns a text into tokens."
    )
    id_func: Annotated[Callable[[int, BaseNode], str] | None, BeforeValidator(_keep_callable)] = Field(  # type: ignore[assignment]  # None means ids from content
        default=None, exclude=True, description="Makes a node id from index and document; from content when None."
    )
    callback_manager: CallbackManager = Field(default_factory=lambda: CallbackManager([]), exclude=True)

    _splitter: SentenceSplitter | None = PrivateAttr(default=None)

    @field_validator("asset_root", mode="before")
    @classmethod
    def _accept_path(cls, value: Any) -> str | None:
        return None if value is None else str(value)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        # Raised here and not in a validator, which would wrap it in pydantic's own error.
        if self.chunk_overlap >= self.chunk_size:
            message = (
                f"chunk_overlap is {self.chunk_overlap} and chunk_size {self.chunk_size}; "
                "the overlap must be smaller than the chunk."
            )
            raise ConfigurationError(message)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the splitter, which is made anew: core warns of each function in it that it cannot pickle."""
        self._splitter = None
        return super().__getstate__()

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "RAGAnythingNodeParser"

    def _parse_nodes(self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any) -> list[BaseNode]:  # noqa: ARG002  # core's signature
        made: list[BaseNode] = []
        for node in get_tqdm_iterable(nodes, show_progress, "Parsing nodes"):
            made.extend(self._parse_one(node))
        return made

    async def _aparse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        # Chunking is pure computation: a thread keeps the event loop free.
        return await asyncio.to_thread(self._parse_nodes, nodes, show_progress, **kwargs)

    def _postprocess_parsed_nodes(
        self,
        nodes: list[BaseNode],
        parent_doc_map: dict[str, Document],  # noqa: ARG002  # core's signature
    ) -> list[BaseNode]:
        # The nodes are complete: core's version would copy big metadata and chain pages with their elements.
        return nodes

    def _parse_one(self, node: BaseNode) -> list[BaseNode]:
        if isinstance(node, ImageNode):
            # A splitter would lose the image of a node that is one already.
            return [node]
        contents = document_contents(node) if isinstance(node, Document) else None
        if contents is None or not contents.elements:
            return self._split_plain(node)
        options = ChunkOptions(
            chunk_size=self.chunk_size,
            table_chunk_size=self.table_chunk_size,
            count=self._count,
            split=self._sentence_splitter().split_text,
            page_nodes=self.page_nodes,
        )
        chunks = Chunker(contents.elements, options).build()
        made = self._make_nodes(node, chunks, contents.metadata)
        self._relate(made, chunks)
        return list(made)

    def _split_plain(self, node: BaseNode) -> list[BaseNode]:
        """Split a document that has no elements, as ``SentenceSplitter`` would."""
        text = NodeView(node).text
        pieces = [piece for part in split_bytes(text) for piece in self._sentence_splitter().split_text(part)]
        chunks = [Chunk("text", piece, element_id=content_id(piece)[:16]) for piece in pieces]
        built = build_nodes_from_splits(pieces, node, id_func=lambda index, _: str(index))
        position = 0
        ids = self._ids(node, chunks)
        for made, chunk, node_id in zip(built, chunks, ids, strict=True):
            made.id_ = node_id
            made.embedding = None
            made.relationships = {NodeRelationship.SOURCE: _source_of(node)}
            self._describe(made, node, chunk, node.metadata)
            found = text.find(made.text, position)
            if found >= 0:
                made.start_char_idx, made.end_char_idx, position = found, found + len(made.text), found + 1
        self._relate(built, chunks)
        return list(built)

    def _make_nodes(self, document: BaseNode, chunks: Sequence[Chunk], metadata: dict[str, Any]) -> list[TextNode]:
        source = _source_of(document)
        made: list[TextNode] = []
        for chunk, node_id in zip(chunks, self._ids(document, chunks), strict=True):
            image_path = self._image_path(chunk.asset)
            relationships: dict[NodeRelationship, Any] = {NodeRelationship.SOURCE: source}
            if image_path is None:
                node = TextNode(id_=node_id, text=chunk.text, relationships=relationships)
            else:
                node = ImageNode(id_=node_id, text=chunk.text, image_path=image_path, relationships=relationships)
            self._describe(node, document, chunk, metadata)
            made.append(node)
        return made

    def _ids(self, document: BaseNode, chunks: Sequence[Chunk]) -> list[str]:
        if self.id_func is not None:
            return [self.id_func(index, document) for index in range(len(chunks))]
        seen: Counter[str] = Counter()
        ids: list[str] = []
        for chunk in chunks:
            base = content_id(document.node_id, chunk.content_type, chunk.page, chunk.bbox, chunk.text)
            # The same words at the same place, or without a place, differ by their order.
            ids.append(base if seen[base] == 0 else content_id(base, seen[base]))
            seen[base] += 1
        return ids

    def _describe(self, node: TextNode, document: BaseNode, chunk: Chunk, metadata: dict[str, Any]) -> None:
        box = json.dumps(list(chunk.bbox), separators=(",", ":")) if chunk.bbox else None
        own = {"doc_id": document.node_id} | vars(chunk) | {"text": None, "bbox": box}
        inherited = inherited_metadata(metadata) if self.include_metadata else {}
        node.metadata = inherited | {key: value for key, value in own.items() if value not in (None, "")}
        node.excluded_embed_metadata_keys = joined_keys(EXCLUDED_EMBED_KEYS, document.excluded_embed_metadata_keys)
        node.excluded_llm_metadata_keys = joined_keys(EXCLUDED_LLM_KEYS, document.excluded_llm_metadata_keys)

    def _image_path(self, asset: str | None) -> str | None:
        if asset is None or self.asset_root is None:
            return None
        if PurePosixPath(asset).suffix.lower() not in IMAGE_SUFFIXES:
            return None
        try:
            return str(AssetStore(self.asset_root).resolve(asset))
        except BlockedSourceError:
            # A content list from elsewhere may name any path; the node then goes without its image.
            return None

    def _relate(self, nodes: Sequence[TextNode], chunks: Sequence[Chunk]) -> None:
        """Link pages with pages and elements with elements, and make elements children of their page."""
        pairs = list(zip(nodes, chunks, strict=True))
        pages = [(node, chunk.page) for node, chunk in pairs if chunk.content_type == "page"]
        elements = [(node, chunk.page) for node, chunk in pairs if chunk.content_type != "page"]
        if self.include_prev_next_rel:
            _link([node for node, _ in pages])
            _link([node for node, _ in elements])
        for number in dict.fromkeys(page for _, page in pages if page is not None):
            inside = [node for node, page in elements if page == number]
            _attach(inside, [node for node, page in pages if page == number])

    def _count(self, text: str) -> int:
        return len((self.tokenizer or simple_tokens)(text))

    def _sentence_splitter(self) -> SentenceSplitter:
        if self._splitter is None:
            self._splitter = SentenceSplitter(
                chunk_size=self.chunk_size,
                chunk_overlap=self.chunk_overlap,
                tokenizer=self.tokenizer or simple_tokens,
                chunking_tokenizer_fn=split_sentences,
                paragraph_separator="\n\n",
            )
        return self._splitter


def inherited_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a document's metadata that its nodes repeat.

    Returns:
        Our own keys and the user's small values; lists and dicts of up to 1,024 characters stay as they are.
    """
    kept: dict[str, Any] = {}
    left = _METADATA_CHARS
    for key, value in metadata.items():
        size = _size(value)
        if size is None or size > _VALUE_CHARS or size > left:
            continue
        kept[key] = value
        if key not in METADATA_KEYS:
            left -= size + len(key)
    return kept


def _size(value: Any) -> int | None:
    if isinstance(value, str):
        return len(value)
    try:
        return len(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError):
        return None


def _source_of(document: BaseNode) -> RelatedNodeInfo:
    if document.source_node is not None:
        return document.source_node
    return RelatedNodeInfo(node_id=document.node_id, node_type=ObjectType.DOCUMENT, hash=document.hash)


def _related(node: TextNode) -> RelatedNodeInfo:
    # Without metadata and hash: a relation that copies them makes each stored row several times larger.
    kind = ObjectType.IMAGE if isinstance(node, ImageNode) else ObjectType.TEXT
    return RelatedNodeInfo(node_id=node.node_id, node_type=kind)


def _attach(elements: Sequence[TextNode], pieces: Sequence[TextNode]) -> None:
    """Make elements children of their page, each of the piece that has its words."""
    children: list[list[RelatedNodeInfo]] = [[] for _ in pieces]
    places = places_of([node.text for node in elements], [piece.text for piece in pieces])
    for node, place in zip(elements, places, strict=True):
        if place is None and isinstance(node, ImageNode):
            # The text of an image node need not be in the text of its page.
            place = 0  # noqa: PLW2901
        if place is not None:
            node.relationships[NodeRelationship.PARENT] = _related(pieces[place])
            children[place].append(_related(node))
    for piece, infos in zip(pieces, children, strict=True):
        if infos:
            piece.relationships[NodeRelationship.CHILD] = infos


def _link(chain: Sequence[TextNode]) -> None:
    for first, second in pairwise(chain):
        first.relationships[NodeRelationship.NEXT] = _related(second)
        second.relationships[NodeRelationship.PREVIOUS] = _related(first)


def joined_keys(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return the keys of both lists, each once."""
    return list(dict.fromkeys([*first, *second]))
