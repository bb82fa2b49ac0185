"""Which LLMs answer, what each of them reads and sees, and the synthesizer that asks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.response_synthesizers import BaseSynthesizer, ResponseMode, get_response_synthesizer
from llama_index.core.response_synthesizers.context_only import ContextOnly
from llama_index.core.response_synthesizers.no_text import NoText

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.images import MAX_PIXELS
from llama_index_raganything.models.model_names import supports_images
from llama_index_raganything.query_engine.context.images import DEFAULT_MAX_IMAGES, MultimodalContextPostprocessor
from llama_index_raganything.query_engine.context.page_context import PageContextPostprocessor, default_context_tokens
from llama_index_raganything.query_engine.synthesis.citing import CitingSynthesizer


@dataclass(frozen=True, slots=True)
class AnsweringLLM:
    """An LLM that answers, and what it is given.

    Attributes:
        sees: Whether it is sent images.
        context: Turns the sources into what it reads.
    """

    llm: LLM
    sees: bool
    context: tuple[BaseNodePostprocessor, ...]


def seeing_llms(llm: LLM, vision_llm: LLM | None, multimodal: bool | None) -> list[tuple[LLM, bool]]:
    """Return an LLM and, where that sees no images, the one that answers in its place where there are some.

    Args:
        multimodal: Whether ``llm`` is sent images; None decides by what it is.

    Returns:
        Each LLM with whether it is sent images.
    """
    sees = supports_images(llm) if multimodal is None else multimodal
    routed = vision_llm is not None and not sees and multimodal is None
    return [(llm, sees), (vision_llm, True)] if vision_llm is not None and routed else [(llm, sees)]


def context_for(
    llm: LLM,
    sees: bool,
    *,
    store: Any = None,
    context_tokens: int | None = None,
    max_images: int = DEFAULT_MAX_IMAGES,
    max_pixels: int = MAX_PIXELS,
    asset_root: str | None = None,
) -> list[BaseNodePostprocessor]:
    """Return what turns the sources into what an LLM reads: the text of their pages, and images if it sees them.

    Args:
        store: Vector store or docstore that holds all nodes.
        context_tokens: Tokens of all sources together; by default :func:`~.page_context.default_context_tokens`.
        max_images: Images sent for one question.
        max_pixels: Pixels of an image; larger ones are scaled down.
        asset_root: Folder of the assets.
    """
    budget = default_context_tokens(llm) if context_tokens is None else context_tokens
    if budget < 1:
        message = f"context_tokens must be 1 or more, not {budget}."
        raise ConfigurationError(message)
    context: list[BaseNodePostprocessor] = [PageContextPostprocessor(store=store, max_tokens=budget)]
    if sees:
        context.append(
            MultimodalContextPostprocessor(asset_root=asset_root, max_images=max_images, max_pixels=max_pixels)
        )
    return context


def answering_synthesizer(
    llms: Sequence[AnsweringLLM], of_inner: dict[str, Any], of_citing: dict[str, Any]
) -> CitingSynthesizer:
    """Make the synthesizer that cites.

    Args:
        llms: The LLM that answers, and the one that answers where there are images, if that is another.
        of_inner: Arguments of LlamaIndex's ``get_response_synthesizer``.
        of_citing: Arguments of :class:`CitingSynthesizer`.

    Raises:
        ConfigurationError: Images are to be sent to an LLM that is no chat model.
    """
    vision = answering_synthesizer(llms[1:], of_inner, of_citing) if len(llms) > 1 else None
    return CitingSynthesizer(_inner(llms[0], of_inner), llms[0].context, **of_citing, vision=vision)


def _inner(answering: AnsweringLLM, of_inner: dict[str, Any]) -> BaseSynthesizer:
    llm = answering.llm
    if answering.sees and not llm.metadata.is_chat_model:
        message = (
            f"multimodal=True needs a chat model, and {llm.metadata.model_name!r} is none; "
            "pass a chat LLM or multimodal=False."
        )
        raise ConfigurationError(message)
    # To those that call no LLM, core 0.14.25 passes none, so that they would build its paid default.
    kind = {ResponseMode.NO_TEXT: NoText, ResponseMode.CONTEXT_ONLY: ContextOnly}.get(of_inner["response_mode"])
    if kind is not None:
        return kind(llm=llm, callback_manager=of_inner["callback_manager"], streaming=of_inner["streaming"])
    return get_response_synthesizer(llm=llm, multimodal=answering.sees, **of_inner)
