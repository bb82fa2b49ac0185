"""What the service refuses: requests to the chat routes of both protocols. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llama_index_raganything.testing.dashscope.checks import (
    check_image,
    fewest_tokens,
    input_of,
    model_of,
    parameters_of,
    unknown_compatible_model,
)
from llama_index_raganything.testing.dashscope.errors import Refusal, algorithm_refusal, wrong_route

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
        headers: Its headers, by names in lower case.

    Returns:
        Messages and tools.

    Raises:
        Refusal: The service would not take it.
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
    _check_numbers(body, model)
    _check_formats(body, messages, model)
    if body.get("stream_options") and not body.get("stream"):
        raise algorithm_refusal('The "stream_options" parameter is only allowed when "stream" is enabled')
    _check_length(messages, model)
    return messages, _checked_tools(body, model)


def check_native_chat(route: str, body: Mapping[str, Any], headers: Headers) -> tuple[Messages, Messages]:
    """Check a request to one of the native chat routes.

    Args:
        route: "generation" or "multimodal-generation".
        headers: Its headers, by names in lower case.

    Returns:
        Messages and tools.

    Raises:
        Refusal: The service would not take it.
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
    _check_numbers(parameters, model)
    _check_formats(parameters, messages, model)
    _check_length(messages, model)
    if parameters.get("result_format") not in {None, "text", "message"}:
        raise algorithm_refusal("result_format should be one of ['text', 'message']")
    return messages, _checked_tools(parameters, model)


def _is_chat_model(model: str) -> bool:
    return bool(_CHAT_MODEL.fullmatch(model)) and not _NO_CHAT_MODEL.search(model)


def _check_messages(messages: Any) -> None:
    """Check roles, order and the calls of tools."""
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
    """Return which calls of tools have no answer yet after a message."""
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
            _check_seen(part["image_url"], model, headers)


def _check_seen(given: Any, model: str, headers: Headers) -> None:
    if not _MULTIMODAL_MODEL.search(model):
        raise algorithm_refusal("The model does not support image input")
    check_image(given.get("url") if isinstance(given, Mapping) else given, _MAX_IMAGE_BYTES, headers, (), _MIN_SIDE)


def _check_native_parts(message: Mapping[str, Any], multimodal: bool, headers: Headers) -> None:
    content = message.get("content")
    if content is None or (isinstance(content, str) and not multimodal):
        return
    if isinstance(content, str):
        # The route takes plain text for a system message and, as its newer models do, for others.
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
    """Check the numbers that steer the model."""
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
            reason = f"Range of {name} should be {shown}"
            raise algorithm_refusal(reason)


def _check_formats(parameters: Mapping[str, Any], messages: Messages, model: str) -> None:
    asked = parameters.get("response_format")
    if asked is None:
        return
    kind = asked.get("type") if isinstance(asked, Mapping) else None
    if kind not in {"text", "json_object", "json_schema"}:
        raise algorithm_refusal("response_format.type should be one of ['text', 'json_object', 'json_schema']")
    if kind == "json_schema" and model.startswith("qwen-"):
        reason = f"response_format of type 'json_schema' is not supported by {model}"
        raise algorithm_refusal(reason)
    if kind == "json_object" and "json" not in json.dumps(list(messages), ensure_ascii=False).casefold():
        raise algorithm_refusal(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )


def _check_length(messages: Messages, model: str) -> None:
    most = next((limit for name, (limit, _) in _LIMITS.items() if model.startswith(name)), 1_000_000)
    count = 0
    for message in messages:
        content = message.get("content") or ""
        parts = [{"text": content}] if isinstance(content, str) else content
        count += sum(fewest_tokens(part["text"]) for part in parts if isinstance(part.get("text"), str))
    if count > most:
        reason = f"Range of input length should be [1, {most}]"
        raise algorithm_refusal(reason)


def _checked_tools(parameters: Mapping[str, Any], model: str) -> Messages:
    """Return the tools that the model may call."""
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
            reason = f"tool_choice names no tool that is given: {name!r}"
            raise algorithm_refusal(reason)
        return named
    if choice not in {None, "none", "auto"}:
        raise algorithm_refusal('tool_choice is one of the strings that should be ["none", "auto"]')
    return [] if choice == "none" else tools
