"""``EntityLinker``: entities, facts and structural links from nodes, without a model."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

import numpy as np
from llama_index.core.bridge.pydantic import Field
from llama_index.core.graph_stores.types import KG_NODES_KEY, KG_RELATIONS_KEY, EntityNode, Relation
from llama_index.core.schema import BaseNode, TransformComponent

from llama_index_raganything._arguments import refuse_misspelt, strict_arguments
from llama_index_raganything.graph.extraction.entities import belonging, described_entity, names_in
from llama_index_raganything.graph.extraction.recognizers import EntityRecognizer
from llama_index_raganything.graph.extraction.structural_links import structural_links
from llama_index_raganything.graph.extraction.subjects import FirstSentence, heading_name, subjects_of, title_forms
from llama_index_raganything.graph.facts import (
    GUESSED,
    MAX_FACTS,
    OWN_TITLE,
    WHOLE,
    NodeFacts,
    StructuralTie,
    Subject,
    hash_names,
    pack_counts,
)
from llama_index_raganything.graph.names import Candidate, Word, candidates_of, name_key, words_of
from llama_index_raganything.nodes import NodeView, last_heading
from llama_index_raganything.text.sentences import split_sentences
from llama_index_raganything.text.terms import content_tokens

MAX_CHARS: Final = 400_000
"""Characters of one node that are read."""

MAX_SENTENCE_CHARS: Final = 4_000
"""Longer sentences (minified code, one endless word) are read up to here."""

MAX_NODES_OF_A_TITLE: Final = 20
"""A title or heading shared by more nodes names the document or section, not a node: only its first node has it."""

HEADING_WEIGHT: Final = 0.9
_ROWS: Final = frozenset({"table", "code"})
_MAX_SKIP: Final = 0x7F
_MAX_OCCURRENCES: Final = 50
_MAX_ENTITIES: Final = 1000


@strict_arguments
class EntityLinker(TransformComponent):
    """Read entities, facts and structural links from nodes: no LLM, no embedding, under a millisecond a passage.

    An entity is a name in the text, a title with its short forms, a section heading, a label, or, where a node has
    no title, what its first sentence is about. A fact is a sentence, table row or caption with the names in it.
    A structural link joins an image, table or equation with the text that cites its label, and nodes of one section.

    As a LlamaIndex transformation it adds ``EntityNode`` and ``Relation`` objects to the metadata, as LlamaIndex's
    extractors do, so it serves as one of ``PropertyGraphIndex``'s ``kg_extractors`` with any property graph store.
    :meth:`extract` returns the facts themselves, which ``MilvusPropertyGraphStore.put_facts`` keeps.

    Args:
        recognizer: Finds names in addition to the rules; see :mod:`.recognizers`.
        pseudo_titles: Read from the first sentence what a node without title and heading is about.
        max_relations_per_node: Relations that a node gets as a transformation.
    """

    recognizer: Any = Field(default=None, exclude=True)
    pseudo_titles: bool = True
    max_relations_per_node: int = Field(default=20, ge=0)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which the linker is serialised."""
        return "EntityLinker"

    def extract(self, nodes: Sequence[BaseNode], names: Mapping[str, Sequence[str]] | None = None) -> list[NodeFacts]:
        """Return the facts of nodes, whole documents at a time.

        Args:
            nodes: Nodes of one or several documents; pages whose elements are nodes too are left out.
            names: Names that are known to be in a node, by node id; found where its text has them, in any case.

        Returns:
            One record per node id, in the order of the nodes.
        """
        documents: dict[str, list[BaseNode]] = defaultdict(list)
        for node in nodes:
            if not _has_elements(node):
                documents[NodeView(node).document_id].append(node)
        found = {
            facts.node_id: facts
            for doc_id, members in documents.items()
            for facts in self._document_facts(doc_id, members, names or {})
        }
        ids = dict.fromkeys(node.node_id for node in nodes)
        return [found[node_id] for node_id in ids if node_id in found]

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """Add entities and relations to the nodes' metadata, where ``PropertyGraphIndex`` looks for them.

        Args:
            **kwargs: Meant for others: a pipeline of LlamaIndex hands its own to all transformations.

        Returns:
            The same nodes.
        """
        refuse_misspelt(f"{type(self).__name__}()", kwargs, ("show_progress",))
        found = {facts.node_id: facts for facts in self.extract(nodes)}
        for node in nodes:
            facts = found.pop(node.node_id, None)
            entities, relations = _triples(facts, self.max_relations_per_node) if facts else ([], [])
            element = described_entity(node)
            if element is not None:
                entities.append(element)
                relations += belonging(element, names_in(facts) if facts else ())
            # PropertyGraphIndex asserts that every node has them, those without any too.
            node.metadata[KG_NODES_KEY] = [*node.metadata.get(KG_NODES_KEY, []), *entities]
            node.metadata[KG_RELATIONS_KEY] = [*node.metadata.get(KG_RELATIONS_KEY, []), *relations]
        return list(nodes)

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """Add entities and relations without blocking the event loop; see :meth:`__call__`."""
        import asyncio

        return await asyncio.to_thread(self, nodes, **kwargs)

    def _document_facts(
        self, doc_id: str, nodes: Sequence[BaseNode], names: Mapping[str, Sequence[str]]
    ) -> Iterator[NodeFacts]:
        titles = _titles(nodes)
        ties: dict[str, list[StructuralTie]] = defaultdict(list)
        for link in structural_links(nodes):
            ties[link.source].append(StructuralTie(link.target, link.kind, link.label or ""))
        for node, spans in zip(nodes, self._recognized(nodes), strict=True):
            known = _occurrences(_text(node), names.get(node.node_id, ()))
            facts = self._node_facts(node, titles[node.node_id], [*spans, *known])
            facts.doc_id = doc_id
            facts.ties = ties.get(node.node_id, [])
            yield facts

    def _recognized(self, nodes: Sequence[BaseNode]) -> list[list[tuple[int, int]]]:
        if self.recognizer is None:
            return [[] for _ in nodes]
        recognizer: EntityRecognizer = self.recognizer
        found = recognizer.recognize([_text(node) for node in nodes])
        return [[(span.start, span.end) for span in spans] for spans in found]

    def _node_facts(self, node: BaseNode, titles: list[Subject], recognized: Sequence[tuple[int, int]]) -> NodeFacts:
        text = _text(node)
        kind = str(node.metadata.get("content_type") or "text")
        facts = NodeFacts(
            node.node_id, NodeView(node).document_id, kind=kind, section=str(node.metadata.get("section") or "")
        )
        title_keys = {subject.key for subject in titles}
        body = _after_title(text, title_keys)
        facts.spans = [(start + body, end + body) for start, end in _sentence_spans(text[body:], kind)]
        terms: list[list[str]] = []
        names: list[list[str]] = []
        skips: list[int] = []
        entities: dict[str, str] = {}
        for number, (start, end) in enumerate(facts.spans):
            words = words_of(text, start, end)
            candidates = _with_recognized(text, candidates_of(text, words), recognized, start, end)
            if number == 0:
                subjects, facts.defines = subjects_of(FirstSentence(text, start, end, words, candidates))
                facts.subjects = titles or (subjects if self.pseudo_titles else [])
            for item in candidates:
                if item.whole and (item.key in entities or len(entities) < _MAX_ENTITIES):
                    entities[item.key] = text[item.start : item.end]
            terms.append(content_tokens(text[start:end]))
            names.append([item.key for item in candidates])
            skips += _skips(candidates, words[0] if words else None, recognized)
        if not facts.spans:
            facts.subjects = titles
        facts.entities = list(entities.values())
        facts.term_counts = pack_counts([len(tokens) for tokens in terms])
        facts.name_counts = pack_counts([len(keys) for keys in names])
        facts.terms = hash_names(chain.from_iterable(terms))
        facts.names = hash_names(chain.from_iterable(names))
        facts.skips = np.array(skips, np.uint8)
        _hash_subjects(facts, str(node.metadata.get("label") or ""))
        return facts


