"""Question words and passage words that differ by an ending."""

from llama_index_raganything.query_engine.vocabulary import in_words_of


def test_a_missing_word_becomes_the_nearest_longer_or_shorter_one():
    assert in_words_of(["depart", "aarhus"], ["departur", "department", "aarhus"]) == ("departur", "aarhus")
    assert in_words_of(["operational"], ["operation"]) == ("operation",)


def test_known_short_and_unrelated_words_stay():
    assert in_words_of(["port", "harbour", "fee"], ["portal", "harbour", "feet"]) == ("port", "harbour", "fee")
    assert in_words_of(["国家公园"], ["国家"]) == ("国家公园",)
    assert in_words_of([], []) == ()
