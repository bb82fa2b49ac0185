"""What the loopback server answers of itself: ranks, and sentences from the context. Pure.

The words that texts share decide.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llama_index_raganything.testing.dashscope.vectors import image_bytes, image_colours, open_image, words_of
from llama_index_raganything.testing.vectors import COLOURS

_DIGITS: Final = 6

_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_SOURCE_MARK: Final = re.compile(r"^\W*(?:(?:source|来源)\s*\[?|\[)(\d{1,3})\]?\s*[:.]?\s*", re.IGNORECASE)
_QUESTION: Final = re.compile(r"(?:question|query|问题)\s*[:：]\s*(.+)", re.IGNORECASE)
_NO_STATEMENT: Final = re.compile(r"[?？]\W*$|attached to the question", re.IGNORECASE)
_NOTHING_FOUND: Final = "The answer was not found in the documents."
_MIN_SENTENCE: Final = 8
_DESCRIPTION_KEY: Final = "detailed_description"
_ENTITY_FIELD: Final = re.compile(r'"(entity_name|entity_type)":\s*"([^"\n]{0,200})"')


def relevance(query: str, document: str) -> float:
    """Return how much of a query's words a document has, from 0 to 1."""
    wanted, found = Counter(words_of(query)), Counter(words_of(document))
    if not wanted or not found:
        return 0.0
    shared = sum((wanted & found).values())
    # Of two documents with all the words the shorter one is more about them.
    return round(shared / sum(wanted.values()) * (0.9 + 0.1 / (1 + math.log1p(sum(found.values())))), _DIGITS)


def default_reply(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str | dict[str, Any]:
    """Return what the server answers without a script.

    Args:
        messages: The conversation, of either protocol.
        tools: The tools that are offered.

    Returns:
        A message that calls the first tool, where tools are offered and none has answered yet; the JSON that
        RAG-Anything's prompts ask for; size and colours of images that come without "Question:"; else the sentence of
        the messages that shares most words with the question, with the number of its source.
    """
    asked, texts, images = _read(messages)
    question = _question_of(asked)
    if tools and messages[-1].get("role") != "tool":
        return _tool_call(tools[0], question)
    seen = " ".join(_described(image) for image in images)
    if _DESCRIPTION_KEY in asked:
        return _description_json(asked, seen)
    if seen and not _QUESTION.search(asked):
        return seen
    return _from_context(question, texts) or seen or _NOTHING_FOUND


def _read(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[str], list[str]]:
    """Return the text of the last user message, the texts that may answer it, and that message's images."""
    asked, texts, images = "", [], list[str]()
    for message in messages:
        role, parts = message.get("role"), _parts(message)
        text = "\n".join(text for text, _ in parts if text)
        if role in {"user", "tool"}:
            texts.append(text)
        if role == "user":
            asked, images = text, [image for _, image in parts if image]
    return asked, texts, images


def _parts(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the parts of a message as pairs of text and image, of which one is empty."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return [(content, "")]
    pairs = []
    for part in content:
        image = part.get("image") or part.get("image_url") or ""
        pairs.append((part.get("text") or "", image.get("url", "") if isinstance(image, Mapping) else image))
    return pairs


def _question_of(text: str) -> str:
    """Return the question of a prompt: what follows the last "Question:", else its last line with a question mark."""
    named = _QUESTION.findall(text)
    if named:
        return str(named[-1]).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    asking = [line for line in lines if line.endswith(("?", "？"))]
    return (asking or lines or [""])[-1]


def _from_context(question: str, texts: Sequence[str]) -> str | None:
    """Return the sentence that shares most words with the question, with the number of the source it stands in."""
    best, best_score, source = "", 0.0, 1
    for text in texts:
        number = 1
        for sentence in _SENTENCE_END.split(text):
            marked = _SOURCE_MARK.match(sentence)
            if marked:
                number = int(marked.group(1))
            plain = sentence[marked.end() if marked else 0 :].strip()
            asks = _QUESTION.match(plain) or _NO_STATEMENT.search(plain) or question in plain or plain in question
            if len(plain) < _MIN_SENTENCE or asks:
                continue
            score = relevance(question, plain)
            if score > best_score:
                best, best_score, source = plain, score, number
    return f"{best} [{source}]" if best else None


def _description_json(prompt: str, seen: str) -> str:
    """Return what RAG-Anything's prompts for images, tables and equations ask for."""
    named = _ENTITY_FIELD.findall(prompt)
    entity = {name: value for name, value in named if value and "{" not in value and "concise" not in value}
    summary = seen or "A description of what was asked for."
    fields = {"entity_name": "an element", "entity_type": "element", **entity, "summary": summary}
    return json.dumps({_DESCRIPTION_KEY: summary, "entity_info": fields}, ensure_ascii=False)


def _described(reference: str) -> str:
    """Return the size of an image and the colours that it mostly has."""
    content, colours = image_bytes(reference), image_colours(reference)
    if content is None or colours is None:
        return f"An image at {reference}."
    width, height = open_image(content).size
    shares = dict(zip(COLOURS, colours, strict=True))
    names = [name for name in sorted(shares, key=lambda name: -shares[name])[:2] if shares[name] > 0]
    return f"An image of {width} x {height} pixels, mostly {' and '.join(names)}."


def _tool_call(tool: Mapping[str, Any], question: str) -> dict[str, Any]:
    """Return a message that calls a tool with the question, as its first text parameter or its first of any type."""
    function = tool["function"]
    properties = (function.get("parameters") or {}).get("properties") or {}
    texts = [name for name, schema in properties.items() if schema.get("type") == "string"]
    names = (texts or list(properties))[:1]
    arguments = json.dumps(dict.fromkeys(names, question), ensure_ascii=False)
    return {"tool_calls": [{"function": {"name": function["name"], "arguments": arguments}}]}
