"""RAG-Anything's modal processors, one description at a time, without LightRAG and without changing their globals.

Repairs to RAG-Anything 1.4.3:

- Prompts live in one registry per process, which ``set_prompt_language`` swaps for everybody. Here each call has its
  own, through a context variable; direct users of RAG-Anything see no difference.
- Two regular expressions of the JSON repair take exponential time on an answer cut off inside a string with
  backslashes, as in descriptions of equations: 22 of them cost four seconds, 30 a quarter of an hour.
- Line breaks inside JSON strings, which models often write, lost everything after an escaped quote.
- Failures, including the model's, came back as a description: the element's own dictionary as text. So did answers
  without JSON, such as "I cannot see any image."; they are now kept only if they describe something.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from types import SimpleNamespace
from typing import Any, Final

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import ConfigurationError, EnrichmentError
from llama_index_raganything.text.characters import HAN

MAX_ANSWER_CHARS: Final = 100_000
"""Maximum characters of an answer that are read."""

_MIN_PROSE_WORDS: Final = 5
_WORD: Final = re.compile(rf"[{HAN}]|\w+")
_LIKE_JSON: Final = re.compile(r"[{}]|```|</?think")
_SENTENCE_END: Final = re.compile(r"[.!?。！？]")
_REFUSAL: Final = re.compile(
    r"\b(?:cannot|can['’]t|unable|not able|sorry|unfortunately|as an ai|no (?:image|picture|table)|not see|nothing)\b"
    r"|无法|不能|抱歉|对不起|没有|看不",
    re.IGNORECASE,
)
_AFTER_KEY = re.compile(r'^.*?"detailed_description":\s*"', re.DOTALL)
_MAX_TAIL_BACKSLASHES: Final = 8
_UNNAMED: Final = ("unknown_entity", "unique descriptive name", "descriptive name for this")
_MAX_NAME: Final = 300
_MAX_TYPE: Final = 100
_MAX_SUMMARY: Final = 2000

Ask = Callable[[str, str], Awaitable[str]]
"""Sends prompt and system prompt to a model and returns its answer."""

_prompts_in_use: ContextVar[Mapping[str, Any] | None] = ContextVar("llama_index_raganything_prompts", default=None)
_loading = Lock()


@dataclass(frozen=True)
class Entity:
    """What an element is, as named by a model.

    Attributes:
        name: RAG-Anything's names end with the type in parentheses.
        type: Such as "image".
        summary: A few sentences.
    """

    name: str
    type: str
    summary: str

    def metadata(self) -> dict[str, str]:
        """Return the entity as metadata of a node."""
        return {"entity_name": self.name, "entity_type": self.type, "entity_summary": self.summary}


@dataclass(frozen=True)
class Description:
    """A usable answer.

    Attributes:
        text: The description.
        entity: None if the model named none.
        complete: Whether the answer was not cut off.
    """

    text: str
    entity: Entity | None
    complete: bool = True


@dataclass(frozen=True)
class Request:
    """What a processor is asked to describe.

    Attributes:
        item: The element as an entry of a content list, or as text.
        content_type: Its content type.
        prompts: Prompts by RAG-Anything's names; see :func:`prompts_of`.
        content_list: Entries around it, from which RAG-Anything extracts the context.
        place: ``page_idx`` and ``index`` of the element among them.
        context_config: Arguments of RAG-Anything's ``ContextConfig``.
        tokenizer: Counts the tokens of the context.
        image: The image in base64, for processors that send one.
    """

    item: Mapping[str, Any] | str
    content_type: str
    prompts: Mapping[str, Any]
    content_list: list[dict[str, Any]]
    place: Mapping[str, int]
    context_config: Mapping[str, Any]
    tokenizer: Any
    image: str = ""


async def describe(processor_name: str | type, request: Request, ask: Ask) -> Description:
    """Let a RAG-Anything processor describe an element with one model call.

    Args:
        processor_name: Name of a class of ``raganything.modalprocessors``, or a subclass of ``BaseModalProcessor``.
        ask: Called at most once.

    Raises:
        EnrichmentError: The answer holds no description, or the processor failed before it asked.
        Exception: What ``ask`` raised.
    """
    exchange = _Exchange(ask)
    processor = _processor(processor_name, request, exchange)
    item = request.item if isinstance(request.item, str) else dict(request.item)
    token = _prompts_in_use.set(request.prompts)
    try:
        place = dict(request.place)
        text, info = await processor.generate_description_only(item, request.content_type, item_info=place)
    finally:
        _prompts_in_use.reset(token)
    if exchange.error is not None:
        raise exchange.error
    if exchange.answer is None:
        message = f"RAG-Anything's {type(processor).__name__} asked no model; its log says why."
        raise EnrichmentError(message)
    if text in (str(item), processor._strip_thinking_tags(exchange.answer)):
        # RAG-Anything's fallbacks: its processor failed, or found a description without a complete entity.
        data = processor._robust_json_parse(exchange.answer)
        text, info = data.get("detailed_description"), data.get("entity_info")
        if not text and (prose := _prose(processor._strip_thinking_tags(exchange.answer))):
            return Description(prose, None, complete=bool(_SENTENCE_END.search(prose[-1])))
    return _usable(exchange.answer, text, info, complete=not processor.cut_off)


class _Exchange:
    """A processor's single question. Processors swallow exceptions, so they are kept here."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.answer: str | None = None
        self.error: BaseException | None = None

    async def __call__(self, prompt: str, system_prompt: str = "", **_kwargs: Any) -> str:
        if self.answer is not None:
            return self.answer
        try:
            self.answer = (await self._ask(prompt, system_prompt or ""))[:MAX_ANSWER_CHARS]
        except Exception as error:
            self.error = error
            raise
        return self.answer


