"""Tables come out of nodes as they went in: parts joined, descriptions ignored, ids stable."""

import json
import random

import pytest
from llama_index.core.schema import Document, NodeRelationship, RelatedNodeInfo, TextNode

from llama_index_raganything.documents.packing import elements_to_document
from llama_index_raganything.elements import Element
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.tables.pipe_tables import pipe_cells
from llama_index_raganything.tables.read import tables_of_nodes
from llama_index_raganything.tables.records import TableRecord, profile


def nodes_of(*elements, **options):
    return RAGAnythingNodeParser(**options).get_nodes_from_documents(
        [elements_to_document(list(elements), source="a.docx", doc_id="doc")]
    )


def table(rows, **fields):
    return Element(type="table", rows=rows, **fields)


BIG = [["Name", "Amount", "Note"], *([f"row {index}", str(index), f"note {index}"] for index in range(1_000))]


def test_parts_of_a_table_become_one_again():
    nodes = nodes_of(
        table(BIG, caption="Table 2: Rows", label="Table 2", page=3, bbox=(10, 20, 30, 40)), table_chunk_size=200
    )
    tables = [node for node in nodes if node.metadata["content_type"] == "table"]
    assert len(tables) > 5
    (record,) = tables_of_nodes(nodes)
    assert record.node_ids == tuple(node.node_id for node in tables)
    assert record.rows == tuple(map(tuple, BIG[1:]))
    assert [column.header for column in record.columns] == BIG[0]
    assert sum(row[1] for row in record.values()) == sum(range(1_000))
    assert (record.doc_id, record.caption, record.label, record.page) == ("doc", "Table 2: Rows", "Table 2", 3)
    assert json.loads(record.bbox) == [10, 20, 30, 40]
    assert record.name.startswith("table_2_rows_")


def test_linked_parts_in_any_order_are_put_in_reading_order():
    nodes = nodes_of(table(BIG, page=1), table_chunk_size=200)
    expected = tables_of_nodes(nodes)
    random.Random(5).shuffle(nodes)
    assert tables_of_nodes(nodes)[0].rows == expected[0].rows


def test_ids_and_names_are_the_same_at_every_run_and_differ_between_documents():
    element = table([["A", "B"], ["x", "1"]])
    first, again = tables_of_nodes(nodes_of(element)), tables_of_nodes(nodes_of(element))
    assert first == again
    parser = RAGAnythingNodeParser()
    other = tables_of_nodes(
        parser.get_nodes_from_documents([elements_to_document([element], source="b.docx", doc_id="other")])
    )
    assert other[0].table_id != first[0].table_id
    assert other[0].name != first[0].name


def test_the_same_table_twice_in_a_document_is_two_tables():
    rows = [["A", "B"], ["x", "1"], ["y", "2"]]
    records = tables_of_nodes(nodes_of(table(rows), Element(type="text", text="between"), table(rows)))
    assert [record.rows for record in records] == [(("x", "1"), ("y", "2"))] * 2
    assert len({record.name for record in records}) == 2
    assert [len(record.node_ids) for record in records] == [1, 1]


def test_a_cut_in_the_middle_of_a_part_loses_no_row():
    rows = [["Name", "Text"], *([f"r{index}", "字" * 3_000] for index in range(30))]
    nodes = nodes_of(table(rows, page=1), table_chunk_size=200_000)
    assert len([node for node in nodes if node.metadata["content_type"] == "table"]) > 1
    (record,) = tables_of_nodes(nodes)
    assert [row[0] for row in record.rows] == [f"r{index}" for index in range(30)]


def test_plain_llama_index_nodes_give_every_pipe_table_in_them():
    text = "Intro\n\n| A | B |\n|---|:-:|\n| x | 1 |\n\nMiddle\n\nC | D\n--- | ---\n| y | 2 |\n\nEnd | of it"
    node = TextNode(text=text, metadata={"file_name": "notes.md"})
    node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="source")
    first, second = tables_of_nodes([node])
    assert (first.rows, second.rows) == ((("x", "1"),), (("y", "2"),))
    assert first.table_id != second.table_id
    assert first.doc_id == "source"
    assert first.notes == "Intro"
    assert second.notes == "Middle\nEnd | of it"
    assert tables_of_nodes([Document(text=text)])[0].rows == first.rows


def test_a_description_with_a_small_table_does_not_hide_the_real_one():
    node = TextNode(
        text="Caption\n\nThe table shows\n\n| k |\n| --- |\n| v |\n\n| A | B |\n| --- | --- |\n| x | 1 |\n| y | 2 |",
        metadata={"content_type": "table", "doc_id": "d", "element_id": "e"},
    )
    (record,) = tables_of_nodes([node])
    assert [column.name for column in record.columns] == ["a", "b"]


