"""Requests that the service rejects, checked against the documented limits.

The limits are repeated here rather than read from the models' catalogue, so that a mistake there shows. A text counts
as too long only if every tokenizer would find it so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from llama_index_raganything.testing.dashscope.errors import Refusal, algorithm_refusal, wrong_route
from llama_index_raganything.testing.dashscope.replies import texts_of
from llama_index_raganything.testing.dashscope.vectors import image_bytes, open_image

_MEGABYTE: Final = 1_000_000
_TOKEN: Final = re.compile(r"[a-zA-Z]+|[0-9]|[\u3400-\u9fff]{1,4}")
_IMAGE_REFERENCE: Final = re.compile(r"https?://\S|data:image/[a-z0-9.+-]+;base64,|oss://\S")
_MEDIA: Final = ("text", "image", "video", "multi_images")


@dataclass(frozen=True, slots=True)
class _TextLimits:
    dimensions: tuple[int, ...]
    texts: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _MediaLimits:
    dimensions: tuple[int, ...]
    tokens: int
    image_bytes: int
    contents: int = 20
    images: int = 8
    fused: bool = False
    cuts_text: bool = False
    formats: tuple[str, ...] = ("JPEG", "PNG", "BMP")


@dataclass(frozen=True, slots=True)
class _RankLimits:
    documents: int
    document_tokens: int
    request_tokens: int


_TEXT: Final[Mapping[str, _TextLimits]] = {
    "text-embedding-v4": _TextLimits((1024, 2048, 1536, 768, 512, 256, 128, 64), 10, 8_192),
    "text-embedding-v3": _TextLimits((1024, 768, 512, 256, 128, 64), 10, 8_192),
    "text-embedding-v2": _TextLimits((1536,), 25, 2_048),
    "text-embedding-v1": _TextLimits((1536,), 25, 2_048),
}
_PLUS: Final = (1152, 1024, 512, 256, 128, 64)
_FLASH: Final = (768, 512, 256, 128, 64)
_MEDIA_MODELS: Final[Mapping[str, _MediaLimits]] = {
    "tongyi-embedding-vision-plus": _MediaLimits(_PLUS, 1_024, 3 * _MEGABYTE),
    "tongyi-embedding-vision-flash": _MediaLimits(_FLASH, 1_024, 3 * _MEGABYTE),
    "tongyi-embedding-vision-plus-2026-03-06": _MediaLimits(_PLUS, 1_024, 10 * _MEGABYTE, images=64, fused=True),
    "tongyi-embedding-vision-flash-2026-03-06": _MediaLimits(_FLASH, 1_024, 10 * _MEGABYTE, images=64, fused=True),
    "qwen3-vl-embedding": _MediaLimits(
        (2560, 2048, 1536, 1024, 768, 512, 256), 32_000, 5 * _MEGABYTE, images=5, fused=True, formats=()
    ),
    "qwen2.5-vl-embedding": _MediaLimits(
        (1024, 2048, 768, 512), 32_000, 5 * _MEGABYTE, contents=3, images=1, fused=True, formats=()
    ),
    "multimodal-embedding-v1": _MediaLimits((1024,), 512, 3 * _MEGABYTE, contents=3, images=1, cuts_text=True),
}
_RANK: Final[Mapping[str, _RankLimits]] = {
    "qwen3-rerank": _RankLimits(500, 4_000, 120_000),
    "gte-rerank-v2": _RankLimits(500, 4_000, 30_000),
    "qwen3-vl-rerank": _RankLimits(100, 8_000, 120_000),
}


def _refuse(message: str) -> NoReturn:
    raise algorithm_refusal(message)


def check_text_embedding(body: Mapping[str, Any]) -> tuple[str, list[str], int]:
    """Check a request to the native text embedding route.

    Returns:
        Model, texts and dimension.

    Raises:
        Refusal: The service would reject it.
    """
    limits = _known(model_of(body), _TEXT)
    given = input_of(body)
    parameters = parameters_of(body)
    texts = given.get("texts")
    if texts is None:
        raise Refusal("Required input parameter missing from request: texts.", "BadRequest.EmptyInput")
    _check_texts(texts, limits)
    _one_of(parameters, "text_type", ("query", "document"))
    # The service has sparse vectors as well; refusing them here is better than answering something else.
    _one_of(parameters, "output_type", ("dense",))
    return body["model"], texts, _dimension(parameters.get("dimension"), limits.dimensions)


def check_compatible_embedding(body: Mapping[str, Any]) -> tuple[str, list[str], int]:
    """Check a request to the OpenAI-compatible embedding route.

    Returns:
        Model, texts and dimension.

    Raises:
        Refusal: The service would reject it.
    """
    model = model_of(body)
    if model not in _TEXT:
        raise unknown_compatible_model(model)
    given = body.get("input")
    if given is None:
        raise Refusal("Required input parameter missing from request: input.", "BadRequest.EmptyInput")
    texts = [given] if isinstance(given, str) else given
    _check_texts(texts, _TEXT[model])
    _one_of(body, "encoding_format", ("float", "base64"))
    return model, texts, _dimension(body.get("dimensions"), _TEXT[model].dimensions)


def check_multimodal_embedding(
    body: Mapping[str, Any], headers: Mapping[str, str]
) -> tuple[str, list[Mapping[str, Any]], int]:
    """Check a request to the multimodal embedding route.

    Args:
        headers: Headers, with names in lower case.

    Returns:
        Model, contents and dimension.

    Raises:
        Refusal: The service would reject it.
    """
    model = model_of(body)
    limits = _known(model, _MEDIA_MODELS)
    contents = input_of(body).get("contents")
    if not isinstance(contents, Sequence) or isinstance(contents, str) or not contents:
        raise Refusal("Required input parameter missing from request: contents.", "BadRequest.EmptyInput")
    if len(contents) > limits.contents:
        _refuse(f"Value error, batch size is invalid, it should not be larger than {limits.contents}.: input.contents")
    images = [image for content in contents for image in _check_content(content, limits)]
    if len(images) > limits.images:
        _refuse(f"The number of images should not be larger than {limits.images}: input.contents")
    if model in {"multimodal-embedding-v1", "qwen2.5-vl-embedding"}:
        _check_each_type_once(contents)
    for image in images:
        check_image(image, limits.image_bytes, headers, limits.formats)
    parameters = parameters_of(body)
    _one_of(parameters, "output_type", ("dense",))
    if parameters.get("enable_fusion") and model != "qwen3-vl-embedding":
        _refuse(f"enable_fusion is not supported by {model}")
    return model, list(contents), _dimension(parameters.get("dimension"), limits.dimensions)


def check_rerank(body: Mapping[str, Any], flat: bool) -> tuple[str, str, list[Any], Mapping[str, Any]]:
    """Check a request to a rerank route.

    Args:
        flat: Whether the route has all fields at the top level of the body.

    Returns:
        Model, query, documents and parameters.

    Raises:
        Refusal: The service would reject it.
    """
    model = model_of(body)
    limits = _known(model, _RANK)
    given = body if flat else input_of(body)
    query, documents = given.get("query"), given.get("documents")
    if not isinstance(query, str) or not query.strip():
        raise Refusal("Required input parameter missing from request: query.", "BadRequest.EmptyInput")
    if not isinstance(documents, Sequence) or isinstance(documents, str) or not documents:
        raise Refusal("Required input parameter missing from request: documents.", "BadRequest.EmptyInput")
    texts = [_document_text(document, model) for document in documents]
    _check_rank_sizes(query, texts, limits)
    parameters = body if flat else parameters_of(body)
    top_n = parameters.get("top_n")
    if top_n is not None and (not isinstance(top_n, int) or isinstance(top_n, bool) or top_n < 1):
        raise algorithm_refusal("Range of top_n should be [1, documents size]")
    return model, query, list(documents), parameters


def check_image(
    reference: Any, max_bytes: int, headers: Mapping[str, str], formats: Sequence[str] = (), min_side: int = 1
) -> None:
    """Check a reference to an image.

    Args:
        max_bytes: Maximum bytes of the image.
        headers: Headers of the request, with names in lower case.
        formats: Accepted formats by Pillow's names; empty for any.
        min_side: Minimum height and width in pixels.

    Raises:
        Refusal: It is neither a URL nor a data URI, or its data is unreadable or too large.
    """
    if not isinstance(reference, str) or not _IMAGE_REFERENCE.match(reference):
        raise Refusal(code="InvalidURL")
    if reference.startswith("oss://") and headers.get("x-dashscope-ossresourceresolve") != "enable":
        raise Refusal(code="InvalidURL")
    try:
        content = image_bytes(reference)
        image = None if content is None else open_image(content)
    except ValueError as error:
        raise algorithm_refusal("The image format is illegal and cannot be opened") from error
    if content is None or image is None:
        return
    if len(content) > max_bytes:
        _refuse(f"Exceeded limit on max bytes per data-uri item : {max_bytes}")
    if formats and image.format not in formats:
        raise algorithm_refusal("The image format is illegal and cannot be opened")
    if min(image.size) < min_side:
        width, height = image.size
        _refuse(
            "The image length and width do not meet the model restrictions. "
            f"[height:{height} or width:{width} must be larger than {min_side - 1}]"
        )


def model_of(body: Mapping[str, Any]) -> str:
    """Return the model that a request names.

    Raises:
        Refusal: It names none.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal(code="BadRequest.EmptyModel")
    return model


