"""Formulas in words: what they say, what broken ones become, and where the words go."""

import time

import pytest
from llama_index.core.schema import TextNode

from llama_index_raganything.elements import DESCRIPTION_KEY
from llama_index_raganything.enrich.equation_words import MAX_WORDS_CHARS, EquationWords, latex_to_words


@pytest.mark.parametrize(
    ("latex", "words"),
    [
        ("E = m c^2", "E equals m c squared"),
        (r"$$\frac{a+b}{c}$$", "(a plus b) over c"),
        (r"\sum_{i=1}^{n} x_i^3", "sum from i equals 1 to n of x sub i cubed"),
        (r"\int_0^\infty e^{-x} dx", "integral from 0 to infinity of e to the power of (minus x) d x"),
        (r"\alpha \le \sqrt{\Omega}", "alpha less than or equal to square root of Omega"),
        (r"\lim_{x\to 0} f(x)", "limit as x to 0 of f (x)"),
        (r"\sqrt[3]{x} \ne \hat{y}", "cube root of x not equal to y hat"),
        (r"\begin{align} a &= b \\ c &= d \end{align}", "a equals b; c equals d"),
        (r"\begin{pmatrix}a&b\\c&d\end{pmatrix}", "(a, b; c, d)"),
        (r"\mathbf{x} \in \mathbb{R}", "x in R"),
        (r"\text{profit} = \unknown", "profit equals unknown"),
        ("利润 = 收入", "利 润 equals 收 入"),
        ("", ""),
        ("$$ $$", ""),
    ],
)
def test_words_of_formulas(latex, words):
    assert latex_to_words(latex) == words


@pytest.mark.parametrize(
    "latex",
    [r"\frac{a", r"\left( x", "}{", "\\", r"\begin{matrix} a", "x^^2", "&&", r"\sqrt[", "\x00a\ud800", r"\end{x} y"],
)
def test_what_does_not_parse_gives_a_line_of_tokens(latex):
    words = latex_to_words(latex)
    assert "\n" not in words
    for letter in "axy":
        if letter in latex.replace("frac", "").replace("matrix", "").replace("\\end{x}", "").replace("left", ""):
            assert letter in words


@pytest.mark.parametrize(
    "latex", ["{" * 3000, "\\frac" * 800, "x^" * 2000, "\\sqrt{" * 3000 + "}" * 3000, "\\left(" * 2000, "^" * 100_000]
)
def test_hostile_nesting_costs_neither_time_nor_an_exception(latex):
    start = time.process_time()
    assert len(latex_to_words(latex)) <= MAX_WORDS_CHARS
    assert time.process_time() - start < 2


def test_deep_nesting_keeps_its_symbols():
    assert latex_to_words("\\sqrt{" * 60 + "z" + "}" * 60).endswith("z")


def test_words_stand_under_the_latex_and_a_second_run_changes_nothing():
    text = "Equation 1\n\n$$\nE = m c^2\n$$\n\nwhere c is the speed of light."
    node = TextNode(text=text, id_="a", metadata={"content_type": "equation", "doc_id": "d"})
    (made,) = EquationWords()([node])
    assert made.text == (
        "Equation 1\n\n$$\nE = m c^2\n$$\n\nIn words: E equals m c squared\n\nwhere c is the speed of light."
    )
    assert (made.metadata, made.node_id, node.text) == (node.metadata, "a", text)
    assert EquationWords()([made])[0].text == made.text


def test_other_nodes_and_formulas_without_delimiters_stay():
    nodes = [
        TextNode(text="$$x$$", metadata={"content_type": "text"}),
        TextNode(text="no formula at all, costs 5$", metadata={"content_type": "equation"}),
    ]
    assert EquationWords()(nodes) == nodes


def test_a_text_at_the_limit_of_bytes_stays_within_it():
    node = TextNode(text="$$x+1$$\n\n" + "a" * 65_500, metadata={"content_type": "equation"})
    (made,) = EquationWords()([node])
    assert len(made.text.encode()) <= 65_535


async def test_async_gives_the_same():
    node = TextNode(text="$$x$$", metadata={"content_type": "equation"})
    assert [n.text for n in await EquationWords().acall([node])] == ["$$x$$\n\nIn words: x"]


def test_marks_of_what_a_model_said_move_along():
    text = "$$x + 1$$\n\nThe successor of x."
    node = TextNode(text=text, metadata={"content_type": "equation", DESCRIPTION_KEY: "11:30"})
    (made,) = EquationWords()([node])
    start, end = map(int, made.metadata[DESCRIPTION_KEY].split(":"))
    assert made.text[start:end] == "The successor of x." == text[11:30]
