"""What an inventory's summary says, also when its metadata were changed on the way."""

import json

import pytest
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index_raganything.query_engine.extractive.synthesizer import inventory_answer
from llama_index_raganything.retrievers.inventory.retriever import ENTRIES_KEY, INVENTORY_TYPE

ENTRY = {"heading": "There is 1 table", "items": [["t1", "Table 1 (page 2)"]], "more": 0}


def answered(entries):
    summary = TextNode(
        text="There is 1 table: Table 1 (page 2).",
        metadata={"content_type": INVENTORY_TYPE, ENTRIES_KEY: entries},
    )
    nodes = [summary, TextNode(id_="t1", text="| a |")]
    pieces, citations = inventory_answer([NodeWithScore(node=node, score=1.0) for node in nodes])
    return "".join(pieces), [citation["n"] for citation in citations]


def test_each_thing_is_cited():
    assert answered(json.dumps([ENTRY])) == ("There is 1 table [1]: Table 1 (page 2) [2].", [1, 2])


@pytest.mark.parametrize(
    "entries",
    [
        None,
        "no JSON",
        "3",
        "[{}]",
        json.dumps([ENTRY | {"more": "many"}]),
        json.dumps([ENTRY | {"items": 3}]),
        json.dumps([ENTRY | {"items": ["Table 1"]}]),
        json.dumps([ENTRY | {"items": [["t1", "Table 1", "more"]]}]),
    ],
)
def test_changed_metadata_leave_the_text(entries):
    assert answered(entries) == ("There is 1 table: Table 1 (page 2) [1].", [1])
