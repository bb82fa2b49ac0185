"""RAG-Anything's own configuration object, read for processors and reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from llama_index.core.llms import LLM

from llama_index_raganything.enrich.base import ElementProcessor
from llama_index_raganything.enrich.registry import ProcessorOptions, make_processors, registered_content_types
from llama_index_raganything.errors import ConfigurationError

_OCR_OF_METHOD: Final = {"auto": "auto", "txt": "off", "ocr": "always"}


def processors_from_config(
    config: Any,
    llm: LLM | None = None,
    vision_llm: LLM | None = None,
    cache_folder: str | Path | None = None,
    *,
    language: str | None = None,
    prompts: Mapping[str, str] | None = None,
    max_workers: int | None = None,
) -> list[ElementProcessor]:
    """Return the processors that a configuration of RAG-Anything asks for.

    ``enable_image_processing``, ``enable_table_processing``, ``enable_equation_processing`` and the like of further
    content types decide which; a content type that the configuration does not know is processed, and sound and film
    only where ``enable_audio_processing`` and ``enable_video_processing`` are set. The fields of context decide what
    models are shown around an element.

    Args:
        config: A ``RAGAnythingConfig``, or anything with such attributes.
        llm: Describes tables, equations and other text. Without it they are not described.
        vision_llm: Describes images; ``llm`` where that sees images.
        cache_folder: Folder in which answers are kept, so that a second run makes no call.
        language: Language of the prompts; the configuration's ``language`` if it has one, else English.
        prompts: Prompts instead of RAG-Anything's of the same names.
        max_workers: Elements processed at the same time; by default the ``max_workers`` of the configuration if it
            has one, else its ``max_concurrent_files``.

    Returns:
        The processors, in the order in which they run.

    Raises:
        ConfigurationError: The configuration holds a value that cannot work.
    """
    workers = max_workers or getattr(config, "max_workers", None) or getattr(config, "max_concurrent_files", 4)
    options = ProcessorOptions(
        llm=llm,
        vision_llm=vision_llm,
        cache_folder=cache_folder,
        language=language or str(getattr(config, "language", "") or "en"),
        prompts=dict(prompts or {}),
        max_workers=_at_least(workers, "max_concurrent_files", 1),
        context_window=_at_least(getattr(config, "context_window", 1), "context_window", 0),
        context_mode=_mode_of(getattr(config, "context_mode", "page")),
        max_context_tokens=_at_least(getattr(config, "max_context_tokens", 2000), "max_context_tokens", 0),
        include_headers=bool(getattr(config, "include_headers", True)),
        include_captions=bool(getattr(config, "include_captions", True)),
        context_filter_content_types=_names(getattr(config, "context_filter_content_types", None) or ("text",)),
    )
    wanted = [name for name in registered_content_types() if bool(getattr(config, f"enable_{name}_processing", True))]
    wanted += [
        name
        for name in ("audio", "video")
        if name not in wanted and bool(getattr(config, f"enable_{name}_processing", False))
    ]
    return make_processors(options, wanted)


def reader_options_from_config(config: Any) -> dict[str, Any]:
    """Return the arguments of ``RAGAnythingReader`` that a configuration of RAG-Anything asks for.

    Args:
        config: A ``RAGAnythingConfig``, or anything with such attributes.

    Returns:
        ``parser``, ``ocr`` (from ``parse_method``), ``working_dir`` (from ``parser_output_dir``, where crops go; what
        RAG-Anything calls ``working_dir`` is where its storage lies, here that of the index) and ``num_workers``
        (from ``max_concurrent_files``), as far as the configuration has them.

    Raises:
        ConfigurationError: The parse method is none of RAG-Anything's.
    """
    options: dict[str, Any] = {}
    if parser := getattr(config, "parser", None):
        options["parser"] = str(parser)
    if method := getattr(config, "parse_method", None):
        if str(method).lower() not in _OCR_OF_METHOD:
            message = f"parse_method is {method!r}; use one of: {', '.join(_OCR_OF_METHOD)}."
            raise ConfigurationError(message)
        options["ocr"] = _OCR_OF_METHOD[str(method).lower()]
    if folder := getattr(config, "parser_output_dir", None):
        options["working_dir"] = str(folder)
    if files := getattr(config, "max_concurrent_files", None):
        options["num_workers"] = _at_least(files, "max_concurrent_files", 1)
    return options


def _at_least(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        message = f"{name} is {value!r}; it must be a whole number of at least {least}."
        raise ConfigurationError(message)
    return value


def _mode_of(value: Any) -> Literal["page", "chunk"]:
    # RAG-Anything names a mode "token" and treats it, as all others, as "page".
    return "chunk" if str(value).lower() == "chunk" else "page"


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(str(part).strip() for part in parts if str(part).strip())
