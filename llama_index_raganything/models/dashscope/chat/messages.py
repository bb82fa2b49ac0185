"""Chat messages as DashScope takes them: images as data URIs within the limits, and where a model can see them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from llama_index.core.base.llms.types import ChatMessage, ContentBlock, ImageBlock, MessageRole, TextBlock

from llama_index_raganything.errors import ConfigurationError, CorruptFileError
from llama_index_raganything.images import FittedImage, decoded_image, fit_image

_TOOL_IMAGES = "Images that the tools returned:"


def has_images(messages: Sequence[ChatMessage]) -> bool:
    """Return whether there are images in messages.

    Args:
        messages: A conversation.
    """
    return any(isinstance(block, ImageBlock) for message in messages for block in message.blocks)


def with_fitted_images(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return messages whose images are within the limits, text and images in their order.

    Images of tools go into a message of the user behind the tools' answers: the protocol has texts only in those, and
    LlamaIndex would drop them (llms-openai 0.8, to_openai_message_dict). URLs go to the service as they are.

    Args:
        messages: A conversation; it stays as it is.

    Raises:
        RAGAnythingError: An image cannot be read.
    """
    return list(_moved([_fitted(message) for message in messages]))


def without_tool_images(messages: Sequence[ChatMessage], model: str) -> list[ChatMessage]:
    """Return messages for a model that sees nothing: without the images of tools.

    Args:
        messages: A conversation; it stays as it is.
        model: The model's name.

    Raises:
        ConfigurationError: Others hold images: the model would be asked about what it cannot see.
    """
    kept = [_texts_of(message) if message.role == MessageRole.TOOL else message for message in messages]
    if has_images(kept):
        message = (
            f"{model} does not look at images; take a model that does, such as qwen-vl-max with dashscope_vlm(), or "
            "pass supports_images=True where it does."
        )
        raise ConfigurationError(message)
    return kept


def _moved(messages: Sequence[ChatMessage]) -> Iterator[ChatMessage]:
    held: list[ContentBlock] = []
    for message in messages:
        if message.role == MessageRole.TOOL:
            held += [block for block in message.blocks if isinstance(block, ImageBlock)]
            yield _texts_of(message)
            continue
        if held:
            yield _shown(held)
            held = []
        yield message
    if held:
        yield _shown(held)


def _shown(images: Sequence[ContentBlock]) -> ChatMessage:
    return ChatMessage(role=MessageRole.USER, blocks=[TextBlock(text=_TOOL_IMAGES), *images])


def _texts_of(message: ChatMessage) -> ChatMessage:
    blocks = [block for block in message.blocks if not isinstance(block, ImageBlock)]
    return message.model_copy(update={"blocks": blocks})


def _fitted(message: ChatMessage) -> ChatMessage:
    blocks = [_fitted_block(block) if isinstance(block, ImageBlock) else block for block in message.blocks]
    return message.model_copy(update={"blocks": blocks})


def _fitted_block(block: ImageBlock) -> ImageBlock:
    url = str(block.url or "")
    scheme = url.partition(":")[0].lower()
    if url and scheme not in {"data", "file"}:
        return block
    image = _fitted_image(block, url, scheme)
    data = base64.b64encode(image.data)
    return ImageBlock(image=data, image_mimetype=image.mimetype, detail=block.detail)


def _fitted_image(block: ImageBlock, url: str, scheme: str) -> FittedImage:
    if scheme == "data":
        return fit_image(decoded_image(unquote(url)))
    if scheme == "file":
        return fit_image(url2pathname(urlsplit(url).path))
    if block.path is not None and block.image is None:
        return fit_image(block.path)
    try:
        content = block.resolve_image().read()
    except ValueError as error:  # LlamaIndex's word for no data at all.
        message = "An image of a message is empty; pass its bytes, a path or a URL."
        raise CorruptFileError(message) from error
    return fit_image(content)


def documented_tools(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a chat call with tools as DashScope takes them.

    It refuses ``tool_choice="required"``: the single tool is named instead, and of several the model takes one or
    none ("auto"). Models that think refuse a named one too. ``strict`` is OpenAI's, and left out unless it is asked
    for. Without tools none of it is sent.

    Args:
        fields: Arguments of OpenAI's ``chat.completions.create``.
    """
    tools = fields.get("tools")
    rest = {
        name: value for name, value in fields.items() if name not in {"tools", "tool_choice", "parallel_tool_calls"}
    }
    if not tools:
        return rest
    choice = _tool_choice(fields.get("tool_choice"), tools, bool(fields.get("enable_thinking")))
    parallel = fields.get("parallel_tool_calls")
    return {**rest, "tools": [_plain(tool) for tool in tools], "tool_choice": choice, "parallel_tool_calls": parallel}


def _tool_choice(choice: Any, tools: Sequence[dict[str, Any]], thinking: bool) -> Any:
    if choice is None or choice == "none":
        return choice
    if thinking or choice == "auto" or (choice == "required" and len(tools) > 1):
        return "auto"
    if isinstance(choice, dict):
        return choice
    return _named(tools[0]["function"]["name"] if choice == "required" else choice)


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _plain(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, dict) or function.get("strict"):
        return tool
    return {**tool, "function": {name: value for name, value in function.items() if name != "strict"}}
