"""Parsers of RAG-Anything's registry: which are installed, what they read, and repair of what they return.

A parser of your own goes in through RAG-Anything's ``register_parser``; ``named_parser`` finds it by its name.

What is repaired, of RAG-Anything 1.4.3: output is written below the asset folder and removed, never beside the source;
weights are looked for before a download is tried; an empty list, which means "empty" and "failed" alike, is an error;
heading levels, lists, captions and boxes that the Docling parser drops are taken from Docling's own JSON, which it
leaves in the output folder. Importing RAG-Anything takes seconds, so it happens only when a named parser is asked for.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from llama_index_raganything._imports import guarded_import, package_version
from llama_index_raganything.errors import (
    ConfigurationError,
    CorruptFileError,
    MissingDependencyError,
    ParseError,
    RAGAnythingError,
)
from llama_index_raganything.images import IMAGE_SUFFIXES
from llama_index_raganything.readers.common.base import AssetStore, FileParser, ParsedFile, ParseOptions, add_pages
from llama_index_raganything.readers.engines.content_list import content_list_to_elements
from llama_index_raganything.readers.engines.docling import docling_items
from llama_index_raganything.readers.engines.docvortex import attach_loose_captions, deepen_headings

logger = logging.getLogger(__name__)

_IMAGES: Final = frozenset(IMAGE_SUFFIXES) - {".jpe", ".jfif"}
_OFFICE: Final = frozenset({".doc", ".docx", ".ppt", ".pptx", ".xls", ".xlsx"})
_TAKEN: Final = {
    "mineru": frozenset({".pdf"}) | _IMAGES | _OFFICE,
    "docling": frozenset({".pdf", ".docx", ".pptx", ".xlsx", ".html"}),
    "paddleocr": frozenset({".pdf"}) | _IMAGES | _OFFICE,
}
"""What RAG-Anything's own parsers take; parsers registered by users get everything."""

_PACKAGES: Final = {
    "docling": "llama-index-raganything[docling]",
    "paddleocr": "llama-index-raganything[paddleocr]",
    "mineru": "mineru>=4",
}
_PAGED: Final = frozenset({".pdf", ".ppt", ".pptx", ".xls", ".xlsx"})
_METHODS: Final = {"auto": "auto", "off": "txt", "always": "ocr"}


def named_parser(name: str) -> FileParser:
    """Return a parser by its name in RAG-Anything's registry.

    Args:
        name: ``"mineru"``, ``"docling"``, ``"paddleocr"``, or one registered with ``register_parser``.

    Returns:
        The parser; weights that it needs are looked for when it gets a file that needs them.

    Raises:
        ConfigurationError: No parser has that name.
        MissingDependencyError: Its package is not installed.
    """
    known = name.strip().lower()
    if known in _PACKAGES and importlib.util.find_spec(known) is None:
        message = f"parser={name!r} needs a package: pip install '{_PACKAGES[known]}'"
        raise MissingDependencyError(message)
    if _is_mineru_4(known):
        # RAG-Anything 1.4.3 calls the command line of MinerU 3, which MinerU 4 no longer has.
        from llama_index_raganything.readers.engines.mineru import parse_with_mineru

        return parse_with_mineru
    parser_module = raganything_module()
    names = parser_module.list_parsers()
    if known not in names:
        near = difflib.get_close_matches(known, [*names, "docvortex"], n=1)
        hint = f"did you mean {near[0]!r}? Use" if near else "use"
        message = f"No parser is named {name!r}; {hint} 'auto' or one of {', '.join(sorted({*names, 'docvortex'}))}."
        raise ConfigurationError(message)
    if known not in _PACKAGES and not parser_module.get_parser(known).check_installation():
        message = f"parser={name!r} says that it is not installed; see what its own documentation asks for."
        raise MissingDependencyError(message)
    return functools.partial(parse_with_raganything, known)


def _is_mineru_4(name: str) -> bool:
    major = package_version("mineru").split(".")[0]
    return name == "mineru" and major.isdecimal() and int(major) >= 4


def reads_suffix(name: str, suffix: str) -> bool:
    """Tell whether a named parser reads files with a suffix; MinerU 4 and the parsers of users get everything."""
    return suffix in _TAKEN.get(name, {suffix}) or _is_mineru_4(name)


def raganything_module() -> Any:
    """Import RAG-Anything's parser module without its side effects."""
    try:
        with guarded_import():
            import raganything.parser
    except ImportError as error:
        message = f"RAG-Anything cannot be imported ({error}): pip install 'raganything>=1.4.3,<1.5'"
        raise MissingDependencyError(message) from error
    return raganything.parser


