"""``DashScopeLLM``: DashScope's chat models, and messages in the form they accept."""

from __future__ import annotations

import asyncio
import base64
import inspect
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Any, cast
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    ImageBlock,
    LLMMetadata,
    MessageRole,
    TextBlock,
)
from llama_index.core.bridge.pydantic import BaseModel, Field, PrivateAttr, SecretStr
from llama_index.core.program.function_program import FunctionCallingProgram
from llama_index.core.program.utils import get_program_for_llm
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._pickling import PickledWithoutKey
from llama_index_raganything.errors import ConfigurationError, CorruptFileError, MissingDependencyError
from llama_index_raganything.images import FittedImage, decoded_image, fit_image
from llama_index_raganything.models.dashscope.catalog import chat_model, is_known_chat_model
from llama_index_raganything.models.dashscope.client import HTTPClients
from llama_index_raganything.models.dashscope.endpoints import Endpoints, resolve_api_key

try:
    from llama_index.llms.openai_like import OpenAILike
    from openai.resources.chat.completions import Completions

    from llama_index_raganything.models.dashscope.chat_clients import AsyncChatClient, ChatClient
except ImportError as missing:
    _message = (
        "DashScope's chat models need llama-index-llms-openai-like, which is not installed; run "
        'pip install "llama-index-raganything[dashscope]".'
    )
    raise MissingDependencyError(_message) from missing

_STREAMING_ONLY = ("qwq", "qvq")
"""Models that always think and only stream."""

_MODES_WITH_TOOLS = (PydanticProgramMode.DEFAULT, PydanticProgramMode.FUNCTION)

_TOOL_IMAGES = "Images that the tools returned:"


