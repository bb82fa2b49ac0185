"""Passages as data: folders of them, nodes made of them, plain BM25 over them, and larger corpora grown from them.

A folder has ``corpus.jsonl`` (``{id, title, text}``, optionally ``kind``: text or table, ``cells``: a table's rows, and
``doc``: its document) and ``queries.jsonl`` (``{id, question, type, gold: [ids]}``).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode

from llama_index_raganything.elements import EXCLUDED_EMBED_KEYS, EXCLUDED_LLM_KEYS, Element, content_id
from llama_index_raganything.node_parser.chunking import table_texts

DEPTHS = (1, 2, 5, 10)
RESULTS = DEPTHS[-1]
ONE_PART = 1_000_000
"""Tokens of a table's text: a passage is one node."""

Passage = Mapping[str, Any]

_WORD = re.compile(r"[^\W\d_]\w+")
_WITHIN = re.compile(r"(?<=[\w,;:][ ])([^\W\d_]\w+)")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Corpus:
    """The passages of one or several folders, and the questions of each.

    Attributes:
        passages: All passages; ids and documents are unique.
        queries: Questions by name of folder.
    """

    passages: list[Passage]
    queries: dict[str, list[Passage]]


def read_corpus(folders: Sequence[Path], limit: int | None = None) -> Corpus:
    """Read folders into one corpus.

    Args:
        folders: Folders with passages and questions; of several, ids and documents get the folder's name in front.
        limit: Questions of each folder.

    Returns:
        All passages, and the questions of each folder.
    """
    passages: list[Passage] = []
    queries: dict[str, list[Passage]] = {}
    for number, folder in enumerate(folders, start=1):
        name = folder.resolve().name
        name = f"{name}{number}" if name in queries else name
        prefix = f"{name}/" if len(folders) > 1 else ""
        for line in read_lines(folder / "corpus.jsonl"):
            document = prefix + str(line.get("doc") or line["id"])
            passages.append(line | {"id": prefix + str(line["id"]), "doc": document})
        questions = read_lines(folder / "queries.jsonl")[:limit]
        queries[name] = [line | {"gold": [prefix + str(gold) for gold in line["gold"]]} for line in questions]
    return Corpus(passages, queries)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def make_nodes(passages: Iterable[Passage], *, titles: bool = True) -> list[TextNode]:
    """Return one node per passage, those of one document joined in the order given.

    Args:
        passages: Passages.
        titles: Put a passage's title on the first line of its text and into its metadata; else leave it out.
    """
    nodes = [_make_node(passage, titles=titles) for passage in passages]
    members: dict[str, list[TextNode]] = defaultdict(list)
    for node in nodes:
        members[node.metadata["doc_id"]].append(node)
    for document in members.values():
        for first, second in pairwise(document):
            first.relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id=second.node_id)
            second.relationships[NodeRelationship.PREVIOUS] = RelatedNodeInfo(node_id=first.node_id)
    return nodes


def _make_node(passage: Passage, *, titles: bool) -> TextNode:
    title = str(passage.get("title") or "") if titles else ""
    text = "\n".join(part for part in (title, _body(passage)) if part)
    document = content_id("document", passage.get("doc") or passage["id"])
    metadata = {"doc_id": document, "content_type": passage.get("kind") or "text", "passage": passage["id"]}
    return TextNode(
        id_=content_id(document, passage["id"], text),
        text=text,
        metadata=metadata | ({"title": title} if title else {}),
        excluded_embed_metadata_keys=[*EXCLUDED_EMBED_KEYS, "passage"],
        excluded_llm_metadata_keys=[*EXCLUDED_LLM_KEYS, "passage"],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)},
    )


def _body(passage: Passage) -> str:
    """Return the text, that of a table as our own node parser renders it."""
    if passage.get("kind") == "table" and passage.get("cells"):
        # How many header rows there are is not in the data; one is what a parser assumes that cannot tell either.
        element = Element(type="table", text=passage["text"], rows=passage["cells"])
        return "\n".join(table_texts(element, ONE_PART, len))
    return str(passage["text"])


def embed(nodes: Sequence[BaseNode], model: BaseEmbedding) -> None:
    """Give nodes their vectors."""
    for node, vector in zip(nodes, model.get_text_embedding_batch([n.get_content() for n in nodes]), strict=True):
        node.embedding = vector


