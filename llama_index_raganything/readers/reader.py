"""``RAGAnythingReader``: files, folders, URLs and content lists become documents."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.readers.base import BasePydanticReader
from llama_index.core.readers.file.base import default_file_metadata_func
from llama_index.core.schema import Document
from llama_index_instrumentation import get_dispatcher
from pydantic import Field, PrivateAttr, field_validator

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._imports import package_version
from llama_index_raganything.documents.packing import elements_to_document, page_documents
from llama_index_raganything.elements import DATE_KEYS, SCHEMA_VERSION, content_id
from llama_index_raganything.errors import CorruptFileError, Failure, MissingDependencyError, ParseError
from llama_index_raganything.modalities import modalities, modality_named
from llama_index_raganything.readers.cache import READER_VERSION, ParseCache, parse_key
from llama_index_raganything.readers.common.base import AssetStore, OcrMode, ParsedFile, ParseOptions, Profile
from llama_index_raganything.readers.engines.content_list import content_list_to_elements, read_content_list_file
from llama_index_raganything.readers.routing import EMBEDDED, parser_for, parser_id, run_parser
from llama_index_raganything.readers.sources.formats import FileFormat, detect_format
from llama_index_raganything.readers.sources.sources import (
    Source,
    SourceInput,
    content_hash_of,
    expand_sources,
    local_file,
    with_bytes,
)
from llama_index_raganything.readers.sources.urls import UrlPolicy
from llama_index_raganything.settings import DEFAULT_WORKING_DIR
from llama_index_raganything.workers import Outcome, TimedOut, run_batch


class NamedEvent(BaseEvent):
    """An event that goes by the name of its class."""

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the event."""
        return cls.__name__


class ParseStartEvent(NamedEvent):
    """A file is about to be parsed, or looked up in the parse cache.

    Attributes:
        source: Path or URL of the file.
        parser: Parser that the reader was asked for.
    """

    source: str
    parser: str


class ParseEndEvent(NamedEvent):
    """A file was parsed, or failed.

    Attributes:
        source: Path or URL of the file.
        parser: Parser and version that was used; empty when none was reached.
        elements: How many elements it has.
        cached: Whether they came from the parse cache.
        error: Class name of the error, or None.
    """

    source: str
    parser: str = ""
    elements: int = 0
    cached: bool = False
    error: str | None = None


logger = logging.getLogger(__name__)
dispatcher = get_dispatcher(__name__)

DEFAULT_MAX_FILE_BYTES: Final = 500_000_000

# PDFium is not thread-safe, so one parse runs at a time in a process; processes give the speed-up.
_PARSE_LOCK = threading.RLock()
_EXECUTOR: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raganything-reader")