def input_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the input of a native request.

    Raises:
        Refusal: It has none.
    """
    given = body.get("input")
    if not isinstance(given, Mapping) or not given:
        raise Refusal(code="BadRequest.EmptyInput")
    return given


def parameters_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a native request, which may be absent.

    Raises:
        Refusal: They are no object.
    """
    parameters = body.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise Refusal(code="BadRequest.EmptyParameters")
    return parameters


def fewest_tokens(text: str) -> int:
    """Return a lower estimate of the tokens of a text."""
    return len(_TOKEN.findall(text))


def unknown_compatible_model(model: str) -> Refusal:
    """Return the rejection of a model by the OpenAI-compatible routes."""
    if model in _TEXT or model in _MEDIA_MODELS or model in _RANK:
        message = f"Unsupported model `{model}` for OpenAI compatibility mode."
        return Refusal(message, "ModelNotFound", compatible_code="model_not_supported")
    return Refusal(f"The model `{model}` does not exist or you do not have access to it.", "ModelNotFound")


def is_fused(body: Mapping[str, Any]) -> bool:
    """Return whether all contents of a multimodal embedding request become one vector.

    Args:
        body: A request that was checked.
    """
    if body["model"] == "qwen2.5-vl-embedding":
        return True
    return bool((body.get("parameters") or {}).get("enable_fusion"))


