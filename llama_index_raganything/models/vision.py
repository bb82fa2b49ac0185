"""Which LLMs can look at images."""

from __future__ import annotations

import re

from llama_index.core.llms import LLM

_VISION = re.compile(
    r"gpt-4o|gpt-4\.[1-9]|gpt-4-(?:turbo|vision)|gpt-[5-9]|(?<![a-z])o(?:[13](?:-(?!mini)|$)|4)|claude-(?:3|[4-9]|opus|sonnet|haiku)"
    r"|gemini|gemma-?3|pixtral|llava|internvl|minicpm-(?:v|o)|moondream|phi-(?:3|3\.5|4)-(?:vision|multimodal)"
    r"|llama-?3\.2-vision|llama-?4|grok-(?:2-vision|4)|mistral-(?:small-3|medium-3)|glm-4(?:\.\d)?v"
    r"|(?:^|[-_/.:])(?:vl|vlm|vision|omni)(?:[-_.:\d]|$)|qwen[\d.]*-?vl|qvq",
    re.IGNORECASE,
)

_TEXT_ONLY = re.compile(
    r"gpt-3\.5|gpt-4(?:-\d{4})?$|o1-mini|o3-mini|deepseek|qwen-?(?:max|plus|turbo|long|coder)|qwen[\d.]+-\d"
    r"|mi[sx]tral-(?:\d|large|nemo)|llama-?[23](?!\.2-vision)|phi-[23](?!.*vision)|command|kimi-k2|glm-4(?![.\d]*v)",
    re.IGNORECASE,
)


def supports_images(llm: LLM) -> bool:
    """Tell whether an LLM takes images: by its own word, by its name, or because it is a class of the caller's.

    Args:
        llm: Any LLM. An attribute ``supports_images`` decides when it has one; LlamaIndex declares none.

    Returns:
        True for a chat model that is known to look at images, and for chat models that are no LlamaIndex
        integration, whose names say nothing. Pass ``multimodal=...`` where the guess is wrong.
    """
    own_word = getattr(llm, "supports_images", None)
    if isinstance(own_word, bool):
        return own_word
    metadata = llm.metadata
    if not metadata.is_chat_model:
        return False
    name = metadata.model_name or ""
    if is_vision_name(name):
        return True
    is_integration = type(llm).__module__.split(".", 1)[0] == "llama_index"
    return not is_integration and not _TEXT_ONLY.search(name)


def is_vision_name(name: str) -> bool:
    """Tell whether the name of a model is one of those that look at images."""
    return bool(_VISION.search(name))
