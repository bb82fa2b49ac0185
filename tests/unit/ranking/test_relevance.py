"""How probable it is that results bear on a question."""

import pytest
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index_raganything.errors import MissingDependencyError
from llama_index_raganything.models.wordllama import vector_length
from llama_index_raganything.ranking import relevance as module
from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker
from llama_index_raganything.ranking.relevance import UNKNOWN, relevance

PUMPS = [
    "Centrifugal pumps move water. The impeller of the Kestrel 40 turns at 2,900 revolutions a minute.",
    "Maintenance of the pump takes two hours. Replace the gasket of the impeller every year.",
    "Warranty: the Kestrel series is covered for 36 months from delivery.",
]


def candidates(texts, documents=None):
    ranker = EvidenceRanker()
    return [
        ranker.candidate(TextNode(text=text, metadata={"doc_id": documents[place] if documents else "one"}))
        for place, text in enumerate(texts)
    ]


def top(question, texts=PUMPS, documents=None):
    return relevance(question, candidates(texts, documents))[0]


@pytest.mark.parametrize(
    ("asked", "foreign"),
    [
        ("How fast does the impeller of the Kestrel 40 turn?", "How to cook spaghetti carbonara?"),
        ("impeller", "carbonara"),
        ("Which revolutions does the Kestrel make?", "Which revolutions did Robespierre lead in 1793?"),
    ],
)
def test_what_answers_and_what_does_not(asked, foreign):
    assert top(asked) > 0.5 > top(foreign)


@pytest.mark.parametrize(
    ("text", "asked", "foreign"),
    [
        ("公司2023年的营业收入为五千万元，净利润增长。", "公司的营业收入是多少？", "意大利面怎么做？"),
        ("株式会社の売上高は前年より増加した。", "売上高はいくらですか", "東京の天気予報"),
        ("매출은 작년보다 증가했다", "매출은 얼마인가", "서울 날씨 예보"),
        ("Der Umsatz des Unternehmens stieg um ein Viertel.", "Wie stieg der Umsatz?", "Wann blüht der Kirschbaum?"),
        (
            "Le chiffre d'affaires augmente d'un quart.",
            "Quel est le chiffre d'affaires ?",
            "Où dorment les hérissons ?",
        ),
        ("Выручка компании выросла на четверть.", "Какова выручка компании?", "Где спят ёжики зимой?"),
        ("ارتفعت إيرادات الشركة هذا العام", "كم إيرادات الشركة", "أين تنام القنافذ"),
    ],
)
def test_in_any_language(text, asked, foreign):
    assert top(asked, [text]) > 0.5 > top(foreign, [text])


@pytest.mark.parametrize("question", ["", "?", "What is the and of it?", "What is this document about?", "\ud800", "7"])
def test_a_question_without_a_telling_word_is_unknown(question):
    assert relevance(question, candidates(PUMPS)) == pytest.approx([UNKNOWN] * 3, abs=0.15)


def test_a_name_that_stands_nowhere_says_more_than_a_word():
    assert top("Does Siemens repair the impeller?") < top("Does anybody repair the impeller?")
    assert top("Was the impeller made in 1987?") < top("Was the impeller made in autumn?")


def test_where_no_text_has_a_single_word_it_is_hardly_about_it():
    assert top("carbonara") < 0.1


def test_a_second_step_is_carried_by_the_first():
    question = "How fast does the impeller of the Kestrel 40 turn?"
    step = "The gasket is replaced every year."
    behind_the_answer = relevance(question, candidates([PUMPS[0], step]))[1]
    assert behind_the_answer > relevance(question, candidates([step, step, PUMPS[0]]))[1] + 0.1


def test_german_nouns_are_no_names():
    assert module._names("Wie oft wird die Dichtung der Pumpe ersetzt?") == frozenset()
    assert module._names("How often does Kestrel replace the Gasket by NASA rules? Never.") == {
        "kestrel", "gasket", "nasa",
    }  # fmt: skip
    assert module._names("NASA PUMP RULES") == frozenset()


def test_a_page_need_not_bear_its_number():
    assert top("What does page 83 say of the impeller?") > 0.5 > top("What does rule 83 say of the Hubble impeller?")


def test_among_many_documents_something_fits_by_chance():
    texts = [*PUMPS, *(f"Nothing {number}" for number in range(40))]
    one, many = (top("Which impeller is quiet?", texts, ids) for ids in (None, [str(n) for n in range(43)]))
    assert one > many


def test_neighbours_of_the_question_count():
    assert top("Kestrel series", ["the Kestrel series"]) > top("Kestrel series", ["a series of the Kestrel"])


def test_scores_fall_and_the_first_decides():
    texts = [PUMPS[1], PUMPS[2], PUMPS[0], "An index of subjects."]
    values = relevance("How long does maintenance of the pump take, in hours?", candidates(texts))
    assert values == sorted(values, reverse=True)
    assert values[0] > values[2] >= values[3] > relevance("spaghetti carbonara recipe", candidates(texts))[0]
    assert relevance("pump", []) == []


def test_the_number_returned_changes_no_score():
    ranked = candidates(PUMPS)
    assert relevance("How fast is the Kestrel?", ranked, 1) == relevance("How fast is the Kestrel?", ranked)[:1]


def test_misread_letters_leave_enough():
    text = "Centrifugal punps rnove water. The impeller of thc Kestrel 40 tums at 2,900 revolutlons a minute."
    assert top("How many revolutions does the impeller of the Kestrel 40 make?", [text]) > 0.5


def test_without_the_bundled_vectors(monkeypatch):
    def missing(word):
        raise MissingDependencyError(word)

    monkeypatch.setattr(module, "vector_length", missing)
    module._words_of.cache_clear()
    try:
        assert top("How fast does the impeller of the Kestrel 40 turn?") > 0.5 > top("How to cook carbonara?")
    finally:
        module._words_of.cache_clear()


def test_lengths_of_vectors_tell_common_words_from_rare_ones():
    lengths = [vector_length(word) for word in ("the", "year", "revenue", "Germanwings")]
    assert lengths == sorted(lengths)
    assert vector_length("") == 0
    assert vector_length("Water") == vector_length("water")


def test_the_ranker_as_a_postprocessor_gives_scores_to_cut_by():
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.99) for text in PUMPS]
    cut = SimilarityPostprocessor(similarity_cutoff=0.5)

    def kept(question):
        ranked = EvidenceRanker().postprocess_nodes(nodes, query_str=question)
        return [item.node.get_content() for item in cut.postprocess_nodes(ranked)]

    assert kept("How fast does the impeller of the Kestrel 40 turn?")[0] == PUMPS[0]
    assert kept("How to cook spaghetti carbonara?") == []