def _known(model: str, models: Mapping[str, Any]) -> Any:
    if model not in models:
        raise wrong_route()
    return models[model]


def _check_texts(texts: Any, limits: _TextLimits) -> None:
    if not isinstance(texts, Sequence) or isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise algorithm_refusal("Value error, contents is neither str nor list of str.: input.contents")
    if not texts or len(texts) > limits.texts:
        _refuse(f"Value error, batch size is invalid, it should not be larger than {limits.texts}.: input.contents")
    for text in texts:
        if not text or fewest_tokens(text) > limits.tokens:
            _refuse(f"Range of input length should be [1, {limits.tokens}]")


def _check_content(content: Any, limits: _MediaLimits) -> list[Any]:
    """Check a content and return its images."""
    kinds = [kind for kind in _MEDIA if isinstance(content, Mapping) and kind in content]
    if not kinds or (len(kinds) > 1 and not limits.fused):
        raise algorithm_refusal("Value error, each content should have one of text, image, video: input.contents")
    text = content.get("text", "-")
    if not isinstance(text, str) or not text.strip():
        raise algorithm_refusal("Value error, text should be a non-empty str: input.contents")
    if not limits.cuts_text and fewest_tokens(text) > limits.tokens:
        _refuse(f"Range of input length should be [1, {limits.tokens}]")
    several = content.get("multi_images", [])
    if not isinstance(several, Sequence) or isinstance(several, str):
        raise algorithm_refusal("Value error, multi_images should be a list: input.contents")
    return [*([content["image"]] if "image" in content else []), *several]


