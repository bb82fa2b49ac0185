"""Links that a document's structure states: right ends, nearest first, and not too many."""

import time
from itertools import pairwise

import docx
import pytest
from llama_index.core.schema import Document, NodeRelationship, RelatedNodeInfo, TextNode

from llama_index_raganything import RAGAnythingNodeParser, RAGAnythingReader
from llama_index_raganything.graph.extraction.structural_links import (
    MAX_CITED,
    MAX_PARTS,
    PAGE_PARAGRAPHS,
    SECTION_NEXT,
    SECTION_PARAGRAPHS,
    reading_order,
    structural_links,
)


def node(name, text="words", kind="text", **metadata):
    return TextNode(id_=name, text=text, metadata={"content_type": kind, **metadata})


def table(name, label=None, **metadata):
    metadata = {"caption": f"{label}: numbers"} | metadata if label else metadata
    return node(name, text="a | b", kind="table", **({"label": label} if label else {}), **metadata)


def links_of(nodes, *kinds):
    return [(link.source, link.target, link.label) for link in structural_links(nodes) if link.kind in kinds]


def fillers(count, **metadata):
    return [node(f"f{metadata.get('section', '')}{number}", f"filler {number}", **metadata) for number in range(count)]


# Citations


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("Figure 3", "as can be seen (see Fig. 3)."),
        ("Table 2", "Tables 2 and 3 show it."),
        ("Table 3", "Tables 2 and 3 show it."),
        ("Equation 5", "from Eq. (5) follows"),
        ("表 2", "结果见表 2。"),
        ("表 1", "结果见表一。"),
        ("图 12", "如图十二所示"),
        ("Table A.2", "in table A.2"),
    ],
)
def test_a_text_cites_a_label(label, text):
    kind = "image" if label.startswith(("Fig", "图")) else "table"
    nodes = [node("t", text, section="A"), *fillers(9, section="A"), node("x", "", kind, label=label, section="B")]
    assert links_of(nodes, "cites") == [("t", "x", label)]


def test_a_label_that_nothing_bears_and_words_that_only_look_like_labels_cite_nothing():
    nodes = [node("t", "See Figure 9, configure 3 tablets; 发表三次"), table("x", "Table 3")]
    assert links_of(nodes, "cites") == []


def test_of_equal_labels_the_one_of_the_section_is_meant_and_else_the_nearest():
    nodes = [
        table("one", "Table 1", section="A", page=1),
        node("t1", "Table 1 shows", section="A"),
        *fillers(5, section="A"),
        node("t2", "See Table 1 again", section="A"),
        table("two", "Table 1", section="B", page=9),
        node("t3", "as Table 1 shows", section="C"),
    ]
    found = dict.fromkeys(links_of(nodes, "cites"))
    assert list(found) == [("t1", "one", "Table 1"), ("t2", "one", "Table 1"), ("t3", "two", "Table 1")]


def test_the_text_of_a_figure_does_not_cite():
    nodes = [node("x", "Figures 1 and 2 differ", "image", label="Figure 1"), node("y", "", "image", label="Figure 2")]
    assert links_of(nodes, "cites") == []


def test_a_list_of_tables_cites_nothing():
    tables = [table(f"x{number}", f"Table {number}", section=f"S{number}") for number in range(1, MAX_CITED + 2)]
    contents = node("list", "\n".join(f"see Table {number}" for number in range(1, MAX_CITED + 2)))
    assert links_of([contents, *tables], "cites") == []
    assert len(links_of([node("few", "see Tables 1 and 2"), *tables], "cites")) == 2


def test_a_citation_reaches_the_first_parts_of_a_long_table():
    parts = [table(f"p{number}", "Table 1", element_id="e", section="B") for number in range(9)]
    nodes = [node("t", "Table 1 shows", section="A"), *parts]
    assert [target for _, target, _ in links_of(nodes, "cites")] == [f"p{number}" for number in range(MAX_PARTS)]


