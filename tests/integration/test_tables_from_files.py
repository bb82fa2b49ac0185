"""Tables of real files come out of SQL with the numbers that were put in."""

import datetime

import docx
import openpyxl
import pytest
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Paragraph, SimpleDocTemplate, Table, TableStyle

from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.stores.tables.store import TableStore
from llama_index_raganything.tables.read import tables_of_nodes

HEADER = ["Segment", "Revenue ($ million)", "Change", "Founded"]
BODY = [
    ["Cloud services", "1,234.5", "12.5 %", "2001-03-31"],
    ["Devices", "(87.25)", "(3.1) %", "1998-12-01"],
    ["Licences", "—", "n/a", "2010-07-15"],
    ["Support", "450", "0.4 %", "2015-01-02"],
]
REVENUE, CHANGE = 1234.5 - 87.25 + 450, 12.5 - 3.1 + 0.4


def xlsx(path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Segments"
    sheet.append(HEADER)
    for name, revenue, change, founded in (
        ("Cloud services", 1234.5, 0.125, datetime.date(2001, 3, 31)),
        ("Devices", -87.25, -0.031, datetime.date(1998, 12, 1)),
        ("Licences", None, None, datetime.date(2010, 7, 15)),
        ("Support", 450, 0.004, datetime.date(2015, 1, 2)),
    ):
        sheet.append([name, revenue, change, founded])
        sheet.cell(sheet.max_row, 2).number_format = "#,##0.00;(#,##0.00)"
        sheet.cell(sheet.max_row, 3).number_format = "0.0%"
        sheet.cell(sheet.max_row, 4).number_format = "yyyy-mm-dd"
    book.save(path)


def word(path):
    document = docx.Document()
    document.add_heading("Results", 1)
    document.add_paragraph("The segments did as follows.")
    table = document.add_table(rows=0, cols=4)
    table.style = "Table Grid"
    for row in (HEADER, *BODY):
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    document.add_paragraph("That is all.")
    document.save(path)


def html(path):
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in BODY)
    head = "".join(f"<th>{cell}</th>" for cell in HEADER)
    path.write_text(
        f"<html><body><h1>Results</h1><p>Text.</p><table><caption>Segments</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></body></html>",
        encoding="utf-8",
    )


def pdf(path):
    style = TableStyle(
        [("GRID", (0, 0), (-1, -1), 0.5, colors.black), ("BACKGROUND", (0, 0), (-1, 0), colors.lightgrey)]
    )
    text = Paragraph(
        "The segments did as follows in the year that ended in December. " * 6, getSampleStyleSheet()["BodyText"]
    )
    SimpleDocTemplate(str(path), pagesize=A4).build([text, Table([HEADER, *BODY], style=style), text])


