"""Triples through LlamaIndex's extractors: nothing lost, every source kept, names merged, failures told."""

import asyncio
import json
import pickle
import threading
from typing import Literal

import pytest
from llama_index.core import PropertyGraphIndex
from llama_index.core.graph_stores import SimplePropertyGraphStore
from llama_index.core.graph_stores.types import (
    KG_NODES_KEY,
    KG_RELATIONS_KEY,
    TRIPLET_SOURCE_KEY,
    ChunkNode,
    EntityNode,
    Relation,
)
from llama_index.core.indices.property_graph import (
    DynamicLLMPathExtractor,
    ImplicitPathExtractor,
    SchemaLLMPathExtractor,
    SimpleLLMPathExtractor,
)
from llama_index.core.schema import (
    ImageNode,
    MediaResource,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
    TransformComponent,
)
from llama_index.core.vector_stores.types import VectorStoreQuery

from llama_index_raganything.errors import IngestionError
from llama_index_raganything.graph.extraction.entities import (
    ChunkTriples,
    TripleSource,
    clean_name,
    merge_chunks,
    merge_key,
)
from llama_index_raganything.graph.extraction.triples import TripleExtractor
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore
from llama_index_raganything.testing import HashEmbedding, ScriptedTextLLM


def chunk(name, text, doc_id="doc", **metadata):
    return TextNode(id_=name, text=text, metadata={"doc_id": doc_id, "file_name": "report.pdf", **metadata})


def asked_text(messages):
    """The chunk that a prompt of the extractors shows, after its examples."""
    return messages[-1].content.rpartition("Text: ")[2]


def scripted(answers):
    """An LLM that answers by what stands in the chunk; an exception is raised, a list gives one answer per call."""
    calls = {}

    def reply(messages):
        text = asked_text(messages)
        for word, answer in answers.items():
            if word in text:
                calls[word] = calls.get(word, 0) + 1
                if isinstance(answer, list):
                    answer = answer[min(calls[word], len(answer)) - 1]
                if isinstance(answer, Exception):
                    raise answer
                return answer
        return ""

    return ScriptedTextLLM(replies=[reply])


def simple(answers, **settings):
    llm = answers if isinstance(answers, ScriptedTextLLM) else scripted(answers)
    return TripleExtractor(extractor=SimpleLLMPathExtractor(llm=llm), **{"retry_s": 0.0, **settings})


def dynamic(answers, **settings):
    return TripleExtractor(extractor=DynamicLLMPathExtractor(llm=scripted(answers)), **{"retry_s": 0.0, **settings})


def triple(head, relation, tail, head_type="ORG", tail_type="ORG"):
    return {"head": head, "head_type": head_type, "relation": relation, "tail": tail, "tail_type": tail_type}


ACME = [
    chunk("n1", "ACME Corp was founded by Ada Lovelace.", doc_id="a"),
    chunk("n2", "The ACME Corp's plant stands in Ürümqi.", doc_id="a"),
    chunk("n3", "Ada Lovelace founded ACME Corp in 1990.", doc_id="b"),
]
ACME_ANSWERS = {
    "was founded": "(ACME Corp, founded by, Ada Lovelace)",
    "plant": "(The ACME Corp's, has plant in, Ürümqi)",
    "in 1990": "(acme corp, Founded  by, ada lovelace)\n(acme corp, founded in, 1990)",
}


class KeepingStore(SimplePropertyGraphStore):
    """A real store that also remembers each object it was given."""

    def __init__(self):
        super().__init__()
        self.given_nodes, self.given_relations = [], []

    def upsert_nodes(self, nodes):
        self.given_nodes.extend(nodes)
        super().upsert_nodes(nodes)

    def upsert_relations(self, relations):
        self.given_relations.extend(relations)
        super().upsert_relations(relations)


# Names


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Beatles", "Beatles"),
        ("ACME  Corp", "acme\tcorp"),
        ("ＡＣＭＥ", "acme"),
        ("Apple's", "apple"),
        ("the Beatles’", "beatles"),
        ("Alzheimer's disease", "Alzheimer disease"),
        ("“Solaris”", "Solaris"),
        ("Straße", "STRASSE"),
        ("北京大学", " 北京大学 "),
        ("Ac\u200bme", "Ac me"),
    ],
)
def test_spellings_of_one_name(one, other):
    assert merge_key(one) == merge_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("C", "C++"), ("C++", "C#"), ("-5 %", "5 %"), ("The 1975", "1975"), ("A 380", "380"), ("resume", "résumé"),
     ("Vitamin A", "Vitamin"), ("The", "A"), ("Class", "Clas")],
)  # fmt: skip
def test_names_that_differ(one, other):
    assert merge_key(one) != merge_key(other)


