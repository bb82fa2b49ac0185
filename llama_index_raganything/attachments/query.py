"""``AttachedQuery``: a question with attachments, which every retriever and synthesizer of LlamaIndex takes."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from dataclasses_json import config
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.schema import BaseNode, ImageNode, QueryBundle

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.attachments.types import (
    DATA_URI,
    MAX_PROMPT_CHARS,
    Attachment,
    EquationAttachment,
    ImageAttachment,
    TableAttachment,
    local_path,
    telling_words,
)
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.images import IMAGE_SUFFIXES, image_bytes

MAX_ATTACHMENTS: Final = 16
"""Attachments of one question."""

_IMAGE_SUFFIXES: Final = frozenset({*IMAGE_SUFFIXES, ".jp2", ".svg", ".emf", ".wmf", ".ico"})
_TABLE_SUFFIXES: Final = frozenset({".csv", ".tsv", ".md", ".html", ".htm"})
_FORMULA_SUFFIXES: Final = frozenset({".tex", ".latex"})


@strict_arguments
def attachments_of(value: Any) -> tuple[Attachment, ...]:
    """Return attachments from what users have at hand.

    Args:
        value: One or several of: an attachment; RAG-Anything's dictionary (``{"type": "image", "img_path": ...}``,
            ``{"type": "table", "table_data": ...}``, ``{"type": "equation", "latex": ...}``); LlamaIndex's
            ``ImageBlock`` or ``ImageNode``; bytes or a data URI of an image; the path of an image, of a table (.csv,
            .tsv, .md, .html) or of a formula (.tex). None for none. Strings are paths: pass bytes or attachments for
            what comes from people who may not read your files.

    Returns:
        The attachments, in order.

    Raises:
        ConfigurationError: Something else, more than :data:`MAX_ATTACHMENTS`, or a URL.
        SourceError: A file cannot be read.
        ParseError: An attachment is empty, damaged or too large.
    """
    several = isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, Mapping))
    one_by_one = value if several and not _is_single(value) else [] if value is None else [value]
    found: list[Attachment] = []
    for each in one_by_one:
        if len(found) == MAX_ATTACHMENTS:
            message = f"A question may carry {MAX_ATTACHMENTS} attachments, and more were given; ask in several steps."
            raise ConfigurationError(message)
        found.append(_attachment_of(each))
    return tuple(found)


def message_parts(message: ChatMessage) -> tuple[str, tuple[Attachment, ...]]:
    """Return what a chat message says and what it carries.

    Args:
        message: A message with text and image blocks.

    Returns:
        Text and attachments.

    Raises:
        ConfigurationError: It carries something other than text and images.
    """
    words = [block.text for block in message.blocks if isinstance(block, TextBlock)]
    return "\n".join(words), attachments_of([b for b in message.blocks if not isinstance(b, TextBlock)])


def _is_single(value: Any) -> bool:
    return isinstance(value, (ImageAttachment, TableAttachment, EquationAttachment, ImageBlock, ImageNode, os.PathLike))


def _attachment_of(value: Any) -> Attachment:
    if isinstance(value, (ImageAttachment, TableAttachment, EquationAttachment)):
        return value
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if isinstance(value, ImageBlock):
        return _of_block(value)
    if isinstance(value, ImageNode):
        return ImageAttachment(data=value.image) if value.image else ImageAttachment(value.image_path)
    if isinstance(value, (bytes, bytearray)):
        return ImageAttachment(data=bytes(value))
    if isinstance(value, (str, os.PathLike)):
        return _of_path(value)
    message = (
        f"{type(value).__name__} cannot be attached; pass an ImageAttachment, TableAttachment or EquationAttachment, "
        "a dictionary with a type, an ImageBlock, bytes or a path."
    )
    raise ConfigurationError(message)


def _of_mapping(value: Mapping[str, Any]) -> Attachment:
    kind = value.get("type")
    if kind == "image":
        data = value.get("data") or value.get("image") or value.get("image_data")
        return ImageAttachment(value.get("img_path") or value.get("path"), data, _caption(value, "image_caption"))
    if kind == "table":
        table = value.get("table_data") or value.get("table_body") or ""
        return TableAttachment(table, _caption(value, "table_caption"))
    if kind in {"equation", "formula"}:
        latex = value.get("latex") or value.get("equation") or value.get("text") or ""
        return EquationAttachment(latex, _caption(value, "equation_caption"))
    message = f"An attachment's type is 'image', 'table' or 'equation', not {kind!r}."
    raise ConfigurationError(message)


def _caption(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key) or value.get("caption") or ""
    return found if isinstance(found, str) else " ".join(str(part) for part in found)


def _of_block(block: ImageBlock) -> ImageAttachment:
    if isinstance(block.image, bytes):
        # The block's validator keeps bytes as base64.
        return ImageAttachment(data=block.image.decode("ascii", "replace"))
    if isinstance(block.image, io.IOBase):
        block.image.seek(0)
        return ImageAttachment(data=block.image.read())
    return ImageAttachment(block.path or (str(block.url) if block.url else None))


def _of_path(value: str | os.PathLike[str]) -> Attachment:
    if isinstance(value, str) and DATA_URI.match(value):
        return ImageAttachment(data=value)
    path = local_path(value)
    suffix = Path(path).suffix.lower()
    if suffix in _IMAGE_SUFFIXES:
        return ImageAttachment(path)
    if suffix in _TABLE_SUFFIXES | _FORMULA_SUFFIXES:
        text = image_bytes(path).decode("utf-8-sig", "replace")
        return EquationAttachment(text) if suffix in _FORMULA_SUFFIXES else TableAttachment(text)
    message = (
        f"{path[:200]!r} names no file that can be attached; pass a path to an image, .csv, .tsv, .md, .html or .tex, "
        "or wrap text in TableAttachment or EquationAttachment."
    )
    raise ConfigurationError(message)


@strict_arguments
@dataclass
class AttachedQuery(QueryBundle):
    """A question with attachments, which every retriever and synthesizer of LlamaIndex takes.

    Make one with :meth:`of`. ``query_str`` is what is searched for: the question and the telling words of its
    attachments; ``image_path`` is the first image that is a file, for retrievers that know only that.

    Attributes:
        question: The question as it was asked.
        attachments: What it carries.
        readings: What was read from or said of the images, in their order; None until they were looked at.
        same: Stored nodes that the images are, byte for byte; None until they were looked for. Not serialised.
    """

    question: str = ""
    attachments: tuple[Attachment, ...] = field(
        default=(),
        metadata=config(encoder=lambda found: [each.to_dict() for each in found], decoder=attachments_of),
    )
    readings: tuple[str, ...] | None = None
    same: tuple[BaseNode, ...] | None = field(
        default=None, repr=False, compare=False, metadata=config(exclude=lambda _: True)
    )

    @classmethod
    def of(cls, question: str | QueryBundle | ChatMessage, attachments: Any = None) -> AttachedQuery:
        """Make a question with attachments.

        Args:
            question: The question; the images of a message and the ``image_path`` of a bundle are attachments too.
            attachments: See :func:`attachments_of`.

        Returns:
            A new object; ``question`` is left as it is.

        Raises:
            RAGAnythingError: See :func:`attachments_of`.
        """
        given = attachments_of(attachments)
        if isinstance(question, ChatMessage):
            words, carried = message_parts(question)
            return cls._made(words, (*carried, *given))
        if isinstance(question, AttachedQuery):
            return cls._made(question.question, (*question.attachments, *given), question)
        if isinstance(question, QueryBundle):
            carried = (ImageAttachment(question.image_path),) if question.image_path else ()
            return cls._made(question.query_str, (*carried, *given), question)
        return cls._made(question, given)

    def with_readings(self, readings: Sequence[str]) -> AttachedQuery:
        """Return the question with what the images say.

        Args:
            readings: A description or the recognised words of each image, in order; empty where there are none.
        """
        return replace(self._made(self.question, self.attachments, self, tuple(readings)), same=self.same)

    def with_same(self, nodes: Sequence[BaseNode]) -> AttachedQuery:
        """Return the question with the stored nodes that its images are.

        Args:
            nodes: The nodes; empty when there are none.
        """
        return replace(self, same=tuple(nodes))

    @property
    def images(self) -> list[str | bytes]:
        """The attached images, each as a path or as bytes."""
        return [image.source for image in self.image_attachments]

    @property
    def image_attachments(self) -> list[ImageAttachment]:
        """The attached images."""
        return [each for each in self.attachments if isinstance(each, ImageAttachment)]

    def prompt(self, max_chars: int = MAX_PROMPT_CHARS) -> str:
        """Return what an LLM is asked: the question, before it the attached tables and formulas.

        Args:
            max_chars: Characters that all attachments may take together; the question is never cut.
        """
        readings = [text for text in self.readings or () if text]
        share = max_chars // max(1, len(self.attachments) + len(readings))
        texts = ((_title_of(each), each.full_text(share)) for each in self.attachments)
        parts = [f"{title}:\n{text}" for title, text in texts if text]
        parts += [f"Attached image {n}, as read:\n{t[:share]}" for n, t in enumerate(self.readings or (), 1) if t]
        return "\n\n".join([*parts, self.question]).strip()

    @classmethod
    def _made(
        cls,
        question: str,
        attachments: tuple[Attachment, ...],
        bundle: QueryBundle | None = None,
        readings: tuple[str, ...] | None = None,
    ) -> AttachedQuery:
        words = [question, *(each.words for each in attachments), *(telling_words([text]) for text in readings or ())]
        paths = (each.path for each in attachments if isinstance(each, ImageAttachment) and each.path is not None)
        path = next(paths, None)
        return cls(
            query_str="\n".join(part for part in words if part.strip()),
            image_path=None if path is None else str(path),
            custom_embedding_strs=bundle.custom_embedding_strs if bundle is not None else None,
            embedding=bundle.embedding if bundle is not None else None,
            question=question,
            attachments=attachments,
            readings=readings,
        )


def _title_of(attachment: Attachment) -> str:
    return {ImageAttachment: "Attached image", TableAttachment: "Attached table"}.get(
        type(attachment), "Attached formula"
    )
