from __future__ import annotations

import pytest

from llama_index_raganything.elements import labels_in
from llama_index_raganything.text.sentences import sentences_of, split_sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        (
            "See Fig. 3 and Sec. 4.2 by Dr. Smith et al. They agree.",
            ["See Fig. 3 and Sec. 4.2 by Dr. Smith et al. They agree."],
        ),
        ("It rose 4.2 % in the U.S. market. Then it fell.", ["It rose 4.2 % in the U.S. market.", "Then it fell."]),
        ("He said “no.” She left.", ["He said “no.”", "She left."]),
        ("e.g. this one. Next", ["e.g. this one.", "Next"]),
        ("第一句。第二句！第三句？", ["第一句。", "第二句！", "第三句？"]),
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("A paragraph\n\nAnother", ["A paragraph", "Another"]),
        ("Items:\n- one\n- two", ["Items:", "- one", "- two"]),
        ("Version 2.0 is out. v3 follows.", ["Version 2.0 is out. v3 follows."]),
        ("", []),
        ("...", []),
    ],
)
def test_sentences(text, expected):
    assert sentences_of(text) == expected


@pytest.mark.parametrize(
    "text", ["", " ", "One. Two.\n\n\nThree", "。。。！！", "a\nb\n- c\n1. d", "\ud7ff. \u2028x", ". " * 1000]
)
def test_the_pieces_give_the_text_again(text):
    assert "".join(split_sentences(text)) == text


def test_a_long_text_takes_linear_time():
    assert len(split_sentences("One two three. " * 50_000)) == 50_000
    assert split_sentences("." * 500_000)
    assert split_sentences(" \n" * 200_000)
    for row in (".", "!", " ", '."', ".x", " \t"):
        assert split_sentences("a" + row * 200_000 + "b")
        assert split_sentences("a\n" + row * 200_000 + "b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("as Fig. 3 shows", {"Figure 3"}),
        ("in Figures 3 and 4", {"Figure 3", "Figure 4"}),
        ("Tables A.2 & A.3", {"Table A.2", "Table A.3"}),
        ("(see Eq. (5))", {"Equation 5"}),
        ("如图 2 和表3 所示", {"图 2", "表 3"}),
        ("见表一、图十二和表二十。", {"表 1", "图 12", "表 20"}),
        ("代表一个，发表二次，图一般，表一百", set()),
        ("configure 3 tablets", set()),
        ("nothing", set()),
    ],
)
def test_labels_in_running_text(text, expected):
    assert labels_in(text) == expected
