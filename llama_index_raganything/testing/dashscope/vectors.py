"""Meaningful vectors, written as JSON in microseconds so that benchmarks measure the client, not this server.

A vector has one dimension per colour and hashed dimensions for words, so that texts and images of a multimodal model
share a space: "the red chart" is near images with much red in them. Nearly all numbers are close to zero, and as long
to parse as a model's.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import io
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llama_index_raganything.testing.embeddings import COLOURS, colour_words, colours_of, sample

if TYPE_CHECKING:
    from PIL import Image


_DATA_URI: Final = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")
_ENOUGH: Final = 96


def image_of(reference: str) -> Image.Image | None:
    """Return the image of a data URI; None for another reference.

    Args:
        reference: Data URI or URL.

    Raises:
        ValueError: The data is not valid base64 or not an image.
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
    """Open an image, reading only its header.

    Raises:
        ValueError: It is not an image.
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
        ValueError: The data is not valid base64.
    """
    head = _DATA_URI.match(reference)
    if head is None:
        return None
    try:
        return base64.b64decode(reference[head.end() :], validate=True)
    except binascii.Error as error:
        message = f"no base64: {error}"
        raise ValueError(message) from error


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
_NEAR_ZERO: Final = 1e-6
_MOST_SEEN: Final = 4096
_COLOURS_SEEN: Final[dict[bytes, tuple[float, ...]]] = {}  # By digest: benchmarks send the same images several times.
_PLACEHOLDER: Final = re.compile(r'"\\u0000(\d+)"')


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector with few significant numbers.

    Attributes:
        dimension: Number of dimensions.
        values: The significant numbers by position; all others are close to zero.
    """

    dimension: int
    values: Mapping[int, float]

    @classmethod
    def unit(cls, dimension: int, values: Mapping[int, float]) -> Vector:
        """Return the vector scaled to length 1.

        Args:
            values: Numbers by position, at least one of them not zero.
        """
        length = math.sqrt(sum(value * value for value in values.values()))
        shares = {place: round(value / length, _DIGITS) for place, value in sorted(values.items()) if value}
        return cls(dimension, shares)

    def json(self) -> str:
        """Return the vector as a JSON array of numbers with a decimal point."""
        text, starts = _background(self.dimension)
        parts, after = [], 0
        for place, value in self.values.items():
            parts += [text[starts[after] : starts[place]], f"{value!r},"]
            after = place + 1
        parts.append(text[starts[after] :])
        return f"[{''.join(parts)[:-1]}]"


def words_of(text: str) -> list[str]:
    """Return the meaningful words of a text: Latin words, numbers, and single Chinese characters."""
    return [word for word in _WORD.findall(text.casefold()) if word not in _STOP_WORDS]


def text_vector(text: str, dimension: int, model: str) -> Vector:
    """Return the vector of a text.

    Args:
        dimension: Number of dimensions, more than there are colours.
        model: Words of different models have different positions.
    """
    values = {place: count * _COLOUR_WEIGHT for place, count in enumerate(colour_words(text)) if count}
    for word, count in Counter(words_of(text) or [text]).items():
        place = _place_of(word, dimension, model)
        values[place] = values.get(place, 0.0) + count
    return Vector.unit(dimension, values)


def image_vector(reference: str, dimension: int, model: str) -> Vector:
    """Return the vector of an image.

    Args:
        reference: Data URI; anything else, such as a URL, is embedded as text.

    Raises:
        ValueError: The data is not an image.
    """
    colours = image_colours(reference)
    if colours is None:
        return text_vector(reference, dimension, model)
    return Vector.unit(dimension, dict(enumerate(colours)))


def image_colours(reference: str) -> tuple[float, ...] | None:
    """Return the share of each of ``COLOURS`` in an image; None for a reference without data.

    Args:
        reference: Data URI or URL.

    Raises:
        ValueError: The data is not an image.
    """
    key = hashlib.blake2b(reference.encode("utf-8", "replace"), digest_size=16).digest()
    if key in _COLOURS_SEEN:
        return _COLOURS_SEEN[key]
    image = image_of(reference)
    if image is None:
        return None
    if len(_COLOURS_SEEN) >= _MOST_SEEN:
        _COLOURS_SEEN.clear()
    colours = _COLOURS_SEEN[key] = tuple(colours_of(sample(image)))
    return colours


def mixed_vector(vectors: Sequence[Vector]) -> Vector:
    """Return the mean direction of several vectors.

    Args:
        vectors: At least one, all of the same dimension.
    """
    values = Counter[int]()
    for vector in vectors:
        values.update(vector.values)
    return Vector.unit(vectors[0].dimension, dict(values))


def encode(reply: Any) -> bytes:
    """Return a reply, which may hold vectors, as JSON."""
    vectors: list[str] = []

    def default(value: Any) -> str:
        if not isinstance(value, Vector):
            message = f"{value!r} cannot be told in JSON"
            raise TypeError(message)
        vectors.append(value.json())
        return f"\0{len(vectors) - 1}"

    text = json.dumps(reply, ensure_ascii=False, separators=(",", ":"), default=default)
    if vectors:
        text = _PLACEHOLDER.sub(lambda match: vectors[int(match.group(1))], text)
    return text.encode("utf-8", "replace")


@functools.lru_cache(maxsize=32)
def _background(dimension: int) -> tuple[str, list[int]]:
    """Return the JSON text of the insignificant numbers, and where each begins in it.

    The numbers are close to zero, and as long to parse as a model's; a comma follows each.
    """
    numbers = [f"{math.sin(place + 1) * _NEAR_ZERO:.16f}," for place in range(dimension)]
    return "".join(numbers), [0, *itertools.accumulate(map(len, numbers))]


@functools.lru_cache(maxsize=65_536)
def _place_of(word: str, dimension: int, model: str) -> int:
    digest = hashlib.blake2b(f"{model}\n{word}".encode("utf-8", "replace"), digest_size=8).digest()
    return len(COLOURS) + int.from_bytes(digest) % (dimension - len(COLOURS))
