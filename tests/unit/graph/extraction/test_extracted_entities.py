"""Entities of described figures, tables and equations, and what belongs to them."""

from llama_index.core.graph_stores.types import KG_NODES_KEY, KG_RELATIONS_KEY
from llama_index.core.schema import TextNode

from llama_index_raganything.graph.extraction.entities import (
    MAX_BELONGING,
    belonging,
    described_entity,
    plain_name,
)
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker


def figure(text="Figure 1: Kiln Nine\n\nA drawing of Kiln Nine in Oslet.", **metadata):
    known = {
        "doc_id": "d", "content_type": "image", "label": "Figure 1",
        "entity_name": "Kiln cross-section (image)", "entity_type": "image", "entity_summary": "How it is built.",
    }  # fmt: skip
    return TextNode(id_="n1", text=text, metadata=known | metadata)


def test_the_entity_has_type_summary_and_source():
    entity = described_entity(figure())
    assert (entity.name, entity.label) == ("Kiln cross-section (image)", "image")
    assert entity.properties["description"] == "How it is built."
    assert (entity.properties["node_id"], entity.properties["doc_id"]) == ("n1", "d")
    assert plain_name(entity) == "Kiln cross-section"


def test_nodes_without_a_description_have_none():
    assert described_entity(TextNode(text="a")) is None
    for name in ("", "   ", None, "\x00", "\u202e"):
        assert described_entity(figure(entity_name=name)) is None
    assert described_entity(figure(entity_type=None)).label == "entity"


def test_hostile_names_become_names():
    entity = described_entity(figure(entity_name=' "x\n\x00y" ' * 200, entity_type='a"b', entity_summary=None))
    assert "\n" not in entity.name
    assert "\x00" not in entity.name
    assert len(entity.name) <= 500


def test_each_name_belongs_once_and_not_to_itself():
    entity = described_entity(figure())
    relations = belonging(entity, ["Oslet", "oslet", "Kiln cross-section", "Kiln Cross-Section (Image)", "", "窑"])
    assert [(item.source_id, item.label, item.target_id) for item in relations] == [
        ("Oslet", "belongs_to", entity.id),
        ("窑", "belongs_to", entity.id),
    ]
    assert relations[0].properties["doc_id"] == "d"
    assert "description" not in relations[0].properties
    assert len(belonging(entity, [f"name {number}" for number in range(500)])) == MAX_BELONGING


def test_the_linker_gives_them_to_a_property_graph_index():
    (node,) = EntityLinker()([figure()])
    entities = {entity.id: entity for entity in node.metadata[KG_NODES_KEY]}
    assert entities["Kiln cross-section (image)"].label == "image"
    members = [item for item in node.metadata[KG_RELATIONS_KEY] if item.label == "belongs_to"]
    assert {"Kiln Nine", "Oslet"} <= {item.source_id for item in members}
    assert all(item.source_id in entities and item.target_id in entities for item in members)
