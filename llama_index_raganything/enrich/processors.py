"""Which processor serves which content type: RAG-Anything's three, and those that are registered for others.

>>> from llama_index_raganything.enrich import ElementDescriber, register_processor, unregister_processor
>>> def describe_series(options):
...     return ElementDescriber(llm=options.llm, content_types=("sensor_series",), **options.describer_settings())
>>> register_processor("sensor_series", describe_series)
>>> unregister_processor("sensor_series")
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, Literal

from llama_index.core.llms import LLM

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.enrich.base import ElementProcessor
from llama_index_raganything.enrich.element import ElementDescriber
from llama_index_raganything.enrich.equation import EquationDescriber
from llama_index_raganything.enrich.image import ImageDescriber
from llama_index_raganything.enrich.table import TableDescriber
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.models.vision import supports_images

logger = logging.getLogger(__name__)

_CONTENT_TYPE = re.compile(r"[a-z][a-z0-9_]{0,63}")


@strict_arguments
@dataclass(frozen=True)
class ProcessorOptions:
    """What processors are made with.

    Attributes:
        llm: Describes tables, equations and other text; None describes none.
        vision_llm: Describes images; ``llm`` where that sees images.
        cache_folder: Folder in which answers are kept; in memory without one.
        language: Language of the prompts.
        prompts: Prompts instead of RAG-Anything's of the same names.
        max_workers: Number of elements that are processed at the same time.
        context_window: Pages or nodes around an element that a model is shown.
        context_mode: "page" or "chunk".
        max_context_tokens: Tokens of surroundings at most.
        include_headers: Mark headings in the surroundings.
        include_captions: Show captions of images and tables in them.
        context_filter_content_types: Content types that are shown.
    """

    # Models show their keys.
    llm: LLM | None = field(default=None, repr=False)
    vision_llm: LLM | None = field(default=None, repr=False)
    cache_folder: str | Path | None = None
    language: str = "en"
    prompts: dict[str, str] = field(default_factory=dict)
    max_workers: int = 4
    context_window: int = 1
    context_mode: Literal["page", "chunk"] = "page"
    max_context_tokens: int = 2000
    include_headers: bool = True
    include_captions: bool = True
    context_filter_content_types: tuple[str, ...] = ("text",)

    def __post_init__(self) -> None:
        # A value that no describer takes is wrong, too, where there is no model and so no describer.
        TableDescriber(**self.describer_settings())

    @property
    def seeing_llm(self) -> LLM | None:
        """The model that images are sent to, if there is one."""
        if self.vision_llm is not None:
            return self.vision_llm
        return self.llm if self.llm is not None and supports_images(self.llm) else None

    def describer_settings(self) -> dict[str, Any]:
        """Return the keyword arguments that all describers share, without the model."""
        return {
            "cache_folder": self.cache_folder,
            "language": self.language,
            "prompts": self.prompts,
            "max_workers": self.max_workers,
            "context_window": self.context_window,
            "context_mode": self.context_mode,
            "max_context_tokens": self.max_context_tokens,
            "include_headers": self.include_headers,
            "include_captions": self.include_captions,
            "context_filter_content_types": self.context_filter_content_types,
        }


ProcessorFactory = Callable[[ProcessorOptions], ElementProcessor | None]
"""Makes the processor of a content type; None where the options do not allow one."""

_lock = RLock()


def _image(options: ProcessorOptions) -> ElementProcessor | None:
    if options.seeing_llm is None:
        if options.llm is not None:
            logger.warning("Images are not described: the LLM is not known to see them; pass a vision_llm.")
        return None
    # A model given for images sees them, whatever its name.
    multimodal = True if options.vision_llm is not None else None
    return ImageDescriber(llm=options.seeing_llm, multimodal=multimodal, **options.describer_settings())


def _table(options: ProcessorOptions) -> ElementProcessor | None:
    return TableDescriber(llm=options.llm, **options.describer_settings()) if options.llm is not None else None


def _equation(options: ProcessorOptions) -> ElementProcessor | None:
    return EquationDescriber(llm=options.llm, **options.describer_settings()) if options.llm is not None else None


def _media(content_type: str) -> ProcessorFactory:
    def make(options: ProcessorOptions) -> ElementProcessor | None:
        from llama_index_raganything.enrich.media import MediaDescriber

        # RAG-Anything shows the scenes of films to a model that sees; sound is heard without one.
        llm = options.seeing_llm if content_type == "video" else None
        seeing = llm if llm is not None and supports_images(llm) else None
        return MediaDescriber(llm=seeing, content_types=(content_type,))

    return make


_ON_REQUEST: dict[str, ProcessorFactory] = {"audio": _media("audio"), "video": _media("video")}
"""Need weights, and are off in RAG-Anything unless they are asked for."""

_OWN: dict[str, ProcessorFactory] = {"image": _image, "table": _table, "equation": _equation}
_factories: dict[str, ProcessorFactory] = dict(_OWN)


@strict_arguments
def register_processor(content_type: str, factory: ProcessorFactory | type) -> None:
    """Let nodes of a content type be processed by a processor of your own.

    Args:
        content_type: The content type: lower-case letters, digits and underscores.
        factory: Makes an ``ElementProcessor`` from :class:`ProcessorOptions`; or a subclass of RAG-Anything's
            ``BaseModalProcessor``, which is then driven by the LLM as RAG-Anything's own are.

    Raises:
        ConfigurationError: The content type cannot be one, or the class is no processor.
    """
    if not _CONTENT_TYPE.fullmatch(content_type):
        message = f"content_type is {content_type!r}; use lower-case letters, digits and underscores, a letter first."
        raise ConfigurationError(message)
    made = _factory_of(content_type, factory) if isinstance(factory, type) else factory
    with _lock:
        _factories[content_type] = made


def unregister_processor(content_type: str) -> None:
    """Forget a processor of your own; images, tables and equations get RAG-Anything's back.

    Args:
        content_type: The content type.
    """
    with _lock:
        _factories.pop(content_type, None)
        if content_type in _OWN:
            _factories[content_type] = _OWN[content_type]


def registered_content_types() -> tuple[str, ...]:
    """Return the content types that are processed by default: RAG-Anything's three, and those that were registered.

    Sound and film, which need weights, are processed where :func:`make_processors` is given "audio" and "video".
    """
    with _lock:
        return tuple(_factories)


def make_processors(options: ProcessorOptions, content_types: Sequence[str] | None = None) -> list[ElementProcessor]:
    """Return the processors of content types.

    Args:
        options: What they are made with.
        content_types: The content types; those of :func:`registered_content_types` by default.

    Returns:
        The processors in that order, without those that the options do not allow.

    Raises:
        ConfigurationError: A content type has no processor.
    """
    with _lock:
        default = tuple(_factories)
        factories = _ON_REQUEST | _factories
    made: list[ElementProcessor] = []
    for content_type in default if content_types is None else content_types:
        if content_type not in factories:
            message = f"No processor for {content_type!r}; there are some for: {', '.join(factories)}."
            raise ConfigurationError(message)
        processor = factories[content_type](options)
        if processor is not None:
            made.append(processor)
    return made


def _factory_of(content_type: str, kind: type) -> ProcessorFactory:
    """Return a factory for a class: of processors, or of RAG-Anything's modal processors."""
    if not hasattr(kind, "generate_description_only"):
        if not issubclass(kind, ElementProcessor):
            message = f"{kind.__name__} is neither an ElementProcessor nor one of RAG-Anything's modal processors."
            raise ConfigurationError(message)
        return lambda _options: kind(content_types=(content_type,))

    def make(options: ProcessorOptions) -> ElementProcessor | None:
        if options.llm is None:
            return None
        return ElementDescriber(
            llm=options.llm, content_types=(content_type,), processor_class=kind, **options.describer_settings()
        )

    return make
