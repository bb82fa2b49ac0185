"""Prompts of a conversation: its messages come between the rules and the question. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.generic_utils import messages_to_prompt as default_messages_to_prompt
from llama_index.core.base.llms.types import ChatMessage, ContentBlock, MessageRole, TextBlock
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate, PromptTemplate
from llama_index.core.prompts.utils import format_string

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.query_engine import prompts
from llama_index_raganything.query_engine.citations import MARKER

_QUESTION: Final = "query_str"
_SOURCES: Final = "context_messages"


@dataclass(frozen=True, slots=True)
class Conversation:
    """What comes before a question.

    Attributes:
        history: Earlier messages.
        system_prompt: Added to the rules by the caller.
        prefix: Messages between the rules and the history.
        system_role: Role of the rules; some models have no role for them.
    """

    history: tuple[ChatMessage, ...] = ()
    system_prompt: str = ""
    prefix: tuple[ChatMessage, ...] = ()
    system_role: MessageRole = MessageRole.SYSTEM

    def around(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """Return the messages of a prompt with the conversation after its rules.

        Nothing of the conversation is read as a template: braces in it stay braces.
        """
        count = next((n for n, each in enumerate(messages) if each.role != MessageRole.SYSTEM), len(messages))
        blocks: list[ContentBlock] = [block for message in messages[:count] for block in message.blocks]
        if self.system_prompt:
            blocks.append(TextBlock(text=f"\n{self.system_prompt}" if blocks else self.system_prompt))
        if all(isinstance(block, TextBlock) for block in blocks):
            # One text, because not every model takes rules in several blocks.
            joined = "\n".join(block.text for block in blocks if isinstance(block, TextBlock))
            blocks = [TextBlock(text=joined)] if joined else []
        rules = [ChatMessage(role=self.system_role, blocks=blocks)] if blocks else []
        return [*rules, *self.prefix, *self.history, *messages[count:]]


class _MessagesPrompt(BasePromptTemplate):  # type: ignore[no-redef]  # pydantic's plugin and core's field "kwargs"
    """A prompt that is messages before it is a text."""

    def format(
        self,
        llm: BaseLLM | None = None,
        messages_to_prompt: Callable[[Sequence[ChatMessage]], str] | None = None,
        **kwargs: Any,
    ) -> str:
        """Return the prompt as one text."""
        kwargs.pop("completion_to_prompt", None)
        return (messages_to_prompt or default_messages_to_prompt)(self.format_messages(llm, **kwargs))


class ConversationPrompt(_MessagesPrompt):  # type: ignore[no-redef]  # pydantic's plugin and core's field "kwargs"
    """The prompt of one question with a conversation before it."""

    inner: BasePromptTemplate
    conversation: Conversation

    def __init__(self, inner: BasePromptTemplate, conversation: Conversation) -> None:
        super().__init__(
            inner=inner,
            conversation=conversation,
            metadata=inner.metadata,
            template_vars=inner.template_vars,
            kwargs=inner.kwargs,
            output_parser=inner.output_parser,
        )

    def partial_format(self, **kwargs: Any) -> ConversationPrompt:
        """Return the prompt with some variables filled in."""
        return ConversationPrompt(self.inner.partial_format(**kwargs), self.conversation)

    def format_messages(self, llm: BaseLLM | None = None, **kwargs: Any) -> list[ChatMessage]:
        """Return the prompt as messages."""
        return self.conversation.around(self.inner.format_messages(llm, **kwargs))

    def get_template(self, llm: BaseLLM | None = None) -> str:
        """Return the template of the question."""
        return self.inner.get_template(llm)


class VisionPrompt(_MessagesPrompt):  # type: ignore[no-redef]  # pydantic's plugin and core's field "kwargs"
    """A caller's text prompt for an LLM that sees images: the texts and images of the sources replace its variable.

    Args:
        template: Text with the variable.
        variable: Name of the variable.
    """

    template: str
    variable: str

    def __init__(self, template: str, variable: str, **kwargs: Any) -> None:
        names = [name for name in PromptTemplate(template).template_vars if name != variable]
        super().__init__(
            template=template,
            variable=variable,
            metadata={},
            template_vars=[*names, _SOURCES],
            kwargs=kwargs,
            output_parser=None,
        )

    def partial_format(self, **kwargs: Any) -> VisionPrompt:
        """Return the prompt with some variables filled in."""
        return VisionPrompt(self.template, self.variable, **(self.kwargs | kwargs))

    def format_messages(self, llm: BaseLLM | None = None, **kwargs: Any) -> list[ChatMessage]:  # noqa: ARG002  # core's signature
        """Return the prompt as one message of the user's."""
        values = self.kwargs | kwargs
        sources = [message for message in values.pop(_SOURCES, ()) if isinstance(message, ChatMessage)]
        before, _, after = self.template.partition(f"{{{self.variable}}}")
        if _QUESTION not in self.template_vars:
            after = f"{after}\n\n{{{_QUESTION}}}"
        blocks: list[ContentBlock] = [TextBlock(text=format_string(before, **values))]
        blocks.extend(block for message in sources for block in message.blocks)
        blocks.append(TextBlock(text=format_string(after, **values)))
        return [ChatMessage(role=MessageRole.USER, blocks=blocks)]

    def get_template(self, llm: BaseLLM | None = None) -> str:  # noqa: ARG002  # core's signature
        """Return the text with its variables."""
        return self.template