def _prose(answer: str) -> str:
    """Return an answer in plain words where JSON was requested, as small models give; empty if it describes nothing.

    RAG-Anything keeps any answer. Here it must have a few words, contain no JSON, and not begin by saying that nothing
    can be seen.
    """
    plain = _plain(answer).strip()
    is_long = len(_WORD.findall(plain)) >= _MIN_PROSE_WORDS
    if not is_long or _LIKE_JSON.search(plain) or _REFUSAL.search(_SENTENCE_END.split(plain, maxsplit=1)[0]):
        return ""
    return plain


def _usable(answer: str, text: Any, info: Any, *, complete: bool) -> Description:
    description = _plain(text).strip()
    if not description:
        excerpt = " ".join(answer.split())[:200]
        message = f"The model's answer holds no description that could be read: {excerpt!r}."
        raise EnrichmentError(message)
    entity = _entity(info, description) if isinstance(info, dict) else None
    return Description(description, entity, complete)


def _entity(info: Mapping[str, Any], description: str) -> Entity | None:
    name = " ".join(_plain(info.get("entity_name")).split())[:_MAX_NAME]
    if not name or name.startswith(_UNNAMED):
        return None
    summary = " ".join(_plain(info.get("summary")).split()) or description
    kind = " ".join(_plain(info.get("entity_type")).split())[:_MAX_TYPE] or "unknown"
    return Entity(name, kind, summary[:_MAX_SUMMARY])


def _plain(value: Any) -> str:
    """Return a JSON value as readable text: some models answer a list of points instead of a text."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "\n".join(_plain(item) for item in value)
    text = "" if value is None else str(value)
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")


@lru_cache
def _modal_processors() -> Any:
    with guarded_import():
        from raganything import modalprocessors
    return modalprocessors


def load() -> Any:
    """Import RAG-Anything's processors and return their module; call it before starting threads."""
    with _loading:
        module = _modal_processors()
        if not isinstance(module.PROMPTS, _scoped_registry()):
            module.PROMPTS = _scoped_registry()(module.PROMPTS)
    return module


@lru_cache
def _scoped_registry() -> type:
    with guarded_import():
        from raganything.prompt import PromptRegistry

    class ScopedRegistry(PromptRegistry):  # type: ignore[misc]  # upstream is untyped
        """The process's registry, in front of which a context may put prompts of its own."""

        def __init__(self, base: Any) -> None:
            self._base = base

        @property
        def _data(self) -> Any:
            chosen = _prompts_in_use.get()
            return self._base._data if chosen is None else chosen

        def swap(self, prompts: dict[str, Any]) -> None:
            self._base.swap(prompts)

        def __setitem__(self, key: str, value: Any) -> None:
            self._base[key] = value

        def __delitem__(self, key: str) -> None:
            del self._base[key]

    return ScopedRegistry


