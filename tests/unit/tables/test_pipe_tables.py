from llama_index_raganything.tables.pipe_tables import (
    begins_with_table,
    is_rule,
    pipe_cells,
    pipe_row,
    pipe_rule,
    pipe_tables,
    split_rows,
    table_spans,
)


def test_pipe_tables_keep_what_stands_around_them():
    (found,) = pipe_tables("above\n| A |\n| --- |\n| 1 |\nbelow")
    assert (found.before, found.header, found.rows, found.after) == ("above", ("A",), (("1",),), "below")


def test_a_written_row_is_read_again():
    assert pipe_row(["a|b", " two\n words ", ""], width=4) == "| a\\|b | two words |  |  |"
    assert pipe_cells(pipe_row(["a|b", " two\n words ", ""], width=4)) == ("a|b", "two words", "", "")
    assert is_rule(pipe_rule(3))
    assert not is_rule("| - | - |")


def test_where_tables_are():
    lines = ["| A |", "| --- |", "| 1 |", "text", "| no header |", "| B |", "| --- |"]
    assert list(table_spans(lines)) == [(0, 3), (5, 7)]
    assert split_rows("text\n| A | B |\n| --- | --- |\n| 1 | 2 |\nend") == (["A", "B"], [["1", "2"]])
    assert split_rows("| A |\n| 1 |") is None


def test_a_table_at_the_beginning_needs_one_dash():
    assert begins_with_table("| A |\n| - |\n| 1 |")
    assert not begins_with_table("text\n| A |\n| --- |")
    assert not begins_with_table("| A | b |")
