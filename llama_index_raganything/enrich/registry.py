"""Register new content types: which files hold them, how they are read, and how their nodes are processed.

>>> from llama_index_raganything.elements import Element
>>> def read_mesh(path, assets):
...     return [Element(type="mesh", text=f"3D model {path.stem}")]
>>> register_modality("mesh", suffixes=[".stl", ".obj"], read=read_mesh)
>>> unregister_modality("mesh")

``docs/modalities.md`` explains the steps; ``examples/time_series.py`` is a complete example.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import RLock
from typing import Any, Final, Literal

from llama_index.core.llms import LLM

from llama_index_raganything._arguments import check_types, strict_arguments
from llama_index_raganything.enrich.base import ElementProcessor
from llama_index_raganything.enrich.describers.base import Describer, ElementDescriber
from llama_index_raganything.enrich.describers.equation import EquationDescriber
from llama_index_raganything.enrich.describers.image import ImageDescriber
from llama_index_raganything.enrich.describers.table import TableDescriber
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.modalities import Modality, ModalityReader, add_modality, remove_modality
from llama_index_raganything.models.defaults import MODEL_KINDS
from llama_index_raganything.models.model_names import supports_images

logger = logging.getLogger(__name__)

_CONTENT_TYPE = re.compile(r"[a-z][a-z0-9_]{0,63}")


@strict_arguments
@dataclass(frozen=True)
class ProcessorOptions:
    """Options for making processors.

    Attributes:
        llm: Describes tables, equations and other text; without it they are not described.
        vision_llm: Describes images; defaults to ``llm`` if that supports images.
        cache_folder: Folder for answers; in memory by default.
        language: Language of the prompts.
        prompts: Prompts that replace RAG-Anything's of the same names.
        workers: Number of elements processed concurrently.
        context_window: Pages or nodes around an element that the model sees.
        context_mode: "page" or "chunk".
        max_context_tokens: Maximum tokens of context.
        include_headers: Mark headings in the context.
        include_captions: Include captions of images and tables in the context.
        context_filter_content_types: Content types included in the context.
    """

    # Models show their keys.
    llm: LLM | None = field(default=None, repr=False)
    vision_llm: LLM | None = field(default=None, repr=False)
    cache_folder: str | Path | None = None
    language: str = "en"
    prompts: dict[str, str] = field(default_factory=dict)
    workers: int = 4
    context_window: int = 1
    context_mode: Literal["page", "chunk"] = "page"
    max_context_tokens: int = 2000
    include_headers: bool = True
    include_captions: bool = True
    context_filter_content_types: tuple[str, ...] = ("text",)

    def __post_init__(self) -> None:
        check_types(vars(self), MODEL_KINDS)
        # An invalid value is an error even without a model, and so without a describer.
        TableDescriber(**self.describer_settings())

    @property
    def seeing_llm(self) -> LLM | None:
        """The model that receives images, if there is one."""
        if self.vision_llm is not None:
            return self.vision_llm
        return self.llm if self.llm is not None and supports_images(self.llm) else None

    def describer_settings(self) -> dict[str, Any]:
        """Return the keyword arguments that all describers share, without the model."""
        names = [each.name for each in fields(ProcessorOptions) if each.name not in {"llm", "vision_llm"}]
        return {name: getattr(self, name) for name in names}


ProcessorFactory = Callable[[ProcessorOptions], ElementProcessor | None]
"""Makes the processor of a content type; None if the options rule it out."""

_lock = RLock()


def _image(options: ProcessorOptions) -> ElementProcessor | None:
    if options.seeing_llm is None:
        if options.llm is not None:
            logger.warning("Images are not described: the LLM is not known to see them; pass a vision_llm.")
        return None
    # A model passed for images supports them, whatever its name.
    multimodal = True if options.vision_llm is not None else None
    return ImageDescriber(llm=options.seeing_llm, multimodal=multimodal, **options.describer_settings())


def _described_by(kind: type[Describer], **settings: Any) -> ProcessorFactory:
    """Return a factory of describers for which the LLM of the options needs no eyes."""

    def make(options: ProcessorOptions) -> ElementProcessor | None:
        return None if options.llm is None else kind(options.llm, **settings, **options.describer_settings())

    return make


def _media(content_type: str) -> ProcessorFactory:
    def make(options: ProcessorOptions) -> ElementProcessor | None:
        from llama_index_raganything.enrich.describers.media import MediaDescriber

        # RAG-Anything shows the scenes of videos to a vision model; audio needs none.
        llm = options.seeing_llm if content_type == "video" else None
        seeing = llm if llm is not None and supports_images(llm) else None
        return MediaDescriber(llm=seeing, content_types=(content_type,))

    return make


_ON_REQUEST: dict[str, ProcessorFactory] = {"audio": _media("audio"), "video": _media("video")}
"""They need weights, and are off in RAG-Anything by default."""

_OWN: dict[str, ProcessorFactory] = {
    "image": _image,
    "table": _described_by(TableDescriber),
    "equation": _described_by(EquationDescriber),
}
_factories: dict[str, ProcessorFactory] = dict(_OWN)


@strict_arguments
def register_processor(content_type: str, factory: ProcessorFactory | type) -> None:
    """Process nodes of a content type with a processor of your own.

    Args:
        content_type: Lower-case letters, digits and underscores, a letter first.
        factory: Makes an ``ElementProcessor`` from :class:`ProcessorOptions`; or a subclass of RAG-Anything's
            ``BaseModalProcessor``, which the LLM then drives like RAG-Anything's own.

    Raises:
        ConfigurationError: The content type is invalid, or the class is not a processor.
    """
    if not _CONTENT_TYPE.fullmatch(content_type):
        message = f"content_type is {content_type!r}; use lower-case letters, digits and underscores, a letter first."
        raise ConfigurationError(message)
    made = _factory_of(content_type, factory) if isinstance(factory, type) else factory
    with _lock:
        _factories[content_type] = made


def unregister_processor(content_type: str) -> None:
    """Unregister a processor of your own; images, tables and equations get RAG-Anything's back."""
    with _lock:
        _factories.pop(content_type, None)
        if content_type in _OWN:
            _factories[content_type] = _OWN[content_type]