def test_a_name_that_is_only_signs_stays_itself_and_nothing_stays_nothing():
    assert merge_key("+++") == "+++"
    assert merge_key("the") == "the"
    assert merge_key(' "\x00\u200b" ') == ""
    assert len(clean_name("x" * 10_000_000)) == 500


# Extraction and merging


def test_entities_merge_by_name_and_keep_every_source():
    found = simple(ACME_ANSWERS).extract(ACME)
    assert [entity.name for entity in found.entities] == ["ACME Corp", "Ada Lovelace", "Ürümqi", "1990"]
    assert [(source.node_id, source.doc_id) for source in found.sources["ACME Corp"]] == [
        ("n1", "a"), ("n2", "a"), ("n3", "b"),
    ]  # fmt: skip
    assert found.failures == []
    assert found.empty == []
    assert [(e.name, e.properties["node_id"], e.properties["doc_id"]) for e in found.entities_by_source()][:3] == [
        ("ACME Corp", "n1", "a"), ("ACME Corp", "n2", "a"), ("ACME Corp", "n3", "b"),
    ]  # fmt: skip


def test_a_relation_stands_once_for_each_source_with_the_properties_of_that_source():
    found = simple(ACME_ANSWERS).extract(ACME)
    founded = [relation for relation in found.relations if relation.label == "Founded by"]
    assert [(relation.source_id, relation.target_id) for relation in founded] == [("ACME Corp", "Ada Lovelace")] * 2
    assert [relation.properties for relation in founded] == [
        {TRIPLET_SOURCE_KEY: "n1", "node_id": "n1", "doc_id": "a"},
        {TRIPLET_SOURCE_KEY: "n3", "node_id": "n3", "doc_id": "b"},
    ]


def test_a_triple_repeated_in_one_chunk_counts_once():
    found = simple({"x": "(A1, likes, B1)\n(a1, LIKES, the B1)\n(A1, hates, B1)"}).extract([chunk("n", "x")])
    assert [relation.label for relation in found.relations] == ["Likes", "Hates"]


def test_the_canonical_name_is_the_most_frequent_spelling_and_the_first_of_equals():
    answers = {"one": [triple("U.N.", "met", "NATO")], "two": [triple("the NATO", "met", "UN")],
               "three": [triple("NATO", "joined", "the U.N.")]}  # fmt: skip
    answers = {word: json.dumps(value) for word, value in answers.items()}
    found = dynamic(answers).extract([chunk("1", "one"), chunk("2", "two"), chunk("3", "three")])
    assert [entity.name for entity in found.entities] == ["U.N.", "NATO", "UN"]


def test_the_case_of_names_comes_back_from_the_chunk():
    text = "IBM and AT&T; USA or usa or usa? The ılıca spa."
    found = simple({"spa": "(IBM, met, AT&T)\n(USA, has, ilica)"}).extract([chunk("n", text)])
    assert [entity.name for entity in found.entities] == ["IBM", "AT&T", "usa", "Ilica"]


def test_types_properties_and_descriptions_survive_and_answers_cannot_forge_a_source():
    props = {"description": "maker of anvils", "doc_id": "forged", TRIPLET_SOURCE_KEY: "forged", "founded": 1990}
    item = triple("ACME", "PRODUCES", "anvil", "COMPANY", "PRODUCT")
    first = {**item, "head_props": props, "relation_props": {"since": 1991, "node_id": "forged"}, "tail_props": {}}
    second = {**item, "head_type": "entity", "head_props": {"founded": 2000}, "relation_props": {}, "tail_props": {}}
    extractor = DynamicLLMPathExtractor(
        llm=scripted({"one": json.dumps([first]), "two": json.dumps([second])}),
        allowed_entity_props=["description"],
        allowed_relation_props=["since"],
    )
    found = TripleExtractor(extractor=extractor).extract([chunk("n1", "one"), chunk("n2", "two")])
    company = found.entities[0]
    assert (company.label, company.properties) == ("COMPANY", {"description": "maker of anvils", "founded": 1990})
    assert str(company) == "ACME: maker of anvils"
    assert found.relations[0].properties == {
        "since": 1991, "node_id": "n1", "doc_id": "doc", TRIPLET_SOURCE_KEY: "n1",
    }  # fmt: skip
    assert "forged" not in repr(found)


