"""Citations: how sources get their ``[n]``, how those of an answer are read, and what each leads to.

1. :func:`number_texts` and :func:`number_messages` number the sources that an LLM reads.
2. :class:`MarkerFilter` normalises the ``[n]`` that it writes and drops those that refer to nothing.
3. :func:`answer_citations` finds the sentence, and so the box, that each ``[n]`` rests on.
4. :func:`attach_citations` writes each citation into its source node, because LlamaIndex's routers, sub-question
   engines and agents keep the source nodes of an answer and not its metadata. :func:`~.responses.citations_of` reads
   them back.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

from llama_index.core.base.llms.types import ChatMessage, ContentBlock, TextBlock
from llama_index.core.schema import BaseNode, NodeWithScore
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.elements import CITED_KEY
from llama_index_raganything.nodes import NodeView, box_of, page_number
from llama_index_raganything.query_engine.prompts import inert
from llama_index_raganything.text.sentences import sentences_of
from llama_index_raganything.text.terms import content_tokens

MARKER = re.compile(
    r"(?P<space>[ \t]*)[\[【［]\s*(?:sources?\s*)?\^?(?P<list>\d{1,3}(?:\s*(?:[,，、;]|[-–])\s*\^?\d{1,3})*)"
    r"\s*[\]】］]",
    re.IGNORECASE,
)
_OPEN_MARKER = re.compile(r"[ \t]*(?:[\[【［][^\]】］\n]{0,40})?$")
_NUMBER_OR_RANGE = re.compile(r"(?P<first>\d+)(?:\s*[-–]\s*\^?(?P<last>\d+))?")
_LONGEST_RANGE: Final = 50

_BEGINNING: Final = "Source [{}]:"
_END: Final = "End of source [{}]"
SOURCE_FRAME: Final = f"{_BEGINNING.format(10)}\n\n{_END.format(10)}\n\n"
"""What numbering adds to a source."""

SOURCE_NUMBER_KEY: Final = "source_number"
"""Where a message keeps the number of its source; 0 for what is no source."""

_FRAMING: Final = re.compile(r"(?P<word>\bsource[^\w:;,.()\n]{0,4})[\[【［](?=\W{0,3}\d)", re.IGNORECASE)
"""Begins as a frame does. What follows may be no citation, as "[0001]", and an LLM may still read it as one."""

_QUOTE_CHARS: Final = 400
_CLEARLY_BETTER: Final = 1.25
_NUMBER_WEIGHT: Final = 2
"""A claim is checked by its numbers; the words around them ("million EUR") are in many sentences."""

_SAME_WORDS: Final = 0.5
"""How near an element must come to the best sentence of its page, which may be cut otherwise and so be shorter."""

_SUPPORT: Final = 0.5
"""Share of an answer's content words that a source must hold to be cited where the LLM cited none."""

_PLACE_KEYS: Final = ("page", "page_label", "bbox", "section", "label", "asset", "content_type")


# -- numbers of sources ------------------------------------------------------------------------------------------------


def marker(number: int) -> str:
    """Return how an answer cites a source."""
    return f"[{number}]"


def number_texts(chunks: Sequence[str]) -> list[str]:
    """Frame each text by ``Source [n]:`` and ``End of source [n]``, the first being source 1.

    Bracketed numbers of its own get round brackets, so that no text can pass for another source.
    """
    return [
        f"{_BEGINNING.format(number)}\n{_unframed(chunk)}\n{_END.format(number)}"
        for number, chunk in enumerate(chunks, 1)
    ]


