"""What the loopback server answers of itself: vectors with a meaning, ranks, and answers from the context. Pure.

Words are Latin words and numbers, and single Chinese signs; what they share decides. Vectors have one place for every
colour and hashed places for words, so that the texts and the images of a multimodal model lie in one space: "the red
chart" is near pictures with much red in them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from llama_index_raganything.testing.vectors import COLOURS, colour_words, colours_of, thumbnail, unit

if TYPE_CHECKING:
    from PIL import Image

_WORD: Final = re.compile(r"[a-z0-9]+|[\u3400-\u9fff]")
_STOP_WORDS: Final = frozenset(
    re.findall(
        r"\S+",
        "a an and answer are as at be by did do does for from had has have how in is it of on or question show source "
        "sources that the this to was were what when where which who why with 的 了 是 在 和 有 吗 什 么 哪 多 少",
    )
)
_COLOUR_WEIGHT: Final = 3.0
_DIGITS: Final = 6
_ENOUGH: Final = 96

_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_SOURCE_MARK: Final = re.compile(r"^\W*(?:(?:source|来源)\s*\[?|\[)(\d{1,3})\]?\s*[:.]?\s*", re.IGNORECASE)
_QUESTION: Final = re.compile(r"(?:question|query|问题)\s*[:：]\s*(.+)", re.IGNORECASE)
_NOTHING_FOUND: Final = "The answer was not found in the documents."
_MIN_SENTENCE: Final = 8
_DESCRIPTION_KEY: Final = "detailed_description"
_ENTITY_FIELD: Final = re.compile(r'"(entity_name|entity_type)":\s*"([^"\n]{0,200})"')

_DATA_URI: Final = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")


def words_of(text: str) -> list[str]:
    """Return the words of a text that tell something.

    Args:
        text: Any text.
    """
    return [word for word in _WORD.findall(text.casefold()) if word not in _STOP_WORDS]


def text_vector(text: str, dimension: int, model: str) -> list[float]:
    """Return the vector of a text.

    Args:
        text: Any text.
        dimension: Number of dimensions, more than there are colours.
        model: Name of the model; the words of different models have different places.
    """
    vector = [weight * _COLOUR_WEIGHT for weight in colour_words(text)] + [0.0] * (dimension - len(COLOURS))
    places = dimension - len(COLOURS)
    for word, count in Counter(words_of(text) or [text]).items():
        digest = hashlib.blake2b(f"{model}\n{word}".encode("utf-8", "replace"), digest_size=8).digest()
        vector[len(COLOURS) + int.from_bytes(digest) % places] += float(count)
    return _rounded(vector)


def image_vector(reference: str, dimension: int, model: str) -> list[float]:
    """Return the vector of an image.

    Args:
        reference: Data URI; anything else, such as a URL, counts by its words.
        dimension: Number of dimensions.
        model: Name of the model.
    """
    image = image_of(reference)
    if image is None:
        return text_vector(reference, dimension, model)
    return _rounded([*colours_of(thumbnail(image)), *[0.0] * (dimension - len(COLOURS))])


def mixed_vector(vectors: Sequence[Sequence[float]]) -> list[float]:
    """Return one vector in the middle of several.

    Args:
        vectors: At least one.
    """
    return _rounded([sum(values) for values in zip(*vectors, strict=True)])


def image_of(reference: str) -> Image.Image | None:
    """Return the image of a data URI; None for another reference.

    Args:
        reference: Data URI or URL.

    Raises:
        ValueError: The data is no base64 or no image.
    """
    content = image_bytes(reference)
    if content is None:
        return None
    image = open_image(content)
    try:
        # A JPEG can be read at a fraction of its size, which is enough to see its colours.
        image.draft("RGB", (_ENOUGH, _ENOUGH))
        image.load()
    except (OSError, SyntaxError) as error:
        message = f"no image: {error}"
        raise ValueError(message) from error
    return image


def open_image(content: bytes) -> Image.Image:
    """Return an image of which only the head was read.

    Args:
        content: A file.

    Raises:
        ValueError: It is no image.
    """
    from PIL import Image

    try:
        return Image.open(io.BytesIO(content))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        message = f"no image: {error}"
        raise ValueError(message) from error


def image_bytes(reference: str) -> bytes | None:
    """Return the bytes of a data URI; None for another reference.

    Args:
        reference: Data URI or URL.

    Raises:
        ValueError: The data is no base64.
    """
    head = _DATA_URI.match(reference)
    if head is None:
        return None
    try:
        return base64.b64decode(reference[head.end() :], validate=True)
    except binascii.Error as error:
        message = f"no base64: {error}"
        raise ValueError(message) from error


def relevance(query: str, document: str) -> float:
    """Return how much of a query's words a document has, from 0 to 1.

    Args:
        query: The query.
        document: The document.
    """
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


def _rounded(vector: Sequence[float]) -> list[float]:
    """Return the vector at length 1, in few digits: what is short is written and read fast."""
    return [round(value, _DIGITS) for value in unit(vector)]


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
            if len(plain) < _MIN_SENTENCE or question in plain or _QUESTION.match(plain):
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
    content, image = image_bytes(reference), image_of(reference)
    if content is None or image is None:
        return f"An image at {reference}."
    width, height = open_image(content).size  # What was read may be a fraction of it.
    shares = dict(zip(COLOURS, colours_of(thumbnail(image)), strict=True))
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
