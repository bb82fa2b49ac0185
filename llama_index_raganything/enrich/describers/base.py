"""``Describer``: an LLM describes elements through RAG-Anything's processors, with exactly one call per element."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

from cachetools import LRUCache
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ContentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
)
from llama_index.core.llms import LLM
from llama_index.core.schema import BaseNode, TextNode
from pydantic import Field, PrivateAttr

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._files import replace_file
from llama_index_raganything.elements import DESCRIPTION_KEY, ENTITY_KEYS, content_id
from llama_index_raganything.enrich.base import ElementNodes, ElementProcessor, FolderName
from llama_index_raganything.enrich.describers import upstream
from llama_index_raganything.enrich.describers.context import (
    ContextOptions,
    DocumentContext,
    PieceTokenizer,
    leading_headings,
)
from llama_index_raganything.errors import ConfigurationError, EnrichmentError, ErrorKind, Failure, NoAnswerError
from llama_index_raganything.models.defaults import resolve_llm
from llama_index_raganything.node_parser.chunking import MAX_TEXT_BYTES, split_bytes
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.retries import attempt

_CACHE_VERSION: Final = 1
_CAPTION_CHARS: Final = 600
"""Characters of a caption that the node parser keeps in metadata."""

_FAILED: Final = "enrich.failed"
_REFUSED: Final = "enrich.refused"
_OUTAGE: Final = 8
"""Unanswered elements of a document in a row after which calls are no longer retried."""

Chat = Callable[[Sequence[ChatMessage]], Awaitable[ChatResponse]]


@dataclass(frozen=True)
class Picture:
    """An image to send to a model.

    Attributes:
        data: The encoded image.
        mimetype: Such as "image/jpeg".
        digest: Identifies what it was made from.
    """

    data: bytes
    mimetype: str
    digest: str


@dataclass(frozen=True)
class Subject:
    """What a model is asked to describe.

    Attributes:
        item: The element as an entry of RAG-Anything's content list, or as text.
        picture: Its image, for vision models.
        fixed: Values for prompt fields that override RAG-Anything's: names instead of paths, which are private and
            differ between machines.
        processor: Name of RAG-Anything's processor, if not the describer's usual one.
    """

    item: Mapping[str, Any] | str
    picture: Picture | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)
    processor: str = ""


@strict_arguments
class Describer(ElementProcessor):
    """Base class of processors that let an LLM describe elements.

    The description goes into the text of the element's first node, after its caption and before the rest. Name, type
    and summary of the entity go into the metadata of all its nodes (``entity_name``, ``entity_type``,
    ``entity_summary``), from which the graph makes an entity. ``description_span`` tells the model's words from the
    document's. Elements that already have a description are skipped.

    Each element costs one call: description and entity come in one answer, RAG-Anything repairs broken JSON, and an
    answer that remains unusable is reported and not requested again. Only calls that raise are retried. Answers are
    cached by everything that was sent (content, context, prompt, model), so a second run makes no calls.

    Args:
        llm: Any LlamaIndex LLM; by default the one set on ``Settings``.
        language: "en", "zh", or one registered with RAG-Anything's ``register_prompt_language``.
        prompts: Prompts that replace RAG-Anything's of the same names.
        processor_class: Subclass of RAG-Anything's ``BaseModalProcessor`` that builds the prompt and reads the answer.
        cache_folder: Folder for answers; in memory by default.
        context_window: Pages (or nodes, by ``context_mode``) before and after the element that the model sees.
        context_mode: "page" or "chunk"; in formats without pages three texts count as one page.
        max_context_tokens: Maximum tokens of context, the nearest first.
        include_headers: Mark headings in the context.
        include_captions: Include captions of images and tables, if ``context_filter_content_types`` has these.
        context_filter_content_types: Content types included in the context.
        max_retries: Retries of a call that raises; none after eight failed elements in a row.
        retry_s: Seconds before the first retry; doubled for each further one.

    Raises:
        ConfigurationError: There is no LLM, the language is unknown, or a prompt cannot be filled in.
    """

    llm: LLM | None = Field(default=None, exclude=True, repr=False, description="Describes the elements.")
    language: str = Field(default="en", description="Language of the prompts.")
    prompts: dict[str, str] = Field(default_factory=dict, description="Prompts instead of RAG-Anything's.")
    processor_class: Any = Field(default=None, exclude=True, description="Processor instead of RAG-Anything's.")
    cache_folder: FolderName = Field(default=None, description="Folder in which answers are kept.")
    context_window: int = Field(default=1, ge=0, description="Pages or nodes before and after the element.")
    context_mode: Literal["page", "chunk"] = Field(default="page", description="What context_window counts.")
    max_context_tokens: int = Field(default=2000, ge=0, description="Tokens of surroundings.")
    include_headers: bool = Field(default=True, description="Mark headings in the surroundings.")
    include_captions: bool = Field(default=True, description="Show captions in the surroundings.")
    context_filter_content_types: tuple[str, ...] = Field(default=("text",), description="Content types shown.")
    max_retries: int = Field(default=2, ge=0, description="Repetitions of a call that raises.")
    retry_s: float = Field(default=1.0, ge=0.0, description="Seconds before the first repetition.")

    _cache: AnswerCache | None = PrivateAttr(default=None)
    _templates: dict[str, Any] | None = PrivateAttr(default=None)
    _tokenizer: PieceTokenizer = PrivateAttr(default_factory=PieceTokenizer)
    _saved_model: str = PrivateAttr(default="")

    def __init__(self, llm: LLM | None = None, **values: Any) -> None:
        super().__init__(llm=llm, **values)
        # Checked here because a validator would wrap the error in pydantic's own. English needs no check and no
        # import of RAG-Anything.
        if self.prompts or self.language.strip().lower() not in {"en", "zh"}:
            self._templates = upstream.prompts_of(self.language, self.prompts)

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the settings with the name of the model but not the model.

        Args:
            **kwargs: Passed on to the base class.
        """
        data: dict[str, Any] = super().to_dict(**kwargs)
        llm = self._llm_or_default()
        data["model"] = self._saved_model or (model_name_of(llm) if llm is not None else "")
        if self.processor_class is not None:
            data["processor"] = self.processor_class.__qualname__
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Any:
        """Return a describer with the settings of :meth:`to_dict`; pass its ``llm`` as a keyword.

        Without it, the LLM set on ``Settings`` must be the one it was saved with.

        Args:
            **kwargs: Settings that override those of ``data``; a ``processor_class`` must be passed again.

        Raises:
            ConfigurationError: It was saved with a ``processor_class`` that was not passed.
        """
        if data.get("processor") and kwargs.get("processor_class") is None:
            message = (
                f"This {cls.class_name()} was saved with the processor {data['processor']}, which is not in the saved "
                "settings; pass from_dict(..., processor_class=...) too."
            )
            raise ConfigurationError(message)
        made = super().from_dict({key: data[key] for key in data if key not in {"model", "processor"}}, **kwargs)
        if made.llm is None:
            made._saved_model = str(data.get("model") or "")
        return made

    @abstractmethod
    def _processor_name(self) -> str:
        """Return the name of RAG-Anything's processor."""

    @abstractmethod
    def _subject(self, element: ElementNodes) -> Subject:
        """Return what to describe.

        Raises:
            RAGAnythingError: The element cannot be described.
        """

    def _readable(self, description: upstream.Description) -> upstream.Description:
        """Return the description as it is inserted into the text."""
        return description

    def _llm_or_default(self) -> LLM | None:
        """Return the LLM that describes, if there is one."""
        return resolve_llm(self.llm)

    def _chosen_llm(self) -> LLM:
        llm = self._llm_or_default()
        saved = f" It was saved with {self._saved_model}: pass from_dict(..., llm=...)." if self._saved_model else ""
        if llm is None:
            message = f"{self.class_name()} needs an LLM: pass llm=... or set Settings.llm.{saved}"
            raise ConfigurationError(message)
        if saved and model_name_of(llm) != self._saved_model:
            message = f"{self.class_name()} would describe with {model_name_of(llm)}.{saved}"
            raise ConfigurationError(message)
        return llm

    def _elements(self, nodes: Sequence[BaseNode]) -> list[ElementNodes]:
        elements = super()._elements(nodes)
        done = (ENTITY_KEYS[0], DESCRIPTION_KEY)
        waiting = [element for element in elements if not any(element.first.metadata.get(key) for key in done)]
        if waiting:
            self._prompts()  # Here, because imports briefly change the environment, which threads would see.
            self._answers()  # Here, because each thread would make its own.
        return waiting

    def _process_element(self, element: ElementNodes) -> Sequence[BaseNode]:
        llm = self._chosen_llm()
        subject = self._subject(element)

        async def chat(messages: Sequence[ChatMessage]) -> ChatResponse:
            # In its own thread, for clients that start an event loop.
            return await asyncio.to_thread(llm.chat, messages)

        return asyncio.run(self._described(element, subject, llm, chat))

    async def _aprocess_element(self, element: ElementNodes) -> Sequence[BaseNode]:
        llm = self._chosen_llm()
        subject = await asyncio.to_thread(self._subject, element)
        return await self._described(element, subject, llm, llm.achat)

    async def _described(self, element: ElementNodes, subject: Subject, llm: LLM, chat: Chat) -> Sequence[BaseNode]:
        around = self._document_context(element).around(element.first)
        request = upstream.Request(
            item=subject.item,
            content_type=element.content_type,
            prompts=_with_fixed(self._prompts(), subject.fixed),
            content_list=around.content_list,
            place=around.place,
            context_config=around.config,
            tokenizer=self._tokenizer,
            image=base64.b64encode(subject.picture.data).decode("ascii") if subject.picture else "",
        )
        question = _Question(self, subject.picture, model_name_of(llm), chat, element.shared)
        kind = self.processor_class or subject.processor or self._processor_name()
        description = await upstream.describe(kind, request, question.ask)
        if description.complete:
            question.keep()
        return with_description(element, self._readable(description))

    def _document_context(self, element: ElementNodes) -> DocumentContext:
        key = "enrich.context"
        if key not in element.shared:
            options: dict[str, Any] = {each.name: getattr(self, each.name, None) for each in fields(ContextOptions)}
            options["filter_content_types"] = self.context_filter_content_types
            element.shared[key] = DocumentContext(element.document, ContextOptions(**options), self._tokenizer)
        context: DocumentContext = element.shared[key]
        return context

    def _prompts(self) -> dict[str, Any]:
        if self._templates is None:
            self._templates = upstream.prompts_of(self.language, self.prompts)
        return self._templates

    def _answers(self) -> AnswerCache:
        if self._cache is None:
            self._cache = AnswerCache(self.cache_folder)
        return self._cache