def number_messages(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Frame the blocks of each message as :func:`number_texts` frames texts.

    Args:
        messages: Messages with text and media blocks. A message keeps the number that it was given; 0 marks one that
            is no source. The others are numbered by their place, from 1.
    """
    numbered: list[ChatMessage] = []
    for place, message in enumerate(messages, 1):
        number = message.additional_kwargs.get(SOURCE_NUMBER_KEY, place)
        if not number:
            numbered.append(ChatMessage(role=message.role, blocks=message.blocks))
            continue
        blocks: list[ContentBlock] = [
            TextBlock(text=inert(_unframed(block.text))) if isinstance(block, TextBlock) else block
            for block in message.blocks
        ]
        # LlamaIndex (core 0.14.25) joins text blocks by spaces, which puts a table's rows on the lines of the frame.
        first, last = f"{_BEGINNING.format(number)}\n", f"\n{_END.format(number)}\n"
        begins = blocks[0] if blocks else None
        if isinstance(begins, TextBlock):
            first, blocks = f"{first}{begins.text}", blocks[1:]
        framed = [TextBlock(text=first), *blocks, TextBlock(text=last)] if blocks else [TextBlock(text=first + last)]
        numbered.append(ChatMessage(role=message.role, blocks=framed))
    return numbered


def _unframed(text: str) -> str:
    """Write the brackets of a source round where they could pass for a citation or for the frame of a source."""
    return _FRAMING.sub(r"\g<word>(", without_markers(text))


# -- markers of an answer ---------------------------------------------------------------------------------------------


class MarkerFilter:
    """Normalise the markers in a text that arrives in pieces, and drop those that refer to nothing.

    ``[1, 3]``, ``[1-3]``, ``【2】`` and ``[Source 2]`` become ``[1][3]`` and so on. Text is held back only
    while it may be the beginning of a marker.

    Args:
        size: Number of sources.

    Attributes:
        text: Everything returned so far.
        dropped: Numbers that referred to no source, in order.
    """

    def __init__(self, size: int) -> None:
        self.text = ""
        self.dropped: list[int] = []
        self._size = size
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take the next piece of text and return what is complete, with valid markers only."""
        ready = self._held + piece
        tail = _OPEN_MARKER.search(ready)
        cut = tail.start() if tail else len(ready)
        ready, self._held = ready[:cut], ready[cut:]
        return self._cleaned(ready)

    def close(self) -> str:
        """Return what was held back."""
        rest, self._held = self._held, ""
        return self._cleaned(rest)

    def _cleaned(self, text: str) -> str:
        cleaned = MARKER.sub(self._replace, text)
        self.text += cleaned
        return cleaned

    def _replace(self, match: re.Match[str]) -> str:
        numbers = _numbers(match["list"])
        valid = [number for number in numbers if 1 <= number <= self._size]
        self.dropped.extend(number for number in numbers if number not in valid)
        if not valid:
            return ""
        return match["space"] + "".join(map(marker, dict.fromkeys(valid)))


def cited_numbers(answer: str) -> list[int]:
    """Return the source numbers that an answer cites, each once, in order of first appearance."""
    found = (number for match in MARKER.finditer(answer) for number in _numbers(match["list"]))
    return list(dict.fromkeys(found))


def without_markers(text: str) -> str:
    """Write bracketed numbers of a source, which could pass for citations of the answer, in round brackets."""
    return MARKER.sub(lambda match: f"{match['space']}({match['list']})", text)


def _numbers(text: str) -> Iterable[int]:
    numbers: list[int] = []
    for match in _NUMBER_OR_RANGE.finditer(text):
        first = int(match["first"])
        last = int(match["last"] or first)
        numbers.extend(range(first, min(last, first + _LONGEST_RANGE) + 1) if last >= first else [first])
    return numbers


# -- what a marker leads to --------------------------------------------------------------------------------------------


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
        asset: Image of the element, below the folder of assets.
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


def citation(number: int, source: NodeWithScore, quote: str, *, element: BaseNode | None = None) -> dict[str, Any]:
    """Return what ``[number]`` leads to, as JSON knows it; see :class:`Citation`.

    Args:
        quote: Words of the source that the answer rests on.
        element: A node on the source's page whose place is more exact than the source's own.

    Returns:
        The fields of :class:`Citation` but ``answer``, with ``n`` for the number; None where the node does not say.
    """
    metadata = source.node.metadata
    place = {key: (element or source.node).metadata.get(key) for key in _PLACE_KEYS}
    place["bbox"] = list(box) if (box := box_of(place["bbox"])) else None
    return {
        "n": number,
        "node_id": source.node.node_id,
        "doc_id": NodeView(source.node).document_id or None,
        "file_name": metadata.get("file_name"),
        "source": metadata.get("source") or metadata.get("file_path"),
        **place,
        "quote": quote[:_QUOTE_CHARS],
    }


def answer_citations(
    answer: str, sources: Sequence[NodeWithScore], neighbours: Mapping[int, Sequence[BaseNode]] | None = None
) -> list[dict[str, Any]]:
    """Return the citations of an answer that an LLM wrote.

    Args:
        answer: An answer whose markers are valid.
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
    return citation(number, source, better, element=node)


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
    """Weight the words of a claim: the fewer sentences have one, the more it counts, and a number counts double.

    Plain ln(1 + N / n) and not BM25's IDF, which is near 0 for a word that most of a few sentences have.
    """
    wanted = set(content_tokens(claim))
    sentences = [wanted.intersection(content_tokens(each)) for node in nodes for each in _sentences(node)]
    found = Counter(token for each in sentences for token in each)
    return {
        token: math.log1p(len(sentences) / often) * (_NUMBER_WEIGHT if token[0].isdigit() else 1)
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


# -- citations in source nodes -----------------------------------------------------------------------------------------


def citable_copies(sources: Iterable[NodeWithScore]) -> list[NodeWithScore]:
    """Return copies of source nodes without citations of earlier answers; the retrieved nodes stay as they are."""
    return [NodeWithScore(node=_carrier(scored), score=scored.score) for scored in sources]


def attach_citations(sources: Sequence[NodeWithScore], citations: Sequence[Mapping[str, Any]], answer: str) -> None:
    """Write each citation into the metadata of its source node, where no model sees it.

    Args:
        sources: Copies made by :func:`citable_copies`, the first being ``[1]``.
        citations: The citations of one answer.
        answer: Its text, which separates its citations from those of another answer.
    """
    content = json.dumps([answer, list(citations)], ensure_ascii=False, sort_keys=True, default=str)
    name = hashlib.sha256(content.encode()).hexdigest()[:12]
    for each in citations:
        record = {"of": name, "citation": dict(each)}
        sources[each["n"] - 1].node.metadata[CITED_KEY] = json.dumps(record, ensure_ascii=False, default=str)


def _carrier(scored: NodeWithScore) -> Any:
    node = scored.node
    update: dict[str, Any] = {"metadata": {key: value for key, value in node.metadata.items() if key != CITED_KEY}}
    for name in ("excluded_llm_metadata_keys", "excluded_embed_metadata_keys"):
        update[name] = [*(key for key in getattr(node, name) if key != CITED_KEY), CITED_KEY]
    return node.model_copy(update=update)


def attached_citations(nodes: Sequence[NodeWithScore]) -> list[list[Citation]]:
    """Return the citations in source nodes, one list per answer, in the order of its numbers."""
    answers: dict[str, dict[int, Citation]] = {}
    for scored in nodes:
        try:
            record = json.loads(scored.node.metadata.get(CITED_KEY) or "null")
            found = Citation.model_validate(record["citation"])
            answers.setdefault(str(record["of"]), {}).setdefault(found.number, found)
        except (ValueError, TypeError, KeyError, ValidationError):
            # None, or what somebody else wrote there.
            continue
    return [[found[number] for number in sorted(found)] for found in answers.values()]
