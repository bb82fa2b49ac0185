"""Recognisers of entities: models that find names in addition to the rules of :mod:`.names`.

A recogniser is anything with a ``recognize`` method; the adapters here wrap spaCy, GLiNER and any LLM of LlamaIndex.
Nothing is imported or loaded before the first text, and none of them is needed.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, runtime_checkable

from llama_index.core.async_utils import asyncio_run, run_jobs
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.llms import LLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import BaseComponent
from pydantic import Field, SerializeAsAny, field_serializer

from llama_index_raganything.errors import MissingDependencyError
from llama_index_raganything.sentences import split_sentences
from llama_index_raganything.workers import Failure

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EntitySpan:
    """A name in a text.

    Attributes:
        start: Where it begins, in characters.
        end: Where it ends.
        label: Its type as the recogniser calls it ("PERSON"), or empty.
    """

    start: int
    end: int
    label: str = ""


@runtime_checkable
class EntityRecognizer(Protocol):
    """Finds the names in texts."""

    def recognize(self, texts: Sequence[str]) -> list[list[EntitySpan]]:
        """Return the names in each text.

        Args:
            texts: Any texts, empty ones included.

        Returns:
            For each text its names by position.
        """
        ...