def prompts_of(language: str, own: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return RAG-Anything's prompts in a language.

    Args:
        language: "en", "zh", or one registered with RAG-Anything's ``register_prompt_language``.
        own: Prompts that replace those of the same name, such as ``{"vision_prompt": "..."}``.

    Returns:
        Prompts by name; English where the language lacks one.

    Raises:
        ConfigurationError: There are no prompts in this language, or one of ``own`` cannot be filled in.
    """
    load()
    with guarded_import():
        from raganything import prompt_manager
    english = prompt_manager._ENGLISH_PROMPTS
    code = language.strip().lower()
    chosen = prompt_manager._PROMPT_LANGUAGES.get(code) or prompt_manager._lazy_load_language(code)
    if not chosen:
        known = ", ".join(prompt_manager.get_available_languages())
        message = f"language is {language!r}; RAG-Anything has prompts in: {known}."
        raise ConfigurationError(message)
    own = dict(own or {})
    for name, prompt in own.items():
        _check_prompt(name, prompt, english)
    prompts = {**english, **{key: value for key, value in chosen.items() if key in english}, **own}
    for name in [name for name in own if f"{name}_with_context" in english and f"{name}_with_context" not in own]:
        # Otherwise a custom prompt would be used only for elements without context.
        prompts[f"{name}_with_context"] = f"{own[name]}\n\n{{context}}"
    return prompts


_FIELDS: Final = (
    "context",
    "section_path",
    "entity_name",
    "image_path",
    "captions",
    "footnotes",
    "table_img_path",
    "table_caption",
    "table_body",
    "table_footnote",
    "equation_text",
    "equation_format",
    "content_type",
    "content",
)


def _check_prompt(name: str, prompt: Any, known: Mapping[str, Any]) -> None:
    if name not in known:
        message = f"prompts has {name!r}, which RAG-Anything does not know; it has: {', '.join(sorted(known))}."
        raise ConfigurationError(message)
    try:
        str(prompt).format(**dict.fromkeys(_FIELDS, ""))
    except (KeyError, IndexError, ValueError) as error:
        message = (
            f"The prompt {name!r} cannot be filled in ({type(error).__name__}: {error}). Write braces that are not "
            f"fields as {{{{ and }}}}; fields are: {', '.join(_FIELDS)}."
        )
        raise ConfigurationError(message) from error


def _processor(kind: str | type, request: Request, exchange: _Exchange) -> Any:
    module = load()
    base = getattr(module, kind) if isinstance(kind, str) else kind
    config = module.ContextConfig(**request.context_config)
    extractor = module.ContextExtractor(config, request.tokenizer)
    processor = _repaired(base)(lightrag_stub(request.tokenizer), exchange, extractor)
    processor.encoded_image = request.image
    # set_content_source() would log a line per element.
    processor.content_source, processor.content_format = request.content_list, "minerU"
    return processor


def lightrag_stub(tokenizer: Any = None) -> SimpleNamespace:
    """Return a stand-in for LightRAG: to describe, processors need only its tokenizer."""
    stores = ("text_chunks", "chunks_vdb", "entities_vdb", "relationships_vdb", "chunk_entity_relation_graph")
    unused = (*stores, "embedding_func", "llm_model_func", "llm_response_cache")
    return SimpleNamespace(
        **dict.fromkeys(unused), tokenizer=tokenizer, max_parallel_insert=2, _build_global_config=dict
    )


@lru_cache
def _repaired(base: type) -> type:
    """Return a processor class with the repairs named above."""
    return type(f"Repaired{base.__name__}", (_Repairs, base), {})


class _Repairs:
    """Overrides of ``BaseModalProcessor``; each can go when upstream fixes it."""

    encoded_image: str = ""
    cut_off: bool = False

    def _encode_image_to_base64(self, image_path: str) -> str:
        # Upstream sends the file as it is: 30,000 pixels wide, CMYK, animated. Ours has been fitted.
        return self.encoded_image or str(super()._encode_image_to_base64(image_path))  # type: ignore[misc]  # mixin

    def _try_parse_json(self, json_str: str) -> Any:
        parsed = super()._try_parse_json(json_str)  # type: ignore[misc]  # mixin
        if parsed is None and json_str and json_str.strip():
            try:
                parsed = _modal_processors()._restore_latex_escapes(json.loads(json_str, strict=False))
            except ValueError:
                return None
        return parsed if isinstance(parsed, dict) else None

    def _progressive_quote_fix(self, json_str: str) -> str:
        tail = json_str.rpartition('"')[2]
        if tail.count("\\") > _MAX_TAIL_BACKSLASHES:
            return json_str
        return str(super()._progressive_quote_fix(json_str))  # type: ignore[misc]  # mixin

    def _extract_fields_with_regex(self, response: str) -> Any:
        # The quote closes the string in which an answer was cut off; without it the expressions never end.
        found = super()._extract_fields_with_regex(response + '"')  # type: ignore[misc]  # mixin
        self.cut_off = '"' not in _AFTER_KEY.sub("", response, count=1) or not response.rstrip().endswith(("}", "```"))
        found["detailed_description"] = re.sub(r'\\(?=["/]|$)', "", found["detailed_description"])
        return found
