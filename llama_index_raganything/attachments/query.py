"""``AttachedQuery``: a question with attachments, which every retriever and synthesizer of LlamaIndex takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dataclasses_json import config
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import BaseNode, QueryBundle

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.attachments.kinds import (
    MAX_PROMPT_CHARS,
    Attachment,
    ImageAttachment,
    TableAttachment,
    telling_words,
)
from llama_index_raganything.attachments.reading import attachments_of, message_parts


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