@dataclass
class _Question:
    """One question to a model, answered from the cache if it was asked before."""

    describer: Describer
    picture: Picture | None
    model: str
    chat: Chat
    shared: dict[str, Any]
    key: str = ""
    answer: str | None = None

    async def ask(self, prompt: str, system_prompt: str) -> str:
        picture = self.picture
        self.key = content_id(_CACHE_VERSION, self.model, system_prompt, prompt, picture.digest if picture else "")
        known = self.describer._answers().get(self.key)
        if known is not None:
            return known
        self.answer = await self._sent(_messages(prompt, system_prompt, picture))
        return self.answer

    async def _sent(self, messages: Sequence[ChatMessage]) -> str:
        refused = self.shared.get(_REFUSED)
        if refused:
            raise NoAnswerError(refused)
        # If the model is down, the remaining elements are tried once each: waiting would take hours.
        retries = 0 if self.shared.get(_FAILED, 0) >= _OUTAGE else self.describer.max_retries
        response = await attempt(lambda: self.chat(messages), retries, self.describer.retry_s)
        if isinstance(response, Failure):
            # Read again, because concurrent calls may have failed since.
            self.shared[_FAILED] = self.shared.get(_FAILED, 0) + 1
            message = f"The model {self.model} gave no answer. {response.reason}"
            if response.kind is ErrorKind.FATAL:
                self.shared[_REFUSED] = message
            raise NoAnswerError(message)
        self.shared[_FAILED] = 0
        return response.message.content or ""

    def keep(self) -> None:
        """Cache the answer, once it proved usable."""
        if self.answer is not None:
            self.describer._answers().put(self.key, self.answer, self.model)


