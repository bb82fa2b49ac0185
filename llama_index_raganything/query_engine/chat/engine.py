"""``RAGAnythingChatEngine``: conversations whose answers cite as those of the query engine do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.generic_utils import messages_to_history_str
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.base.response.schema import RESPONSE_TYPE, AsyncStreamingResponse, StreamingResponse
from llama_index.core.callbacks import CallbackManager, trace_method
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.chat_engine.condense_plus_context import DEFAULT_CONDENSE_PROMPT_TEMPLATE
from llama_index.core.chat_engine.types import (
    AgentChatResponse,
    BaseChatEngine,
    ChatMode,
    StreamingAgentChatResponse,
)
from llama_index.core.llms import LLM
from llama_index.core.memory import BaseMemory, Memory
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
from llama_index.core.response_synthesizers import BaseSynthesizer, ResponseMode
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.settings import Settings
from llama_index.core.tools import ToolOutput
from llama_index.core.types import Thread

from llama_index_raganything._arguments import argument_names, refuse_unknown, strict_arguments
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.images import MAX_PIXELS
from llama_index_raganything.models.defaults import resolve_llm
from llama_index_raganything.query_engine.chat.prompts import (
    Conversation,
    ConversationPrompt,
    question_prompts,
    without_numbers,
)
from llama_index_raganything.query_engine.context.images import DEFAULT_MAX_IMAGES
from llama_index_raganything.query_engine.synthesis import answering_llms
from llama_index_raganything.retrievers.evidence.candidates import store_of
from llama_index_raganything.settings import RAGAnythingSettings

logger = logging.getLogger(__name__)

_RETRIEVING_MODES: Final = (ChatMode.CONDENSE_PLUS_CONTEXT, ChatMode.CONTEXT, ChatMode.CONDENSE_QUESTION)
"""Chat modes of :class:`RAGAnythingChatEngine`."""

ALIASES: Final = {
    "context_template": "context_prompt",
    "context_refine_template": "context_refine_prompt",
    "condense_question_prompt": "condense_prompt",
}
"""Our names of arguments by those of LlamaIndex's engines of other modes."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """Make the synthesizer of one turn.

    Attributes:
        llms: The LLM that answers, and the one that answers where there are images, if that is another.
        prompts: Prompts by the names of ``get_response_synthesizer``.
        conversation: What comes before every question, without the history.
        of_citing: Arguments of ``CitingSynthesizer``.
    """

    llms: tuple[answering_llms.AnsweringLLM, ...]
    prompts: dict[str, BasePromptTemplate]
    conversation: Conversation
    of_citing: dict[str, Any] = field(default_factory=dict)
    callback_manager: CallbackManager | None = None

    def synthesizer(self, history: Sequence[ChatMessage], question: str, *, streaming: bool) -> BaseSynthesizer:
        """Return a synthesizer whose prompts hold a conversation.

        Args:
            history: Messages before the question.
            question: The question without need of the history, by which sources are shortened.
        """
        conversation = replace(self.conversation, history=tuple(history))
        of_inner = {
            **{name: ConversationPrompt(prompt, conversation) for name, prompt in self.prompts.items()},
            "response_mode": ResponseMode.COMPACT,
            "callback_manager": self.callback_manager,
            "streaming": streaming,
        }
        of_citing = self.of_citing | {"context_query": QueryBundle(question)}
        return answering_llms.answering_synthesizer(self.llms, of_inner, of_citing)


@dataclass
class CitingStreamingChatResponse(StreamingAgentChatResponse):
    """LlamaIndex's streaming chat response with the metadata that its other responses have.

    Attributes:
        metadata: See :class:`~.synthesis.citing.CitingSynthesizer`; complete when the stream has ended.
    """

    metadata: dict[str, Any] | None = None


@strict_arguments
class RAGAnythingChatEngine(BaseChatEngine):
    """Chat over a retriever; answers cite as those of :class:`RAGAnythingQueryEngine` do.

    Sources are numbered, markers that lead nowhere are dropped (from a stream too, as it arrives), and
    ``response.metadata`` has ``citations``, ``answered``, ``dropped_markers`` and ``images``; those of a stream are
    complete when it has ended. :func:`~.responses.citations_of` returns the citations typed.

    The history keeps answers as the user has seen them, with their ``[n]``. The LLM gets earlier answers without
    these, because they numbered other sources.

    =========================  =====================================  =========================================
    ``chat_mode``              retrieves by                           answers
    =========================  =====================================  =========================================
    ``condense_plus_context``  the message, rewritten to stand alone  the message, knowing the conversation
    ``context``                the message as it is                   the message, knowing the conversation
    ``condense_question``      the message, rewritten to stand alone  the rewritten message, and nothing before
    =========================  =====================================  =========================================

    >>> chat = index.as_chat_engine(llm=my_llm)  # doctest: +SKIP
    >>> response = chat.chat("Which region grew fastest?")  # doctest: +SKIP
    >>> citations_of(response)[0].page  # doctest: +SKIP

    Args:
        llm: Rewrites messages.
        answerer: Makes the synthesizer of a turn; :meth:`from_defaults` makes one.
        chat_mode: One of the modes above; ``best`` is the first.
        condense_prompt: Prompt that rewrites a message, with ``chat_history`` and ``question``.
        skip_condense: Do not rewrite messages.
        verbose: Print rewritten messages.
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        llm: LLM,
        memory: BaseMemory,
        answerer: Answerer,
        *,
        chat_mode: ChatMode | str = ChatMode.BEST,
        condense_prompt: str | BasePromptTemplate | None = None,
        skip_condense: bool = False,
        node_postprocessors: Sequence[BaseNodePostprocessor] = (),
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        self._mode = _retrieving_mode(chat_mode)
        condense_prompt = condense_prompt or DEFAULT_CONDENSE_PROMPT_TEMPLATE
        self._condense_prompt = PromptTemplate(condense_prompt) if isinstance(condense_prompt, str) else condense_prompt
        self._retriever = retriever
        self._llm = llm
        self._memory = memory
        self._answerer = answerer
        self._condenses = self._mode != ChatMode.CONTEXT and not skip_condense
        self._node_postprocessors = list(node_postprocessors)
        self._verbose = verbose
        self.callback_manager = callback_manager or CallbackManager([])
        for postprocessor in self._node_postprocessors:
            postprocessor.callback_manager = self.callback_manager

    @classmethod
    def from_defaults(
        cls,
        retriever: BaseRetriever,
        llm: LLM | None = None,
        chat_history: list[ChatMessage] | None = None,
        memory: BaseMemory | None = None,
        system_prompt: str | None = None,
        prefix_messages: Sequence[ChatMessage] | None = None,
        context_prompt: str | BasePromptTemplate | None = None,
        context_refine_prompt: str | BasePromptTemplate | None = None,
        condense_prompt: str | BasePromptTemplate | None = None,
        skip_condense: bool = False,
        node_postprocessors: Sequence[BaseNodePostprocessor] | None = None,
        verbose: bool = False,
        *,
        chat_mode: ChatMode | str = ChatMode.BEST,
        context_postprocessors: Sequence[BaseNodePostprocessor] | None = None,
        multimodal: bool | None = None,
        vision_llm: LLM | None = None,
        store: Any = None,
        context_tokens: int | None = None,
        max_images: int = DEFAULT_MAX_IMAGES,
        max_pixels: int = MAX_PIXELS,
        asset_root: str | None = None,
        callback_manager: CallbackManager | None = None,
        settings: RAGAnythingSettings | None = None,
        **options: Any,
    ) -> RAGAnythingChatEngine:
        """Make an engine.

        Args:
            llm: Answers. None means the LLM set on ``Settings``, else DashScope's where there is a key for it;
                LlamaIndex's own default is never used.
            chat_history: Earlier messages.
            memory: Keeps the conversation, in place of ``chat_history``; by default one of half of the LLM's
                context window, so that the other half is left to the sources.
            system_prompt: Added to the rules for answers with citations.
            prefix_messages: Messages before the conversation.
            context_prompt: Used in place of those rules, with ``context_str``: it becomes the system's message, or the
                user's where it has ``query_str`` too. Each source is between ``Source [n]:`` and ``End of
                source [n]``; let the prompt ask for ``[n]``.
            context_refine_prompt: The same for sources that take several calls, with ``context_msg`` and
                ``existing_answer``.
            condense_prompt: Prompt that rewrites a message, with ``chat_history`` and ``question``.
            skip_condense: Do not rewrite messages.
            verbose: Print rewritten messages.
            chat_mode: ``best``, ``condense_plus_context``, ``context`` or ``condense_question``.
            context_postprocessors: Applied last, just before the sources are numbered, in place of those that add the
                text of their pages and their images; see :class:`~.synthesis.citing.CitingSynthesizer`.
            multimodal: Send images to the LLM; None decides by what the LLM is.
            vision_llm: Answers in place of an ``llm`` that sees no images where a source has one.
            store: Vector store or docstore that holds all nodes; by default that of a retriever of ours. With it
                the LLM reads elements with the text of their page, and citations lead to the box of the element that
                holds the claim.
            context_tokens: Tokens of all sources together; half of the LLM's window, at most 6,000, by default.
            max_images: Images sent for one question.
            max_pixels: Pixels of an image; larger ones are scaled down.
            asset_root: Folder of the assets, for nodes whose ``image_path`` is gone.
            settings: Settings in place of those read from the environment, where ``llm`` is None.
            **options: LlamaIndex's other names of these: ``context_template``, ``context_refine_template``,
                ``condense_question_prompt``.

        Raises:
            ConfigurationError: There is no LLM, the mode is none of these, an argument is not known or has no effect
                in the mode, or a prompt has no place for the sources.
        """
        given = _with_our_names(
            options,
            context_prompt=context_prompt,
            context_refine_prompt=context_refine_prompt,
            condense_prompt=condense_prompt,
        )
        mode = _retrieving_mode(chat_mode)
        if memory is not None and chat_history is not None:
            message = (
                "Pass memory or chat_history: a memory holds a history of its own, memory.set(messages) replaces it."
            )
            raise ConfigurationError(message)
        if mode == ChatMode.CONTEXT and given["condense_prompt"] is not None:
            message = "condense_prompt has no effect with chat_mode='context', which does not rewrite messages."
            raise ConfigurationError(message)
        chosen = resolve_llm(llm, settings)
        if chosen is None:
            message = "A chat engine needs an LLM: pass llm=... or set Settings.llm; the query engine works without."
            raise ConfigurationError(message)
        callback_manager = callback_manager or Settings.callback_manager
        of_citing: dict[str, Any] = {
            "store": store_of(retriever) if store is None else store,
            "max_images": max_images,
            "max_pixels": max_pixels,
            "asset_root": asset_root,
        }
        answering = []
        for each, sees in answering_llms.seeing_llms(chosen, vision_llm, multimodal):
            context = context_postprocessors
            if context is None:
                context = answering_llms.context_for(each, sees, **of_citing, context_tokens=context_tokens)
            answering.append(answering_llms.AnsweringLLM(each, sees, tuple(context)))
        answerer = Answerer(
            tuple(answering),
            question_prompts(given["context_prompt"], given["context_refine_prompt"]),
            Conversation(
                system_prompt=(system_prompt or "").strip(),
                prefix=tuple(prefix_messages or ()),
                system_role=chosen.metadata.system_role,
            ),
            of_citing,
            callback_manager,
        )
        return cls(
            retriever,
            chosen,
            memory or _memory(chosen, chat_history),
            answerer,
            chat_mode=mode,
            condense_prompt=given["condense_prompt"],
            skip_condense=skip_condense,
            node_postprocessors=node_postprocessors or (),
            callback_manager=callback_manager,
            verbose=verbose,
        )

    @trace_method("chat")
    def chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> AgentChatResponse:
        """Answer a message.

        Args:
            chat_history: Messages that take the place of what the memory holds.
        """
        response, source = self._answer(message, chat_history, streaming=False)
        self._memory.put(ChatMessage(role=MessageRole.USER, content=message))
        self._memory.put(ChatMessage(role=MessageRole.ASSISTANT, content=str(response)))
        return _chat_response(response, source)

    @trace_method("chat")
    async def achat(self, message: str, chat_history: list[ChatMessage] | None = None) -> AgentChatResponse:
        """Answer a message; see :meth:`chat`."""
        response, source = await self._aanswer(message, chat_history, streaming=False)
        await self._memory.aput(ChatMessage(role=MessageRole.USER, content=message))
        await self._memory.aput(ChatMessage(role=MessageRole.ASSISTANT, content=str(response)))
        return _chat_response(response, source)

    @trace_method("chat")
    def stream_chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> CitingStreamingChatResponse:
        """Answer a message piece by piece; see :meth:`chat`. The answer joins the history when the stream has ended."""
        response, source = self._answer(message, chat_history, streaming=True)
        self._memory.put(ChatMessage(role=MessageRole.USER, content=message))
        stream = _streaming_response(response, source, chat_stream=_growing_answer(response))
        thread = Thread(target=stream.write_response_to_history, args=(self._memory,))
        stream.write_response_to_history_thread = thread
        thread.start()
        return stream

    @trace_method("chat")
    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> CitingStreamingChatResponse:
        """Answer a message piece by piece; see :meth:`stream_chat`."""
        response, source = await self._aanswer(message, chat_history, streaming=True)
        await self._memory.aput(ChatMessage(role=MessageRole.USER, content=message))
        stream = _streaming_response(response, source, achat_stream=_agrowing_answer(response))
        stream.awrite_response_to_history_task = asyncio.create_task(stream.awrite_response_to_history(self._memory))
        return stream

    def reset(self) -> None:
        """Forget the conversation."""
        self._memory.reset()

    @property
    def chat_history(self) -> list[ChatMessage]:
        """The conversation so far."""
        return self._memory.get_all()

    def _answer(
        self, message: str, chat_history: list[ChatMessage] | None, *, streaming: bool
    ) -> tuple[RESPONSE_TYPE, ToolOutput]:
        if chat_history is not None:
            self._memory.set(chat_history)
        history = without_numbers(self._memory.get(input=message))
        request = self._request(history, message)
        question = self._condensed(message, str(self._llm.complete(request))) if request else message
        nodes = self._retriever.retrieve(question)
        for postprocessor in self._node_postprocessors:
            nodes = postprocessor.postprocess_nodes(nodes, query_bundle=QueryBundle(question))
        synthesizer = self._synthesizer(history, question, streaming=streaming)
        response = synthesizer.synthesize(self._asked(message, question), nodes)
        return response, self._source(question, nodes, response)

    async def _aanswer(
        self, message: str, chat_history: list[ChatMessage] | None, *, streaming: bool
    ) -> tuple[RESPONSE_TYPE, ToolOutput]:
        if chat_history is not None:
            await self._memory.aset(chat_history)
        history = without_numbers(await self._memory.aget(input=message))
        request = self._request(history, message)
        question = self._condensed(message, str(await self._llm.acomplete(request))) if request else message
        nodes = await self._retriever.aretrieve(question)
        for postprocessor in self._node_postprocessors:
            nodes = await postprocessor.apostprocess_nodes(nodes, query_bundle=QueryBundle(question))
        synthesizer = self._synthesizer(history, question, streaming=streaming)
        response = await synthesizer.asynthesize(self._asked(message, question), nodes)
        return response, self._source(question, nodes, response)

    def _request(self, history: Sequence[ChatMessage], message: str) -> str:
        """Return the prompt that asks for a rewritten message; empty where the message is taken as it is."""
        if not self._condenses or not history:
            return ""
        return self._condense_prompt.format(chat_history=messages_to_history_str(history), question=message)

    def _condensed(self, message: str, rewritten: str) -> str:
        """Return the rewritten message, or the message where the LLM said nothing."""
        question = rewritten.strip() or message
        logger.debug("Condensed question: %s", question)
        if self._verbose:
            print(f"Condensed question: {question}")  # noqa: T201  # What ``verbose`` does in LlamaIndex's engines.
        return question

    def _asked(self, message: str, question: str) -> str:
        return question if self._mode == ChatMode.CONDENSE_QUESTION else message

    def _synthesizer(self, history: Sequence[ChatMessage], question: str, *, streaming: bool) -> BaseSynthesizer:
        known = () if self._mode == ChatMode.CONDENSE_QUESTION else history
        return self._answerer.synthesizer(known, question, streaming=streaming)

    def _source(self, question: str, nodes: list[NodeWithScore], response: RESPONSE_TYPE) -> ToolOutput:
        """Return what LlamaIndex's engine of the same mode lists among a response's ``sources``."""
        if self._mode != ChatMode.CONDENSE_QUESTION:
            return ToolOutput("retriever", content=str(nodes), raw_input={"message": question}, raw_output=nodes)
        streams = isinstance(response, StreamingResponse | AsyncStreamingResponse)
        content = "" if streams else str(response)
        return ToolOutput("query_engine", content=content, raw_input={"query": question}, raw_output=response)