def question_prompts(
    context_prompt: str | BasePromptTemplate | None, context_refine_prompt: str | BasePromptTemplate | None
) -> dict[str, BasePromptTemplate]:
    """Return the prompts of a chat engine's answers.

    Args:
        context_prompt: The caller's own, with ``{context_str}``; None asks for citations as the query engine does.
        context_refine_prompt: The caller's own, with ``{context_msg}`` and ``{existing_answer}``, or None.

    Returns:
        Prompts by the names of ``get_response_synthesizer``, for LLMs with and without vision.

    Raises:
        ConfigurationError: A prompt has no place for the sources.
    """
    ask = _both("context_prompt", context_prompt, "context_str")
    refine = _both("context_refine_prompt", context_refine_prompt, "context_msg")
    text, seen = ask or (prompts.CITATION_QA_PROMPT, prompts.CITATION_CHAT_QA_PROMPT)
    text_refine, seen_refine = refine or (prompts.CITATION_REFINE_PROMPT, prompts.CITATION_CHAT_REFINE_PROMPT)
    return {
        "text_qa_template": text,
        "refine_template": text_refine,
        "chat_content_qa_template": seen,
        "chat_content_refine_template": seen_refine,
    }


def without_numbers(history: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return a copy of a conversation without the ``[n]`` of earlier answers, which numbered other sources."""
    cleaned = []
    for message in history:
        if message.role == MessageRole.ASSISTANT:
            blocks = [
                TextBlock(text=MARKER.sub("", block.text)) if isinstance(block, TextBlock) else block
                for block in message.blocks
            ]
            cleaned.append(message.model_copy(update={"blocks": blocks}))
        else:
            cleaned.append(message)
    return cleaned


def _both(
    name: str, prompt: str | BasePromptTemplate | None, variable: str
) -> tuple[BasePromptTemplate, BasePromptTemplate] | None:
    """Return a caller's prompt for LLMs without vision, and for those with."""
    if prompt is None:
        return None
    template = PromptTemplate(prompt) if isinstance(prompt, str) else prompt
    names = set(template.template_vars) | set(template.template_var_mappings or ())
    if not names & {variable, _SOURCES}:
        message = f"{name} has no place for the sources: put {{{variable}}} where they belong."
        raise ConfigurationError(message)
    if not isinstance(template, PromptTemplate):
        return template, template
    if _QUESTION in names:
        return template, VisionPrompt(template.template, variable, **template.kwargs)
    text = ChatPromptTemplate(
        [
            ChatMessage(content=template.template, role=MessageRole.SYSTEM),
            ChatMessage(content=f"{{{_QUESTION}}}", role=MessageRole.USER),
        ],
        function_mappings=template.function_mappings,
        template_var_mappings=template.template_var_mappings,
    ).partial_format(**template.kwargs)
    return text, VisionPrompt(template.template, variable, **template.kwargs)
