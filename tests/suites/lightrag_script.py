"""An LLM that answers LightRAG's real prompts from a script, and an embedding that reads Chinese."""

from __future__ import annotations

import json
import re
import threading
import time
from itertools import pairwise

from llama_index_raganything.testing import HashEmbedding, ScriptedChatLLM
from llama_index_raganything.text.terms import tokenize

_NAME = re.compile(r"\b[A-Z][a-z]+\b|[\u4e00-\u9fff]{2}")
_FENCED = re.compile(r"```(?:text)?\n(.*?)\n```", re.DOTALL)


class TokenEmbedding(HashEmbedding):
    """Hashes tokens, and so finds a Chinese word inside a sentence."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return super()._get_text_embedding(" ".join(tokenize(text)))


class GraphScript:
    """Names with a capital letter are entities, neighbours in the text are related.

    Args:
        fail_on: A request to read a text with this word in it fails.
        pause: Seconds that every answer takes.
    """

    def __init__(self, fail_on: str | None = None, pause: float = 0.0) -> None:
        self.fail_on = fail_on
        self.pause = pause
        self.calls: list[str] = []
        self._guard = threading.Lock()

    def llm(self) -> ScriptedChatLLM:
        return ScriptedChatLLM(replies=[self])

    def __call__(self, messages) -> str:
        prompt = messages[-1].content or ""
        kind = self._kind(prompt)
        time.sleep(self.pause)
        with self._guard:
            self.calls.append(kind)
        if kind == "keywords":
            return json.dumps({"high_level_keywords": ["joined"], "low_level_keywords": ["Siemens"]})
        if kind == "summary":
            return "A summary of many descriptions."
        if kind == "gleaning":
            return "<|COMPLETE|>"
        text = _FENCED.findall(prompt)[-1]
        if self.fail_on is not None and self.fail_on in text:
            raise RuntimeError(f"the model refuses {self.fail_on}")
        names = list(dict.fromkeys(_NAME.findall(text)))
        lines = [f"entity<|#|>{name}<|#|>concept<|#|>{name}: {text}" for name in names]
        pairs = pairwise(names)
        lines += [f"relation<|#|>{one}<|#|>{other}<|#|>joined<|#|>{one} and {other}: {text}" for one, other in pairs]
        return "\n".join([*lines, "<|COMPLETE|>"])

    def _kind(self, prompt: str) -> str:
        if "high_level_keywords" in prompt:
            return "keywords"
        if "last extraction task" in prompt:
            return "gleaning"
        return "extraction" if "<Output>" in prompt and "Entity_types" in prompt else self._other(prompt)

    def _other(self, prompt: str) -> str:
        return "summary" if "Description" in prompt else "extraction"
