import pytest

from llama_index_raganything.text.terms import content_tokens, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The Pumps were running", ["the", "pump", "were", "run"]),
        ("FY2022: 1,234.50 and 3.2", ["fy", "2022", "1234.50", "and", "3.2"]),
        ("图像检索", ["图像", "像检", "检索"]),
        ("图 2", ["图", "2"]),
        ("Größe café", ["größe", "café"]),
        ("ﬁnance", ["financ"]),
        ("acqui\x02\r\nsition", ["acquisit"]),
        ("", []),
        ("\ud800 \x00", []),
    ],
)
def test_tokens(text, tokens):
    assert tokenize(text) == tokens


def test_stop_words_are_no_content():
    assert content_tokens("What is the pump?") == ["what", "pump"]