def test_chinese_triples():
    nodes = [chunk("n1", "北京大学位于北京。"), chunk("n2", "北京大学成立于1898年。")]
    found = simple({"位于": "(北京大学, 位于, 北京)", "1898": "(北京大学, 成立于, 1898年)"}).extract(nodes)
    assert [entity.name for entity in found.entities] == ["北京大学", "北京", "1898年"]
    assert len(found.sources["北京大学"]) == 2


@pytest.mark.parametrize(
    "name", ['Dwayne "The Rock" Johnson', "x'] or 1==1 #", "Rob'); DROP TABLE x;--", "😀 Inc", "a\\"]
)
def test_hostile_names_keep_relation_and_entity_together(name):
    found = dynamic({"x": json.dumps([triple(name, "KNOWS", "Bob")])}).extract([chunk("n", "x")])
    relation = found.relations[0]
    assert {relation.source_id, relation.target_id} == {entity.id for entity in found.entities}


def test_control_characters_and_lone_surrogates_do_not_reach_the_graph():
    answer = json.dumps([triple("Ac\x00me\ud800", "OWNS\n", "B\x1bob")])
    found = dynamic({"x": answer}).extract([chunk("n", "x")])
    assert [entity.name for entity in found.entities] == ["Ac me", "B ob"]
    assert found.relations[0].label == "OWNS"


def test_a_triple_with_a_nameless_end_is_dropped_without_its_relation():
    found = dynamic(
        {"x": json.dumps([triple('"', "KNOWS", "Bob"), triple("Bob", "HATES", "''"), triple("Al", "KNOWS", "Bob")])}
    ).extract([chunk("n", "x")])
    assert [entity.name for entity in found.entities] == ["Bob", "Al"]
    assert [(relation.source_id, relation.target_id) for relation in found.relations] == [("Al", "Bob")]


def test_the_llm_sees_the_metadata_that_is_meant_for_it_but_entities_do_not_carry_it():
    llm = scripted({"x": "(Al, knows, Bob)"})
    node = chunk("n", "x", section="Preface", bbox="[1,2,3,4]")
    node.excluded_llm_metadata_keys = ["bbox"]
    found = simple(llm).extract([node])
    assert "section: Preface" in asked_text(llm.requests[0])
    assert "bbox" not in asked_text(llm.requests[0])
    assert all(entity.properties == {} for entity in found.entities)
    assert node.metadata == {"doc_id": "doc", "file_name": "report.pdf", "section": "Preface", "bbox": "[1,2,3,4]"}


def test_image_nodes_and_multimodal_nodes_are_read_and_empty_chunks_cost_no_call():
    llm = scripted({"picture": "(Al, stands in, picture)", "resource": "(Bob, stands in, resource)"})
    nodes = [
        ImageNode(id_="i", text="a picture"),
        Node(id_="m", text_resource=MediaResource(text="a resource")),
        chunk("e", " \n"),
        Node(id_="n"),
    ]
    found = simple(llm).extract(nodes)
    assert len(llm.requests) == 2
    assert [relation.properties["node_id"] for relation in found.relations] == ["i", "m"]
    assert found.empty == ["e", "n"]
    assert simple(llm).extract([]).entities == []


def test_a_node_given_twice_is_read_once():
    llm = scripted({"x": "(Al, knows, Bob)"})
    assert len(simple(llm).extract([chunk("n", "x"), chunk("n", "x")]).relations) == 1
    assert len(llm.requests) == 1


def test_structural_extractors_keep_node_ids_as_ends():
    node = TextNode(id_="n1", text="", relationships={NodeRelationship.NEXT: RelatedNodeInfo(node_id="The n2's")})
    found = TripleExtractor(extractor=ImplicitPathExtractor()).extract([node])
    assert [(r.source_id, r.label, r.target_id) for r in found.relations] == [("n1", "NEXT", "The n2's")]


def test_graph_nodes_that_are_no_entities_are_kept():
    given = ChunkTriples(TripleSource("n", "d"), nodes=[ChunkNode(text="raw", id_="c")])
    assert [(node.id, node.properties["node_id"]) for node in merge_chunks([given]).others] == [("c", "n")]