def _with_fixed(prompts: Mapping[str, Any], fixed: Mapping[str, str]) -> dict[str, Any]:
    changed = dict(prompts)
    for name, text in fixed.items():
        literal = text.replace("{", "{{").replace("}", "}}")
        for key, prompt in changed.items():
            if isinstance(prompt, str):
                changed[key] = prompt.replace(f"{{{name}}}", literal)
    return changed


def model_name_of(llm: LLM) -> str:
    """Return the name of a model in cache keys and reports."""
    return f"{llm.class_name()}/{llm.metadata.model_name}"


def _messages(prompt: str, system_prompt: str, picture: Picture | None) -> list[ChatMessage]:
    blocks: list[ContentBlock] = [TextBlock(text=prompt)]
    if picture is not None:
        blocks.append(ImageBlock(image=picture.data, image_mimetype=picture.mimetype))
    user = ChatMessage(role=MessageRole.USER, blocks=blocks)
    return [ChatMessage(role=MessageRole.SYSTEM, content=system_prompt), user] if system_prompt else [user]


def with_description(element: ElementNodes, description: upstream.Description) -> list[BaseNode]:
    """Return copies of an element's nodes with its description and entity.

    Args:
        description: Cut to what fits into the node's 65,535 bytes.

    Returns:
        The nodes in order with their ids: the first with caption, description and the rest, all with the entity's
        metadata.
    """
    made: list[BaseNode] = []
    for number, part in enumerate(element.parts):
        node = part.model_copy(deep=True)
        made_by_model: dict[str, str] = description.entity.metadata() if description.entity is not None else {}
        if number in element.starts:
            text, start, end = described_text(node, description.text)
            node.set_content(text)
            node.embedding = None
            if start < end:
                made_by_model[DESCRIPTION_KEY] = f"{start}:{end}"
        if made_by_model:
            node.metadata.update(made_by_model)
            for keys in (node.excluded_embed_metadata_keys, node.excluded_llm_metadata_keys):
                keys.extend(key for key in (*ENTITY_KEYS, DESCRIPTION_KEY) if key not in keys)
        made.append(node)
    return made