def registered_content_types() -> tuple[str, ...]:
    """Return the content types processed by default: RAG-Anything's three and registered ones.

    Audio and video need model weights, so they are processed only if :func:`make_processors` is given "audio" and
    "video".
    """
    with _lock:
        return tuple(_factories)


def make_processors(options: ProcessorOptions, content_types: Sequence[str] | None = None) -> list[ElementProcessor]:
    """Return the processors of content types.

    Args:
        content_types: Those of :func:`registered_content_types` by default.

    Returns:
        The processors in that order, without those that the options rule out.

    Raises:
        ConfigurationError: A content type has no processor.
    """
    with _lock:
        default = tuple(_factories)
        factories = _ON_REQUEST | _factories
    made: list[ElementProcessor] = []
    for content_type in default if content_types is None else content_types:
        if content_type not in factories:
            message = f"No processor for {content_type!r}; there are processors for: {', '.join(factories)}."
            raise ConfigurationError(message)
        processor = factories[content_type](options)
        if processor is not None:
            made.append(processor)
    return made


def _factory_of(content_type: str, kind: type) -> ProcessorFactory:
    """Return a factory for a class: an ``ElementProcessor``, or one of RAG-Anything's modal processors."""
    if not hasattr(kind, "generate_description_only"):
        if not issubclass(kind, ElementProcessor):
            message = f"{kind.__name__} is neither an ElementProcessor nor one of RAG-Anything's modal processors."
            raise ConfigurationError(message)
        return lambda _options: kind(content_types=(content_type,))

    return _described_by(ElementDescriber, content_types=(content_type,), processor_class=kind)


