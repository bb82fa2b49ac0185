"""Facts as payload: what goes in comes out, and what is damaged or of another version is refused."""

import base64
import json

import numpy as np
import pytest
from llama_index.core.schema import TextNode

from llama_index_raganything.errors import SchemaMismatchError
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.facts import (
    FACTS_VERSION,
    NodeFacts,
    StructuralTie,
    Subject,
    hash_names,
    name_hash,
    pack_counts,
)
from llama_index_raganything.graph.mirror import GraphMirror

ARRAYS = (
    "term_counts", "terms", "name_counts", "names", "skips", "title_terms", "subject_names", "subject_weights",
)  # fmt: skip

HOSTILE = [
    "",
    "plain",
    "' or 1 == 1; --",
    '{"v": 99, "data": "x"}',
    '\\"\n\t\r\0\x01\x1f\x7f',
    "王小明毕业于北京大学。《红楼梦》是曹雪芹写的。",
    "Ünïcödé \u202e\u200b\ufeff 🙂🏳️‍🌈 e\u0301",
    "A" * 10_000,
    "Ada Lovelace met Charles Babbage in London. " * 2_000,
]


def facts_of(text, node_id="n", **metadata):
    return EntityLinker().extract([TextNode(id_=node_id, text=text, metadata={"doc_id": "d", **metadata})])[0]


def assert_same(first, second):
    for name in NodeFacts.__dataclass_fields__:
        one, other = getattr(first, name), getattr(second, name)
        if name in ARRAYS:
            assert one.dtype == other.dtype, name
            assert one.tolist() == other.tolist(), name
        else:
            assert one == other, name


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("title", ["", "Analytical Engine", "' or 1 == 1; --", "王小明"])
def test_facts_come_back_as_they_went(text, title):
    facts = facts_of(text, section=f"A > {text[:50]}", label="Figure 1", title=title)
    facts.ties = [StructuralTie(text[:50], "cites", title)]
    assert_same(NodeFacts.from_payload("n", "d", facts.to_payload()), facts)


def test_a_payload_is_text_that_a_database_takes():
    payload = facts_of("\ud800 Ada Lovelace \0 met \x01 Charles Babbage.", title="\udfff Title").to_payload()
    assert payload.encode("utf-8")
    assert NodeFacts.from_payload("n", "d", payload).term_counts.size == 1


def test_an_empty_record_comes_back():
    facts = NodeFacts("n", "d")
    assert_same(NodeFacts.from_payload("n", "d", facts.to_payload()), facts)
    assert list(facts.entity_names()) == []


def test_two_thousand_sentences_are_read_and_no_more():
    facts = facts_of("Ada Lovelace met him. " * 3_000)
    assert len(facts.spans) == facts.term_counts.size == facts.name_counts.size == 2_000
    assert_same(NodeFacts.from_payload("n", "d", facts.to_payload()), facts)


@pytest.mark.parametrize("version", [FACTS_VERSION - 1, FACTS_VERSION + 1, None, "1"])
def test_another_version_is_refused_with_a_remedy(version):
    content = json.loads(facts_of("Ada Lovelace.").to_payload()) | {"v": version}
    with pytest.raises(SchemaMismatchError, match="overwrite=True") as caught:
        NodeFacts.from_payload("the-node", "d", json.dumps(content))
    assert "the-node" in str(caught.value)


def damaged():
    payload = facts_of("Ada Lovelace met Charles Babbage. They worked.", title="Engine").to_payload()
    content = json.loads(payload)
    data = base64.b64decode(content["data"])

    def with_data(raw):
        return json.dumps(content | {"data": base64.b64encode(raw).decode()})

    yield "cut JSON", payload[: len(payload) // 2]
    yield "no JSON", "facts"
    yield "empty", ""
    yield "another type", "[1, 2]"
    yield "a number", "7"
    yield "cut base64", json.dumps(content | {"data": content["data"][:-3]})
    yield "no base64", json.dumps(content | {"data": "é!"})
    yield "data of another type", json.dumps(content | {"data": 7})
    yield "cut arrays", with_data(data[:-2])
    yield "cut to nothing", with_data(b"")
    yield "more than was written", with_data(data + b"\0\0")
    yield "counts that do not fit", with_data(b"\1\0\0\0\xff\xff" + data[8:])
    yield "no spans", json.dumps(content | {"spans": []})
    yield "missing field", json.dumps({key: value for key, value in content.items() if key != "entities"})
    yield "wrong spans", json.dumps(content | {"spans": [[1], [2]]})
    yield "wrong subjects", json.dumps(content | {"subjects": [["a", 1.0, "b", "c"]]})


DAMAGED = dict(damaged())


@pytest.mark.parametrize("payload", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_facts_are_refused_with_a_remedy(payload):
    with pytest.raises(SchemaMismatchError, match="overwrite=True") as caught:
        NodeFacts.from_payload("the-node", "d", payload)
    assert "the-node" in str(caught.value)


def test_facts_from_a_payload_serve_a_mirror():
    facts = facts_of("Ada Lovelace met Charles Babbage.", title="Ada Lovelace")
    mirror = GraphMirror()
    mirror.add([NodeFacts.from_payload("n", "d", facts.to_payload()), NodeFacts("m", "d")])
    mirror.settle()
    assert mirror.rows_of(["n", "m"]).tolist() == [0, 1]
    assert mirror.title_holders(hash_names(["ada lovelace"]))[1].tolist() == [0]


def test_hashes_are_the_same_in_every_process():
    assert name_hash("ada lovelace") == 2_835_690_841 == int(hash_names(["ada lovelace"])[0])
    assert hash_names([]).dtype == np.uint32
    assert name_hash("\ud800") >= 0


def test_counts_stay_within_their_type():
    assert pack_counts([0, 65_535, 70_000]).tolist() == [0, 65_535, 65_535]


def test_entities_are_told_by_what_they_are_and_once():
    facts = NodeFacts(
        "n",
        "d",
        subjects=[
            Subject("Engine", 1.0, "title"),
            Subject("engine", 0.9, "heading"),
            Subject("Weak", 0.4),
            Subject("Table 1", 1.0, "label"),
            Subject("...", 1.0, "title"),
        ],
        entities=["Ada Lovelace", "The Engine", "--", "ada lovelace"],
    )
    assert list(facts.entity_names()) == [
        ("Engine", "engine", "title"),
        ("Table 1", "table 1", "label"),
        ("Ada Lovelace", "ada lovelace", "name"),
    ]