def _check_each_type_once(contents: Sequence[Mapping[str, Any]]) -> None:
    kinds = [kind for content in contents for kind in _MEDIA if kind in content]
    if len(kinds) != len(set(kinds)):
        raise algorithm_refusal("Value error, each type may be given once: input.contents")


def _document_text(document: Any, model: str) -> str:
    """Return the text of a document; "" for an image, which a vision model accepts."""
    if isinstance(document, str):
        return document
    if isinstance(document, Mapping) and isinstance(document.get("text"), str):
        return str(document["text"])
    if isinstance(document, Mapping) and "image" in document and model == "qwen3-vl-rerank":
        return ""
    raise algorithm_refusal("Input should be a valid string: input.documents")


def _check_rank_sizes(query: str, texts: Sequence[str], limits: _RankLimits) -> None:
    if len(texts) > limits.documents:
        _refuse(f"Range of documents size should be [1, {limits.documents}]")
    counts = [fewest_tokens(text) for text in texts]
    if max(counts) > limits.document_tokens or fewest_tokens(query) > limits.document_tokens:
        _refuse(f"Range of input length should be [1, {limits.document_tokens}]")
    if fewest_tokens(query) * len(texts) + sum(counts) > limits.request_tokens:
        _refuse(f"Total tokens of query and documents should not exceed {limits.request_tokens}")


def _dimension(asked: Any, allowed: Sequence[int]) -> int:
    if asked is None:
        return allowed[0]
    if isinstance(asked, bool) or asked not in allowed:
        _refuse(f"Value error, dimension {asked!r} is invalid, it should be one of {sorted(allowed)}")
    return int(asked)


def _one_of(parameters: Mapping[str, Any], name: str, allowed: Sequence[str]) -> None:
    value = parameters.get(name)
    if value is not None and value not in allowed:
        _refuse(f"{name} should be one of {list(allowed)}")


_CHAT_MODEL: Final = re.compile(r"(?:qwen|qwq|qvq|deepseek|kimi|glm)[a-z0-9.-]*")
_NO_CHAT_MODEL: Final = re.compile(r"embedding|rerank|image|tts|asr|mt-|omni-realtime")
_MULTIMODAL_MODEL: Final = re.compile(r"-vl|^qvq|^qwen3\.[5-9]|^kimi-k2\.[5-9]")
_NO_TOOLS: Final = re.compile(r"^qwen-vl|^qwen2\.5-vl|^qvq")
_LIMITS: Final[Mapping[str, tuple[int, int]]] = {"qwen-max": (30_720, 8_192), "qwen-vl-max": (129_024, 8_192)}

_ROLES: Final = ("system", "assistant", "user", "tool", "function")
_MAX_IMAGE_BYTES: Final = 10_485_760
_MIN_SIDE: Final = 11
_COMPATIBLE_PARTS: Final = ("text", "image_url", "video", "video_url", "input_audio")
_NATIVE_PARTS: Final = ("text", "image", "video", "audio")

Messages = Sequence[Mapping[str, Any]]
Headers = Mapping[str, str]


def check_compatible_chat(body: Mapping[str, Any], headers: Headers) -> tuple[Messages, Messages]:
    """Check a request to the OpenAI-compatible chat route.

    Args:
        headers: Headers, with names in lower case.

    Returns:
        Messages and tools.

    Raises:
        Refusal: The service would reject it.
    """
    model = model_of(body)
    if not _is_chat_model(model):
        raise unknown_compatible_model(model)
    messages = body.get("messages")
    if messages is None:
        raise Refusal("'messages' is a required property")
    _check_messages(messages)
    for place, message in enumerate(messages):
        _check_compatible_parts(message, place, model, headers)
    if body.get("stream_options") and not body.get("stream"):
        raise algorithm_refusal('The "stream_options" parameter is only allowed when "stream" is enabled')
    return messages, _checked_parameters(body, messages, model)