def passage_of(node: BaseNode) -> str:
    """Return the id of the passage that a node is."""
    return str(node.metadata.get("passage", ""))


class PlainBM25:
    """BM25 over words as they are, from postings in memory.

    Args:
        nodes: Nodes to rank; more can be added.
        k1: Saturation of repeated words.
        b: How much length counts.
    """

    def __init__(self, nodes: Iterable[TextNode] = (), k1: float = 1.2, b: float = 0.75) -> None:
        self.k1, self.b = k1, b
        self.ids: list[str] = []
        self.lengths: list[int] = []
        self._postings: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        self.add(nodes)

    def add(self, nodes: Iterable[TextNode]) -> None:
        """Add nodes."""
        for node in nodes:
            count = Counter(re.findall(r"\w+", node.text.lower()))
            for word, number in count.items():
                rows, numbers = self._postings[word]
                rows.append(len(self.ids))
                numbers.append(number)
            self.ids.append(passage_of(node))
            self.lengths.append(sum(count.values()))

    def __call__(self, question: str) -> list[str]:
        """Return the best passages."""
        lengths = np.array(self.lengths, dtype=np.float64)
        norm = self.k1 * (1 - self.b + self.b * lengths / max(lengths.sum() / max(len(lengths), 1), 1.0))
        scores = np.zeros(len(self.ids))
        for word in set(re.findall(r"\w+", question.lower())) & self._postings.keys():
            rows, numbers = (np.array(values) for values in self._postings[word])
            idf = math.log1p((len(self.ids) - len(rows) + 0.5) / (len(rows) + 0.5))
            scores[rows] += idf * numbers / (numbers + norm[rows])
        best = np.argsort(-scores, kind="stable")[:RESULTS]
        return [self.ids[row] for row in best if scores[row] > 0]


# -- larger corpora ----------------------------------------------------------------------------------------------------


def proper_words(texts: Iterable[str]) -> frozenset[str]:
    """Return the words, in lower case, that names are made of: within sentences a capital is at least as usual.

    Args:
        texts: Texts in a script that has capitals; others have no such words.
    """
    capitals: set[str] = set()
    balance: Counter[str] = Counter()
    for text in texts:
        capitals.update(word.lower() for word in _WORD.findall(text) if word[0].isupper())
        for word in _WITHIN.findall(text):
            balance[word.lower()] += 1 if word[0].isupper() else -1
    return frozenset(word for word in capitals if balance[word] >= 0)


def rename(text: str, proper: frozenset[str], copy: int) -> str:
    """Return a text whose names have the mark of a copy behind each of their words.

    Args:
        text: A text.
        proper: Words that names are made of.
        copy: Number of the copy; 0 changes nothing.

    Returns:
        ``"Port Blair is the capital"`` as ``"Portqbk Blairqbk is the capital"`` in copy 1.
    """
    if not copy:
        return text
    # A consonant at the end: no stemmer takes it for an ending.
    mark = f"q{_in_letters(copy)}k"

    def renamed(match: re.Match[str]) -> str:
        word = match[0]
        if not word[0].isupper() or word.lower() not in proper:
            return word
        return word + (mark.upper() if word.isupper() else mark)

    return _WORD.sub(renamed, text)


def _in_letters(number: int) -> str:
    letters = ""
    while True:
        number, digit = divmod(number, len(_LETTERS))
        letters = _LETTERS[digit] + letters
        if not number:
            return letters


def grow(passages: Sequence[Passage], size: int, start: int = 0) -> Iterator[Passage]:
    """Yield passages and then renamed copies of them, whose ids and documents are new.

    Args:
        passages: What to copy.
        size: Number of passages in all.
        start: Number of the first passage to yield.

    Yields:
        ``size - start`` passages.
    """
    proper = proper_words(f"{passage.get('title') or ''}\n{passage['text']}" for passage in passages)
    for number in range(start, size):
        copy, place = divmod(number, len(passages))
        passage = passages[place]
        if not copy:
            yield passage
            continue
        changed = {key: rename(str(passage.get(key) or ""), proper, copy) for key in ("title", "text")}
        cells = [[rename(cell, proper, copy) for cell in row] for row in passage.get("cells") or []]
        names = {key: f"{copy}:{passage.get(key) or passage['id']}" for key in ("id", "doc")}
        yield {**passage, **changed, **names, "cells": cells}