def test_the_schema_extractor_and_its_types():
    item = {"subject": {"type": "PERSON", "name": "Al"}, "relation": {"type": "WORKS_AT"}}
    answer = json.dumps({"triplets": [{**item, "object": {"type": "ORGANIZATION", "name": "ACME"}}]})
    schema = SchemaLLMPathExtractor(
        llm=ScriptedTextLLM(replies=[answer]),
        possible_entities=Literal["PERSON", "ORGANIZATION"],
        possible_relations=Literal["WORKS_AT"],
        strict=False,
    )
    extractor = TripleExtractor(extractor=schema)
    found = extractor.extract([chunk("n", "Al works at ACME.")])
    assert [(entity.name, entity.label) for entity in found.entities] == [("Al", "PERSON"), ("ACME", "ORGANIZATION")]
    assert "WORKS_AT" in json.dumps(extractor.to_dict())


# Failures


def test_a_chunk_that_fails_is_reported_and_costs_no_other(caplog):
    answers = ACME_ANSWERS | {"plant": TimeoutError("model\nbusy")}
    extractor = simple(answers, max_retries=1)
    found = extractor.extract(ACME)
    assert found.failures == [("n2", "TimeoutError: model busy")]
    assert {relation.properties["node_id"] for relation in found.relations} == {"n1", "n3"}
    extractor(ACME)
    assert extractor.failures == found.failures
    assert "n2" in caplog.text


@pytest.mark.parametrize("error", [ValueError("bad"), RuntimeError("bad"), KeyError("bad"), AttributeError("bad")])
@pytest.mark.parametrize("make", [simple, dynamic])
def test_errors_that_the_extractor_would_swallow_are_reported(make, error):
    found = make({"x": error}, max_retries=0).extract([chunk("n", "x")])
    assert [node_id for node_id, _ in found.failures] == ["n"]
    assert "bad" in found.failures[0][1]


def test_a_chunk_is_tried_again():
    llm = scripted({"x": [ValueError("busy"), ValueError("busy"), "(Al, knows, Bob)"]})
    assert simple(llm, max_retries=2).extract([chunk("n", "x")]).failures == []
    assert len(llm.requests) == 3
    llm = scripted({"x": ValueError("busy")})
    assert len(simple(llm, max_retries=1).extract([chunk("n", "x")]).failures) == 1
    assert len(llm.requests) == 2