def _has_elements(node: BaseNode) -> bool:
    return node.metadata.get("content_type") == "page" and bool(node.child_nodes)


def _text(node: BaseNode) -> str:
    return NodeView(node).text[:MAX_CHARS]


def _titles(nodes: Sequence[BaseNode]) -> dict[str, list[Subject]]:
    """Return the titles and headings of each node of one document."""
    sections: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        sections[str(node.metadata.get("section") or "")].append(node.node_id)
    found: dict[str, list[Subject]] = {}
    for place, node in enumerate(nodes):
        subjects: dict[str, Subject] = {}
        title = str(node.metadata.get("title") or "")
        if title and (len(nodes) <= MAX_NODES_OF_A_TITLE or place == 0):
            _add_forms(subjects, title, 1.0, "title")
        section = str(node.metadata.get("section") or "")
        members = sections[section]
        heading = heading_name(last_heading(section))
        if heading and (len(members) <= MAX_NODES_OF_A_TITLE or members[0] == node.node_id):
            _add_forms(subjects, heading, HEADING_WEIGHT, "heading")
        found[node.node_id] = sorted(subjects.values(), key=lambda item: -item.weight)
    return found


def _add_forms(subjects: dict[str, Subject], title: str, weight: float, kind: str) -> None:
    for form, share in title_forms(title):
        key = name_key(form)
        if key and (key not in subjects or subjects[key].weight < weight * share):
            subjects[key] = Subject(form[:200], round(weight * share, 2), kind)