def parse_with_raganything(name: str, path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    """Parse a file with a parser of RAG-Anything's registry.

    Args:
        options: ``ocr`` becomes ``method``; ``parser_kwargs`` go to the parser, but for ``allow_download``, which
            lets it fetch its weights.
        assets: Where images go.

    Returns:
        The elements of a file that :func:`reads_suffix`.

    Raises:
        ConfigurationError: ``page_range`` cannot be expressed for this parser.
        MissingDependencyError: Weights are missing and ``allow_download`` is not set.
        ParseError: The parser failed or returned nothing.
    """
    suffix = path.suffix.lower()
    arguments = dict(options.parser_kwargs)
    if not arguments.pop("allow_download", False):
        check_weights(name, suffix, arguments)
    arguments |= _page_arguments(name, options.page_range)
    if options.lang:
        arguments["lang"] = options.lang
    assets.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=assets.root, prefix=".parser-") as folder:
        items = _run(name, path, folder, _METHODS[options.ocr], arguments)
        if name == "docling":
            items = _docling_items(Path(folder)) or items
        # The parser is code that the user chose to run, so its images may lie anywhere.
        root = Path(Path(folder).resolve().anchor)
        parsed = content_list_to_elements(items, assets=assets, asset_root=root, base=Path(folder))
    if not parsed.elements:
        message = f"{name} returned nothing for {str(path)!r}: it failed or the file is empty. Try parser='auto'."
        raise CorruptFileError(message, str(path))
    if suffix == ".pdf":
        parsed.elements = attach_loose_captions(deepen_headings(parsed.elements))
    if suffix in _PAGED:
        parsed.elements = add_pages(parsed.elements)
    parsed.parser = f"{name} {package_version(name)}" if name in _TAKEN else name
    return parsed


def check_weights(name: str, suffix: str, arguments: dict[str, Any]) -> None:
    """Refuse a parse that would download model weights.

    Args:
        name: Name of the parser.
        suffix: Extension of the file.
        arguments: Arguments for the parser; Docling's ``artifacts_path`` names a folder of weights.

    Raises:
        MissingDependencyError: The weights are not on this machine.
    """
    if name == "docling" and suffix == ".pdf":
        given = arguments.get("artifacts_path") or os.environ.get("DOCLING_ARTIFACTS_PATH")
        found = Path(given).is_dir() if given else _any_match(_hub_cache(), "models--*--docling-*")
        command = "docling-tools models download, then set DOCLING_ARTIFACTS_PATH"
    elif name == "paddleocr":
        home = Path(os.environ.get("PADDLE_PDX_CACHE_HOME") or Path.home() / ".paddlex")
        found = _any_match(home / "official_models", "*")
        command = "python -c 'import paddleocr; paddleocr.PaddleOCR()'"
    elif name == "mineru":
        found = (Path.home() / "mineru.json").is_file() or _any_match(_hub_cache(), "models--opendatalab--*")
        command = "mineru-models-download"
    else:
        return
    if not found:
        message = (
            f"The weights of {name} are not on this machine. Download them with: {command}; "
            "or pass parser_kwargs={'allow_download': True} to let the parser fetch them."
        )
        raise MissingDependencyError(message)


def _run(name: str, path: Path, folder: str, method: str, arguments: dict[str, Any]) -> Iterable[Any]:
    parser = raganything_module().get_parser(name)
    try:
        if path.suffix.lower() in {".html", ".htm", ".xhtml"} and hasattr(parser, "parse_html"):
            items = parser.parse_html(html_path=path, output_dir=folder, **arguments)
        else:
            items = parser.parse_document(file_path=str(path), method=method, output_dir=folder, **arguments)
    except RAGAnythingError:
        raise
    except ImportError as error:
        message = f"{name} lacks a package ({error}); install the extra that the README names for it."
        raise MissingDependencyError(message) from error
    except Exception as error:
        # Each parser raises classes of its own; their text is the best explanation there is.
        message = f"{name} could not parse {str(path)!r}: {type(error).__name__}: {error}. Try parser='auto'."
        raise ParseError(message, str(path)) from error
    return list(items or [])


def _docling_items(folder: Path) -> list[dict[str, Any]]:
    """Read the document that RAG-Anything's Docling parser wrote; nothing when its form is unknown."""
    for path in folder.rglob("docling/*.json"):
        try:
            return docling_items(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
            logger.warning("Docling's JSON has an unknown form; heading levels and boxes are lost.", exc_info=True)
    return []


def _page_arguments(name: str, page_range: str | None) -> dict[str, int]:
    """Express a page range in the arguments of MinerU 3, the only parser of RAG-Anything that has them."""
    if page_range is None:
        return {}
    first, _, last = page_range.replace(" ", "").partition("-")
    last = last or first
    if name != "mineru" or not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        message = f"page_range={page_range!r} cannot be used with {name}; leave it out or use parser='auto'."
        raise ConfigurationError(message)
    return {"start_page": int(first) - 1, "end_page": int(last) - 1}


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _any_match(folder: Path, pattern: str) -> bool:
    return folder.is_dir() and any(folder.glob(pattern))
