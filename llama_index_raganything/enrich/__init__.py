"""Processors that add to the nodes of figures, tables, equations and other elements what their text does not say."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_index_raganything.enrich.base import ElementProcessor, Processed
    from llama_index_raganything.enrich.cache import AnswerCache
    from llama_index_raganything.enrich.config import processors_from_config, reader_options_from_config
    from llama_index_raganything.enrich.describe import Describer
    from llama_index_raganything.enrich.element import ElementDescriber
    from llama_index_raganything.enrich.equation import EquationDescriber
    from llama_index_raganything.enrich.equations import EquationWords
    from llama_index_raganything.enrich.figures import FigureOCR
    from llama_index_raganything.enrich.image import ImageDescriber
    from llama_index_raganything.enrich.media import MediaDescriber, Segment
    from llama_index_raganything.enrich.processors import (
        ProcessorOptions,
        make_processors,
        register_processor,
        registered_content_types,
        unregister_processor,
    )
    from llama_index_raganything.enrich.registry import register_modality, unregister_modality
    from llama_index_raganything.enrich.table import TableDescriber

_MODULES = {
    "AnswerCache": "cache",
    "Describer": "describe",
    "ElementDescriber": "element",
    "ElementProcessor": "base",
    "EquationDescriber": "equation",
    "EquationWords": "equations",
    "FigureOCR": "figures",
    "ImageDescriber": "image",
    "MediaDescriber": "media",
    "Processed": "base",
    "ProcessorOptions": "processors",
    "Segment": "media",
    "TableDescriber": "table",
    "make_processors": "processors",
    "processors_from_config": "config",
    "reader_options_from_config": "config",
    "register_modality": "registry",
    "register_processor": "processors",
    "registered_content_types": "processors",
    "unregister_modality": "registry",
    "unregister_processor": "processors",
}

__all__ = [
    "AnswerCache",
    "Describer",
    "ElementDescriber",
    "ElementProcessor",
    "EquationDescriber",
    "EquationWords",
    "FigureOCR",
    "ImageDescriber",
    "MediaDescriber",
    "Processed",
    "ProcessorOptions",
    "Segment",
    "TableDescriber",
    "make_processors",
    "processors_from_config",
    "reader_options_from_config",
    "register_modality",
    "register_processor",
    "registered_content_types",
    "unregister_modality",
    "unregister_processor",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for; the package itself imports nothing."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