def test_a_citation_behind_a_long_table_reaches_its_first_parts_too():
    nodes = [
        *(table(f"p{number}", "Table 1", element_id="e", section="B") for number in range(9)),
        node("t", "Table 1"),
    ]
    assert links_of(nodes, "cites")[0] == ("t", "p0", "Table 1")


def test_where_a_parser_found_no_table_the_text_that_begins_with_the_label_bears_it():
    nodes = [
        node("t", "The sums stand in Table 4.", page=1, section="A"),
        *fillers(5, section="A"),
        node("page", "Intro words\nTable 4: Sums\n1 2 3", page=2, section="B"),
    ]
    assert links_of(nodes, "cites") == [("t", "page", "Table 4")]


# Captions and continuations


@pytest.mark.parametrize(
    "text",
    [
        "Table 2: Revenue by region",
        "TABLE 2 – Revenue  by region.",
        "Table 2: Revenue",
        "Table 2: Revenue by region, 2019",
    ],
)
def test_a_text_that_only_repeats_a_caption(text):
    nodes = [table("x", "Table 2", caption="Table 2: Revenue by region"), *fillers(9), node("c", text)]
    assert links_of(nodes, "caption") == [("c", "x", "Table 2")]
    assert links_of(nodes, "cites") == []


def test_a_caption_without_a_label():
    nodes = [node("c", "A happy dog"), node("x", "", "image", caption="A happy dog")]
    assert links_of(nodes, "caption") == [("c", "x", None)]


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("Table 2", "Table 2 shows that revenue fell."),
        ("Table 2: Revenue by region", "Table 2: Revenue by region. The north grew most and the south least."),
        ("Table 2: Revenue " * 30, "Table 2: Revenue " * 40),
    ],
)
def test_a_text_that_says_more_cites_instead(caption, text):
    nodes = [table("x", "Table 2", caption=caption), node("c", text)]
    assert links_of(nodes, "caption") == []
    assert links_of(nodes, "cites") == [("c", "x", "Table 2")]


@pytest.mark.parametrize(
    ("first", "second", "continues"),
    [
        ({"element_id": "e"}, {"element_id": "e"}, True),
        ({"element_id": "e"}, {"element_id": "f"}, False),
        ({"element_id": ""}, {"element_id": ""}, False),
        ({"label": "Table 1", "page": 1}, {"label": "Table 1", "page": 2}, True),
        ({"label": "Table 1", "page": 1}, {"label": "Table 1", "page": 7}, False),
        ({"label": "Table 1", "page": 1}, {"label": "Table 2", "page": 2}, False),
        ({"label": "Table 1", "page": 1}, {"caption": "(continued)", "page": 2}, True),
        ({"label": "Table 1", "page": 1}, {"caption": "续表 1", "page": 2}, True),
        ({"label": "Table 1"}, {"label": "Table 2", "caption": "Table 2 (continued)"}, False),
        ({"page": 1}, {"page": 2}, False),
    ],
)
def test_a_table_goes_on(first, second, continues):
    nodes = [node("x", "a | b", "table", **first), node("y", "c | d", "table", **second)]
    assert [link[:2] for link in links_of(nodes, "continues")] == ([("y", "x")] if continues else [])


def test_a_table_goes_on_behind_a_page_header_but_pieces_of_one_element_stand_together():
    nodes = [table("x", "Table 1", page=1), node("h", "Header"), table("y", "Table 1", page=2)]
    assert links_of(nodes, "continues") == [("y", "x", "Table 1")]
    nodes = [table("x", element_id="e"), node("h"), table("y", element_id="e")]
    assert links_of(nodes, "continues") == []
    assert links_of([node("x"), node("y", caption="(continued)")], "continues") == []


# Sections, neighbours, pages


