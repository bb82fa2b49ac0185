"""The table store keeps what it was given, in step with other processes, and answers SQL with the right numbers."""

import asyncio
import datetime
import json
import pickle
import subprocess
import sys
import threading

import duckdb
import pytest
from llama_index.core.schema import TextNode

from llama_index_raganything.errors import ConfigurationError, SQLError, StoreUnavailableError, UnknownTableError
from llama_index_raganything.ingestion.layers import TableLayer
from llama_index_raganything.stores.tables.store import TableStore
from llama_index_raganything.tables.read import tables_of_nodes

SALES = [
    ("Region", "Sales ($ million)", "Share", "Since"),
    ("North", "1,200.5", "60 %", "2020-01-31"),
    ("South", "(5)", "—", "2021-02-28"),
]


def nodes_of(doc_id, *tables, caption="Sales by region"):
    nodes = []
    for number, rows in enumerate(tables):
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|" + " --- |" * len(rows[0]))
        metadata = {
            "content_type": "table",
            "doc_id": doc_id,
            "element_id": f"e{number}",
            "caption": caption,
            "page": number + 1,
        }
        nodes.append(
            TextNode(id_=f"{doc_id}-{number}", text="\n".join(lines), metadata=metadata | {"bbox": "[1,2,3,4]"})
        )
    return nodes


def records_of(doc_id, *tables, **options):
    return tables_of_nodes(nodes_of(doc_id, *tables, **options))


@pytest.fixture
def store(tmp_path):
    return TableStore(tmp_path / "tables")


@pytest.fixture
def sales(store):
    (record,) = records_of("report", SALES)
    store.put("report", [record])
    return record


def test_numbers_come_back_as_numbers_with_their_source(store, sales):
    result = store.query_sql(
        f"SELECT region, sales_million * 2 AS twice, share, since FROM {sales.name} ORDER BY sales_million"
    )
    assert result.columns == ["region", "twice", "share", "since"]
    assert result.rows == [
        ("South", -10.0, None, datetime.date(2021, 2, 28)),
        ("North", 2401.0, 60, datetime.date(2020, 1, 31)),
    ]
    assert result.types == ["VARCHAR", "DOUBLE", "BIGINT", "DATE"]
    assert result.sources == [sales]
    assert result.sources[0].node_ids == ("report-0",)
    assert (result.sources[0].page, result.sources[0].bbox) == (1, "[1,2,3,4]")
    assert not result.truncated
    assert str(result).startswith(
        "| region | twice | share | since |\n| --- | --- | --- | --- |\n| South | -10.0 |  | 2021-02-28 |"
    )


def test_the_relation_has_its_columns_alone_and_the_printed_text_beside_it(store, sales):
    assert store.query_sql(f"SELECT * FROM {sales.name}").columns == ["region", "sales_million", "share", "since"]
    printed = store.query_sql(f"SELECT * FROM {sales.name}__text")
    assert printed.rows == list(sales.rows)
    joined = (
        f"SELECT t.sales_million FROM {sales.name} n JOIN {sales.name}__text t USING (region) WHERE n.sales_million < 0"
    )
    assert store.query_sql(joined).rows == [("(5)",)]
    assert store.query_sql(joined).sources == [sales]


def test_the_catalog_can_be_queried(store, sales):
    other = records_of("other", [("A", "B"), ("x", "1")], caption="Else")
    store.put("other", other)
    found = store.query_sql(
        "SELECT name, caption, page, rows, columns, doc_id FROM tables WHERE caption ILIKE '%region%'"
    )
    assert found.rows == [(sales.name, "Sales by region", 1, 2, 4, "report")]
    columns = store.query_sql(
        f"SELECT column_name, type, unit, scale FROM table_columns WHERE table_name = '{sales.name}'"
    )
    assert columns.rows[1:3] == [("sales_million", "number", "USD", 1e6), ("share", "number", "%", 1.0)]
    names = sorted([sales.name, other[0].name])
    assert [row[0] for row in store.query_sql("SHOW TABLES").rows] == names
    assert [row[0] for row in store.query_sql(f"DESCRIBE {sales.name}").rows] == [
        "region",
        "sales_million",
        "share",
        "since",
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "WITH t AS (SELECT * FROM {name}) SELECT count(*) FROM t",
        "SELECT count(*) FROM (SELECT * FROM {name}) AS x",
        "SELECT (SELECT count(*) FROM {name})",
        "SELECT count(*) FROM MAIN.{name}",
        'SELECT count(*) FROM "{upper}"',
        "WITH tables AS (SELECT * FROM {name}) SELECT count(*) FROM tables",
        "FROM {name} SELECT count(*)",
        "SELECT count(*) FROM {name};",
        "-- a comment\nSELECT count(*) FROM {name} /* ; DROP TABLE x */",
        "SELECT count(*) FROM {name} UNION SELECT count(*) FROM {name}__text",
        "SELECT count(*) FROM range(2) r WHERE EXISTS (SELECT 1 FROM {name})",
    ],
)
def test_many_ways_to_ask(store, sales, sql):
    assert store.query_sql(sql.format(name=sales.name, upper=sales.name.upper())).rows == [(2,)]