def _hash_subjects(facts: NodeFacts, label: str) -> None:
    facts.subject_names = hash_names(subject.key for subject in facts.subjects)
    facts.subject_weights = np.array(
        [round(100 * item.weight) | (GUESSED if item.kind == "subject" else 0) for item in facts.subjects], np.uint8
    )
    if facts.subjects and facts.subjects[0].weight >= OWN_TITLE:
        facts.title_terms = hash_names(dict.fromkeys(content_tokens(facts.subjects[0].name)))
    if label:
        # A label names its element within the document only; structural links take care of who cites it.
        facts.subjects = [*facts.subjects, Subject(label, 1.0, "label")]


def _sentence_spans(text: str, kind: str) -> list[tuple[int, int]]:
    """Return where the sentences, or for tables the rows, begin and end."""
    pieces = text.splitlines(keepends=True) if kind in _ROWS else split_sentences(text)
    spans = []
    start = 0
    for piece in pieces:
        stripped = piece.strip()
        if any(char.isalnum() for char in stripped[:MAX_SENTENCE_CHARS]):
            first = start + len(piece) - len(piece.lstrip())
            spans.append((first, min(first + len(stripped), first + MAX_SENTENCE_CHARS)))
        start += len(piece)
        if len(spans) >= MAX_FACTS:
            break
    return spans


def _after_title(text: str, title_keys: set[str]) -> int:
    """Return where the text goes on after a first line that only repeats its title."""
    line = text.split("\n", 1)[0]
    return len(line) if title_keys and len(line) < len(text) and name_key(line.lstrip("# ")) in title_keys else 0


def _occurrences(text: str, names: Sequence[str]) -> list[tuple[int, int]]:
    """Return where names are in a text as whole words, in any case."""
    found = []
    for name in dict.fromkeys(names):
        pattern = r"\s+".join(re.escape(word) for word in name.split())
        if pattern:
            matches = re.finditer(rf"(?<!\w){pattern}(?!\w)" if name.isascii() else pattern, text, re.IGNORECASE)
            found += [match.span() for match in islice(matches, _MAX_OCCURRENCES)]
    return found


def _with_recognized(
    text: str, candidates: list[Candidate], recognized: Sequence[tuple[int, int]], start: int, end: int
) -> list[Candidate]:
    """Add the names that a recogniser found in this sentence."""
    inside = [(first, last) for first, last in recognized if start <= first < last <= end]
    if not inside:
        return candidates
    found = {(item.start, item.end): item for item in candidates}
    for first, last in inside:
        key = name_key(text[first:last])
        if key:
            found[(first, last)] = Candidate(key, first, last, whole=True)
    return sorted(found.values(), key=lambda item: (item.start, -item.end))


def _skips(candidates: Sequence[Candidate], first: Word | None, recognized: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each candidate how many of those after it overlap it, with the mark of longest spans.

    The first word of a sentence has a capital whatever it is, so alone it bears no mark unless it was recognised.
    """
    begins = (first.start, first.end) if first is not None and not first.cjk else None
    if begins in recognized:
        begins = None
    values = []
    for index, item in enumerate(candidates):
        after = index + 1
        while after < len(candidates) and candidates[after].start < item.end:
            after += 1
        whole = item.whole and (item.start, item.end) != begins
        values.append(min(_MAX_SKIP, after - index - 1) | (WHOLE if whole else 0))
    return values


def _triples(facts: NodeFacts, limit: int) -> tuple[list[EntityNode], list[Relation]]:
    """Return a node's entities and relations in LlamaIndex's terms."""
    source = {"node_id": facts.node_id, "doc_id": facts.doc_id}
    # A label names its element within its document only: as an entity it would be that of all documents.
    names = [item for item in facts.entity_names() if item[2] != "label"]
    entities = [EntityNode(name=name, label=label.upper(), properties=dict(source)) for name, _, label in names]
    if not names or names[0][2] == "name":
        return entities, []
    relations = [
        Relation(source_id=entities[0].id, target_id=entity.id, label="MENTIONS", properties=dict(source))
        for entity, (_, _, label) in zip(entities, names, strict=True)
        if label == "name" and entity.id != entities[0].id
    ]
    return entities, relations[:limit]
