"""Names as they are compared, and candidates for names in running text."""

import pytest

from llama_index_raganything.graph.names import MAX_NAME_CHARS, candidates_of, name_key, words_of


def candidates(text, *, whole):
    return {item.key for item in candidates_of(text, words_of(text)) if item.whole == whole}


@pytest.mark.parametrize(
    ("surface", "key"),
    [
        ("The Beatles'", "beatles"),
        ("Thelma & Louise", "thelma louise"),
        ("Thelma and Louise", "thelma louise"),
        ("Spider-Man", "spider man"),
        ("Żuławski", "zuławski"),
        ("ＡＢＣ　株式会社", "abc 株式会社"),
        ("and", "and"),
        ("", ""),
        ("...", ""),
    ],
)
def test_spellings_of_one_name_have_one_key(surface, key):
    assert name_key(surface) == key


def test_a_key_has_a_length():
    assert len(name_key("Word " * 10_000)) <= MAX_NAME_CHARS


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("He met Barack Obama in New York City.", {"barack obama", "new york city"}),
        ("She read “The Lord of the Rings” twice.", {"lord of rings", "lord of the rings"}),
        ("It was written by J. K. Rowling.", {"j k rowling"}),
        ("他读过《红楼梦》。", {"红楼梦"}),
        ("The committee met on Monday.", set()),
        ("nothing here at all", set()),
        ("", set()),
    ],
)
def test_the_longest_spans_are_found(text, names):
    found = candidates(text, whole=True)
    assert (found & names) if names else not found


def test_names_inside_longer_names_are_candidates():
    inner = candidates("President Barack Obama spoke.", whole=False)
    assert {"barack obama", "obama"} <= inner


def test_a_title_may_go_on_in_small_letters():
    assert "2018 kansas gubernatorial election" in candidates(
        "She won the 2018 Kansas gubernatorial election.", whole=False
    )


def test_candidates_lie_within_the_text_in_order():
    text = "\x00 [A-Z] Ünal Öz's “Köln” (EU) — 北京大学物理系 was in St. Moritz.\u2028"
    found = candidates_of(text, words_of(text))
    assert found
    assert all(0 <= item.start < item.end <= len(text) for item in found)
    assert [item.start for item in found] == sorted(item.start for item in found)