def test_a_table_is_linked_to_the_nearest_paragraphs_of_its_section():
    paragraphs = fillers(30, section="A")
    nodes = [*paragraphs[:15], table("x", section="A"), *paragraphs[15:], *fillers(5, section="B")]
    found = [target for source, target, _ in links_of(nodes, "section") if source == "x"]
    assert sorted(found) == sorted(f"fA{number}" for number in range(11, 19))
    assert found[:2] == ["fA15", "fA14"]
    assert len(found) == SECTION_PARAGRAPHS
    found = [target for source, target, _ in links_of([table("x"), *fillers(30)], "section") if source == "x"]
    assert found == [f"f{number}" for number in range(SECTION_PARAGRAPHS)]


def test_paragraphs_are_linked_to_the_two_that_follow():
    found = [link[:2] for link in links_of(fillers(4), "section")]
    assert found == [("f0", "f1"), ("f0", "f2"), ("f1", "f2"), ("f1", "f3"), ("f2", "f3")]


def test_paragraphs_are_linked_to_the_next_ones_of_their_section_though_others_stand_between():
    nodes = [node("a1", section="A"), node("b1", section="B"), node("a2", section="A"), node("b2", section="B")]
    assert {link[:2] for link in links_of(nodes, "section")} == {("a1", "a2"), ("b1", "b2")}
    assert {link[:2] for link in links_of(nodes, "neighbour")} == {("a1", "b1"), ("b1", "a2"), ("a2", "b2")}


def test_a_document_without_headings_is_one_section():
    nodes = [table("x"), *fillers(5)]
    assert {target for source, target, _ in links_of(nodes, "section") if source == "x"} == {f"f{n}" for n in range(5)}


def test_a_figure_is_linked_to_paragraphs_of_its_page_in_another_section():
    nodes = [
        *fillers(5, section="A", page=3),
        node("x", "", "image", section="B", page=3),
        node("y", "", "image", section="C", page=4),
    ]
    assert [link[:2] for link in links_of(nodes, "page")] == [("x", "fA3")]
    nodes = [*fillers(5, section="A", page=3), node("b", section="B", page=3)]
    nodes.append(node("x", "", "image", section="B", page=3))
    assert [link[:2] for link in links_of(nodes, "page")] == [("x", "fA4"), ("x", "fA3")][:PAGE_PARAGRAPHS]


def test_the_strongest_kind_of_link_stays_between_two_nodes():
    nodes = [node("t", "Table 1 shows", section="A", page=1), table("x", "Table 1", section="A", page=1)]
    assert [(link.source, link.target, link.kind) for link in structural_links(nodes)] == [("t", "x", "cites")]


def test_pages_whose_elements_are_nodes_have_no_links_and_other_pages_do():
    page = node("p", "see Table 1", "page", page=1)
    page.relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id="x")]
    scan = node("q", "see Table 1", "page", page=2)
    assert links_of([page, table("x", "Table 1", page=1), scan], "cites") == [("q", "x", "Table 1")]
    page.relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id="gone")]
    assert links_of([page, table("x", "Table 1", page=1)], "cites") == [("p", "x", "Table 1")]
    page.relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id="x")]
    assert all("p" not in (link.source, link.target) for link in structural_links([page, table("x"), scan]))


# Order, size, bad input


def chained(nodes):
    for first, second in pairwise(nodes):
        first.relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id=second.node_id)
        second.relationships[NodeRelationship.PREVIOUS] = RelatedNodeInfo(node_id=first.node_id)
    return nodes


def test_relationships_tell_the_order_when_a_store_gives_nodes_in_another():
    nodes = chained([*fillers(6, section="A"), table("x", "Table 1", section="A"), *fillers(6, section="B")])
    assert reading_order(nodes[::-1]) == nodes
    assert structural_links(nodes[::-1]) == structural_links(nodes) == structural_links(nodes)


def test_interleaved_chains_stay_interleaved():
    pages, elements = chained([node("p1", kind="page"), node("p2", kind="page")]), chained(fillers(4))
    nodes = [pages[0], *elements[:2], pages[1], *elements[2:]]
    assert reading_order(nodes) == nodes