def check_native_chat(route: str, body: Mapping[str, Any], headers: Headers) -> tuple[Messages, Messages]:
    """Check a request to a native chat route.

    Args:
        route: "generation" or "multimodal-generation".
        headers: Headers, with names in lower case.

    Returns:
        Messages and tools.

    Raises:
        Refusal: The service would reject it.
    """
    model = model_of(body)
    multimodal = bool(_MULTIMODAL_MODEL.search(model))
    if not _is_chat_model(model) or multimodal != (route == "multimodal-generation"):
        raise wrong_route()
    given, parameters = input_of(body), parameters_of(body)
    messages = given.get("messages")
    if messages is None and isinstance(given.get("prompt"), str) and not multimodal:
        messages = [{"role": "user", "content": given["prompt"]}]
    if messages is None:
        raise Refusal("Required input parameter missing from request: messages.", "BadRequest.EmptyInput")
    _check_messages(messages)
    for message in messages:
        _check_native_parts(message, multimodal, headers)
    _one_of(parameters, "result_format", ("text", "message"))
    return messages, _checked_parameters(parameters, messages, model)


def _is_chat_model(model: str) -> bool:
    return bool(_CHAT_MODEL.fullmatch(model)) and not _NO_CHAT_MODEL.search(model)


def _check_messages(messages: Any) -> None:
    """Check roles, order and tool calls."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        reason = f"{messages!r} is not of type 'array' - 'messages'"
        raise Refusal(reason)
    if not messages:
        raise Refusal("[] is too short - 'messages'")
    open_calls: set[str] = set()
    for place, message in enumerate(messages):
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in _ROLES:
            reason = f"{role!r} is not one of {list(_ROLES)} - 'messages.{place}.role'"
            raise Refusal(reason)
        open_calls = _calls_left_open(message, place, open_calls)
    if open_calls:
        raise _unanswered(len(messages))
    if all(message["role"] == "system" for message in messages):
        raise algorithm_refusal("The input messages do not contain elements with the role of user")


def _calls_left_open(message: Mapping[str, Any], place: int, before: set[str]) -> set[str]:
    """Return the tool calls without an answer after a message."""
    if message["role"] == "tool":
        if message.get("tool_call_id") not in before:
            raise algorithm_refusal(
                'messages with role "tool" must be a response to a preceeding message with "tool_calls".'
            )
        return before - {message["tool_call_id"]}
    if before:
        raise _unanswered(place)
    calls = message.get("tool_calls") or []
    for call in calls:
        if not isinstance((call.get("function") or {}).get("arguments"), str):
            raise algorithm_refusal("If tool_calls are present in the message, function.arguments must be defined.")
    if message.get("content") is None and not calls:
        raise algorithm_refusal("The content field is a required field.")
    return {call.get("id") for call in calls}


def _unanswered(place: int) -> Refusal:
    return algorithm_refusal(
        'An assistant message with "tool_calls" must be followed by tool messages responding to each "tool_call_id". '
        f"The following tool_call_ids did not have response messages: message[{place}].role"
    )


def _check_compatible_parts(message: Mapping[str, Any], place: int, model: str, headers: Headers) -> None:
    content = message.get("content")
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, Sequence) or not content:
        reason = f"{content!r} is not valid under any of the given schemas - 'messages.{place}.content'"
        raise Refusal(reason)
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in _COMPATIBLE_PARTS or kind not in part:
            raise algorithm_refusal(
                "The provided messages input is invalid. The error info is [Unexpected item type in content.]"
            )
        if kind == "text" and not isinstance(part["text"], str):
            raise algorithm_refusal("Input should be a valid string: content.text")
        if kind == "image_url":
            if not _MULTIMODAL_MODEL.search(model):
                raise algorithm_refusal("The model does not support image input")
            url = part["image_url"]
            check_image(url.get("url") if isinstance(url, Mapping) else url, _MAX_IMAGE_BYTES, headers, (), _MIN_SIDE)


def _check_native_parts(message: Mapping[str, Any], multimodal: bool, headers: Headers) -> None:
    content = message.get("content")
    if content is None or isinstance(content, str):
        # The multimodal route takes plain text for a system message and, as its newer models do, for others.
        return
    if not multimodal or not isinstance(content, Sequence) or not content:
        raise algorithm_refusal("Input should be a valid string: input.messages.content")
    for part in content:
        if not isinstance(part, Mapping) or not any(kind in part for kind in _NATIVE_PARTS):
            raise algorithm_refusal("Input should be 'text', 'image', 'audio', 'video': input.messages.content")
        if "text" in part and not isinstance(part["text"], str):
            raise algorithm_refusal("Input should be a valid string: input.messages.content.text")
        if "image" in part:
            check_image(part["image"], _MAX_IMAGE_BYTES, headers, (), _MIN_SIDE)


def _check_numbers(parameters: Mapping[str, Any], model: str) -> None:
    """Check the numeric parameters of the model."""
    most = next((limit for name, (_, limit) in _LIMITS.items() if model.startswith(name)), 65_536)
    ranges: tuple[tuple[str, float, float, str], ...] = (
        ("temperature", 0.0, 1.999999, "[0.0, 2.0)"),
        ("top_p", 1e-9, 1.0, "(0.0, 1.0]"),
        ("max_tokens", 1, most, f"[1, {most}]"),
        ("max_completion_tokens", 1, most, f"[1, {most}]"),
        ("presence_penalty", -2.0, 2.0, "[-2.0, 2.0]"),
        ("n", 1, 4, "[1, 4]"),
        ("seed", 0, 2**63 - 1, "[0, 9223372036854775807]"),
    )
    for name, least, largest, shown in ranges:
        value = parameters.get(name)
        if value is None:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not least <= value <= largest:
            _refuse(f"Range of {name} should be {shown}")


def _check_formats(parameters: Mapping[str, Any], messages: Messages, model: str) -> None:
    asked = parameters.get("response_format")
    if asked is None:
        return
    kind = asked.get("type") if isinstance(asked, Mapping) else None
    if kind not in {"text", "json_object", "json_schema"}:
        raise algorithm_refusal("response_format.type should be one of ['text', 'json_object', 'json_schema']")
    if kind == "json_schema" and model.startswith("qwen-"):
        _refuse(f"response_format of type 'json_schema' is not supported by {model}")
    if kind == "json_object" and "json" not in json.dumps(list(messages), ensure_ascii=False).casefold():
        raise algorithm_refusal(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )


def _check_length(messages: Messages, model: str) -> None:
    most = next((limit for name, (limit, _) in _LIMITS.items() if model.startswith(name)), 1_000_000)
    if sum(fewest_tokens(text) for message in messages for text in texts_of(message)) > most:
        _refuse(f"Range of input length should be [1, {most}]")


def _checked_parameters(parameters: Mapping[str, Any], messages: Messages, model: str) -> Messages:
    """Check what both protocols share, and return the tools that the model may call."""
    _check_numbers(parameters, model)
    _check_formats(parameters, messages, model)
    _check_length(messages, model)
    tools, choice = parameters.get("tools"), parameters.get("tool_choice")
    if tools is None:
        if choice not in {None, "none", "auto"} if not isinstance(choice, Mapping) else True:
            raise algorithm_refusal('When using "tool_choice", "tools" must be set.')
        return []
    if not tools:
        raise Refusal("[] is too short - 'tools'")
    if _NO_TOOLS.search(model):
        raise algorithm_refusal("The tool call is not supported.")
    for place, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or tool.get("type") != "function" or not function.get("name"):
            reason = f"'function' is a required property - 'tools.{place}'"
            raise Refusal(reason)
    return _chosen(tools, choice, bool(parameters.get("enable_thinking")))


def _chosen(tools: Messages, choice: Any, thinking: bool) -> Messages:
    if isinstance(choice, Mapping):
        if thinking:
            raise algorithm_refusal(
                "The tool_choice parameter does not support being set to required or object in thinking mode"
            )
        name = (choice.get("function") or {}).get("name")
        named = [tool for tool in tools if tool["function"]["name"] == name]
        if choice.get("type") != "function" or not named:
            _refuse(f"tool_choice names no tool that is given: {name!r}")
        return named
    if choice not in {None, "none", "auto"}:
        raise algorithm_refusal('tool_choice is one of the strings that should be ["none", "auto"]')
    return [] if choice == "none" else tools