def test_a_table_that_is_not_there_is_named_with_those_that_are(store, sales):
    with pytest.raises(UnknownTableError, match=sales.name) as caught:
        store.query_sql("SELECT * FROM sales_by_regoin")
    assert "sales_by_regoin" in str(caught.value)
    assert "sales_million DOUBLE in million USD" in str(caught.value)
    with pytest.raises(UnknownTableError):
        store.query_sql("SELECT * FROM nothing_like_it")
    with pytest.raises(UnknownTableError):
        TableStore(store.folder / "empty").query_sql("SELECT * FROM x")


def test_a_column_that_is_not_there_is_named_with_those_that_are(store, sales):
    with pytest.raises(SQLError, match="sales_million") as caught:
        store.query_sql(f"SELECT salse FROM {sales.name}")
    assert "salse" in str(caught.value)
    assert not isinstance(caught.value, UnknownTableError)


def test_only_allowed_tables_are_read(store, sales):
    (other,) = records_of("other", [("A", "B"), ("x", "1")])
    store.put("other", [other])
    allowed = [other.table_id]
    assert store.query_sql(f"SELECT b FROM {other.name}", tables=allowed).rows == [(1,)]
    for sql in (f"SELECT * FROM {sales.name}", f"SELECT * FROM {sales.name}__text"):
        with pytest.raises(UnknownTableError) as caught:
            store.query_sql(sql, tables=allowed)
        assert "sales_million" not in str(caught.value)
    assert store.query_sql("SELECT name FROM tables", tables=allowed).rows == [(other.name,)]
    assert store.query_sql("SELECT DISTINCT table_name FROM table_columns", tables=allowed).rows == [(other.name,)]
    assert store.query_sql("SELECT count(*) FROM tables", tables=[]).rows == [(0,)]


def test_rows_are_cut(store, sales):
    result = store.query_sql("SELECT range FROM range(100000)", max_rows=3)
    assert (result.rows, result.truncated) == ([(0,), (1,), (2,)], True)
    assert not store.query_sql("SELECT range FROM range(3)", max_rows=3).truncated
    wide = store.query_sql("SELECT repeat('é', 200000) AS s FROM range(100)")
    assert wide.truncated
    assert len(wide.rows[0][0]) < 200_000
    with pytest.raises(ConfigurationError):
        store.query_sql("SELECT 1", max_rows=0)
    with pytest.raises(ConfigurationError):
        store.query_sql("SELECT 1", timeout_s=0)


def test_values_of_every_kind_come_back(store):
    dates = "TIMESTAMP '2024-01-31 10:00:00'"
    sql = f"SELECT 1.50::DECIMAL(9,2), 2::HUGEINT, 'nan'::DOUBLE, [1, 2], {dates}, NULL, true, 'a\tb\n字😀'"
    assert store.query_sql(sql).rows == [(1.5, 2, "nan", "[1, 2]", "2024-01-31 10:00:00", None, True, "a\tb\n字😀")]
    assert store.query_sql("SELECT 1 AS a, 2 AS a").rows == [(1, 2)]
    assert store.query_sql("SELECT 1 WHERE false").rows == []


def test_put_replaces_and_delete_deletes(store, sales):
    (again,) = records_of("report", [*SALES, ("West", "7", "1 %", "2022-01-01")])
    store.put("report", [again])
    assert store.query_sql(f"SELECT count(*) FROM {sales.name}").rows == [(3,)]
    assert store.count() == 1
    store.delete("report")
    store.delete("report")
    store.delete("never there")
    assert (store.count(), store.tables(), store.get(sales.table_id), store.by_node("report-0")) == (0, [], None, [])
    with pytest.raises(UnknownTableError):
        store.query_sql(f"SELECT * FROM {sales.name}")
    assert list(store.folder.iterdir()) == []