def _chat_response(response: RESPONSE_TYPE, source: ToolOutput) -> AgentChatResponse:
    """Return an answer as a chat response, with its metadata."""
    return AgentChatResponse(
        response=str(response), sources=[source], source_nodes=response.source_nodes, metadata=response.metadata
    )


def _streaming_response(response: RESPONSE_TYPE, source: ToolOutput, **stream: Any) -> CitingStreamingChatResponse:
    return CitingStreamingChatResponse(
        **stream, sources=[source], source_nodes=response.source_nodes, metadata=response.metadata
    )


def _piece(text: str, delta: str) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text), delta=delta)


def _growing_answer(response: RESPONSE_TYPE) -> Generator[ChatResponse, None, None]:
    """Yield an answer as chat models do; a synthesizer may return a whole one where streaming is on."""
    pieces = response.response_gen if isinstance(response, StreamingResponse) else [str(response)]
    text = ""
    for delta in pieces:
        text += delta
        yield _piece(text, delta)


async def _agrowing_answer(response: RESPONSE_TYPE) -> AsyncGenerator[ChatResponse, None]:
    """Yield an answer as chat models do; see :func:`_growing_answer`."""
    if not isinstance(response, AsyncStreamingResponse):
        yield _piece(str(response), str(response))
        return
    text = ""
    async for delta in response.async_response_gen():
        text += delta
        yield _piece(text, delta)


