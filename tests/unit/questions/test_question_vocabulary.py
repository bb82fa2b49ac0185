"""The words of a question: endings and names."""

import pytest

from llama_index_raganything.questions.question import in_words_of, names_in


def test_a_missing_word_becomes_the_nearest_longer_or_shorter_one():
    assert in_words_of(["depart", "aarhus"], ["departur", "department", "aarhus"]) == ("departur", "aarhus")
    assert in_words_of(["operational"], ["operation"]) == ("operation",)


def test_known_short_and_unrelated_words_stay():
    assert in_words_of(["port", "harbour", "fee"], ["portal", "harbour", "feet"]) == ("port", "harbour", "fee")
    assert in_words_of(["国家公园"], ["国家"]) == ("国家公园",)
    assert in_words_of([], []) == ()


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("What was the revenue in Finland in 2024?", {"finland"}),
        ("Finland grew. Who is the CEO of Nordwind?", {"ceo", "nordwind"}),
        ("What does Figure 1 show?", set()),
        ("What Was The Revenue In Finland?", set()),
        ("芬兰的收入是多少？", set()),
        ("", set()),
    ],
)
def test_names(question, names):
    assert names_in(question) == names