@strict_arguments
class DashScopeLLM(PickledWithoutKey, OpenAILike):
    """A chat model of DashScope: text, images, tools, streams.

    Failed calls raise :class:`~llama_index_raganything.errors.DashScopeError`, also in the middle of a stream; the
    caller keeps what came before. 429 and 5xx are retried, by the HTTP client alone.

    Args:
        api_key: DashScope's key; by default ``DASHSCOPE_API_KEY``. Never shown, pickled or serialised.
        api_base: Host, base URL or full route of the service; by default that of ``region`` and ``workspace``.
        region: Region of the key, such as ``ap-southeast-1``; Beijing by default.
        workspace: Workspace with its own address.
        temperature: From 0 (most likely words only) to below 2.
        max_tokens: Maximum tokens of an answer; by default the model's limit.
        enable_thinking: Whether a thinking model thinks; None leaves it to the model. Thinking answers are always
            streamed, so calls without a stream collect theirs.
        context_window: Tokens of question and answer; by default as documented.
        is_function_calling_model: Whether the model calls tools; by default as documented.
        supports_images: Whether the model supports images; by default as documented.
        max_retries: Retries after 429 and 5xx.
        timeout: Seconds without a sign of the service after which a call fails.
        **kwargs: Those of ``OpenAILike``. ``additional_kwargs`` may hold any field of DashScope's requests.

    Raises:
        ConfigurationError: The URL is unusable, or ``max_tokens`` exceeds the model's limit.
        DashScopeAuthenticationError: There is no key.

    Examples:
        >>> from llama_index_raganything.models.dashscope.chat import DashScopeLLM
        >>> DashScopeLLM(model="qwen-max", api_key="sk-0123456789").metadata.context_window
        32768
    """

    api_key: SecretStr | None = Field(  # type: ignore[assignment]  # a plain string in OpenAI, visible in repr
        default=None, exclude=True, repr=False, description="DashScope's API key."
    )
    region: str | None = Field(default=None, description="Region of the key.")
    workspace: str | None = Field(default=None, description="Workspace with an address of its own.")
    enable_thinking: bool | None = Field(default=None, description="Whether models that can think do.")
    supports_images: bool = Field(default=False, description="Whether the model looks at images.")

    _http: HTTPClients = PrivateAttr()

    def __init__(
        self,
        model: str = "qwen-max",
        *,
        api_key: str | SecretStr | None = None,
        api_base: str | None = None,
        region: str | None = None,
        workspace: str | None = None,
        max_tokens: int | None = None,
        context_window: int | None = None,
        is_function_calling_model: bool | None = None,
        supports_images: bool | None = None,
        max_retries: int = 2,
        timeout: float = 60.0,
        **kwargs: Any,
    ) -> None:
        known = chat_model(model)
        _check_output(model, max_tokens)
        super().__init__(
            **{"is_chat_model": True, **kwargs},
            model=model,
            api_key=resolve_api_key(api_key),
            api_base=Endpoints.resolve(api_base, region, workspace).compatible,
            region=region,
            workspace=workspace,
            max_tokens=max_tokens,
            context_window=_first(context_window, known.context_window),
            is_function_calling_model=_first(is_function_calling_model, known.function_calling),
            supports_images=_first(supports_images, known.vision),
            max_retries=max_retries,
            timeout=timeout,
        )
        self._http = HTTPClients(timeout_s=timeout, max_retries=max_retries)

    @property
    def metadata(self) -> LLMMetadata:
        """Limits for prompts: at least half of the context is left to the question."""
        most = min(chat_model(self.model).max_output, self.context_window // 2)
        return LLMMetadata(
            context_window=self.context_window,
            num_output=self.max_tokens or most,
            is_chat_model=self.is_chat_model,
            is_function_calling_model=self.is_function_calling_model,
            model_name=self.model,
        )

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._http.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._http.aclose()

    def _get_client(self) -> ChatClient:
        http_client = self._http_client or self._http.sync()
        return ChatClient(resolve_api_key(self.api_key), str(self.api_base), http_client, self.default_headers)

    def _get_aclient(self) -> AsyncChatClient:
        http_client = self._async_http_client or self._http.asynchronous()
        return AsyncChatClient(resolve_api_key(self.api_key), str(self.api_base), http_client, self.default_headers)

    def _get_model_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        """Return the arguments of OpenAI's client, with DashScope's own fields in ``extra_body``.

        A call's arguments override the model's; LlamaIndex does the opposite for some.
        """
        given = {name: value for name, value in kwargs.items() if name != "use_chat_completions"}
        fields = super()._get_model_kwargs(**given) | given
        fields["enable_thinking"] = self._thinking(given)
        _check_output(self.model, fields.get("max_tokens"))
        if fields.get("stream"):
            fields.setdefault("stream_options", {"include_usage": True})
        else:
            fields.pop("stream_options", None)
        fields = {name: value for name, value in documented_tools(fields).items() if value is not None}
        own = {name: fields.pop(name) for name in list(fields) if name not in _openai_arguments()}
        body = {**fields.pop("extra_body", {}), **own}
        return {**fields, "extra_body": body} if body else fields

    def _thinking(self, given: dict[str, Any]) -> bool | None:
        """Return whether the model should think in a call, wherever that is set."""
        for fields in (
            given,
            given.get("extra_body"),
            self.additional_kwargs,
            self.additional_kwargs.get("extra_body"),
        ):
            said = (fields or {}).get("enable_thinking")
            if said is not None:
                return bool(said)
        return self.enable_thinking

    def _chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        if not self._streams_only(kwargs):
            return cast(ChatResponse, super()._chat(self._sendable(messages), **kwargs))
        last = None
        for last in self._stream_chat(messages, **kwargs):  # noqa: B007  # each holds the whole answer so far
            pass
        return _whole(last)

    async def _achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        if not self._streams_only(kwargs):
            return cast(ChatResponse, await super()._achat(await self._asendable(messages), **kwargs))
        last = None
        async for last in await self._astream_chat(messages, **kwargs):  # noqa: B007  # each holds the whole answer so far
            pass
        return _whole(last)

    def _stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return cast(ChatResponseGen, super()._stream_chat(self._sendable(messages), **kwargs))

    async def _astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        return cast(ChatResponseAsyncGen, await super()._astream_chat(await self._asendable(messages), **kwargs))

    def _structured_stream_call(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        if self._should_use_structure_outputs():
            yield from super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
            return
        program = self._structured_program(output_cls, prompt)
        if isinstance(program, FunctionCallingProgram):
            yield from program.stream_call(llm_kwargs=llm_kwargs, **prompt_args)
        else:
            yield program(llm_kwargs=llm_kwargs, **prompt_args)

    async def _structured_astream_call(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        if self._should_use_structure_outputs():
            parts = await super()._structured_astream_call(output_cls, prompt, llm_kwargs, **prompt_args)
            return cast(AsyncGenerator[Any, None], parts)
        program = self._structured_program(output_cls, prompt)
        if isinstance(program, FunctionCallingProgram):
            return cast(AsyncGenerator[Any, None], await program.astream_call(llm_kwargs=llm_kwargs, **prompt_args))

        async def whole() -> AsyncGenerator[Any, None]:
            yield await program.acall(llm_kwargs=llm_kwargs, **prompt_args)

        return whole()

    def _structured_program(self, output_cls: type[BaseModel], prompt: PromptTemplate) -> Any:
        """Return LlamaIndex's program for streaming objects, with two differences.

        The single tool is required, which ``FunctionCallingProgram.stream_call`` drops; and JSON in the text of a model
        without tools is parsed only when complete: ``LLMTextCompletionProgram.stream_call`` ends with an empty object
        if the model fences its JSON (both llama-index-core 0.14.25).
        """
        if self.is_function_calling_model and self.pydantic_program_mode in _MODES_WITH_TOOLS:
            return FunctionCallingProgram.from_defaults(
                output_cls=output_cls, llm=self, prompt=prompt, tool_choice="required"
            )
        return get_program_for_llm(output_cls, prompt, self, pydantic_program_mode=self.pydantic_program_mode)

    def _streams_only(self, kwargs: dict[str, Any]) -> bool:
        return bool(self._thinking(kwargs)) or self.model.startswith(_STREAMING_ONLY)

    def _sendable(self, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        if not has_images(messages):
            return messages
        if not self.supports_images:
            return without_tool_images(messages, self.model)
        return with_fitted_images(messages)

    async def _asendable(self, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        # Reading and scaling images is slow, so it does not block the event loop.
        return await asyncio.to_thread(self._sendable, messages) if has_images(messages) else messages


@cache
def _openai_arguments() -> frozenset[str]:
    """Return the names of the arguments of OpenAI's client."""
    return frozenset(inspect.signature(Completions.create).parameters)


def _whole(last: ChatResponse | None) -> ChatResponse:
    """Return the last response of a stream, which holds the whole answer, as that of a call."""
    if last is None:
        return ChatResponse(message=ChatMessage(role="assistant", content=""))
    counts = {name: value for name, value in last.additional_kwargs.items() if name != "thinking_delta"}
    return last.model_copy(update={"delta": None, "additional_kwargs": counts})


def _check_output(model: str, max_tokens: int | None) -> None:
    most = chat_model(model).max_output
    if max_tokens is not None and max_tokens > most and is_known_chat_model(model):
        message = f"max_tokens is {max_tokens:,}, but {model} writes at most {most:,}; lower it."
        raise ConfigurationError(message)


def _first(given: Any, known: Any) -> Any:
    return known if given is None else given


def has_images(messages: Sequence[ChatMessage]) -> bool:
    """Return whether messages contain images."""
    return any(isinstance(block, ImageBlock) for message in messages for block in message.blocks)


def with_fitted_images(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return messages with images within the limits, keeping the order of text and images.

    Images from tools move into a user message after the tools' answers: the protocol allows only text there, and
    LlamaIndex would drop them (llms-openai 0.8, to_openai_message_dict). URLs are passed on as they are.

    Args:
        messages: A conversation; it is not changed.

    Raises:
        RAGAnythingError: An image cannot be read.
    """
    return list(_moved([_fitted(message) for message in messages]))


def without_tool_images(messages: Sequence[ChatMessage], model: str) -> list[ChatMessage]:
    """Return messages for a text model, without the images from tools.

    Args:
        messages: A conversation; it is not changed.

    Raises:
        ConfigurationError: Other messages contain images: the model would be asked about what it cannot see.
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
    for are_tools, group in groupby(messages, lambda message: message.role == MessageRole.TOOL):
        if not are_tools:
            yield from group
            continue
        answers = list(group)
        yield from map(_texts_of, answers)
        images = [block for answer in answers for block in answer.blocks if isinstance(block, ImageBlock)]
        if images:
            yield ChatMessage(role=MessageRole.USER, blocks=[TextBlock(text=_TOOL_IMAGES), *images])


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
    except ValueError as error:  # LlamaIndex's error for missing data.
        message = "An image of a message is empty; pass its bytes, a path or a URL."
        raise CorruptFileError(message) from error
    return fit_image(content)


def documented_tools(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a chat call with tools in the form DashScope accepts.

    It rejects ``tool_choice="required"``: a single tool is named instead, and of several the model may take none
    ("auto"). Thinking models reject a named tool too. OpenAI's ``strict`` is omitted unless requested, and without
    tools so are all of these.

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
    name = tools[0]["function"]["name"] if choice == "required" else choice
    return {"type": "function", "function": {"name": name}}


def _plain(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, dict) or function.get("strict"):
        return tool
    return {**tool, "function": {name: value for name, value in function.items() if name != "strict"}}
