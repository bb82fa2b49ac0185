"""``tables`` and ``sql`` on the command line."""

import json

import pytest
from command_line import caller, ingested

TEXT = (
    "# 运费 Freight\n\nTable 1: Fares | by day\n\n"
    "| Line | Day | Fare (USD) |\n| --- | --- | --- |\n| North | 2024-01-31 | 12.5 |\n| Süd | 2024-02-01 | (3) |\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ingested(tmp_path_factory.mktemp("tables"), "fares.md", TEXT)


@pytest.fixture
def cli(folder, capsys):
    return caller(folder, capsys)


@pytest.fixture
def name(cli):
    ((entry,)) = json.loads(cli("tables", "--json")[1])
    return entry["name"]


def test_tables_are_listed_and_profiled(cli, name):
    code, out, _ = cli("tables")
    assert code == 0
    assert f"{name}  2 rows x 3 columns" in out
    assert "fares.md" in out
    code, out, _ = cli("tables", name)
    assert code == 0
    assert "number in USD, -3 to 12.5" in out
    assert json.loads(cli("tables", name, "--json")[1])["rows"][1] == ["Süd", "2024-02-01", "(3)"]


def test_a_table_that_is_not_there(cli):
    code, _, err = cli("tables", "nowhere")
    assert code == 1
    assert "'nowhere'" in err


def test_sql_gives_rows_and_where_they_are_from(cli, name):
    code, out, err = cli("sql", f"SELECT line, fare_usd FROM {name} ORDER BY fare_usd", "--max-rows", "1")
    assert code == 0
    assert "| Süd | -3" in out
    assert f"from {name}: " in out
    assert "Only the first 1 rows" in err
    found = json.loads(cli("sql", f"SELECT day, fare_usd FROM {name}", "--json")[1])
    assert found["rows"] == [["2024-01-31", 12.5], ["2024-02-01", -3.0]]
    assert [source["name"] for source in found["sources"]] == [name]


@pytest.mark.parametrize(
    ("statement", "words"),
    [("DROP TABLE x", "DROP"), ("SELECT * FROM nowhere", "no table 'nowhere'"), ("SELEC", "syntax error")],
)
def test_what_cannot_be_run_is_an_error_and_no_traceback(cli, statement, words):
    code, out, err = cli("sql", statement)
    assert (code != 0, out) == (True, "")
    assert words in err
    assert "Traceback" not in err