def described_text(node: BaseNode, description: str) -> tuple[str, int, int]:
    """Insert a description into a node's text, after its headings and caption.

    Returns:
        The text, of at most 65,535 bytes and with all of the old text, and the start and end of the description in
        characters; equal if there was no room.
    """
    text = NodeView(node).text
    paragraphs = text.split("\n\n") if text.strip() else []
    room = MAX_TEXT_BYTES - len(text.encode("utf-8", "replace")) - 4
    pieces = split_bytes(description.strip(), room) if room > 0 else []
    if not pieces:
        return text, 0, 0
    place = _after_caption(paragraphs, node)
    start = len("\n\n".join([*paragraphs[:place], ""]))
    return "\n\n".join([*paragraphs[:place], pieces[0], *paragraphs[place:]]), start, start + len(pieces[0])


def body_paragraphs(node: BaseNode) -> list[str]:
    """Return the paragraphs of a node's text after its headings and caption."""
    paragraphs = [part for part in NodeView(node).text.split("\n\n") if part.strip()]
    return paragraphs[_after_caption(paragraphs, node) :]


def _after_caption(paragraphs: Sequence[str], node: BaseNode) -> int:
    start = len(leading_headings(paragraphs, str(node.metadata.get("section") or "")))
    caption = str(node.metadata.get("caption") or "")
    if not caption:
        return start
    for index in range(start, len(paragraphs)):
        if " ".join(paragraphs[index].split())[:_CAPTION_CHARS] == caption:
            return index + 1
    return start


