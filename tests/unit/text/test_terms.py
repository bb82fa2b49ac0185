import pytest

from llama_index_raganything.text.terms import content_tokens, keyword_terms, query_terms, tokenize


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


@pytest.mark.parametrize(
    "text", ["The Dogs, running 3.5!", "图像检索 mixed with English", "café naïve", "1,234 İstanbul ٣"]
)
def test_terms_are_words_that_no_analyser_splits(text):
    terms = keyword_terms(text)

    assert terms
    assert all(term.isascii() and term.replace("_", "a").isalnum() for term in terms.split(" "))


def test_terms_of_query_and_text_agree():
    text = keyword_terms("The runners were running; 图像检索系统, about 1,234.5 café").split()

    for question in ("run", "检索", "1234.5", "CAFÉ"):
        assert set(query_terms(question).split()) <= set(text)


def test_chinese_terms_are_pairs():
    assert len(keyword_terms("图像检索").split()) == 3
    assert set(query_terms("像检").split()) <= set(keyword_terms("图像检索").split())


def test_query_leaves_out_words_that_say_nothing():
    assert query_terms("the cat and the dog") == "cat dog"
    assert query_terms("to be or not to be").split()[:2] == ["to", "be"]
    assert query_terms("?!") == ""


def test_terms_are_cut_between_words():
    terms = keyword_terms("word " * 20_000, 65_535)

    assert len(terms) <= 65_535
    assert set(terms.split()) == {"word"}
