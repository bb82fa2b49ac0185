"""Links told in words."""

import pytest
from llama_index.core.schema import TextNode

from llama_index_raganything.graph.facts import name_hash
from llama_index_raganything.graph.names import name_key
from llama_index_raganything.retrievers.evidence.graph_paths import STRUCTURE, Step, shown_path, title_of


def node(name, text="", **metadata):
    return TextNode(id_=name, text=text, metadata=metadata)


def told(first, second, relation, name=""):
    step = Step(first.node_id, second.node_id, relation, name_hash(name_key(name)) if name else 0)
    (shown,) = shown_path([step], {first.node_id: first, second.node_id: second})
    return shown["relation"], shown["name"]


def test_a_link_has_ids_titles_and_the_name_as_it_is_written():
    one = node("a", "The score is by Tomas  Brenn.", title="The Amber Lantern")
    other = node("b", "He was born in Oslet.")
    assert shown_path([Step("a", "b", "mentions", name_hash(name_key("tomas brenn")))], {"a": one, "b": other}) == [
        {
            "source": "a",
            "source_title": "The Amber Lantern",
            "relation": "mentions",
            "name": "Tomas Brenn",
            "target": "b",
            "target_title": "He was born in Oslet.",
        }
    ]


def test_links_to_nodes_that_are_not_here_are_left_out():
    assert shown_path([Step("a", "gone", "shares", 1), Step("gone", "a", STRUCTURE)], {"a": node("a")}) == []


@pytest.mark.parametrize(
    ("name", "metadata", "text"),
    [
        ("Springfield", {"title": "Springfield (Illinois)"}, ""),
        ("Boston", {"title": "Boston, Massachusetts"}, ""),
        ("Revenue by region", {"section": "Results > 3.1 Revenue by region"}, ""),
        ("slow glaze", {}, "From the vat we take slow glaze."),
        ("奥斯莱特", {"title": "奥斯莱特"}, "一个村庄"),
    ],
)
def test_names_are_found_in_titles_headings_and_texts(name, metadata, text):
    assert told(node("a", "nothing"), node("b", text, **metadata), "mentions", name)[1] == name


def test_a_name_that_nobody_writes_is_empty():
    assert told(node("a", "\x00\x01 '\" %"), node("b", ""), "shares", "Nowhere") == ("shares", "")


def test_structure_is_told_by_what_ties():
    figure = node("f", "A plan", label="Figure 1", section="Plans", content_type="image")
    text = node("t", "As Figure 1 shows, there are two.", section="Plans")
    table = node("u", "a | b", section="Plans", page=3)
    assert told(text, figure, STRUCTURE) == ("cites", "Figure 1")
    assert told(figure, text, STRUCTURE) == ("cited by", "Figure 1")
    assert told(table, figure, STRUCTURE) == ("same section", "Plans")
    assert told(table, node("v", page=3), STRUCTURE) == ("same page", "3")
    assert told(table, node("v", page=4), STRUCTURE)[0] == "same document"


def test_a_long_text_is_shown_shortened():
    assert title_of(node("a", "word " * 100)).endswith("…")
    assert title_of(node("a", "")) == ""
    assert title_of(node("a", "x", title="T", label="Figure 1")) == "Figure 1"
