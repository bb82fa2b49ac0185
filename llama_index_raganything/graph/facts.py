"""What the graph knows of one node: its sentences as facts, the names in them, what the node is about, its links.

Names and words are kept as 32-bit hashes beside the names as written: the graph compares numbers, people read names.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from llama_index_raganything.errors import SchemaMismatchError
from llama_index_raganything.graph.names import name_key

Hashes = npt.NDArray[np.uint32]
Counts = npt.NDArray[np.uint16]
Bytes = npt.NDArray[np.uint8]

FACTS_VERSION: Final = 1
"""Version of the packed form; facts of another version must be made again."""

WHOLE: Final = 0x80
"""Bit of ``NodeFacts.skips`` that marks a longest span."""

GUESSED: Final = 0x80
"""Bit of ``NodeFacts.subject_weights`` that marks titles read from the text."""

MAX_FACTS: Final = 2000
"""Sentences of one node that are read; a chunk has a handful, a whole page about a hundred."""

_ARRAYS: Final = (
    ("term_counts", np.uint16),
    ("terms", np.uint32),
    ("name_counts", np.uint16),
    ("names", np.uint32),
    ("skips", np.uint8),
    ("title_terms", np.uint32),
    ("subject_names", np.uint32),
    ("subject_weights", np.uint8),
)


def name_hash(key: str) -> int:
    """Return 32 bits that stand for a name's key or for a word, the same in every process.

    Args:
        key: A key of :func:`~llama_index_raganything.graph.names.name_key`, or a token.
    """
    return zlib.crc32(key.encode("utf-8", "replace"))


def hash_names(keys: Iterable[str]) -> Hashes:
    """Return the hashes of keys, in order.

    Args:
        keys: Keys or tokens.
    """
    # Without a call of name_hash for each: this is done for every word of every text.
    return np.array([zlib.crc32(key.encode("utf-8", "replace")) for key in keys], dtype=np.uint32)


@dataclass(frozen=True, slots=True)
class Subject:
    """A name under which a node is known: its title, heading, label, or what its first sentence is about.

    Attributes:
        name: The name as written.
        weight: How sure it is, 0 to 1; from .6 on it counts as the node's own title.
        kind: "title", "heading", "label" or "subject" (found in the text).
    """

    name: str
    weight: float
    kind: str = "subject"

    @property
    def key(self) -> str:
        """The form in which names are compared."""
        return name_key(self.name)


OWN_TITLE: Final = 0.6
"""Weight from which on a subject is the node's own title."""


@dataclass(frozen=True, slots=True)
class StructuralTie:
    """A link of the document's structure from this node to another one.

    Attributes:
        node_id: The other node.
        kind: "cites", "caption", "section", "neighbour", "continues".
        label: The label that is cited, if any.
    """

    node_id: str
    kind: str
    label: str = ""