def _retrieving_mode(chat_mode: ChatMode | str) -> ChatMode:
    """Return a chat mode by its name.

    Raises:
        ConfigurationError: There is none of this name, or it retrieves nothing.
    """
    known = ", ".join(repr(mode.value) for mode in (ChatMode.BEST, *_RETRIEVING_MODES))
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


def _with_our_names(options: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """Return arguments under our names.

    Args:
        options: Arguments under LlamaIndex's other names.
        **own: The arguments under our names; None where they were not given.

    Raises:
        UnknownArgumentError: An argument is not known.
        ConfigurationError: One was given under both names.
    """
    given = dict(own)
    refuse_unknown("A chat engine", options, {*CHAT_OPTIONS, *ALIASES})
    for name, value in options.items():
        ours = ALIASES[name]
        if given[ours] is not None and value is not None:
            message = f"{name} and {ours} are the same; pass one of them."
            raise ConfigurationError(message)
        given[ours] = value if value is not None else given[ours]
    return given


def simple_chat_engine(llm: LLM, chat_history: list[ChatMessage] | None, options: dict[str, Any]) -> SimpleChatEngine:
    """Make LlamaIndex's engine that talks to the LLM alone.

    Args:
        options: Its arguments: ``memory``, ``memory_cls``, ``system_prompt``, ``prefix_messages``.

    Raises:
        ConfigurationError: There is another argument, which would have no effect as nothing is retrieved.
    """
    known = ("memory", "memory_cls", "system_prompt", "prefix_messages")
    for name in options:
        if name not in known and (name in CHAT_OPTIONS or name in ALIASES or name == "filters"):
            message = f"{name} has no effect with chat_mode='simple', which does not look at the documents."
            raise ConfigurationError(message)
    refuse_unknown("A chat engine with chat_mode='simple'", options, known)
    return SimpleChatEngine.from_defaults(llm=llm, chat_history=chat_history, **options)


def _memory(llm: LLM, chat_history: list[ChatMessage] | None) -> BaseMemory:
    # LlamaIndex leaves the sources 256 tokens of the window, and fails when a conversation has filled the rest.
    limit = max(256, llm.metadata.context_window // 2)
    return Memory.from_defaults(chat_history=chat_history or [], token_limit=limit)


CHAT_OPTIONS: Final = argument_names(RAGAnythingChatEngine.from_defaults) - {"retriever"}
"""Arguments of :meth:`RAGAnythingChatEngine.from_defaults`, the retriever aside."""
