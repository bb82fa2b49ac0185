r"""``EquationWords``: equations spelled out in words, so that they can be searched; no model is needed.

LaTeX is parsed by ``latex2mathml`` (MIT) into presentation MathML, whose few elements are read aloud much as MathSpeak
does (https://www.w3.org/TR/mathml-aam-1.0/ names the elements). LaTeX that does not parse is read token by token.

>>> latex_to_words(r"E = m c^2")
'E equals m c squared'
>>> latex_to_words(r"\frac{a}{b} \le \sqrt{\alpha}")
'a over b less than or equal to square root of alpha'
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Final

from llama_index.core.schema import BaseNode, TextNode
from pydantic import Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.enrich.base import ElementNodes, ElementProcessor
from llama_index_raganything.enrich.describers.base import with_text
from llama_index_raganything.node_parser.chunking import MAX_TEXT_BYTES, split_bytes
from llama_index_raganything.nodes import NodeView

MAX_LATEX_CHARS: Final = 4000
"""Maximum characters of an equation that is parsed; longer ones are read token by token."""

MAX_DEPTH: Final = 40
"""Levels of braces, environments and ``\\left`` that are parsed; deeper equations are read token by token."""

MAX_WORDS_CHARS: Final = 8000
"""Maximum characters of the words of one equation."""

WORDS_PREFIX: Final = "In words: "
"""Precedes the words in the text of a node."""

_SYMBOLS: Final = {
    "=": "equals", "+": "plus", "-": "minus", "−": "minus", "×": "times", "·": "times", "⋅": "times", "∗": "star",
    "*": "star", "/": "over", "÷": "divided by", "<": "less than", ">": "greater than",
    "≤": "less than or equal to", "⩽": "less than or equal to", "≥": "greater than or equal to",
    "⩾": "greater than or equal to", "≪": "much less than", "≫": "much greater than", "≠": "not equal to",
    "≈": "approximately equal to", "≃": "approximately equal to", "≅": "congruent to", "≡": "identical to",
    "∼": "similar to", "~": "similar to", "∝": "proportional to", "±": "plus or minus", "∓": "minus or plus",
    "∑": "sum", "∏": "product", "∫": "integral", "∬": "double integral", "∭": "triple integral",
    "∮": "contour integral", "∂": "partial", "∇": "gradient", "∞": "infinity", "→": "to", "⟶": "to",
    "↦": "maps to", "⇒": "implies", "⟹": "implies", "⇔": "if and only if", "⟺": "if and only if",
    "←": "gets", "∈": "in", "∉": "not in", "⊂": "subset of", "⊆": "subset of", "⊃": "superset of",
    "∪": "union", "∩": "intersection", "⋃": "union", "⋂": "intersection", "∀": "for all", "∃": "there exists",
    "∧": "and", "∨": "or", "¬": "not", "∅": "empty set", "∘": "composed with", "⊗": "tensor product",
    "⊕": "direct sum", "†": "dagger", "′": "prime", "″": "double prime", "°": "degrees", "%": "percent",
    "|": "|", "∣": "|", "‖": "norm", "∥": "norm", "…": "...", "⋯": "...", "⋮": "...", "⋱": "...", "ℏ": "h bar",
    "&": "", ":": ":", "lim": "limit", "max": "maximum", "min": "minimum", "ln": "natural logarithm",
    "log": "logarithm", "exp": "exponential", "sin": "sine", "cos": "cosine", "tan": "tangent",
}  # fmt: skip
_PLAIN: Final = frozenset("()[]{},;.!?")
_LARGE: Final = frozenset("∑∏∫∬∭∮⋃⋂⨁⨂⋁⋀")
_LIMITS: Final = frozenset({"lim", "max", "min", "sup", "inf", "argmax", "argmin", "arg max", "arg min"})
_ACCENTS: Final = {
    "^": "hat", "ˆ": "hat", "̂": "hat", "¯": "bar", "‾": "bar", "―": "bar", "_": "bar", "\u0305": "bar",
    "→": "vector", "⃗": "vector", "˙": "dot", ".": "dot", "¨": "double dot", "~": "tilde", "˜": "tilde",
    "ˇ": "check", "´": "acute", "⏞": "", "⏟": "",
}  # fmt: skip
_POWERS: Final = {"2": "squared", "3": "cubed", "′": "prime", "″": "double prime", "∗": "star", "*": "star",
                  "∘": "degrees", "†": "dagger", "⊤": "transpose"}  # fmt: skip
_COMMANDS: Final = {
    "cdot": "times", "times": "times", "pm": "plus or minus", "le": "less than or equal to",
    "leq": "less than or equal to", "ge": "greater than or equal to", "geq": "greater than or equal to",
    "ne": "not equal to", "neq": "not equal to", "approx": "approximately equal to", "sum": "sum", "prod": "product",
    "int": "integral", "partial": "partial", "nabla": "gradient", "infty": "infinity", "to": "to", "in": "in",
    "sqrt": "square root of", "frac": "fraction", "lim": "limit", "log": "logarithm", "ln": "natural logarithm",
}  # fmt: skip
_SILENT: Final = frozenset(
    {"left", "right", "big", "Big", "bigg", "Bigg", "begin", "end", "text", "mathrm", "mathbf", "mathit", "mathcal",
     "mathbb", "mathsf", "operatorname", "quad", "qquad", "displaystyle", "limits", "nolimits", "label", "tag",
     "nonumber", "hline"}
)  # fmt: skip
_TOKEN = re.compile(r"\\([A-Za-z]+)|([A-Za-z]+|\d+(?:[.,]\d+)*)|\\.|([^\s{}\\])", re.DOTALL)
_OPENERS = re.compile(r"\\left\b|\\begin\b|(?<!\\)\{")
_CLOSERS = re.compile(r"\\right\b|\\end\b|(?<!\\)\}")
_NESTING = re.compile(rf"({_OPENERS.pattern})|({_CLOSERS.pattern})")
_BARE_SCRIPTS = re.compile(r"(?:[\^_]\s*|\\(?:sqrt|frac|hat|bar|vec|overline|not)\s*){8,}")
# These number their lines, with unknown numbers.
_ALIGNED = re.compile(r"\\(begin|end)\{(?:aligned|align|eqnarray|gather|multline|split)\*?\}")
_RELATIONS: Final = frozenset("=<>≤≥≈≠≡∼∝→⇒")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|(?<![\\$])\$([^$]+?)\$(?!\$)", re.DOTALL)
_SPACE_BEFORE = re.compile(r"\s+([),;.!?\]}])")
_SPACE_AFTER = re.compile(r"([(\[{])\s+")


def latex_to_words(latex: str) -> str:
    r"""Return an equation in English words.

    Args:
        latex: LaTeX, with or without dollar signs.

    Returns:
        One line such as ``"sum from i equals 1 to n of x sub i"``; empty for an empty equation. LaTeX that does not
        parse, exceeds :data:`MAX_LATEX_CHARS` or is nested deeper than :data:`MAX_DEPTH` is read token by token.
    """
    source = latex.strip().strip("$").strip()
    source = source.removeprefix("\\[").removesuffix("\\]").strip()
    if not source:
        return ""
    words = _parsed_words(_ALIGNED.sub(r"\\\1{matrix}", source)) if _is_bounded(source) else ""
    return (words or _token_words(source[:MAX_LATEX_CHARS]))[:MAX_WORDS_CHARS]


@strict_arguments
class EquationWords(ElementProcessor):
    r"""Add equations in words to the text of their nodes, below the LaTeX; no model is needed.

    >>> from llama_index.core.schema import TextNode
    >>> node = TextNode(text="$$\nE = m c^2\n$$", metadata={"content_type": "equation"})
    >>> EquationWords()([node])[0].text
    '$$\nE = m c^2\n$$\n\nIn words: E equals m c squared'

    Args:
        content_types: Content types of the nodes that are read.
    """

    content_types: tuple[str, ...] = Field(default=("equation",), description="Content types that are processed.")

    def _process_element(self, element: ElementNodes) -> Sequence[BaseNode]:
        return [_with_words(part) for part in element.parts]


def _with_words(node: BaseNode) -> BaseNode:
    text = NodeView(node).text
    match = _FORMULA.search(text)
    # A second run changes nothing, nor does a text that already has the words.
    if not isinstance(node, TextNode) or match is None or WORDS_PREFIX in text:
        return node
    words = latex_to_words(next(group for group in match.groups() if group))
    room = MAX_TEXT_BYTES - len(text.encode("utf-8", "replace")) - len(WORDS_PREFIX) - 4
    if not words or room <= 0:
        return node
    words = split_bytes(words, room)[0]
    rest = text[match.end() :].lstrip("\n")
    return with_text(node, "\n\n".join(part for part in (text[: match.end()], WORDS_PREFIX + words, rest) if part))


def _is_bounded(source: str) -> bool:
    if len(source) > MAX_LATEX_CHARS or _BARE_SCRIPTS.search(source):
        return False
    depth = deepest = 0
    for match in _NESTING.finditer(source):
        depth += 1 if match[1] else -1
        deepest = max(deepest, depth)
    return deepest <= MAX_DEPTH


def _parsed_words(source: str) -> str:
    from latex2mathml.converter import convert_to_element

    try:
        return _tidy(_read(convert_to_element(source)))
    # The parser raises its own errors, and IndexError, StopIteration and others on broken input.
    except Exception:  # noqa: BLE001
        return ""


def _token_words(source: str) -> str:
    words: list[str] = []
    for command, word, sign in _TOKEN.findall(source):
        if command and command not in _SILENT:
            words.append(_COMMANDS.get(command, command))
        elif word:
            words.append(word)
        elif sign and sign not in "&^_":
            words.append(_symbol(sign))
        elif sign == "^":
            words.append("to the power of")
        elif sign == "_":
            words.append("sub")
    return _tidy(" ".join(words))


def _tidy(words: str) -> str:
    line = " ".join(words.split())
    return _SPACE_AFTER.sub(r"\1", _SPACE_BEFORE.sub(r"\1", line))


def _read(element: Any) -> str:
    reader, parts = _READERS.get(element.tag, (None, 0))
    if reader is not None and parts in {0, len(element)}:
        return reader(element, *element) if parts else reader(element)
    if len(element):
        return " ".join(_read(child) for child in element)
    # The parser passes on commands that it does not know.
    return _symbol(_text(element).lstrip("\\"))


def _text(element: Any) -> str:
    # The converter writes character references into the text, not characters.
    return unicodedata.normalize("NFKC", html.unescape(element.text or "")).strip()


def _symbol(text: str) -> str:
    """Return the words of one token."""
    if text in _SYMBOLS:
        return _SYMBOLS[text]
    if len(text) != 1 or text.isascii() or text in _PLAIN:
        return text
    name = unicodedata.name(text, "")
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)|GREEK (\w+) SYMBOL", name)
    if greek:
        letter = (greek[2] or greek[3]).lower().replace("lamda", "lambda")
        return letter.capitalize() if greek[1] == "CAPITAL" else letter
    if unicodedata.category(text) in {"Sm", "So"}:
        return name.lower().removesuffix(" sign").removesuffix(" operator")
    return "" if unicodedata.category(text) in {"Cf", "Cc", "Zs"} else text


def _group(element: Any) -> str:
    """Return the words of a part, in parentheses when it has several tokens."""
    words = _read(element)
    leaves = [leaf for leaf in element.iter() if not len(leaf) and _text(leaf)]
    return f"({words})" if len(leaves) > 1 and not words.startswith("(") else words


def _fraction(element: Any, above: Any, below: Any) -> str:
    word = "choose" if element.get("linethickness") in {"0", "0px", "0pt"} else "over"
    return f"{_group(above)} {word} {_group(below)}"


def _power(base: str, exponent: Any) -> str:
    words = _POWERS.get("".join(_text(leaf) for leaf in exponent.iter() if not len(leaf)))
    return f"{base} {words}" if words else f"{base} to the power of {_group(exponent)}"


def _superscript(_: Any, base: Any, above: Any) -> str:
    return f"{_read(base)} to {_read(above)} of" if _is_large(base) else _power(_group(base), above)


def _subscript(_: Any, base: Any, below: Any) -> str:
    name = "".join(_text(leaf) for leaf in base.iter() if not len(leaf))
    if _is_large(base) or name in _LIMITS:
        return f"{_read(base)} {'as' if name == 'lim' else 'over'} {_read(below)} of"
    return f"{_read(base)} sub {_group(below)}"


def _both_scripts(_: Any, base: Any, below: Any, above: Any) -> str:
    if _is_large(base):
        return f"{_read(base)} from {_read(below)} to {_read(above)} of"
    return _power(f"{_read(base)} sub {_group(below)}", above)


def _is_large(element: Any) -> bool:
    return _text(element) in _LARGE


def _accent(element: Any, base: Any, above: Any) -> str:
    accent = html.unescape(above.text or "").strip()
    return f"{_read(base)} {_ACCENTS[accent]}" if accent in _ACCENTS else _superscript(element, base, above)


def _square_root(element: Any) -> str:
    return f"square root of {_group(element[0]) if len(element) == 1 else ' '.join(map(_read, element))}"


def _root(_: Any, inner: Any, index: Any) -> str:
    degree = _read(index)
    return f"{'cube' if degree == '3' else f'{degree}-th'} root of {_group(inner)}"


def _table(element: Any) -> str:
    return "; ".join(filter(None, (_cells(row) for row in element)))


def _cells(row: Any) -> str:
    words = ""
    for cell in row:
        first = next((_text(leaf) for leaf in cell.iter() if not len(leaf) and _text(leaf)), "")
        joint = " " if first in _RELATIONS else ", "
        read = _tidy(_read(cell))
        words += (joint if words else "") + read if read else ""
    return words


_READERS: Final[dict[str, tuple[Callable[..., str], int]]] = {
    "mfrac": (_fraction, 2),
    "msup": (_superscript, 2),
    "msub": (_subscript, 2),
    "msubsup": (_both_scripts, 3),
    "munderover": (_both_scripts, 3),
    "munder": (_subscript, 2),
    "mover": (_accent, 2),
    "msqrt": (_square_root, 0),
    "mroot": (_root, 2),
    "mtable": (_table, 0),
    "mspace": (lambda _: " ", 0),
    "mtext": (lambda element: html.unescape(element.text or "").replace("\u00a0", " "), 0),
}
"""What reads each tag, and of how many parts; 0 for any number."""