@dataclass(slots=True)
class NodeFacts:
    """Everything that the graph knows of one node.

    Attributes:
        node_id: The node.
        doc_id: Its document.
        kind: Its content type.
        section: Its section path.
        spans: Start and end of each sentence (table row, caption) in the node's text, in characters.
        entities: The names in it as written, without repetition: the longest spans only.
        subjects: What it is about, strongest first.
        ties: Links of the document's structure.
        defines: Its first sentence says what its subject is ("X is a ...").
        term_counts: Number of content words of each sentence.
        terms: Their hashes, sentence after sentence.
        name_counts: Number of candidate names of each sentence.
        names: Their hashes, sentence after sentence, by position.
        skips: For each how many of the candidates that follow it overlap it; the top bit marks longest spans.
        title_terms: Hashes of the content words of the strongest subject.
        subject_names: Hashes of the subjects by which other texts can name this node; labels are none of them.
        subject_weights: Their weights, in hundredths; the top bit marks those read from the text.
    """

    node_id: str
    doc_id: str
    kind: str = "text"
    section: str = ""
    spans: list[tuple[int, int]] = field(default_factory=list)
    entities: list[str] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    ties: list[StructuralTie] = field(default_factory=list)
    defines: bool = False
    term_counts: Counts = field(default_factory=lambda: np.zeros(0, np.uint16))
    terms: Hashes = field(default_factory=lambda: np.zeros(0, np.uint32))
    name_counts: Counts = field(default_factory=lambda: np.zeros(0, np.uint16))
    names: Hashes = field(default_factory=lambda: np.zeros(0, np.uint32))
    skips: Bytes = field(default_factory=lambda: np.zeros(0, np.uint8))
    title_terms: Hashes = field(default_factory=lambda: np.zeros(0, np.uint32))
    subject_names: Hashes = field(default_factory=lambda: np.zeros(0, np.uint32))
    subject_weights: Bytes = field(default_factory=lambda: np.zeros(0, np.uint8))

    def entity_names(self) -> Iterator[tuple[str, str, str]]:
        """Yield the names under which this node's entities are to be found: (name, key, label).

        The label is the kind of the subject, or "name" for a name that the text only mentions.
        """
        seen = set()
        for subject in self.subjects:
            if subject.weight >= OWN_TITLE and subject.key and subject.key not in seen:
                seen.add(subject.key)
                yield subject.name, subject.key, subject.kind
        for name in self.entities:
            key = name_key(name)
            if key and key not in seen:
                seen.add(key)
                yield name, key, "name"

    def to_payload(self) -> str:
        """Return the facts as one JSON string; node and document id are not in it."""
        data = b"".join(
            len(values).to_bytes(4, "little") + values.tobytes()
            for values in (np.ascontiguousarray(getattr(self, name), dtype) for name, dtype in _ARRAYS)
        )
        content: dict[str, Any] = {
            "v": FACTS_VERSION,
            "kind": self.kind,
            "section": self.section,
            "defines": self.defines,
            "subjects": [[item.name, item.weight, item.kind] for item in self.subjects],
            "ties": [[tie.node_id, tie.kind, tie.label] for tie in self.ties],
            "entities": self.entities,
            "spans": self.spans,
            "data": base64.b64encode(data).decode("ascii"),
        }
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        # Half of a surrogate pair, which damaged files have, is no UTF-8.
        return text.encode("utf-8", "replace").decode("utf-8")

    @classmethod
    def from_payload(cls, node_id: str, doc_id: str, payload: str) -> NodeFacts:
        """Read what :meth:`to_payload` wrote.

        Args:
            payload: The JSON string.

        Returns:
            The facts.

        Raises:
            SchemaMismatchError: The facts were written by another version of this package, or are damaged.
        """
        try:
            content = json.loads(payload)
            if content.get("v") == FACTS_VERSION:
                return _read(node_id, doc_id, content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            message = (
                f"The graph facts of node {node_id!r} are damaged ({error or type(error).__name__}); bring the "
                "documents in again with overwrite=True."
            )
            raise SchemaMismatchError(message) from error
        message = (
            f"The graph facts of node {node_id!r} have version {content.get('v')!r}, this package writes "
            f"{FACTS_VERSION}; bring the documents in again with overwrite=True."
        )
        raise SchemaMismatchError(message)


def _read(node_id: str, doc_id: str, content: dict[str, Any]) -> NodeFacts:
    facts = NodeFacts(
        node_id=node_id,
        doc_id=doc_id,
        kind=content["kind"],
        section=content["section"],
        defines=content["defines"],
        subjects=[Subject(*item) for item in content["subjects"]],
        ties=[StructuralTie(*item) for item in content["ties"]],
        entities=content["entities"],
        spans=[(start, end) for start, end in content["spans"]],
        **_unpack(base64.b64decode(content["data"], validate=True)),
    )
    # A mirror lays the arrays of all nodes end to end: one that does not fit would shift all that follow.
    if not (
        len(facts.spans) == facts.term_counts.size == facts.name_counts.size
        and int(facts.term_counts.sum()) == facts.terms.size
        and int(facts.name_counts.sum()) == facts.names.size == facts.skips.size
        and facts.subject_names.size == facts.subject_weights.size
    ):
        raise ValueError("its arrays do not fit together")
    return facts


def _unpack(data: bytes) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    place = 0
    for name, dtype in _ARRAYS:
        count = int.from_bytes(data[place : place + 4], "little")
        place += 4
        arrays[name] = np.frombuffer(data, dtype, count, place)
        place += count * np.dtype(dtype).itemsize
    if place != len(data):
        message = f"{len(data)} bytes instead of {place}"
        raise ValueError(message)
    return arrays


def pack_counts(values: Sequence[int]) -> Counts:
    """Return counts as an array, each at most 65,535.

    Args:
        values: Counts.
    """
    return np.minimum(np.array(values, dtype=np.int64), 65_535).astype(np.uint16)
