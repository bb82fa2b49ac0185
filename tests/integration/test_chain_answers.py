"""Questions over two passages, answered without an LLM."""

import pytest
from llama_index.core.schema import Document

from llama_index_raganything import RAGAnythingIndex
from llama_index_raganything.testing import HashEmbedding

PASSAGES = {
    "Sigrid Aasen": "Sigrid Aasen was a painter. Sigrid Aasen was born in Tromsø. She painted harbours.",
    "Tromsø": "Tromsø has 41,915 inhabitants. The Arctic Cathedral stands on its shore.",
    "Karl Brenner": "Karl Brenner is an engineer. Karl Brenner founded Halden Motors in Kassel. He retired early.",
    "Halden Motors": "Halden Motors makes electric vans. The headquarters of Halden Motors are in Dresden.",
    "The Glass Orchard": "The Glass Orchard is a novel. The Glass Orchard was written by Miriam Castellan.",
    "Miriam Castellan": "Miriam Castellan is from Trieste. Miriam Castellan studied botany at Uppsala.",
    "Lake Orvane": "Lake Orvane is a lake in the highlands. The river Telsa flows out of Lake Orvane.",
    "Telsa": "The Telsa is a river. The length of the Telsa is 214 kilometres. It freezes in winter.",
    "Pavel Dusek": "Pavel Dusek is a Czech conductor. Pavel Dusek directs the Brno Chamber Choir.",
    "Brno Chamber Choir": "The choir has forty singers. The Brno Chamber Choir was established in 1957.",
    "李文华": "李文华是一位物理学家。李文华毕业于东海大学。他喜欢下棋。",
    "东海大学": "东海大学是一所综合性大学。东海大学位于台中市。东海大学的校长是陈志明。",
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("milvus") / "m.db")
    documents = [Document(id_=title, text=text, metadata={"title": title}) for title, text in PASSAGES.items()]
    index = RAGAnythingIndex.from_documents(documents, uri=uri, embed_model=HashEmbedding(dimension=64))
    yield index.as_query_engine()
    index.close()


@pytest.mark.parametrize(
    ("question", "first", "second", "cited"),
    [
        (
            "Where are the headquarters of the company that Karl Brenner founded?",
            "founded Halden Motors",
            "Dresden",
            {"Karl Brenner", "Halden Motors"},
        ),
        (
            "What did the author of The Glass Orchard study?",
            "written by Miriam Castellan",
            "botany",
            {"The Glass Orchard", "Miriam Castellan"},
        ),
        (
            "What is the length of the river that flows out of Lake Orvane?",
            "Telsa flows out",
            "214 kilometres",
            {"Lake Orvane", "Telsa"},
        ),
        (
            "When was the choir that Pavel Dusek directs established?",
            "directs the Brno",
            "1957",
            {"Pavel Dusek", "Brno Chamber Choir"},
        ),
        ("李文华毕业的大学的校长是谁？", "毕业于东海大学", "陈志明", {"李文华", "东海大学"}),
    ],
)
def test_both_hops_are_quoted_with_their_sources(engine, question, first, second, cited):
    response = engine.query(question)
    answer = response.response
    assert first in answer
    assert second in answer
    assert 2 <= len(response.metadata["citations"]) <= 3
    numbers = [item["n"] for item in response.metadata["citations"]]
    assert {response.source_nodes[number - 1].node.metadata["title"] for number in numbers} == cited


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Where was Sigrid Aasen born?", "Sigrid Aasen was born in Tromsø. [1]"),
        ("What does Pavel Dusek direct?", "Pavel Dusek directs the Brno Chamber Choir. [1]"),
        ("李文华毕业于哪所大学？", "李文华毕业于东海大学。 [1]"),
    ],
)
def test_one_hop_is_answered_with_one_quote(engine, question, answer):
    assert engine.query(question).response == answer


def test_a_question_over_two_passages_that_none_answers_is_refused(engine):
    response = engine.query("What is the salary of the dentist of the mayor of the town where Sigrid Aasen was born?")
    assert response.metadata["answered"] is False
    assert response.metadata["citations"] == []