@strict_arguments
def register_modality(
    name: str,
    *,
    suffixes: Sequence[str],
    read: ModalityReader,
    detect: Callable[[Path], bool] | None = None,
    processor: ProcessorFactory | type | None = None,
    version: str = "1",
) -> None:
    """Read, split, process and retrieve files of a new kind like all others.

    Elements of the new type are atomic: each becomes a node whose ``content_type`` is the name. Elements of the
    package's own types may be mixed in. Registered modalities take precedence over the package's formats, the most
    recent first, so ``detect`` can claim some files of a known suffix.

    Args:
        name: Content type: lower-case letters, digits and underscores, a letter first.
        suffixes: File name endings, with their dots (".stl", ".sensor.csv").
        read: Turns a path and the asset store into elements. With several worker processes it must be importable.
        detect: Returns whether a file with such an ending is one; without it all are.
        processor: Processes the nodes, as for ``register_processor``; used by ``make_processors``.
        version: Raise it when ``read`` returns other elements for the same file.

    Raises:
        ConfigurationError: A name or suffix is invalid, or the processor is not one.
    """
    ends = (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)
    wrong = [end for end in ends if len(str(end)) < 2 or not str(end).startswith(".")]
    if not ends or wrong:
        message = f"suffixes of the modality {name!r} are {suffixes!r}; give ends of file names such as '.stl'."
        raise ConfigurationError(message)
    add_modality(Modality(name, tuple(str(end).lower() for end in ends), read, detect, version))
    if processor is not None:
        register_processor(name, processor)


def unregister_modality(name: str) -> None:
    """Unregister a modality and its processor."""
    remove_modality(name)
    unregister_processor(name)


_OCR_OF_METHOD: Final = {"auto": "auto", "txt": "off", "ocr": "always"}


def processors_from_config(
    config: Any,
    llm: LLM | None = None,
    vision_llm: LLM | None = None,
    cache_folder: str | Path | None = None,
    *,
    language: str | None = None,
    prompts: Mapping[str, str] | None = None,
    workers: int | None = None,
) -> list[ElementProcessor]:
    """Return the processors that a RAG-Anything configuration asks for.

    ``enable_image_processing``, ``enable_table_processing``, ``enable_equation_processing`` and so on decide which. A
    content type unknown to the configuration is processed; audio and video only if ``enable_audio_processing`` and
    ``enable_video_processing`` are set. The context fields decide what models see around an element.

    Args:
        config: A ``RAGAnythingConfig``, or any object with such attributes.
        llm: Describes tables, equations and other text; without it they are not described.
        vision_llm: Describes images; defaults to ``llm`` if that supports images.
        cache_folder: Folder for answers, so that a second run makes no calls.
        language: Language of the prompts; by default the configuration's ``language``, else English.
        prompts: Prompts that replace RAG-Anything's of the same names.
        workers: Number of elements processed concurrently; by default the configuration's ``max_workers``, else its
            ``max_concurrent_files``.

    Returns:
        The processors in the order in which they run.

    Raises:
        ConfigurationError: The configuration has an invalid value.
    """
    chosen = workers or getattr(config, "max_workers", None) or getattr(config, "max_concurrent_files", 4)
    options = ProcessorOptions(
        llm=llm,
        vision_llm=vision_llm,
        cache_folder=cache_folder,
        language=language or str(getattr(config, "language", "") or "en"),
        prompts=dict(prompts or {}),
        workers=_at_least(chosen, "max_concurrent_files", 1),
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
    """Return the arguments for ``RAGAnythingReader`` that a RAG-Anything configuration asks for.

    Args:
        config: A ``RAGAnythingConfig``, or any object with such attributes.

    Returns:
        As far as the configuration has them: ``parser``, ``ocr`` (from ``parse_method``), ``working_dir`` (from
        ``parser_output_dir``, where crops go; RAG-Anything's own ``working_dir`` is its storage folder, here the
        index's) and ``workers`` (from ``max_concurrent_files``).

    Raises:
        ConfigurationError: ``parse_method`` is not one of RAG-Anything's.
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
        options["workers"] = _at_least(files, "max_concurrent_files", 1)
    return options


def _at_least(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        message = f"{name} is {value!r}; it must be a whole number of at least {least}."
        raise ConfigurationError(message)
    return value


def _mode_of(value: Any) -> Literal["page", "chunk"]:
    # RAG-Anything has a mode "token" but treats it, like any other, as "page".
    return "chunk" if str(value).lower() == "chunk" else "page"


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(str(part).strip() for part in parts if str(part).strip())