@pytest.mark.parametrize("kind", ["page", "code", "equation"])
def test_other_kinds_of_nodes_hold_no_tables(kind):
    node = TextNode(text="| A | B |\n| --- | --- |\n| x | 1 |", metadata={"content_type": kind})
    assert tables_of_nodes([node]) == []


@pytest.mark.parametrize(
    "text", ["", "no table", "|", "| --- |", "a | b", "| --- | --- |\n| --- | --- |", "\ud800 | x", "|\n|---|"]
)
def test_texts_without_tables(text):
    for record in tables_of_nodes([TextNode(text=text)]):
        assert record.rows == ()


def test_cells_with_bars_backslashes_and_line_breaks():
    rows = [["Name", "Rule"], ["a|b", "x\\"], ["c\nd", "'; DROP TABLE t; --"], ["|", "1 | 2"]]
    (record,) = tables_of_nodes(nodes_of(table(rows)))
    assert record.rows == (("a|b", "x\\"), ("c d", "'; DROP TABLE t; --"), ("|", "1 | 2"))
    assert pipe_cells(r"| a \| b | c |") == ("a | b", "c")


def test_one_cell_three_hundred_columns_and_five_thousand_rows():
    (single,) = tables_of_nodes(nodes_of(table([["single"]])))
    assert [column.name for column in single.columns] == ["single"]
    assert single.rows == ()
    wide = [[f"C{index}" for index in range(300)], [str(index) for index in range(300)]]
    (record,) = tables_of_nodes(nodes_of(table(wide)))
    assert len(record.columns) == 300
    assert record.values()[0] == tuple(range(300))
    long = [["A", "B"], *([f"r{index}", f"{index:,}"] for index in range(5_000))]
    (record,) = tables_of_nodes(nodes_of(table(long)))
    assert len(record.rows) == 5_000
    assert sum(row[1] for row in record.values()) == sum(range(5_000))


def test_several_header_rows_headers_twice_and_none():
    rows = [["", "Year", "Year"], ["", "2019", "2018"], ["Sales", "$ 1,200", "(5)"]]
    (record,) = tables_of_nodes(nodes_of(table(rows, header_rows=2, caption="Sales (in millions)")))
    assert [column.header for column in record.columns] == ["", "Year 2019", "Year 2018"]
    assert record.values() == [("Sales", 1200, -5)]
    assert [column.scale for column in record.columns[1:]] == [1e6, 1e6]
    (record,) = tables_of_nodes(nodes_of(table([["A", "A", ""], ["x", "1", "2"]])))
    assert [column.name for column in record.columns] == ["a", "a_2", "column_3"]
    (record,) = tables_of_nodes(nodes_of(table([["x", "1"], ["y", "2"]], header_rows=0)))
    assert [column.name for column in record.columns] == ["item", "column_2"]
    assert len(record.rows) == 2


def test_records_travel_as_json():
    (record,) = tables_of_nodes(nodes_of(table([["Größe", "值"], ["a", "1,5"]], caption="表 1 结果")))
    assert TableRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    assert record.name.startswith("表_1_结果_")


def test_the_profile_says_what_is_in_a_table():
    rows = [["Region", "Sales ($ million)", "Since"], ["North", "1,200", "2020-01-31"], ["South", "(5)", "2021-02-28"]]
    (record,) = tables_of_nodes(nodes_of(table(rows)))
    found = profile(record)
    assert found.row_labels == ("North", "South")
    assert (found.columns[1].minimum, found.columns[1].maximum) == (-5, 1200)
    assert found.text == (
        "2 rows, 3 columns\n"
        'region ("Region"): text, 2 different, such as North, South\n'
        'sales_million ("Sales ($ million)"): number in million USD, -5 to 1200\n'
        'since ("Since"): date, 2020-01-31 to 2021-02-28\n'
        "Rows: North; South"
    )


def test_the_profile_of_a_huge_table_stays_short():
    rows = [[f"C{index}" for index in range(300)], *([f"{'w' * 500} {row}"] * 300 for row in range(100))]
    (record,) = tables_of_nodes(nodes_of(table(rows)))
    assert len(profile(record).text) < 10_000
    (empty,) = tables_of_nodes(nodes_of(table([["A"]])))
    assert profile(empty).text == '0 rows, 1 column\na ("A"): empty'


def test_words_of_a_model_change_no_table():
    said = "Revenue (in thousands).\n\n| Guess |\n| --- |\n| 1 |"
    table = "| Region | Revenue |\n| --- | --- |\n| North | 12 |"
    node = TextNode(
        text=f"{said}\n\n{table}",
        metadata={"content_type": "table", "doc_id": "d", "element_id": "e", "description_span": f"0:{len(said)}"},
    )
    (record,) = tables_of_nodes([node])
    assert [column.header for column in record.columns] == ["Region", "Revenue"]
    assert record.columns[1].scale == 1