def with_text(node: TextNode, text: str) -> TextNode:
    """Return a copy of a node with text inserted, without the old embedding.

    Args:
        node: The node; it is not changed.
        text: Its text with an insertion.
    """
    made = node.model_copy(deep=True)
    made.set_content(text)
    made.embedding = None
    start, _, end = str(node.metadata.get(DESCRIPTION_KEY) or "").partition(":")
    if start.isdecimal() and end.isdecimal():
        said = NodeView(node).text[int(start) : int(end)]
        place = text.find(said, int(start))
        if said and place >= 0:
            made.metadata[DESCRIPTION_KEY] = f"{place}:{place + len(said)}"
    return made


@strict_arguments
class ElementDescriber(Describer):
    """Describe elements of any content type from their text, with RAG-Anything's ``GenericModalProcessor``.

    >>> from llama_index_raganything import ElementDescriber
    >>> from llama_index_raganything.testing import ScriptedTextLLM
    >>> describer = ElementDescriber(llm=ScriptedTextLLM(), content_types=("code", "sensor_series"))

    Args:
        content_types: Content types of the package or your own.
        max_content_chars: Maximum characters of an element that are sent.
    """

    content_types: tuple[str, ...] = Field(default=("code",), description="Content types that are processed.")
    max_content_chars: int = Field(default=32_000, gt=0, description="Characters of an element that are sent.")

    def _processor_name(self) -> str:
        return "GenericModalProcessor"

    def _subject(self, element: ElementNodes) -> Subject:
        text = "\n\n".join(NodeView(part).text.strip() for part in element.parts).strip()
        if not text:
            message = f"The {element.content_type} element has no text to describe."
            raise EnrichmentError(message)
        text = text[: self.max_content_chars]
        # RAG-Anything shows the model an entry in Python's notation; custom processors get the entry itself.
        return Subject(text if self.processor_class is None else {"type": element.content_type, "text": text})


logger = logging.getLogger(__name__)

_VERSION: Final = 1
_MAX_IN_MEMORY: Final = 1000


class AnswerCache:
    """Answers by key: one JSON file each in a folder, or in memory.

    Writes are atomic, so several processes may share a folder. An unreadable file counts as missing. Failures are never
    cached: callers store only answers they could use.

    Args:
        folder: Folder for the files; None keeps the last thousand answers in memory.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else None
        self._memory: LRUCache[str, str] = LRUCache(_MAX_IN_MEMORY)
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder,)

    def get(self, key: str) -> str | None:
        """Return an answer, or None.

        Args:
            key: Hexadecimal digits that identify the question.
        """
        if self.folder is None:
            with self._lock:
                return self._memory.get(key)
        try:
            data = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        answer = data.get("answer") if isinstance(data, dict) and data.get("version") == _VERSION else None
        return answer if isinstance(answer, str) else None

    def put(self, key: str, answer: str, model: str = "") -> None:
        """Store an answer; a folder that cannot be written only costs the next run a call.

        Args:
            key: Hexadecimal digits that identify the question.
            model: Who answered, for people who read the file.
        """
        if self.folder is None:
            with self._lock:
                self._memory[key] = answer
            return
        try:
            content = json.dumps({"version": _VERSION, "model": model, "answer": answer}, ensure_ascii=False)
            replace_file(self._path(key), content.encode("utf-8", "replace"))
        except OSError as error:
            logger.warning("An answer of %s could not be kept in %s: %s", model or "a model", self.folder, error)

    def _path(self, key: str) -> Path:
        assert self.folder is not None  # Only called with a folder; told to mypy.
        return self.folder / key[:2] / f"{key}.json"