def test_tables_are_found_by_id_document_and_node(store, sales):
    others = records_of("other", [("A", "B"), ("x", "1")], [("C", "D"), ("y", "2")])
    store.put("other", others)
    assert store.get(sales.table_id) == sales
    assert store.tables(["other"]) == others
    assert store.tables() == [*others, sales]
    assert [entry.table_id for entry in store.entries(["report"])] == [sales.table_id]
    assert store.by_node("other-1") == [others[1]]
    assert store.count() == 3
    store.put("other", [])
    assert store.count() == 1


def test_cost_of_writing_does_not_grow_with_the_store(store):
    for number in range(50):
        store.put(f"d{number}", records_of(f"d{number}", SALES))
    before = {path.name: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    store.put("d7", records_of("d7", SALES[:2]))
    store.delete("d8")
    after = {path.name: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    assert len(after) == 49
    assert len(set(before.items()) - set(after.items())) == 2


IDS = ["../../escape", "/etc/passwd", "a\x00b", "", ".", "字" * 300, "CON", "\ud800", "a/b\\c:d*?", "https://x.y/z?q=1"]


def test_ids_of_documents_and_tenants_never_become_paths(tmp_path):
    home = tmp_path / "home" / "tables"
    for doc_id in IDS:
        store = TableStore(home, tenant=doc_id)
        store.put(doc_id, records_of("d", SALES))
        assert len(store.tables([doc_id])) == 1
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(made) == len(IDS)
    assert all(path.is_relative_to(home) for path in made)


def test_tenants_see_their_own_tables_only(tmp_path):
    first, second = TableStore(tmp_path, tenant="a"), TableStore(tmp_path, tenant="b")
    (record,) = records_of("d", SALES)
    first.put("d", [record])
    assert (first.count(), second.count(), TableStore(tmp_path).count()) == (1, 0, 0)
    with pytest.raises(UnknownTableError):
        second.query_sql(f"SELECT * FROM {record.name}")
    second.delete("d")
    assert first.count() == 1


def test_another_process_sees_changes_and_makes_them(store, sales):
    script = (
        "import sys, json\n"
        "from llama_index_raganything.stores.tables.store import TableStore; s = TableStore(sys.argv[1]);"
        "r = s.tables()[0].to_dict() | {'table_id': 'copy', 'name': 'copy_1', 'doc_id': 'copy'};"
        "s.put('copy', [s.tables()[0].from_dict(r)]);"
        "s.delete('report'); print(json.dumps(s.query_sql('SELECT sum(sales_million) FROM copy_1').rows))"
    )
    version = store.version()
    done = subprocess.run([sys.executable, "-c", script, str(store.folder)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[1195.5]]
    assert [entry.name for entry in store.entries()] == ["copy_1"]
    assert store.query_sql("SELECT sum(sales_million) FROM copy_1").rows == [(1195.5,)]
    assert store.get(sales.table_id) is None
    assert store.version() != version


def test_two_stores_on_one_folder_see_each_others_changes_at_once(tmp_path):
    first, second = TableStore(tmp_path), TableStore(tmp_path)
    for number in range(20):
        first.put("d", records_of("d", [("A",), *[(str(row),) for row in range(number + 1)]]))
        assert second.entries()[0].rows == number + 1
        second.delete("d")
        assert first.count() == 0


def test_queries_run_while_documents_come_and_go(store, sales):
    failures, stop = [], threading.Event()

    def change():
        number = 0
        while not stop.is_set():
            number += 1
            store.put(f"d{number % 3}", records_of(f"d{number % 3}", SALES))
            store.delete(f"d{(number + 1) % 3}")

    def ask():
        try:
            for _ in range(4):
                assert store.query_sql(f"SELECT count(*) FROM {sales.name}").rows == [(2,)]
                assert store.count() >= 1
        except Exception as error:
            failures.append(error)

    writer = threading.Thread(target=change)
    readers = [threading.Thread(target=ask) for _ in range(4)]
    for thread in (writer, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    stop.set()
    writer.join()
    assert failures == []


async def test_async_is_the_same_and_runs_side_by_side(store, sales):
    sql = f"SELECT * FROM {sales.name} ORDER BY region"
    results = await asyncio.gather(*(store.aquery_sql(sql) for _ in range(6)))
    assert all(result == store.query_sql(sql) for result in results)
    with pytest.raises(UnknownTableError):
        await store.aquery_sql("SELECT * FROM nope")


def test_a_store_travels(store, sales):
    for copy in (pickle.loads(pickle.dumps(store)), TableStore.from_dict(json.loads(json.dumps(store.to_dict())))):
        assert copy.to_dict() == store.to_dict()
        assert copy.tables() == [sales]
    assert "report" not in repr(store)


def test_damaged_and_foreign_files_are_left_out(store, sales, caplog):
    store.folder.joinpath("bad.jsonl").write_text('{"format": 1, "doc_id"', encoding="utf-8")
    store.folder.joinpath("worse.jsonl").write_bytes(b"\xff\xfe\x00")
    store.folder.joinpath("empty.jsonl").write_bytes(b"")
    store.folder.joinpath("later.jsonl").write_text('{"format": 99, "doc_id": "x", "tables": []}\n', encoding="utf-8")
    store.folder.joinpath("list.jsonl").write_text("[1, 2]\n", encoding="utf-8")
    store.folder.joinpath(".left.part").write_text("x", encoding="utf-8")
    assert store.tables() == [sales]
    assert "bad.jsonl" in caplog.text
    assert "later.jsonl" in caplog.text
    path = next(path for path in store.folder.glob("*.jsonl") if len(path.stem) == 40)
    path.write_text(path.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    assert store.tables() == []
    store.put("report", [sales])
    assert store.tables() == [sales]


def test_a_folder_that_cannot_be_used_is_said(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(StoreUnavailableError, match="file"):
        TableStore(path).put("d", records_of("d", SALES))
    with pytest.raises(StoreUnavailableError):
        TableStore(path / "below").put("d", records_of("d", SALES))
    with pytest.raises(ConfigurationError, match="64"):
        TableStore(tmp_path, memory_limit_mb=1)


def test_large_tables_are_asked(store):
    long = [("Name", "Value"), *[(f"r{number}", f"{number:,}") for number in range(5_000)]]
    wide = [tuple(f"C {number}" for number in range(300)), tuple(str(number) for number in range(300))]
    cell = [("single",)]
    records = records_of("big", long, wide, cell)
    store.put("big", records)
    tall, broad, single = (record.name for record in records)
    assert store.query_sql(f"SELECT sum(value), max(value) FROM {tall}").rows == [(sum(range(5_000)), 4_999)]
    assert store.query_sql(f"SELECT c_0, c_299 FROM {broad}").rows == [(0, 299)]
    assert store.query_sql(f"SELECT count(*) FROM {single}").rows == [(0,)]


def test_a_connection_of_ones_own_is_locked(store, sales, tmp_path):
    with store.connect([sales.table_id, "unknown"]) as connection:
        assert connection.execute(f"SELECT sum(sales_million) FROM {sales.name}").fetchall() == [(1195.5,)]
        assert connection.execute("SELECT count(*) FROM tables").fetchall() == [(1,)]
        target = tmp_path / "out.csv"
        for sql in ("SET memory_limit = '10GB'", f"COPY tables TO '{target}'", "SELECT * FROM store", "ATTACH 'x.db'"):
            with pytest.raises(duckdb.Error):
                connection.execute(sql)
        assert not target.exists()


def test_all_tables_can_be_taken_away_as_one_file(store, sales, tmp_path):
    path = store.export(tmp_path / "all.duckdb")
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute(f"SELECT sum(sales_million) FROM {sales.name}").fetchall() == [(1195.5,)]
        assert connection.execute(f"SELECT since FROM {sales.name}__text").fetchall()[0] == ("2020-01-31",)
        assert connection.execute("SELECT caption FROM tables").fetchall() == [("Sales by region",)]
        assert connection.execute("SELECT count(*) FROM table_columns").fetchall() == [(4,)]
    with pytest.raises(ConfigurationError, match="overwrite"):
        store.export(path)
    store.export(path, overwrite=True)
    assert [item.name for item in tmp_path.iterdir() if item.is_file()] == ["all.duckdb"]
    with pytest.raises(StoreUnavailableError):
        store.export(tmp_path / "no" / "folder.duckdb")


def test_the_layer_follows_a_document(store):
    layer = TableLayer(store)
    nodes = nodes_of("d", SALES, [("A", "B"), ("x", "1")])
    records = layer.read(nodes)
    assert (len(records.tables), records.failures, store.count()) == (2, [], 0)
    layer.write("d", records, again=False)
    assert store.count() == 2
    layer.delete_nodes("d", ["d-0", "unknown"])
    assert [record.node_ids for record in store.tables()] == [("d-1",)]
    layer.write("d", layer.read(nodes[:1]), again=True)
    assert [record.node_ids for record in store.tables()] == [("d-0",)]
    layer.write("e", layer.read(nodes_of("e", SALES)), again=False)
    layer.delete_document("d")
    layer.flush()
    assert [record.doc_id for record in store.tables()] == ["e"]
    assert json.loads(json.dumps(layer.settings())) == layer.settings()
    assert layer.name == "tables"