def markdown(path):
    lines = ["| " + " | ".join(row) + " |" for row in (HEADER, *BODY)]
    lines.insert(1, "| --- | ---: | --- | --- |")
    path.write_text("# Results\n\nText.\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


BUILDERS = {
    "segments.xlsx": xlsx,
    "segments.docx": word,
    "segments.html": html,
    "segments.pdf": pdf,
    "segments.md": markdown,
}


def stored(path, folder):
    documents = RAGAnythingReader().load_data(path)
    nodes = RAGAnythingNodeParser().get_nodes_from_documents(documents)
    store = TableStore(folder)
    for document in documents:
        store.put(document.id_, tables_of_nodes([node for node in nodes if node.metadata["doc_id"] == document.id_]))
    return store, nodes


@pytest.mark.parametrize("name", BUILDERS)
def test_numbers_percent_and_dates_of_a_file_are_right_in_sql(name, tmp_path):
    path = tmp_path / name
    BUILDERS[name](path)
    store, nodes = stored(path, tmp_path / "tables")
    (record,) = store.tables()
    label, revenue, change, founded = (column.name for column in record.columns)
    assert [column.type for column in record.columns] == ["text", "number", "number", "date"]
    assert [column.measure for column in record.columns[1:3]] == ["million USD", "%"]
    found = store.query_sql(
        f"SELECT sum({revenue}), sum({change}), min({founded}), count({revenue}), count(*) FROM {record.name}"
    )
    assert found.rows[0][0] == pytest.approx(REVENUE)
    assert found.rows[0][1] == pytest.approx(CHANGE)
    assert found.rows[0][2:] == (datetime.date(1998, 12, 1), 3, 4)
    lost = store.query_sql(f"SELECT {label} FROM {record.name} WHERE {revenue} < 0")
    assert lost.rows == [("Devices",)]
    (source,) = lost.sources
    assert source.file_name == name
    by_id = {node.node_id: node for node in nodes}
    assert all(by_id[node_id].metadata["content_type"] == "table" for node_id in source.node_ids)
    assert "Devices" in by_id[source.node_ids[0]].text
    if name.endswith(".pdf"):
        assert source.page == 1
        assert source.bbox.startswith("[")


def test_merged_headers_of_a_workbook_are_flattened(tmp_path):
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (
        ["（单位：万元）", "营业收入", None, "净利润", None],
        [None, 2023, 2022, 2023, 2022],
        ["华东", 1200, 1100, 80, -5],
        ["华南", 900, None, 60, 40],
    ):
        sheet.append(row)
    sheet.merge_cells("B1:C1")
    sheet.merge_cells("D1:E1")
    sheet.merge_cells("A1:A2")
    path = tmp_path / "收入.xlsx"
    book.save(path)
    store, _ = stored(path, tmp_path / "tables")
    (record,) = store.tables()
    income = [column for column in record.columns if "营业收入" in column.header]
    assert [column.type for column in record.columns] == ["text", *["number"] * 4]
    assert len(income) == 2
    assert {column.measure for column in income} == {"10,000 CNY"}
    newest = next(column.name for column in income if "2023" in column.header)
    assert store.query_sql(f"SELECT sum({newest}) FROM {record.name}").rows == [(2100,)]
    profit = next(column.name for column in record.columns if "净利润" in column.header and "2022" in column.header)
    assert store.query_sql(f"SELECT min({profit}) FROM {record.name}").rows == [(-5,)]


def test_a_long_workbook_is_one_relation(tmp_path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Id", "Amount", "Paid"])
    for number in range(2_000):
        sheet.append([f"A-{number}", number * 1.5, "yes" if number % 2 else "no"])
    path = tmp_path / "long.xlsx"
    book.save(path)
    store, _ = stored(path, tmp_path / "tables")
    (record,) = store.tables()
    assert len(record.node_ids) > 3
    found = store.query_sql(f"SELECT count(*), sum(amount), count(*) FILTER (WHERE paid) FROM {record.name}")
    assert found.rows == [(2_000, sum(range(2_000)) * 1.5, 1_000)]


def test_accounts_in_html_with_signs_in_cells_of_their_own(tmp_path):
    path = tmp_path / "accounts.html"
    path.write_text(
        "<html><body><p>Balance sheets (in thousands, except per share data)</p><table>"
        "<tr><td></td><td></td><td colspan='2'>December 31,<br>2019</td>"
        "<td></td><td colspan='2'>December 31,<br>2018</td></tr>"
        "<tr><td>Assets:</td><td></td><td></td><td></td><td></td><td></td><td></td></tr>"
        "<tr><td>Cash</td><td></td><td>$</td><td>1,234</td><td></td><td>$</td><td>1,100</td></tr>"
        "<tr><td>Deficit</td><td></td><td></td><td>(56</td><td>)</td><td></td><td>(7</td><td>)</td></tr>"
        "<tr><td>Total</td><td></td><td>$</td><td>1,178</td><td></td><td>$</td><td>1,093</td></tr>"
        "</table></body></html>",
        encoding="utf-8",
    )
    store, _ = stored(path, tmp_path / "tables")
    (record,) = store.tables()
    numbers = [column.name for column in record.columns if column.type == "number"]
    assert len(numbers) == 2
    sums = store.query_sql(
        f"SELECT sum({numbers[0]}), sum({numbers[1]}) FROM {record.name} WHERE {record.columns[0].name} <> 'Total'"
    )
    assert sums.rows == [(1234 - 56, 1100 - 7)]
    assert [column.measure for column in record.columns if column.type == "number"] == ["thousand USD"] * 2
