"""Modes and arguments of chat engines, under LlamaIndex's names and ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llama_index.core.chat_engine.types import ChatMode

from llama_index_raganything._arguments import refuse_unknown
from llama_index_raganything.errors import ConfigurationError

RETRIEVING_MODES: Final = (ChatMode.CONDENSE_PLUS_CONTEXT, ChatMode.CONTEXT, ChatMode.CONDENSE_QUESTION)
"""Chat modes of :class:`RAGAnythingChatEngine`."""

ALIASES: Final = {
    "context_template": "context_prompt",
    "context_refine_template": "context_refine_prompt",
    "condense_question_prompt": "condense_prompt",
}
"""What LlamaIndex's engines of the other modes call the same thing."""


def retrieving_mode(chat_mode: ChatMode | str) -> ChatMode:
    """Return the chat mode that is meant.

    Args:
        chat_mode: A mode or its name.

    Raises:
        ConfigurationError: It retrieves nothing, or is none at all.
    """
    known = ", ".join(repr(mode.value) for mode in (ChatMode.BEST, *RETRIEVING_MODES))
    try:
        mode = ChatMode(chat_mode)
    except ValueError:
        message = f"chat_mode={chat_mode!r} is not known; the modes are {known} and 'simple'."
        raise ConfigurationError(message) from None
    if mode in (ChatMode.REACT, ChatMode.OPENAI):
        message = (
            f"chat_mode={mode.value!r} was removed from LlamaIndex: give index.as_tools() to a ReActAgent or "
            f"FunctionAgent of llama_index.core.agent.workflow. The modes here are {known} and 'simple'."
        )
        raise ConfigurationError(message)
    if mode == ChatMode.SIMPLE:
        message = (
            f"chat_mode='simple' retrieves nothing: use LlamaIndex's SimpleChatEngine. The modes here are {known}."
        )
        raise ConfigurationError(message)
    return ChatMode.CONDENSE_PLUS_CONTEXT if mode == ChatMode.BEST else mode


def named_options(options: Mapping[str, Any], arguments: Sequence[str], **own: Any) -> dict[str, Any]:
    """Return arguments under our names, whichever of LlamaIndex's they came under.

    Args:
        options: Arguments under LlamaIndex's other names.
        arguments: All names of ours.
        **own: The arguments under our names; None where they were not given.

    Raises:
        UnknownArgumentError: An argument is not known.
        ConfigurationError: One was given under both names.
    """
    given = dict(own)
    refuse_unknown("A chat engine", options, {*arguments, *ALIASES})
    for name, value in options.items():
        ours = ALIASES[name]
        if given[ours] is not None and value is not None:
            message = f"{name} and {ours} are the same; pass one of them."
            raise ConfigurationError(message)
        given[ours] = value if value is not None else given[ours]
    return given
