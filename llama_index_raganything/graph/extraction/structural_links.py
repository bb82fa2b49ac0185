"""Links that a document's own structure states: what cites, captions, continues, and is beside what.

Pure functions over the nodes of one document. The number of links grows with the number of nodes, not with its
square: each node has a few nearest partners in its section, and a label is resolved to its nearest bearer.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Final, Literal

from llama_index.core.schema import BaseNode

from llama_index_raganything.elements import ATOMIC_TYPES, label_of, labels_in
from llama_index_raganything.nodes import NodeView

LinkKind = Literal["caption", "cites", "continues", "section", "neighbour", "page"]

SECTION_PARAGRAPHS: Final = 8
"""Paragraphs of its section, the nearest first, to which an image, table or equation is linked."""

SECTION_NEXT: Final = 2
"""Following nodes of its section to which every node is linked."""

PAGE_PARAGRAPHS: Final = 2
"""Paragraphs of its page but another section to which an image, table or equation is linked."""

MAX_CITED: Final = 20
"""A text that cites more labels is a list of images or tables: it says nothing about any of them."""

MAX_PARTS: Final = 4
"""Parts of one long table that a citation links to; the rest follow by "continues"."""

_CAPTION_CHARS: Final = 600
_TEXT_CHARS: Final = 100_000
_RUNNING: Final = frozenset({"text", "list", "page"})
_CONTINUED = re.compile(r"\bcont(?:inued|'d|\u2019d|\.)|[(（]续|[(（]續|^\W*[续續][表图圖]", re.IGNORECASE)
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class StructuralLink:
    """A link between two nodes of one document.

    Attributes:
        source: Id of the node that cites, captions or continues; else of the image, table or equation of the two,
            or of the one that comes first.
        target: Id of the other node.
        kind: ``caption`` (source only repeats the caption of target), ``cites`` (source's text cites target's label),
            ``continues`` (source is the next part of target), ``section`` (same section), ``neighbour`` (next to
            each other across the border of two sections), ``page`` (same page).
        label: The label that is cited, captioned or continued, as ``"Figure 3"``; None for the other kinds.
    """

    source: str
    target: str
    kind: LinkKind
    label: str | None = None


@dataclass(slots=True)
class _Member:
    """What counts of one node here, ``place`` being its position in reading order."""

    place: int
    node_id: str
    kind: str
    text: str
    label: str | None
    caption: str
    section: str
    page: int | None
    element_id: str

    @property
    def running(self) -> bool:
        return self.kind in _RUNNING


@dataclass
class _Links:
    """Links found so far, one per pair of nodes: the first kind that joins two nodes stays."""

    found: dict[tuple[str, str], StructuralLink] = field(default_factory=dict)

    def add(self, source: _Member, target: _Member, kind: LinkKind, label: str | None = None) -> None:
        first, second = sorted((source.node_id, target.node_id))
        if first != second:
            self.found.setdefault((first, second), StructuralLink(source.node_id, target.node_id, kind, label))


def structural_links(nodes: Sequence[BaseNode]) -> list[StructuralLink]:
    """Return the links between the nodes of one document.

    Two nodes have one link at most, of the first kind that applies: caption, cites, continues, section, neighbour,
    page. A page whose elements are nodes too has none. Nodes without a section path share the unnamed section.

    Args:
        nodes: Nodes of one document, in reading order unless their relationships say otherwise.

    Returns:
        Links by kind and then by position; the same for the same nodes.
    """
    members = _members(nodes)
    links = _Links()
    _link_captions(members, links)
    _link_citations(members, links)
    _link_continuations(members, links)
    _link_sections(members, links)
    for first, second in pairwise(members):
        links.add(first, second, "neighbour")
    _link_pages(members, links)
    return list(links.found.values())


def reading_order(nodes: Sequence[BaseNode]) -> list[BaseNode]:
    """Return nodes in the order of their PREVIOUS and NEXT relationships, as far as they have any.

    Args:
        nodes: Nodes of one document; of equal ids the first is kept.

    Returns:
        The nodes as they are when no relationship contradicts their order; else chain after chain, in the order of
        their first nodes, circular ones too.
    """
    known: dict[str, BaseNode] = {}
    for node in nodes:
        known.setdefault(node.node_id, node)
    places = {node_id: place for place, node_id in enumerate(known)}
    following = ((node.node_id, node.next_node.node_id) for node in known.values() if node.next_node is not None)
    # A parser's chains, of pages and of elements, are interleaved; one chain after the other would part them.
    if all(places[first] < places.get(second, len(places)) for first, second in following):
        return list(known.values())
    ordered: dict[str, BaseNode] = {}
    heads = [node for node in known.values() if node.prev_node is None or node.prev_node.node_id not in known]
    for head in (*heads, *known.values()):  # The rest are nodes of circles.
        place: BaseNode | None = head
        while place is not None and place.node_id not in ordered:
            ordered[place.node_id] = place
            place = known.get(place.next_node.node_id) if place.next_node is not None else None
    return list(ordered.values())


def _members(nodes: Sequence[BaseNode]) -> list[_Member]:
    ids = {node.node_id for node in nodes}
    kept = [node for node in reading_order(nodes) if not _has_elements(node, ids)]
    return [_member(place, node) for place, node in enumerate(kept)]


def _has_elements(node: BaseNode, ids: set[str]) -> bool:
    if node.metadata.get("content_type") != "page":
        return False
    return any(child.node_id in ids for child in node.child_nodes or ())


def _member(place: int, node: BaseNode) -> _Member:
    metadata = node.metadata
    page = metadata.get("page")
    return _Member(
        place=place,
        node_id=node.node_id,
        kind=str(metadata.get("content_type") or "text"),
        text=NodeView(node).text[:_TEXT_CHARS],
        label=str(metadata["label"]) if metadata.get("label") else None,
        caption=str(metadata.get("caption") or ""),
        section=str(metadata.get("section") or ""),
        page=page if isinstance(page, int) else None,
        element_id=str(metadata.get("element_id") or ""),
    )


# Captions


def _link_captions(members: Sequence[_Member], links: _Links) -> None:
    bearers: dict[str, list[_Member]] = defaultdict(list)
    for member in members:
        if not member.running and (member.caption or member.label):
            for key in {_words(member.caption), member.label or ""} - {""}:
                bearers[key].append(member)
    for member in members:
        if not member.running or len(member.text) > _CAPTION_CHARS:
            continue
        words = _words(member.text)
        label = label_of(member.text)
        same = bearers.get(words) or [
            bearer
            for bearer in bearers.get(label or "", ())
            if _same_caption(words, _words(bearer.caption), label or "")
        ]
        if same:
            bearer = _nearest(same, member.place)
            links.add(member, bearer, "caption", bearer.label)


def _words(text: str) -> str:
    return " ".join(_WORDS.findall(text[:_CAPTION_CHARS].casefold()))


def _same_caption(first: str, second: str, label: str) -> bool:
    """Return whether one begins with the other and is not much shorter; "Table 2" also begins "Table 2 shows that"."""
    shorter, longer = sorted((first, second), key=len)
    return longer.startswith(shorter) and len(shorter) > len(_words(label)) and len(longer) <= 2 * len(shorter)


# Citations


def _link_citations(members: Sequence[_Member], links: _Links) -> None:
    bearers = _bearers(members)
    if not bearers:
        return
    by_section: dict[tuple[str, str], list[_Member]] = defaultdict(list)
    for label, group in bearers.items():
        for bearer in group:
            by_section[(label, bearer.section)].append(bearer)
    by_place = {member.place: member for member in members}
    for member in members:
        if not member.running:
            continue  # The text of an image has the sentences that cite it, and others in them.
        cited = labels_in(member.text)
        if len(cited) > MAX_CITED:
            continue
        for label in sorted(cited & bearers.keys()):
            # Reports start counting again in each part: the label of the same section is meant.
            bearer = _nearest(by_section.get((label, member.section)) or bearers[label], member.place)
            for part in islice(_parts(bearer, by_place), MAX_PARTS):
                links.add(member, part, "cites", label)


def _bearers(members: Sequence[_Member]) -> dict[str, list[_Member]]:
    """Return the nodes that have each label, of a table in several parts the first.

    Where a label belongs to no image or table, because a parser found none, the texts in which a line begins with it
    bear it.
    """
    labelled: dict[str, list[_Member]] = defaultdict(list)
    last: _Member | None = None
    for member in members:
        if member.label and not _is_next_part(last, member):
            labelled[member.label].append(member)
        last = member
    begun: dict[str, list[_Member]] = defaultdict(list)
    for member in members:
        if member.running and not member.label:
            for label in dict.fromkeys(map(label_of, member.text.splitlines())):
                if label and label not in labelled:
                    begun[label].append(member)
    return labelled | begun


def _parts(first: _Member, by_place: dict[int, _Member]) -> Iterator[_Member]:
    part: _Member | None = first
    while part is not None:
        yield part
        following = by_place.get(part.place + 1)
        part = following if following is not None and _is_next_part(part, following) else None


def _nearest(members: Sequence[_Member], place: int) -> _Member:
    """Return the member nearest to a position; of two as near the later one, as images follow their text."""
    return _around(members, place, 1)[0]


# Continuations


def _link_continuations(members: Sequence[_Member], links: _Links) -> None:
    last: dict[str, _Member] = {}
    for member in members:
        before = last.get(member.kind)
        if before is not None and (_is_next_part(before, member) or _continues(before, member)):
            links.add(member, before, "continues", member.label or before.label)
        last[member.kind] = member


def _is_next_part(before: _Member | None, member: _Member) -> bool:
    """Return whether two nodes are pieces of one element, cut because it was too long."""
    return (
        before is not None
        and before.place + 1 == member.place
        and before.kind == member.kind
        and before.element_id == member.element_id != ""
    )


def _continues(before: _Member, member: _Member) -> bool:
    """Return whether an image or table is the continuation of the one of its kind before it."""
    if member.kind not in ATOMIC_TYPES:
        return False
    if before.label and member.label and before.label != member.label:
        return False
    if _CONTINUED.search(member.caption):
        return True
    if before.label is None or member.label is None or before.page is None or member.page is None:
        return False
    return 0 <= member.page - before.page <= 1


# Sections, pages


def _link_sections(members: Sequence[_Member], links: _Links) -> None:
    for section in _grouped(members, lambda member: member.section):
        running = [member for member in section if member.running]
        for member in section:
            if not member.running:
                for paragraph in _around(running, member.place, SECTION_PARAGRAPHS):
                    links.add(member, paragraph, "section")
        for index, member in enumerate(section):
            for following in section[index + 1 : index + 1 + SECTION_NEXT]:
                links.add(member, following, "section")


def _link_pages(members: Sequence[_Member], links: _Links) -> None:
    for page in _grouped((member for member in members if member.page is not None), lambda member: str(member.page)):
        running = [member for member in page if member.running]
        for member in page:
            if not member.running:
                around = _around(running, member.place, SECTION_PARAGRAPHS)
                for paragraph in [other for other in around if other.section != member.section][:PAGE_PARAGRAPHS]:
                    links.add(member, paragraph, "page")


def _grouped(members: Iterable[_Member], key: Callable[[_Member], str]) -> list[list[_Member]]:
    groups: dict[str, list[_Member]] = defaultdict(list)
    for member in members:
        groups[key(member)].append(member)
    return list(groups.values())


def _around(members: Sequence[_Member], place: int, count: int) -> list[_Member]:
    """Return the members nearest to a position, nearest first; of two as near the later one first."""
    after = bisect_left(members, place, key=lambda member: member.place)
    near = members[max(0, after - count) : after + count]
    return sorted(near, key=lambda member: (abs(member.place - place), -member.place))[:count]
