"""Hostile SQL is refused or stopped within its limits, and the store goes on."""

import os
import time

import pytest
from llama_index.core.schema import TextNode

from llama_index_raganything.errors import SQLError, SQLLimitError, SQLRefusedError, UnknownTableError
from llama_index_raganything.stores.tables.store import TableStore
from llama_index_raganything.tables.read import tables_of_nodes

secret_rows = [1, 2, 3]
"""A Python variable that SQL must not reach by name."""

LIMIT = 0.5
SLACK = 20.0
"""Seconds that ending a process and starting the next may take on a busy machine; bombs run for minutes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("safety")
    (folder / "secret.csv").write_text("a,b\n1,2\n")
    return folder


@pytest.fixture(scope="module")
def store(folder):
    store = TableStore(folder / "tables")
    text = "| Region | Sales |\n| --- | --- |\n| North | 1 |"
    node = TextNode(text=text, metadata={"content_type": "table", "doc_id": "d", "element_id": "e", "caption": "Sales"})
    store.put("d", tables_of_nodes([node]))
    return store


REFUSED = [
    "",
    ";",
    "-- nothing",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE {name}",
    "SELECT 1;;;DROP TABLE {name}",
    "DROP TABLE {name}",
    "DELETE FROM {name}",
    "UPDATE {name} SET sales = 2",
    "INSERT INTO {name} VALUES ('x', 1)",
    "CREATE TABLE x AS SELECT 1",
    "CREATE MACRO f(a) AS a",
    "CREATE SECRET s (TYPE s3)",
    "ALTER TABLE {name} RENAME TO x",
    "TRUNCATE {name}",
    "ATTACH '{folder}/other.db'",
    "ATTACH ':memory:' AS x",
    "DETACH memory",
    "USE memory",
    "COPY {name} TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY {name} FROM '{folder}/secret.csv'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "EXPORT DATABASE '{folder}/out'",
    "IMPORT DATABASE '{folder}/out'",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs FROM 'http://localhost'",
    "LOAD httpfs",
    "LOAD '{folder}/evil.duckdb_extension'",
    "PRAGMA database_list",
    "PRAGMA memory_limit='10GB'",
    "SET memory_limit = '10GB'",
    "SET enable_external_access = true",
    "SET VARIABLE x = 1",
    "RESET memory_limit",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN TRANSACTION",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN SELECT 1",
    "SHOW DATABASES",
    "SHOW VARIABLES",
    "PIVOT {name} ON region USING sum(sales)",
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM read_csv_auto('{folder}/secret.csv')",
    "SELECT * FROM read_parquet('{folder}/x.parquet')",
    "SELECT * FROM read_json('{folder}/x.json')",
    "SELECT * FROM read_text('{folder}/secret.csv')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM sniff_csv('{folder}/secret.csv')",
    "SELECT * FROM parquet_metadata('{folder}/x.parquet')",
    "SELECT * FROM parquet_scan('{folder}/x.parquet')",
    "SELECT * FROM sqlite_scan('x', 'y')",
    "SELECT * FROM postgres_scan('x', 'y', 'z')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('{name}')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM pragma_database_list()",
    "SELECT * FROM which_secret('a', 'b')",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM system.information_schema.columns",
    "SELECT * FROM other.{name}",
    "WITH x AS (SELECT * FROM read_text('{folder}/secret.csv')) SELECT * FROM x",
    "SELECT (SELECT content FROM read_text('{folder}/secret.csv'))",
    "SELECT 1 UNION SELECT a FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM {name} WHERE EXISTS (SELECT * FROM glob('*'))",
    "SELECT * FROM {name}, LATERAL (SELECT * FROM read_text('{folder}/secret.csv'))",
    "DESCRIBE SELECT * FROM read_csv('{folder}/secret.csv')",
    "SUMMARIZE SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT getenv('HOME')",
    "SELECT GETENV('HOME')",
    "SELECT \"getenv\"('HOME')",
    "SELECT main.getenv('HOME')",
    "SELECT 'HOME'.getenv()",
    "SELECT list_transform(['HOME'], lambda x: getenv(x))",
    "SELECT current_setting('memory_limit')",
    "SELECT nextval('s')",
    "SELECT write_log('x')",
    "SELECT " + "1," * 100_000 + "1",
]

UNKNOWN = [
    "SELECT * FROM '{folder}/secret.csv'",
    'SELECT * FROM "{folder}/secret.csv"',
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'https://localhost/x.parquet'",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SELECT * FROM secret_rows",
    "SELECT * FROM folder",
    "FROM store",
    "SELECT * FROM pg_tables",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM sqlite_master",
    "SUMMARIZE '{folder}/secret.csv'",
    "DESCRIBE '{folder}/secret.csv'",
    "SHOW x",
    "SELECT * FROM (SHOW x)",
    "TABLE x",
    "WITH x AS (SELECT * FROM y) SELECT * FROM x",
]

FAILING = [
    "SELEC 1",
    "SELECT * FROM",
    "SELECT nosuch(1)",
    "SELECT $1",
    "SELECT ?",
    "SELECT 1/'a'",
    "SELECT error('boom')",
    "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
    "SELECT " + "NOT " * 10_000 + "true",
    "SELECT " + "+".join(["1"] * 20_000),
    "SELECT 'a",
    "SELECT \x00",
    "\ud800",
    "SELECT sales FROM {name} WHERE region = 'x'' OR 1=1 --",
    "WITH RECURSIVE r AS (SELECT 1 FROM r) SELECT * FROM r",
]

BOMBS = [
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
    "SELECT repeat('a', 1000000000)",
    "SELECT length(repeat(repeat('a', 50000), 50000))",
    "SELECT 'a' || repeat('b', 500000000) || repeat('b', 500000000)",
    "SELECT regexp_replace(repeat('a', 50000000), '(a?){500}a{500}', 'x', 'g')",
    "SELECT generate_series(TIMESTAMP '1900-01-01', TIMESTAMP '2900-01-01', INTERVAL 1 SECOND)",
    "SELECT list_sort(range(100000000))",
    "SELECT printf('%1000000000d', 1)",
]

MORE_BOMBS = [
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r, range(100)) SELECT count(*) FROM r",
    "WITH RECURSIVE r AS (SELECT 'aa' AS s UNION ALL SELECT s || s FROM r) SELECT max(length(s)) FROM r",
    "SELECT count(*) FROM range(1000000000000)",
    "SELECT sum(a.range * b.range) FROM range(100000000) a, range(100000000) b",
    "SELECT * FROM range(1000) a, range(1000) b, range(1000) c ORDER BY random()",
    "SELECT lpad('a', 2000000000, 'b')",
    "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))",
    "SELECT list(range) FROM range(1000000000)",
    "SELECT string_agg(range::VARCHAR) FROM range(1000000000)",
]


def ask(store, folder, sql):
    filled = sql.replace("{folder}", str(folder)).replace("{name}", store.entries()[0].name)
    return store.query_sql(filled, timeout_s=LIMIT)


@pytest.mark.parametrize("sql", REFUSED, ids=lambda sql: sql[:60])
def test_refused(store, folder, sql):
    with pytest.raises(SQLRefusedError):
        ask(store, folder, sql)


@pytest.mark.parametrize("sql", UNKNOWN, ids=lambda sql: sql[:60])
def test_files_and_variables_are_no_tables(store, folder, sql):
    with pytest.raises(UnknownTableError):
        ask(store, folder, sql)


@pytest.mark.parametrize("sql", FAILING, ids=range(len(FAILING)))
def test_what_cannot_be_run_is_said(store, folder, sql):
    with pytest.raises(SQLError):
        ask(store, folder, sql)


@pytest.mark.parametrize("sql", BOMBS, ids=lambda sql: sql[:60])
def test_bombs_are_stopped_in_time(store, folder, sql):
    begun = time.perf_counter()
    with pytest.raises(SQLLimitError):
        ask(store, folder, sql)
    assert time.perf_counter() - begun < LIMIT + SLACK
    assert store.query_sql("SELECT 1").rows == [(1,)]


@pytest.mark.slow
@pytest.mark.parametrize("sql", MORE_BOMBS, ids=lambda sql: sql[:60])
def test_more_bombs_are_stopped_in_time(store, folder, sql):
    test_bombs_are_stopped_in_time(store, folder, sql)


def test_nothing_was_written(store, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["secret.csv", "tables"]


def test_the_process_has_none_of_our_environment(store, monkeypatch):
    from llama_index_raganything.stores.tables.sql_process import SQLProcess

    monkeypatch.setenv("SECRET_TOKEN", "abc")
    process = SQLProcess(128)
    try:
        assert process.ask({"op": "inspect", "sql": "SELECT 1"}, 30)["tables"] == []
        environment = f"/proc/{process._process.pid}/environ"
        if os.path.exists(environment):
            with open(environment, "rb") as found:
                assert b"SECRET_TOKEN" not in found.read()
    finally:
        process.close()


def test_cells_cannot_break_out_of_their_relation(tmp_path):
    hostile = "'); DROP TABLE tables; --"
    text = f'| {hostile} | b"c |\n| --- | --- |\n| {hostile} | 1 |'
    node = TextNode(
        text=text, metadata={"content_type": "table", "doc_id": hostile, "element_id": "e", "caption": hostile}
    )
    store = TableStore(tmp_path)
    (record,) = tables_of_nodes([node])
    store.put(hostile, [record])
    assert store.query_sql(f"SELECT * FROM {record.name}").rows == [(hostile, 1)]
    assert store.query_sql("SELECT caption FROM tables").rows == [(hostile,)]