@strict_arguments
class RAGAnythingReader(BasePydanticReader):
    """Read files of nearly any kind into one ``Document`` each, or one per page.

    The document's text is readable Markdown; its typed elements (headings, tables, images, equations,
    pages with boxes) travel inside and come out with
    :func:`~llama_index_raganything.documents.document_elements` or the ``RAGAnythingNodeParser``.

    A blank image or PDF gives a document without text and a warning, since its pages exist and can be
    cited; a text or office file without any content is an error.

    Attributes:
        parser: ``"auto"`` chooses by content; ``"docvortex"`` is the embedded engine alone; ``"mineru"``,
            ``"docling"``, ``"paddleocr"`` or any name registered with RAG-Anything's ``register_parser``.
        profile: ``"standard"`` or ``"fast"`` (text layer and pages only).
        ocr: ``"auto"`` recognises pages without usable text, ``"off"`` none, ``"always"`` all.
        image_ocr: Recognise the characters inside images of PDF pages too.
        page_images: Store an image of each page of a PDF or TIFF, so that pages can be searched by what they show.
        max_page_pixels: Pixels of such an image; larger pages are scaled down.
        crop_dpi: Resolution of crops and page images, in dots per inch.
        photo_location: Read where photos were taken; date and camera are always read.
        lang: Language hint for parsers that take one ("en", "ch").
        page_range: Pages to read, 1-based and inclusive ("1-5,8"); all when None.
        split: ``"document"`` gives one document per file. ``"page"`` gives one per page, slide or sheet, as
            LlamaIndex's own readers do, with ``page`` and ``page_label`` in its metadata and the elements of that
            page inside; one per file where a format has no pages.
        parser_kwargs: Further arguments for the named parser. Not a place for secrets: it is serialised.
        working_dir: Folder of the assets and the parse cache.
        cache: Reuse the parse of an unchanged file.
        allow_urls: Allow http(s) URLs as sources.
        allow_private_urls: Allow URLs that lead to private or loopback addresses.
        url_timeout_s: Seconds that fetching one URL may take.
        max_file_bytes: Larger files are refused, in bytes; None for no limit.
        asset_root: Folder below which content lists may name image files. By default the folder of the
            JSON file, or the current folder for a content list given as an object.
        workers: Processes that parse several files at once; 1 parses in this process.
        parse_timeout_s: Seconds that reading and parsing one source may take; None for no limit. With a limit files
            are parsed in worker processes, also one alone, because only a process can be stopped; starting one takes
            seconds, and a script then needs ``if __name__ == "__main__":``.
        on_error: ``"raise"`` or ``"skip"``; by default one source raises, several skip and report.
        show_progress: Show a progress bar over several files.
    """

    parser: str = "auto"
    profile: Profile = "standard"
    ocr: OcrMode = "auto"
    image_ocr: bool = False
    page_images: bool = False
    max_page_pixels: int = Field(default=2_000_000, ge=10_000)
    crop_dpi: int = Field(default=150, ge=36, le=1200)
    photo_location: bool = False
    lang: str | None = None
    page_range: str | None = None
    split: Literal["document", "page"] = "document"
    parser_kwargs: dict[str, Any] = Field(default_factory=dict)
    working_dir: str = str(DEFAULT_WORKING_DIR)
    cache: bool = True
    allow_urls: bool = False
    allow_private_urls: bool = False
    url_timeout_s: float = Field(default=30.0, gt=0)
    max_file_bytes: int | None = Field(default=DEFAULT_MAX_FILE_BYTES, gt=0)
    asset_root: str | None = None
    workers: int = Field(default=1, ge=1)
    parse_timeout_s: float | None = Field(default=None, gt=0)
    on_error: Literal["raise", "skip"] | None = None
    show_progress: bool = False

    _failures: list[tuple[str, Exception]] = PrivateAttr(default_factory=list)

    @field_validator("parser", mode="after")
    @classmethod
    def _lower_name(cls, value: str) -> str:
        # RAG-Anything's registry ignores case too.
        return value.strip().lower() or "auto"

    @classmethod
    def class_name(cls) -> str:
        """Return the serialisation name of the class."""
        return "RAGAnythingReader"

    @property
    def failures(self) -> list[tuple[str, Exception]]:
        """Sources that failed in the last call, with their errors."""
        return list(self._failures)

    @property
    def assets(self) -> AssetStore:
        """The store that holds crops and media of the documents read."""
        return AssetStore(Path(self.working_dir) / "assets")

    @property
    def options(self) -> ParseOptions:
        """What the reader asks of parsers."""
        own = {name: getattr(self, name) for name in ParseOptions.__dataclass_fields__}
        return ParseOptions(**own | {"parser_kwargs": self._parser_arguments()})

    def _parser_arguments(self) -> dict[str, Any]:
        if self.parser == "mineru" and self.parse_timeout_s is not None:
            # MinerU 3 runs as a subprocess, which RAG-Anything stops at the limit.
            return {"timeout": math.ceil(self.parse_timeout_s)} | self.parser_kwargs
        return dict(self.parser_kwargs)

    @property
    def parse_cache_root(self) -> Path:
        """The folder of the parse cache."""
        return Path(self.working_dir) / "parse_cache"

    @property
    def _parse_cache(self) -> ParseCache:
        return ParseCache(self.parse_cache_root)

    def check_parser(self) -> None:
        """Check that the named parser is installed, before any file is touched: no file of a batch could be read.

        Raises:
            ConfigurationError: No parser has that name.
            MissingDependencyError: It lacks its package or weights.
        """
        if self.parser not in EMBEDDED:
            parser_for("pdf", self.parser)

    def lacks_parser(self, error: Exception | None) -> bool:
        """Return whether an error means that the named parser is missing, so that every other file would fail too."""
        return isinstance(error, MissingDependencyError) and self.parser not in EMBEDDED

    def forget(self, content_hash: str) -> None:
        """Delete the cached parses of one content.

        Args:
            content_hash: The document's ``content_hash``.
        """
        self._parse_cache.forget(content_hash)

    def fingerprint(self) -> str:
        """Return 32 hex digits that change when the same file would give other documents.

        Returns:
            A digest of all parse options, parser versions and the schema version.
        """
        versions = [parser_id(kind, self.parser) for kind in ("pdf", "image", "office")]
        versions += sorted(modality.id for modality in modalities())
        return content_id(SCHEMA_VERSION, READER_VERSION, *versions, parse_key("", self.parser, self.options))

    def lazy_load_data(
        self, file_path: SourceInput, extra_info: dict[str, Any] | None = None, fs: Any = None
    ) -> Iterator[Document]:
        """Read sources one after the other.

        Args:
            file_path: Path, folder (read recursively, hidden files left out), URL (with ``allow_urls``), pair of a
                name and bytes or a binary stream, content list, JSON file of one, or an iterable of these.
            extra_info: Metadata copied into each document; ``source``, ``content_hash`` and ``parser`` are ours.
            fs: fsspec file system that the paths belong to.

        Returns:
            An iterator of one document per source, or per page of it, in order. Sources that fail are left out of a
            batch, logged in one line each and kept in :attr:`failures`; a single source raises.

        Raises:
            MissingDependencyError: The named parser lacks its package or weights.
            RAGAnythingError: A single source failed, or any with ``on_error="raise"``.
        """
        self.check_parser()
        found = expand_sources(file_path, fs)
        skip = self.on_error == "skip" or (self.on_error is None and found.is_batch)
        self._failures = []
        return self._documents(found.sources, dict(extra_info or {}), skip=skip)

    def load_data(
        self, file_path: SourceInput, extra_info: dict[str, Any] | None = None, fs: Any = None
    ) -> list[Document]:
        """Read sources into a list; see :meth:`lazy_load_data`.

        Args:
            file_path: What to read.
            extra_info: Metadata copied into each document.
            fs: fsspec file system that the paths belong to.

        Returns:
            One document per source, or per page of it, in order.
        """
        return list(self.lazy_load_data(file_path, extra_info, fs))

    async def aload_data(
        self, file_path: SourceInput, extra_info: dict[str, Any] | None = None, fs: Any = None
    ) -> list[Document]:
        """Read sources into a list without blocking the event loop; see :meth:`lazy_load_data`.

        Args:
            file_path: What to read.
            extra_info: Metadata copied into each document.
            fs: fsspec file system that the paths belong to.

        Returns:
            One document per source, or per page of it, in order.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_EXECUTOR, partial(self.load_data, file_path, extra_info, fs))

    async def alazy_load_data(
        self, file_path: SourceInput, extra_info: dict[str, Any] | None = None, fs: Any = None
    ) -> Iterable[Document]:
        """Read sources without blocking the event loop; see :meth:`lazy_load_data`.

        Args:
            file_path: What to read.
            extra_info: Metadata copied into each document.
            fs: fsspec file system that the paths belong to.

        Returns:
            One document per source, or per page of it, in order.
        """
        return await self.aload_data(file_path, extra_info, fs)

    def _documents(self, sources: list[Source], extra_info: dict[str, Any], *, skip: bool) -> Iterator[Document]:
        limit = self.max_file_bytes
        outcomes = run_batch(
            partial(self._read_source, extra_info=extra_info),
            sources,
            workers=self.workers,
            timeout_s=self.parse_timeout_s,
            for_worker=lambda source: source.kind != "content_list",
            # A stream becomes its bytes.
            prepare=lambda source: with_bytes(source, limit) if hasattr(source.target, "read") else source,
            progress="Reading files" if self.show_progress and len(sources) > 1 else "",
            name=lambda source: source.location,
        )
        with closing(outcomes):
            for outcome in outcomes:
                read = _document_or_error(outcome)
                if outcome.in_worker:
                    # Workers have dispatchers of their own, so the events are repeated in this process.
                    dispatcher.event(ParseStartEvent(source=outcome.item.location, parser=self.parser))
                    dispatcher.event(_end_event(outcome.item, read))
                if isinstance(read, Document):
                    yield from page_documents(read) if self.split == "page" else [read]
                elif skip and not self.lacks_parser(read):
                    self._failures.append((outcome.item.location, read))
                else:
                    raise read
        for location, error in self._failures:
            logger.warning("Not read: %s: %s: %s", location, type(error).__name__, error)

    def _read_source(self, source: Source, extra_info: dict[str, Any]) -> Document:
        """Read one source in this process, without time limit and split by pages; ingestion calls it too."""
        dispatcher.event(ParseStartEvent(source=source.location, parser=self.parser))
        parsed: ParsedFile | None
        try:
            if source.kind == "content_list":
                root = Path(self.asset_root) if self.asset_root else Path.cwd()
                parsed = _with_pages(content_list_to_elements(source.target, assets=self.assets, asset_root=root))
                file = _File("", content_id(source.location), FileFormat("content_list", ".json"))
            else:
                policy = UrlPolicy(self.allow_urls, self.allow_private_urls, self.url_timeout_s)
                with local_file(source, policy=policy, max_bytes=self.max_file_bytes) as path:
                    file = self._file(source, path)
                    parsed = file.known
                    if parsed is None:
                        with _PARSE_LOCK:
                            parsed = run_parser(path, file.file_format, self.parser, self.options, self.assets)
                        if self.cache:
                            self._parse_cache.put(file.content_hash, file.cache_key, parsed)
        except Exception as error:
            dispatcher.event(_end_event(source, error))
            raise
        count, is_cached = len(parsed.elements), bool(file.cache_key) and file.known is not None
        dispatcher.event(ParseEndEvent(source=source.location, parser=parsed.parser, elements=count, cached=is_cached))
        return _to_document(source, file, parsed, extra_info)

    def _file(self, source: Source, path: Path) -> _File:
        """Return what is known of a local file before it is parsed."""
        file_format = detect_format(path)
        content_hash = content_hash_of(source, path)
        if file_format.kind == "content_list":
            root = Path(self.asset_root) if self.asset_root else path.parent
            parsed = read_content_list_file(path, assets=self.assets, asset_root=root)
            return _File(path.name, content_hash, file_format, known=_with_pages(parsed))
        # The release is in the key because our own parsers may change with it.
        parser = f"{package_version('llama-index-raganything')} {parser_id(file_format.kind, self.parser)}"
        kind = modality_named(file_format.modality).id if file_format.modality else file_format.kind
        key = parse_key(f"{kind} {file_format.suffix}", parser, self.options)
        known = self._parse_cache.get(content_hash, key, self.assets) if self.cache else None
        return _File(path.name, content_hash, file_format, key, known)


def _document_or_error(outcome: Outcome[Source, Document]) -> Document | Exception:
    failure, location = outcome.result, outcome.item.location
    if not isinstance(failure, Failure):
        return failure
    message = f"{location!r} could not be parsed: {failure.reason}"
    if isinstance(failure, TimedOut):
        return ParseError(message, location)
    return failure.error or CorruptFileError(message, location)


def _end_event(source: Source, outcome: Document | Exception) -> ParseEndEvent:
    if isinstance(outcome, Exception):
        return ParseEndEvent(source=source.location, error=type(outcome).__name__)
    children = outcome.child_nodes or []
    return ParseEndEvent(source=source.location, parser=str(outcome.metadata["parser"]), elements=len(children))


@dataclass(frozen=True)
class _File:
    """A local file before it is parsed; ``known`` are its elements where it needs no parser."""

    name: str
    content_hash: str
    file_format: FileFormat
    cache_key: str = ""
    known: ParsedFile | None = None


def _with_pages(parsed: ParsedFile) -> ParsedFile:
    """Add the whole text of each page of a content list; page 1 alone means a format without pages."""
    if len({element.page for element in parsed.elements} - {None}) > 1:
        from llama_index_raganything.readers.common.base import add_pages

        parsed.elements = add_pages(parsed.elements)
    return parsed


def _to_document(source: Source, file: _File, parsed: ParsedFile, extra_info: dict[str, Any]) -> Document:
    location = source.location
    if source.kind == "content_list":
        location = str(extra_info.get("source") or location)
    own = {"source": location, "content_hash": file.content_hash, "parser": parsed.parser}
    if source.kind == "url":
        # A URL's last part may be empty or carry a query; the name it was stored under does not.
        own["file_name"] = file.name
    problems = parsed.warnings or ([] if parsed.elements else ["it has no text and no other content"])
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        logger.warning("%s: %s%s", location, "; ".join(problems[:3]), more)
    return elements_to_document(
        parsed.elements, source=location, metadata=_dates(source) | extra_info | own, title=parsed.title
    )


def _dates(source: Source) -> dict[str, str]:
    """Return the dates of a local file in the form of ``SimpleDirectoryReader``."""
    if source.kind != "file":
        return {}
    try:
        known = default_file_metadata_func(str(source.target))
    except (OSError, ValueError):  # Gone since it was read, or of a name that the file system does not take.
        return {}
    return {key: str(known[key]) for key in DATE_KEYS if key in known}
