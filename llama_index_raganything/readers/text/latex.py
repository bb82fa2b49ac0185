r"""LaTeX sources to elements, lightly: sections, paragraphs, displayed equations, listings and captions.

Macros are not expanded and ``\input`` is not followed; whatever is not known keeps its words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from llama_index_raganything.elements import Element, label_of
from llama_index_raganything.readers.common.html_tables import rows_to_markdown
from llama_index_raganything.readers.text.prose import parse_prose

_LEVELS: Final = {
    "title": 1,
    "part": 1,
    "chapter": 1,
    "section": 2,
    "subsection": 3,
    "subsubsection": 4,
    "paragraph": 5,
}
_BRACED: Final = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"
_HEADING = re.compile(r"\\(" + "|".join(_LEVELS) + r")\*?(?:\[[^\]]*\])?\s*" + _BRACED)
_MAX_UNCLOSED: Final = 100
_COMMENT = re.compile(r"(?<!\\)%.*")
_ENVIRONMENT = re.compile(
    r"\\begin\{(equation|align|gather|multline|eqnarray|displaymath|lstlisting|verbatim|minted|tabular[x*]?|longtable)\*?\}"
    r"(.*?)\\end\{\1\*?\}|\\\[(.*?)\\\]|\$\$(.*?)\$\$",
    re.DOTALL,
)
_CAPTION = re.compile(r"\\caption(?:\[[^\]]*\])?" + _BRACED)
_CODE: Final = frozenset({"lstlisting", "verbatim", "minted"})
_DROPPED = re.compile(
    r"\\(?:begin|end|label|cite\w*|ref|eqref|autoref|bibliography\w*|usepackage|documentclass|includegraphics|input"
    r"|include|vspace|hspace|pagestyle|newcommand|renewcommand|setlength|centering|maketitle)\*?(?:\[[^\]]*\])*(?:\{[^{}]*\})*"
)
_COMMAND = re.compile(r"\\[a-zA-Z]+\*?(?:\[[^\]]*\])?")
_ESCAPED = re.compile(r"\\([%&$#_{}])")
_RULES = re.compile(r"\\(?:hline|toprule|midrule|bottomrule|cline\{[^}]*\}|cmidrule(?:\([^)]*\))?\{[^}]*\})")
_MULTICOLUMN = re.compile(r"\\multi(?:column|row)\s*\{[^{}]*\}\s*\{[^{}]*\}\s*" + _BRACED)


def parse_latex(text: str) -> list[Element]:
    """Turn a LaTeX source into elements.

    Returns:
        The elements in order.
    """
    if text.count("\\begin{") > 2 * text.count("\\end{") + _MAX_UNCLOSED:
        # Looking for the end of thousands of unclosed environments takes too long; this is no LaTeX.
        return parse_prose(text)
    text = "\n".join(_COMMENT.sub("", line) for line in text.split("\n"))
    title = _HEADING.search(text) if "\\title" in text else None
    _, begun, body = text.partition("\\begin{document}")
    elements = list(_pieces(body.partition("\\end{document}")[0] if begun else text))
    if begun and title is not None and title[1] == "title" and title[0] not in body:
        elements.insert(0, Element(type="heading", text=_plain(title[2]), level=1))
    return elements


def _pieces(text: str) -> Iterator[Element]:
    start = 0
    for match in _ENVIRONMENT.finditer(text):
        yield from _prose(text[start : match.start()])
        yield from _environment(match)
        start = match.end()
    yield from _prose(text[start:])


def _environment(match: re.Match[str]) -> Iterator[Element]:
    name = match[1] or "equation"
    body = (match[2] or match[3] or match[4] or "").strip()
    if not body:
        return
    if name in _CODE:
        yield Element(type="code", text=body)
    elif name.startswith(("tabular", "longtable")):
        rows = _rows(body)
        if rows:
            yield Element(type="table", text=rows_to_markdown(rows, 1), rows=rows)
    else:
        yield Element(type="equation", text=re.sub(r"\\label\{[^}]*\}", "", body).strip())


def _rows(body: str) -> list[list[str]]:
    body = re.sub(r"^\s*(?:\{[^{}]*\}\s*)?(?:\[[^\]]*\]\s*)?\{(?:[^{}]|\{[^{}]*\})*\}", "", body)
    body = _MULTICOLUMN.sub(r"\1", _RULES.sub("", body))
    lines = (re.split(r"(?<!\\)&", line) for line in re.split(r"\\\\(?:\[[^\]]*\])?", body) if line.strip())
    rows = [[" ".join(_plain(cell).split()) for cell in line] for line in lines]
    rows = [row for row in rows if any(row)]
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]


def _prose(text: str) -> Iterator[Element]:
    start = 0
    for match in _HEADING.finditer(text):
        yield from _paragraphs(text[start : match.start()])
        yield Element(type="heading", text=_plain(match[2]), level=_LEVELS[match[1]])
        start = match.end()
    yield from _paragraphs(text[start:])


def _paragraphs(text: str) -> Iterator[Element]:
    for paragraph in re.split(r"\n\s*\n", text):
        caption = _CAPTION.search(paragraph)
        words = _plain(_CAPTION.sub("", paragraph) if caption else paragraph)
        if caption:
            caption_text = _plain(caption[1])
            yield Element(type="text", text=caption_text, label=label_of(caption_text), subtype="caption")
        if words:
            is_list = "\\item" in paragraph
            yield Element(type="list" if is_list else "text", text=words)


def _plain(text: str) -> str:
    """Strip commands and keep their words; inline mathematics stays as it is."""
    parts = re.split(r"(?<!\\)(\$[^$]*\$)", text)
    parts[::2] = [_words(part) for part in parts[::2]]
    lines = (" ".join(line.split()) for line in "".join(parts).split("\x1e"))
    return "\n".join(line for line in lines if line)


def _words(text: str) -> str:
    text = text.replace("\\item", "\x1e- ").replace("\\\\", " ").replace("~", " ")
    text = _COMMAND.sub("", _DROPPED.sub(" ", text))
    text = _ESCAPED.sub("\x00\\1", text).replace("{", "").replace("}", "")
    return text.replace("\x00", "").replace("``", '"').replace("''", '"')
