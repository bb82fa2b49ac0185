"""The second hop of an answer, from nodes whose links are given."""

import json

import pytest
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index_raganything.query_engine.extractive.quotes import find_quotes, links_from

PAINTER = "Sigrid Aasen was born in Tromsø. She painted harbours."
TOWN = "Tromsø is a city in the north. The mayor of Tromsø is Nils Berg. A bridge leads to Tromsø."
QUESTION = "Who is the mayor of the town where Sigrid Aasen was born?"


def step(source, relation, name, target, titles=("Sigrid Aasen", "Tromsø")):
    return {
        "source": source,
        "source_title": titles[0],
        "relation": relation,
        "name": name,
        "target": target,
        "target_title": titles[1],
    }


def source(node_id, text, path=None):
    metadata = {"content_type": "text"}
    if path is not None:
        metadata["graph_path"] = path if isinstance(path, str) else json.dumps(path)
    return NodeWithScore(node=TextNode(id_=node_id, text=text, metadata=metadata))


def chain(town=TOWN, painter=PAINTER, relation="mentions", name="Tromsø"):
    path = [step("p", relation, name, "t")]
    return [source("p", painter, path), source("t", town, path), source("x", "The mayor of Oslo is Kari Moe.")]


def texts(question, sources):
    return [(quote.number, quote.text) for quote in find_quotes(question, sources)]


@pytest.mark.parametrize("relation", ["mentions", "mentioned by", "shares"])
def test_the_linked_node_is_quoted_for_what_the_first_leaves_open(relation):
    assert texts(QUESTION, chain(relation=relation)) == [
        (1, "Sigrid Aasen was born in Tromsø."),
        (2, "The mayor of Tromsø is Nils Berg."),
    ]


def test_a_link_is_followed_from_its_target_too():
    path = [step("t", "mentioned by", "Tromsø", "p", ("Tromsø", "Sigrid Aasen"))]
    assert texts(QUESTION, [source("p", PAINTER, path), source("t", TOWN, path)])[1][0] == 2


@pytest.mark.parametrize(
    "path",
    [None, "", "{", "[1]", "{}", "null", [step("p", "same section", "Tromsø", "t")], [step("p", "mentions", "", "t")]],
)
def test_nothing_is_followed_without_a_name_that_joins(path):
    sources = [source("p", PAINTER, path), source("t", TOWN, path)]
    assert links_from(1, sources) == []
    assert texts(QUESTION, sources)[0] == (1, "Sigrid Aasen was born in Tromsø.")


def test_the_sentence_that_names_the_link_stands_between():
    painter = "The Harbour is a picture in oil. The Harbour was painted by Ida Moen."
    path = [step("p", "mentions", "Ida Moen", "t", ("The Harbour", "Ida Moen"))]
    sources = [source("p", painter, path), source("t", "Ida Moen lived long. Ida Moen studied botany.", path)]
    quotes = texts("What did the artist of The Harbour picture study?", sources)
    assert [number for number, _ in quotes] == [1, 1, 2]
    assert quotes[1][1] == "The Harbour was painted by Ida Moen."
    assert quotes[2][1] == "Ida Moen studied botany."


@pytest.mark.parametrize(
    "question",
    [
        "Where was Sigrid Aasen born?",
        "In which town was Sigrid Aasen born?",
        "What did Sigrid Aasen paint?",
        "Which harbours were painted by Sigrid Aasen?",
        "Is Tromsø where Sigrid Aasen was born?",
        QUESTION + " Give a short answer.",
    ],
)
def test_what_one_node_answers_is_quoted_from_it_alone(question):
    unlinked = [source("p", PAINTER), source("t", TOWN), source("x", "The mayor of Oslo is Kari Moe.")]
    assert texts(question, chain()) == texts(question, unlinked)
    assert {number for number, _ in texts(question, chain())} == {1}


@pytest.mark.parametrize(
    "question",
    [
        "What is the salary of the dentist of the mother of the deputy of the town where Sigrid was born?",
        "Which river crosses the capital of Peru?",
        "",
    ],
)
def test_what_was_not_found_stays_so(question):
    sources = chain()
    assert find_quotes(question, sources) == []


def test_a_name_that_stands_nowhere_is_not_led_away_from():
    assert len(find_quotes("What is the population of the Zanzibar town where Sigrid Aasen was born?", chain())) <= 1


def test_three_quotes_at_most_over_two_links():
    path = [
        step("p", "mentions", "Tromsø", "t"),
        step("t", "mentions", "Nils Berg", "m", ("Tromsø", "Nils Berg")),
    ]
    mayor = source("m", "Nils Berg is a dentist. The cat of Nils Berg is Pus. The wife of Nils Berg is Eva.", path)
    sources = [source("p", PAINTER, path), source("t", TOWN, path), mayor]
    quotes = texts("Who is the wife of the mayor of the town where Sigrid Aasen was born?", sources)
    assert [number for number, _ in quotes] == [1, 2, 3]
    assert quotes[2][1] == "The wife of Nils Berg is Eva."


def test_chinese():
    path = [step("p", "mentions", "东海大学", "t", ("李文华", "东海大学"))]
    sources = [
        source("p", "李文华是一位物理学家。李文华毕业于东海大学。", path),
        source("t", "东海大学位于台中市。东海大学的校长是陈志明。", path),
    ]
    assert texts("李文华毕业的大学的校长是谁？", sources)[1:] == [(2, "东海大学的校长是陈志明。")]
    assert len(texts("李文华毕业于哪所大学？", sources)) == 1


def test_a_word_that_the_first_node_has_is_not_looked_for_elsewhere():
    painter = "Sigrid Aasen was born in Tromsø in the winter. Her pictures of a mayor are known."
    assert {number for number, _ in texts(QUESTION, chain(painter=painter))} == {1}


def test_a_name_of_the_question_leads_to_no_second_node():
    question = "Which mayor saw Sigrid Aasen born in Narvik?"
    sources = chain(TOWN.replace("Tromsø", "Narvik"), PAINTER.replace("Tromsø", "Narvik"), name="Narvik")
    assert {number for number, _ in texts(question, sources)} == {1}


def test_a_name_that_no_passage_has_ends_the_chain():
    question = "Who is the mayor of the town where Sigrid Aasen, who painted harbours with Zanna, was born?"
    known = question.replace("Zanna", "oil")
    assert 2 in {number for number, _ in texts(known, chain())}
    assert 2 not in {number for number, _ in texts(question, chain())}
