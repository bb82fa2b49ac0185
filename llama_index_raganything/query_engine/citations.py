"""Citations: the ``[n]`` in an answer, and what each leads to. Pure functions and one small state machine."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

from llama_index.core.schema import BaseNode, NodeWithScore
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.nodes import NodeView, box_of, page_number
from llama_index_raganything.text.sentences import sentences_of
from llama_index_raganything.text.terms import content_tokens

MARKER = re.compile(
    r"(?P<space>[ \t]*)[\[【［]\s*(?:sources?\s*)?\^?(?P<list>\d{1,3}(?:\s*(?:[,，、;]|[-–])\s*\^?\d{1,3})*)"
    r"\s*[\]】］]",
    re.IGNORECASE,
)
_OPEN_MARKER = re.compile(r"[ \t]*(?:[\[【［][^\]】］\n]{0,40})?$")
_NUMBER_OR_RANGE = re.compile(r"(?P<first>\d+)(?:\s*[-–]\s*\^?(?P<last>\d+))?")
_QUOTE_CHARS: Final = 400
_CLEARLY_BETTER: Final = 1.25
_NUMBERS_COUNT: Final = 2
"""A claim is checked by its numbers; the words around them ("million EUR") stand in many sentences."""

_SAME_WORDS: Final = 0.5
"""How near an element must come to the best sentence of its page, which may be cut otherwise and so be shorter."""

_PLACE: Final = ("page", "page_label", "bbox", "section", "label", "asset", "content_type")
_SUPPORT: Final = 0.5
"""Share of an answer's content words that a source must hold to be cited where the LLM cited none."""


