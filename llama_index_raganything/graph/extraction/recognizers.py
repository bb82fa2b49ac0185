"""Entity recognisers: models that find names in addition to the rules of :mod:`~.graph.names`.

A recogniser is any object with a ``recognize`` method; the adapters here wrap spaCy, GLiNER and any LlamaIndex LLM. All
are optional, and nothing is imported or loaded before the first text.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, runtime_checkable

from llama_index.core.async_utils import asyncio_run, run_jobs
from llama_index.core.llms import LLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import BaseComponent
from pydantic import Field, PrivateAttr, SerializeAsAny, field_serializer

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import Failure, MissingDependencyError
from llama_index_raganything.retries import attempt
from llama_index_raganything.text.sentences import split_sentences

logger = logging.getLogger(__name__)

DEFAULT_LABELS: Final = ("person", "organization", "location", "product", "event", "work of art", "technology")
"""What GLiNER looks for by default."""

_SPACY_CHARS: Final = 100_000
# GLiNER silently drops everything after 384 words (config.max_len of its checkpoints), counting punctuation.
_GLINER_WORDS: Final = 300
_WORDS = re.compile(r"\w+|[^\w\s]")

_LLM_PROMPT: Final = PromptTemplate(
    "List the names in the text below: people, organisations, places, products, works, events, methods and other "
    "technical terms. Write each name exactly as the text writes it, in the language of the text.\n"
    'Answer with JSON alone: [{{"name": "...", "type": "..."}}], or [] when there is no name.\n'
    "---------------------\n"
    "Text: {text}\n"
    "---------------------\n"
    "JSON: "
)


@strict_arguments
@dataclass(frozen=True, slots=True)
class EntitySpan:
    """A name in a text.

    Attributes:
        start: First character.
        end: Character after the last.
        label: The recogniser's type ("PERSON"), or empty.
    """

    start: int
    end: int
    label: str = ""


@runtime_checkable
class EntityRecognizer(Protocol):
    """Finds the names in texts."""

    def recognize(self, texts: Sequence[str]) -> list[list[EntitySpan]]:
        """Return the names in each text, by position.

        Args:
            texts: Any texts, including empty ones.
        """
        ...


@strict_arguments
class SpacyRecognizer(BaseComponent):
    """Find names with a spaCy pipeline (extra ``[ner]``).

    Args:
        model: Name or folder of a pipeline, or a loaded pipeline.
        ignored_labels: Entity types to omit; numbers and ranks link nothing.
        batch_size: Texts per batch.

    Raises:
        MissingDependencyError: At the first text: spaCy or the pipeline is not installed.
    """

    model: Any = Field(default="en_core_web_sm", repr=False, description="Pipeline, or its name.")
    ignored_labels: tuple[str, ...] = Field(default=("CARDINAL", "ORDINAL"), description="Types to leave out.")
    batch_size: int = Field(default=64, ge=1, description="Texts at once.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "SpacyRecognizer"

    @field_serializer("model")
    def _name_model(self, model: Any) -> str:
        if isinstance(model, str):
            return model
        meta = getattr(model, "meta", {})
        return "_".join(str(meta[key]) for key in ("lang", "name", "version") if meta.get(key))

    def recognize(self, texts: Sequence[str]) -> list[list[EntitySpan]]:
        """Return the names in each text, by position."""
        pipeline = _load_spacy(self.model) if isinstance(self.model, str) else self.model
        windows = list(_all_windows(texts, min(_SPACY_CHARS, getattr(pipeline, "max_length", _SPACY_CHARS)), len))
        documents = pipeline.pipe((window.text for window in windows), batch_size=self.batch_size)
        spans: list[list[EntitySpan]] = [[] for _ in texts]
        for window, document in zip(windows, documents, strict=True):
            spans[window.number].extend(
                EntitySpan(window.start + entity.start_char, window.start + entity.end_char, entity.label_)
                for entity in document.ents
                if entity.label_ not in self.ignored_labels
            )
        return [_tidy(found, text) for found, text in zip(spans, texts, strict=True)]


@strict_arguments
class GLiNERRecognizer(BaseComponent):
    """Find names of any type with a GLiNER model (``pip install gliner``).

    Args:
        model: Name or folder of a model, or a loaded model.
        labels: Entity types to look for, in plain words.
        threshold: Minimum confidence, 0 to 1.
        batch_size: Texts per batch.

    Raises:
        MissingDependencyError: At the first text: GLiNER or its weights are missing.
    """

    model: Any = Field(default="urchade/gliner_multi-v2.1", repr=False, description="Model, or its name.")
    labels: tuple[str, ...] = Field(default=DEFAULT_LABELS, min_length=1, description="Types to look for.")
    threshold: float = Field(default=0.5, ge=0.0, le=1.0, description="Least confidence.")
    batch_size: int = Field(default=8, ge=1, description="Texts at once.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "GLiNERRecognizer"

    @field_serializer("model")
    def _name_model(self, model: Any) -> str:
        return model if isinstance(model, str) else type(model).__name__

    def recognize(self, texts: Sequence[str]) -> list[list[EntitySpan]]:
        """Return the names in each text, by position."""
        model = _load_gliner(self.model) if isinstance(self.model, str) else self.model
        windows = list(_all_windows(texts, _GLINER_WORDS, lambda text: len(_WORDS.findall(text))))
        # Called inference() since 0.2.23; batch_predict_entities() is its name in earlier versions.
        predict = getattr(model, "inference", None) or model.batch_predict_entities
        spans: list[list[EntitySpan]] = [[] for _ in texts]
        for first in range(0, len(windows), self.batch_size):
            batch = windows[first : first + self.batch_size]
            answers = predict([window.text for window in batch], list(self.labels), threshold=self.threshold)
            for window, entities in zip(batch, answers, strict=True):
                spans[window.number].extend(
                    EntitySpan(window.start + entity["start"], window.start + entity["end"], str(entity["label"]))
                    for entity in entities
                )
        return [_tidy(found, text) for found, text in zip(spans, texts, strict=True)]


@strict_arguments
class LLMRecognizer(BaseComponent):
    """Ask an LLM for the names in a text; only names that occur in the text count.

    A text for which the LLM fails has no names; the reason is logged and kept in ``failures``.

    Args:
        llm: Any LlamaIndex LLM.
        prompt: Prompt with ``{text}`` that asks for a JSON list of ``{"name", "type"}``.
        workers: Number of texts processed concurrently.
        max_retries: Retries of a failed text.
        retry_s: Seconds before the first retry; doubled for each further one.
    """

    llm: SerializeAsAny[LLM] = Field(repr=False, description="LLM to ask.")
    prompt: PromptTemplate = Field(default=_LLM_PROMPT, repr=False, description="Asks for names as JSON.")
    workers: int = Field(default=4, ge=1, description="Texts asked about at the same time.")
    max_retries: int = Field(default=2, ge=0, description="Further attempts after a failure.")
    retry_s: float = Field(default=1.0, ge=0.0, description="Seconds before the first retry.")

    _failures: list[tuple[int, str]] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "LLMRecognizer"

    @field_serializer("llm")
    def _name_llm(self, llm: LLM) -> list[str]:
        return [llm.class_name(), llm.metadata.model_name]  # Without its settings, which include keys.

    @field_serializer("prompt")
    def _show_prompt(self, prompt: PromptTemplate) -> str:
        return prompt.get_template()

    @property
    def failures(self) -> list[tuple[int, str]]:
        """Pairs of position and reason for the texts that failed in the last call."""
        return list(self._failures)

    def recognize(self, texts: Sequence[str]) -> list[list[EntitySpan]]:
        """Return the names in each text, by position; also works inside a running event loop.

        Args:
            texts: Empty ones cost no call.
        """
        outcomes: list[list[EntitySpan] | Failure] = asyncio_run(self._arecognize(texts))
        self._failures = [
            (number, outcome.reason) for number, outcome in enumerate(outcomes) if isinstance(outcome, Failure)
        ]
        for number, reason in self._failures:
            logger.warning("No names from text %d of %d: %s", number + 1, len(texts), reason)
        return [[] if isinstance(outcome, Failure) else outcome for outcome in outcomes]

    async def _arecognize(self, texts: Sequence[str]) -> list[list[EntitySpan] | Failure]:
        jobs = [self._names_in(text) for text in texts]
        return await run_jobs(jobs, workers=self.workers)

    async def _names_in(self, text: str) -> list[EntitySpan] | Failure:
        if not text.strip():
            return []

        async def ask() -> list[EntitySpan]:
            answer = await self.llm.apredict(self.prompt, text=text)
            return _spans_of(_names_of(answer), text)

        return await attempt(ask, self.max_retries, self.retry_s)


@lru_cache(maxsize=4)
def _load_spacy(name: str) -> Any:
    spacy = _package("spacy", 'SpacyRecognizer needs spaCy: pip install "llama-index-raganything[ner]"')
    try:
        return spacy.load(name)
    except OSError as error:
        message = (
            f"spaCy has no pipeline {name!r}; install it with: python -m spacy download {name}, or give "
            "SpacyRecognizer the folder of one or a loaded one."
        )
        raise MissingDependencyError(message) from error


@lru_cache(maxsize=2)
def _load_gliner(name: str) -> Any:
    gliner = _package("gliner", "GLiNERRecognizer needs GLiNER: pip install gliner")
    try:
        return gliner.GLiNER.from_pretrained(name)
    except OSError as error:  # What huggingface_hub raises derives from it.
        message = (
            f"The GLiNER model {name!r} can neither be found nor downloaded ({error}); give GLiNERRecognizer the "
            "folder of a model."
        )
        raise MissingDependencyError(message) from error


def _package(name: str, remedy: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(remedy) from error


@dataclass(frozen=True, slots=True)
class _Window:
    """Part of a text that fits a model: the number of the text, the start, and the words."""

    number: int
    start: int
    text: str


def _all_windows(texts: Sequence[str], limit: int, size: Callable[[str], int]) -> Iterator[_Window]:
    """Yield the texts in windows of whole sentences of limited size; a text has no more size than characters."""
    for number, text in enumerate(texts):
        start = end = filled = 0
        for piece in _pieces(text, limit, size):
            more = size(piece)
            if filled and filled + more > limit:
                yield _Window(number, start, text[start:end])
                start, filled = end, 0
            end += len(piece)
            filled += more
        if text[start:end].strip():
            yield _Window(number, start, text[start:end])


def _pieces(text: str, limit: int, size: Callable[[str], int]) -> Iterator[str]:
    for sentence in split_sentences(text):
        if size(sentence) <= limit:
            yield sentence
        else:
            yield from (sentence[start : start + limit] for start in range(0, len(sentence), limit))


def _tidy(spans: Iterable[EntitySpan], text: str) -> list[EntitySpan]:
    """Return spans by position, clipped to the text, without surrounding white space, empty spans or duplicates."""
    kept: dict[tuple[int, int], EntitySpan] = {}
    for span in spans:
        start, end = max(0, span.start), min(len(text), span.end)
        words = text[start:end]
        start += len(words) - len(words.lstrip())
        end -= len(words) - len(words.rstrip())
        if start < end:
            kept.setdefault((start, end), EntitySpan(start, end, span.label))
    return [kept[place] for place in sorted(kept)]


def _names_of(answer: str) -> list[tuple[str, str]]:
    """Return the pairs of name and type in an LLM's answer.

    Raises:
        ValueError: The answer contains no JSON list.
    """
    found = answer[answer.find("[") : answer.rfind("]") + 1]
    items = json.loads(found) if found else None
    if not isinstance(items, list):
        message = f"The LLM answered no JSON list but {answer[:80]!r}."
        raise ValueError(message)  # an answer of wrong content, not an argument of wrong type
    pairs = [(item.get("name"), item.get("type")) if isinstance(item, dict) else (item, "") for item in items]
    return [(name.strip(), str(kind or "")) for name, kind in pairs if isinstance(name, str) and name.strip()]


def _spans_of(names: Sequence[tuple[str, str]], text: str) -> list[EntitySpan]:
    """Return where names occur in a text as whole words; of overlapping ones the longer."""
    taken = bytearray(len(text))
    spans = []
    for name, label in sorted(dict.fromkeys(names), key=lambda item: -len(item[0])):
        # Only Latin letters need a word boundary: Chinese has none.
        pattern = rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"
        flags = 0 if re.search(pattern, text) else re.IGNORECASE
        for match in re.finditer(pattern, text, flags):
            start, end = match.span()
            if not any(taken[start:end]):
                taken[start:end] = b"\x01" * (end - start)
                spans.append(EntitySpan(start, end, label))
    return _tidy(spans, text)
