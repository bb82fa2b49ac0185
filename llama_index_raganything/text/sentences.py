"""Sentence boundaries for Latin and CJK text, without a model or data files.

LlamaIndex's default is NLTK's Punkt, which knows no Chinese and whose data files fail to open
when an installer hard-links them (run-llama/llama_index#22839).
"""

from __future__ import annotations

import re
from typing import Final

_END = re.compile(
    r"(?P<cjk>[。！？；]+[」』”’）】]*)"
    # Each only from the first character of its kind on, or rows of ten thousand dots or blanks take minutes.
    r"|(?P<latin>(?<![.!?…])[.!?…]++[\"'”’)\]]*+)(?=\s|$)"
    r"|(?P<blank>(?<!\s)\s*\n\s*\n\s*)"
    r"|(?P<item>\n(?=\s*(?:[-*•●▪‣–·]\s|\(?\d{1,3}[.)]\s|[|#])))"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:"
    r"[A-Za-z]"  # initials and list letters: "J. Smith", "p. 4"
    r"|(?:[A-Za-z]\.)+[A-Za-z]"  # U.S., e.g., i.e.
    r"|al|approx|cf|ch|chap|co|corp|dept|dr|ed|eds|eq|eqs|est|etc|ex|fig|figs|inc|jr|ltd|max|min|mr|mrs|ms|mt"
    r"|no|nos|op|pp|prof|ref|refs|resp|sec|sect|sr|st|suppl|tab|vol|vols|vs|viz|jan|feb|mar|apr|jun|jul|aug|sep|sept"
    r"|oct|nov|dec"
    r")$",
    re.IGNORECASE,
)
_OPENER = re.compile(r"\s+[\"'“‘(\[¿¡]*(?P<first>\S)")
_LONGEST_ABBREVIATION: Final = 12


def split_sentences(text: str) -> list[str]:
    """Cut a text into sentences that, joined, give the text again.

    Returns:
        Sentences with the white space that follows them; empty for an empty text.
    """
    starts = [0]
    for match in _END.finditer(text):
        if match.lastgroup == "latin" and not _ends_sentence(text, match):
            continue
        end = match.end()
        while end < len(text) and text[end].isspace():
            end += 1
        if starts[-1] < end < len(text):
            starts.append(end)
    stops = [*starts[1:], len(text)]
    return [text[start:stop] for start, stop in zip(starts, stops, strict=True) if stop > start]


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text, trimmed and with white space made single.

    Returns:
        Sentences with at least one letter or digit.
    """
    trimmed = (" ".join(sentence.split()) for sentence in split_sentences(text))
    return [sentence for sentence in trimmed if any(char.isalnum() for char in sentence)]


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    opener = _OPENER.match(text, match.end())
    if opener is None:
        return True
    first = opener["first"]
    if first.islower():
        return False
    if match["latin"] != ".":
        return True
    before = text[max(0, match.start() - _LONGEST_ABBREVIATION) : match.start()]
    return _ABBREVIATION.search(before) is None