def test_a_chain_in_a_circle_and_to_nowhere():
    nodes = chained(fillers(3))
    nodes[2].relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id="f0")
    nodes[0].relationships[NodeRelationship.PREVIOUS] = RelatedNodeInfo(node_id="f2")
    assert reading_order(nodes) == nodes
    nodes[1].relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id="nowhere")
    assert {item.node_id for item in reading_order(nodes)} == {"f0", "f1", "f2"}


@pytest.mark.parametrize("nodes", [[], [node("a")], [node("a"), node("a")], [Document(text="plain")]])
def test_nothing_to_link(nodes):
    assert structural_links(nodes) == []


def test_hostile_metadata():
    bad = {"label": 5, "caption": None, "section": ["x"], "page": "iv", "element_id": 0, "content_type": None}
    nodes = [TextNode(id_="a", text="\x00Table 5'] or 1==1", metadata=bad), TextNode(id_="b", text=""), table("x")]
    assert {link.kind for link in structural_links(nodes)} <= {"section", "neighbour", "cites", "page"}


@pytest.mark.parametrize("shape", ["one section", "no caption", "one label", "labels", "tables"])
def test_links_grow_with_the_document_and_not_with_its_square(shape):
    def made(count):
        nodes = []
        for number in range(count):
            if shape == "one section":
                nodes.append(node(f"n{number}", section="A", page=1))
            elif shape == "one label":
                nodes.append(
                    node(f"n{number}", "see Table 1") if number % 2 else table(f"n{number}", "Table 1", page=1)
                )
            elif shape == "labels":
                nodes.append(
                    node(f"n{number}", f"see Table {number}")
                    if number % 2
                    else table(f"n{number}", f"Table {number + 1}")
                )
            else:
                caption = {"caption": "same"} if shape == "no caption" else {}
                nodes.append(node(f"n{number}", "same", "table", section="A", page=1, **caption))
        return nodes

    def links_and_seconds(nodes):
        # The best of three, in processor time: other processes may be running.
        seconds = []
        for _ in range(3):
            started = time.process_time()
            links = len(structural_links(nodes))
            seconds.append(time.process_time() - started)
        return links, min(seconds)

    few, short = links_and_seconds(made(1_000))
    many, long = links_and_seconds(made(4_000))
    assert many <= 4.1 * few
    assert few <= (SECTION_PARAGRAPHS + SECTION_NEXT + PAGE_PARAGRAPHS + MAX_PARTS) * 1_000
    assert long < 12 * short + 0.2


# A real document


def test_a_word_document_end_to_end(tmp_path):
    document = docx.Document()
    document.add_heading("Report", 1)
    document.add_heading("Revenue", 2)
    document.add_paragraph("Revenue rose in all regions, as Table 1 shows.")
    document.add_paragraph("Table 1: Revenue by region")
    grid = document.add_table(rows=2, cols=2)
    for cell, text in zip(
        (c for row in grid.rows for c in row.cells), ("Region", "Revenue", "North", "12"), strict=True
    ):
        cell.text = text
    document.add_heading("Outlook", 2)
    document.add_paragraph("We expect the trend of Table 1 to go on.")
    path = tmp_path / "report.docx"
    document.save(path)
    nodes = RAGAnythingNodeParser().get_nodes_from_documents(
        RAGAnythingReader(working_dir=str(tmp_path / "work")).load_data(path)
    )
    by_id = {item.node_id: item for item in nodes}
    tables = [item.node_id for item in nodes if item.metadata["content_type"] == "table"]
    assert len(tables) == 1
    citing = [link for link in structural_links(nodes) if link.kind == "cites"]
    assert {link.target for link in citing} == set(tables)
    assert {link.label for link in citing} == {"Table 1"}
    texts = " ".join(by_id[link.source].get_content() for link in citing)
    assert "rose in all regions" in texts
    assert "trend" in texts