def _text_or_none(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _page_of(value: Any) -> int | None:
    return page_number({"page": value})


_Text = Annotated[str | None, BeforeValidator(_text_or_none)]


@strict_arguments
class Citation(BaseModel):
    """What one ``[n]`` of an answer leads to; None where the document does not say.

    Attributes:
        number: The n, as printed in the answer.
        answer: Which of several gathered answers the number belongs to, from 1; None in an answer of its own. See
            :func:`~llama_index_raganything.query_engine.responses.citations_of`.
        node_id: Id of the source node.
        doc_id: Id of the document.
        file_name: Name of its file.
        source: Path or URL of it.
        page: Page, from 1.
        page_label: Page as it is printed.
        bbox: Left, top, right and bottom in thousandths of the page.
        section: Path of headings, joined by " > ".
        label: "Table 1", "Figure 2" and the like.
        asset: Picture of the element, below the folder of assets.
        content_type: ``text``, ``table``, ``image``, ``page`` and so on.
        quote: Words of the source that the answer rests on.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    number: int = Field(validation_alias=AliasChoices("number", "n"))
    answer: int | None = None
    node_id: str
    doc_id: _Text = None
    file_name: _Text = None
    source: _Text = None
    page: Annotated[int | None, BeforeValidator(_page_of)] = None
    page_label: _Text = None
    bbox: Annotated[tuple[int, int, int, int] | None, BeforeValidator(box_of)] = None
    section: _Text = None
    label: _Text = None
    asset: _Text = None
    content_type: _Text = None
    quote: str = ""

    @property
    def in_document(self) -> bool:
        """Whether it leads into a document, and not to a text that was written on the way."""
        return any((self.doc_id, self.file_name, self.source))


class MarkerFilter:
    """Normalises the markers in a text that arrives in pieces, and drops those that refer to nothing.

    ``[1, 3]``, ``[1-3]``, ``【2】`` and ``[Source 2]`` become ``[1][3]`` and so on. Text is held back only
    while it may be the beginning of a marker.

    Args:
        size: Number of sources; markers from 1 to ``size`` are kept.

    Attributes:
        text: Everything given out so far.
        dropped: Numbers of markers that referred to nothing, in order.
    """

    def __init__(self, size: int) -> None:
        self.text = ""
        self.dropped: list[int] = []
        self._size = size
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take the next piece of text and return what can be given out.

        Returns:
            Text with valid markers; what may be an unfinished marker at the end is kept back.
        """
        ready = self._held + piece
        tail = _OPEN_MARKER.search(ready)
        cut = tail.start() if tail else len(ready)
        ready, self._held = ready[:cut], ready[cut:]
        return self._give(ready)

    def close(self) -> str:
        """Return what was kept back."""
        rest, self._held = self._held, ""
        return self._give(rest)

    def _give(self, text: str) -> str:
        cleaned = MARKER.sub(self._replace, text)
        self.text += cleaned
        return cleaned

    def _replace(self, match: re.Match[str]) -> str:
        numbers = _numbers(match["list"])
        valid = [number for number in numbers if 1 <= number <= self._size]
        self.dropped.extend(number for number in numbers if number not in valid)
        if not valid:
            return ""
        return match["space"] + "".join(f"[{number}]" for number in dict.fromkeys(valid))


def cited_numbers(answer: str) -> list[int]:
    """Return the source numbers that an answer cites, each once, in order of first appearance.

    Args:
        answer: An answer with markers.
    """
    found = (number for match in MARKER.finditer(answer) for number in _numbers(match["list"]))
    return list(dict.fromkeys(found))


def citation(
    number: int, source: NodeWithScore, quote: str, *, element: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return what one ``[n]`` leads to.

    Args:
        number: The n.
        source: The n-th source node.
        quote: Words of the source that the answer rests on.
        element: Metadata that replace the node's own, for a more exact place.

    Returns:
        A dictionary with ``n``, ``node_id``, ``doc_id``, ``file_name``, ``source``, ``page``, ``page_label``,
        ``bbox`` (list of four integers in thousandths of the page), ``section``, ``label``, ``asset``,
        ``content_type`` and ``quote``; None where the node does not say.
    """
    metadata = source.node.metadata | (element or {})
    return {
        "n": number,
        "node_id": source.node.node_id,
        "doc_id": metadata.get("doc_id") or source.node.ref_doc_id,
        "file_name": metadata.get("file_name"),
        "source": metadata.get("source") or metadata.get("file_path"),
        "page": metadata.get("page"),
        "page_label": metadata.get("page_label"),
        "bbox": list(box) if (box := box_of(metadata.get("bbox"))) else None,
        "section": metadata.get("section"),
        "label": metadata.get("label"),
        "asset": metadata.get("asset"),
        "content_type": metadata.get("content_type"),
        "quote": quote[:_QUOTE_CHARS],
    }


def answer_citations(
    answer: str, sources: Sequence[NodeWithScore], neighbours: Mapping[int, Sequence[BaseNode]] | None = None
) -> list[dict[str, Any]]:
    """Return the citations of an answer that an LLM wrote.

    Args:
        answer: An answer whose markers are valid.
        sources: The source nodes, the first being ``[1]``.
        neighbours: Elements on the page of a source, by its number. Where the source is that page, the citation
            leads to the box of the element that holds the claim. Where it is an element, the LLM has read the page
            around it, and the citation leads to another element that holds the claim better.

    Returns:
        One citation per cited source, in order of first appearance, quoting the sentence that is nearest to
        the words before the marker.
    """
    claims = _claims(answer)
    return [
        _nearest(number, sources[number - 1], claims.get(number, ""), (neighbours or {}).get(number, ()))
        for number in cited_numbers(answer)
        if 1 <= number <= len(sources)
    ]


def _nearest(number: int, source: NodeWithScore, claim: str, neighbours: Sequence[BaseNode]) -> dict[str, Any]:
    weights = _weights(claim, [source.node, *neighbours])
    own, quote = _best_sentence(source.node, weights)
    score, better, node = max(
        ((*_best_sentence(node, weights), node) for node in neighbours),
        key=lambda found: found[0],
        default=(0.0, "", None),
    )
    least = _SAME_WORDS if NodeView(source.node).is_page else _CLEARLY_BETTER
    if node is None or score <= least * own:
        return citation(number, source, quote)
    place = {key: node.metadata.get(key) for key in _PLACE}
    return citation(number, source, better, element=place)


def supporting_numbers(answer: str, sources: Sequence[NodeWithScore]) -> list[int]:
    """Find the source that supports an answer in which the LLM set no marker.

    Returns:
        The number of the source that holds most of the answer's content words, if it holds at least half.
    """
    wanted = set(content_tokens(answer))
    if not wanted:
        return []
    shares = [len(wanted.intersection(content_tokens(NodeView(source.node).text))) / len(wanted) for source in sources]
    best = max(range(len(shares)), key=shares.__getitem__, default=None)
    return [best + 1] if best is not None and shares[best] >= _SUPPORT else []


def _best_sentence(node: BaseNode, weights: Mapping[str, float]) -> tuple[float, str]:
    """Return the best sentence of a node and how much of a claim it holds; its first one when nothing is shared."""
    return max(
        ((_overlap(weights, each), each) for each in _sentences(node)), key=lambda found: found[0], default=(0.0, "")
    )


def _sentences(node: BaseNode) -> list[str]:
    """Return the sentences of a node and the rows of its tables."""
    return [part for block in NodeView(node).text.split("\n\n") for part in sentences_of(block)]


def _weights(claim: str, nodes: Sequence[BaseNode]) -> dict[str, float]:
    """Return what each word of a claim tells: more the fewer sentences have it, and double where it is a number."""
    wanted = set(content_tokens(claim))
    sentences = [wanted.intersection(content_tokens(each)) for node in nodes for each in _sentences(node)]
    found = Counter(token for each in sentences for token in each)
    return {
        token: math.log1p(len(sentences) / often) * (_NUMBERS_COUNT if token[0].isdigit() else 1)
        for token, often in found.items()
    }


def _overlap(weights: Mapping[str, float], sentence: str) -> float:
    tokens = content_tokens(sentence)
    # The square root keeps a long sentence from winning by its length alone.
    return sum(weights.get(token, 0.0) for token in set(tokens)) / math.sqrt(1 + len(tokens))


def _claims(answer: str) -> dict[int, str]:
    """Return, for each cited number, the words since the end of the sentence before."""
    claims: dict[int, str] = {}
    start = 0
    for match in MARKER.finditer(answer):
        before = MARKER.sub("", answer[start : match.start()])
        sentences = sentences_of(before)
        if sentences:
            start = match.end()
            claim = sentences[-1]
        else:
            # A second marker right after the first shares its claim.
            claim = next(reversed(claims.values()), "")
        for number in _numbers(match["list"]):
            claims.setdefault(number, claim)
    return claims


def _numbers(text: str) -> Iterable[int]:
    numbers: list[int] = []
    for match in _NUMBER_OR_RANGE.finditer(text):
        first = int(match["first"])
        last = int(match["last"] or first)
        numbers.extend(range(first, min(last, first + 50) + 1) if last >= first else [first])
    return numbers