def test_retries_wait_longer_each_time(monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    simple({"x": ValueError("busy")}, max_retries=3, retry_s=0.5).extract([chunk("n", "x")])
    assert waits == [0.5, 1.0, 2.0]


def test_an_llm_that_always_fails_gives_an_empty_result_and_strict_raises():
    answers = {"": ConnectionError("down")}
    found = simple(answers, max_retries=0).extract(ACME)
    assert (found.entities, found.relations, found.empty) == ([], [], [])
    assert [node_id for node_id, _ in found.failures] == ["n1", "n2", "n3"]
    with pytest.raises(IngestionError, match="3 of 3") as raised:
        simple(answers, max_retries=0, strict=True)(ACME)
    assert len(raised.value.failures) == 3


@pytest.mark.parametrize("answer", ["", "I cannot help with that.", "(a, b)", ")(", "(,,)", "(a, b, c, d)"])
def test_malformed_lines_give_nothing_and_are_told(answer):
    found = simple({"x": answer}).extract([chunk("n", "x")])
    assert (found.entities, found.failures, found.empty) == ([], [], ["n"])


@pytest.mark.parametrize(
    "answer", ["null", "5", '["text"]', '[{"head": 5, "head_type": 5, "relation": 5, "tail": 5, "tail_type": 5}]']
)
def test_malformed_json_is_a_failure(answer):
    found = dynamic({"x": answer}, max_retries=0).extract([chunk("n", "x"), chunk("m", "y")])
    assert [node_id for node_id, _ in found.failures] == ["n"]
    assert found.empty == ["m"]


def test_json_in_a_code_fence_or_cut_off_is_read_as_far_as_it_goes():
    whole = json.dumps([triple("Al", "KNOWS", "Bob"), triple("Bob", "KNOWS", "Cy")])
    fenced = dynamic({"x": f"```json\n{whole}\n```"}).extract([chunk("n", "x")])
    assert len(fenced.relations) == 2
    assert len(dynamic({"x": whole[:-30]}).extract([chunk("n", "x")]).relations) == 1


# Concurrency and event loops


class Counting(TransformComponent):
    """An extractor that counts how many chunks it has in hand at once."""

    running: int = 0
    most: int = 0

    def __call__(self, nodes, **kwargs):
        raise AssertionError

    async def acall(self, nodes, **kwargs):
        COUNTS["running"] += 1
        COUNTS["most"] = max(COUNTS["most"], COUNTS["running"])
        await asyncio.sleep(0.005)
        COUNTS["running"] -= 1
        for node in nodes:
            node.metadata[KG_NODES_KEY] = [EntityNode(name=f"E{node.node_id}")]
        return nodes


COUNTS = {"running": 0, "most": 0}


@pytest.mark.parametrize("workers", [1, 3])
def test_chunks_are_extracted_concurrently_up_to_the_bound_and_in_order(workers):
    COUNTS["most"] = 0
    found = TripleExtractor(extractor=Counting(), workers=workers).extract([chunk(str(n), "x") for n in range(12)])
    assert COUNTS["most"] == workers
    assert [entity.name for entity in found.entities] == [f"E{n}" for n in range(12)]


async def test_sync_and_async_agree_inside_a_running_loop():
    extractor = simple(ACME_ANSWERS, embed_model=HashEmbedding())
    assert extractor.extract(ACME) == await extractor.aextract(ACME)
    assert extractor.extract(ACME) == extractor.extract(ACME, show_progress=True)
    store = KeepingStore()
    simple(ACME_ANSWERS, property_graph_store=store)(ACME)
    given = len(store.given_relations)
    await simple(ACME_ANSWERS, property_graph_store=store).acall(ACME)
    assert len(store.given_relations) == 2 * given


def test_it_runs_in_a_thread_and_in_two_event_loops():
    results = []
    thread = threading.Thread(target=lambda: results.append(simple(ACME_ANSWERS).extract(ACME)))
    thread.start()
    thread.join()
    extractor = simple(ACME_ANSWERS)
    results += [asyncio.run(extractor.aextract(ACME)), asyncio.run(extractor.aextract(ACME))]
    assert results[0] == results[1] == results[2]


def test_a_bound_below_one_is_refused():
    with pytest.raises(ValueError, match="workers"):
        simple({}, workers=0)


# Embeddings


def test_embedded_is_the_name_and_description_once_for_each_entity():
    embed_model = HashEmbedding()
    found = simple(ACME_ANSWERS, embed_model=embed_model).extract(ACME)
    for entity in found.entities:
        assert entity.embedding == embed_model.get_text_embedding(entity.name)
    assert all(entity.embedding for entity in found.entities_by_source())
    assert simple({}, embed_model=embed_model).extract([chunk("n", "x")]).entities == []


def test_an_embedding_model_that_fails_is_not_disguised_as_a_loop_problem():
    class Broken(HashEmbedding):
        def _get_text_embedding(self, text):
            raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model"):
        simple(ACME_ANSWERS, embed_model=Broken()).extract(ACME)


# As a transformation


def test_called_with_a_store_it_writes_every_source_and_leaves_no_objects_in_metadata():
    store, nodes = KeepingStore(), [node.model_copy(deep=True) for node in ACME]
    assert simple(ACME_ANSWERS, property_graph_store=store)(nodes) == nodes
    assert [node.metadata for node in nodes] == [node.metadata for node in ACME]
    acme = [node for node in store.given_nodes if node.name == "ACME Corp"]
    assert [node.properties["doc_id"] for node in acme] == ["a", "a", "b"]
    assert len(store.given_relations) == 4
    assert len(store.get_triplets(entity_names=["ACME Corp"])) == 3


def test_called_without_a_store_it_follows_llamaindex_and_takes_earlier_extractors_in():
    nodes = [node.model_copy(deep=True) for node in ACME]
    before = EntityNode(name="the acme corp", properties={"kind": "company"})
    nodes[0].metadata[KG_NODES_KEY] = [before, EntityNode(name="Zoo")]
    nodes[0].metadata[KG_RELATIONS_KEY] = [Relation(label="OWNS", source_id="the acme corp", target_id="Zoo")]
    simple(ACME_ANSWERS)(nodes)
    assert [[entity.name for entity in node.metadata[KG_NODES_KEY]] for node in nodes] == [
        ["ACME Corp", "Zoo", "Ada Lovelace"], ["ACME Corp", "Ürümqi"], ["ACME Corp", "Ada Lovelace", "1990"],
    ]  # fmt: skip
    assert [[r.label for r in node.metadata[KG_RELATIONS_KEY]] for node in nodes] == [
        ["OWNS", "Founded by"], ["Has plant in"], ["Founded by", "Founded in"],
    ]  # fmt: skip
    assert nodes[0].metadata[KG_RELATIONS_KEY][0].source_id == "ACME Corp"


def test_extract_changes_no_node():
    nodes = [node.model_copy(deep=True) for node in ACME]
    nodes[0].metadata[KG_NODES_KEY] = [EntityNode(name="Zoo")]
    found = simple(ACME_ANSWERS).extract(nodes)
    assert "Zoo" in found.sources
    assert [entity.name for entity in nodes[0].metadata.pop(KG_NODES_KEY)] == ["Zoo"]
    assert [node.metadata for node in nodes] == [node.metadata for node in ACME]


def test_in_milvus_a_document_takes_its_sources_with_it_and_leaves_those_of_others(tmp_path):
    store = MilvusPropertyGraphStore(uri=str(tmp_path / "graph.db"), collection="kb")
    simple(ACME_ANSWERS, embed_model=HashEmbedding(), property_graph_store=store)(
        [node.model_copy(deep=True) for node in ACME]
    )

    def triplets():
        found = store.get_triplets(entity_names=["ACME Corp"])
        return {(head.id, relation.label, tail.id) for head, relation, tail in found}

    founded = ("ACME Corp", "Founded by", "Ada Lovelace")
    assert triplets() == {founded, ("ACME Corp", "Has plant in", "Ürümqi"), ("ACME Corp", "Founded in", "1990")}
    vector = HashEmbedding().get_query_embedding("Ada Lovelace")
    nearest, _ = store.vector_query(VectorStoreQuery(query_embedding=vector, similarity_top_k=1))
    assert [entity.id for entity in nearest] == ["Ada Lovelace"]
    store.delete_document("a")
    assert triplets() == {founded, ("ACME Corp", "Founded in", "1990")}
    assert store.get(ids=["Ürümqi"]) == []
    store.delete_document("b")
    assert store.get() == []


@pytest.mark.parametrize("with_failure", [False, True])
def test_property_graph_index_takes_it_as_an_extractor_beside_others(with_failure):
    answers = ACME_ANSWERS | ({"plant": TimeoutError("busy")} if with_failure else {})
    index = PropertyGraphIndex(
        nodes=[node.model_copy(deep=True) for node in ACME],
        kg_extractors=[simple(answers, max_retries=0), ImplicitPathExtractor()],
        embed_model=HashEmbedding(),
        llm=ScriptedTextLLM(),
        use_async=False,
    )
    found = index.property_graph_store.get_triplets(entity_names=["ACME Corp"])
    assert len(found) == (2 if with_failure else 3)


async def test_property_graph_index_takes_it_inside_a_running_loop():
    index = PropertyGraphIndex(
        nodes=[node.model_copy(deep=True) for node in ACME],
        kg_extractors=[simple(ACME_ANSWERS)],
        embed_model=HashEmbedding(),
        llm=ScriptedTextLLM(),
        use_async=False,
    )
    texts = [str(node) for node in index.property_graph_store.get(ids=["ACME Corp"])]
    assert texts == ["ACME Corp"], "the random id of a chunk must not be embedded with the name"


# Serialisation


class Keyed(ScriptedTextLLM):
    api_key: str = "sk-secret"


def test_settings_hold_no_secret_and_change_with_the_prompt():
    plain = TripleExtractor(extractor=SimpleLLMPathExtractor(llm=Keyed()), embed_model=HashEmbedding())
    other = TripleExtractor(extractor=SimpleLLMPathExtractor(llm=Keyed(), extract_prompt="List: {text}"))
    for extractor in (plain, other):
        assert "sk-secret" not in json.dumps(extractor.to_dict())
        assert " at 0x" not in str(extractor.to_dict())
        assert "sk-secret" not in repr(extractor)
    assert plain.to_dict()["extractor"] != other.to_dict()["extractor"]
    assert plain.to_dict()["workers"] == 4


def test_it_can_be_pickled():
    extractor = pickle.loads(pickle.dumps(TripleExtractor(extractor=ImplicitPathExtractor(), workers=2)))
    assert extractor.workers == 2
    assert extractor.extract([chunk("n", "x")]).empty == ["n"]
