"""What a question may carry: every way to say it, what retrieval and an LLM get of it, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import pickle
from pathlib import Path

import pytest
from llama_index.core.base.llms.types import AudioBlock, ChatMessage, ImageBlock, TextBlock
from llama_index.core.instrumentation.events.query import QueryStartEvent
from llama_index.core.schema import ImageNode, QueryBundle
from PIL import Image

from llama_index_raganything.attachments import (
    MAX_ATTACHMENTS,
    MAX_TEXT,
    MAX_WORDS,
    AttachedQuery,
    EquationAttachment,
    ImageAttachment,
    TableAttachment,
    attachments_of,
)
from llama_index_raganything.errors import (
    ConfigurationError,
    CorruptFileError,
    FileTooLargeError,
    RAGAnythingError,
    SourceError,
)

ROWS = [["Region", "2023", "2024"], ["Sweden", "21.9", "29.4"], ["瑞典", "1", "2"]]


@pytest.fixture(scope="module")
def png():
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), "blue").save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def picture(png, tmp_path):
    path = tmp_path / "pump.png"
    path.write_bytes(png)
    return path


class TestImages:
    def test_every_way_to_attach_an_image_gives_its_bytes(self, png, picture):
        encoded = base64.b64encode(png).decode()
        ways = [
            str(picture),
            picture,
            png,
            bytearray(png),
            f"data:image/png;base64,{encoded}",
            f"data:;base64,{encoded}",
            ImageAttachment(picture),
            ImageAttachment(data=encoded),
            {"type": "image", "img_path": str(picture), "image_caption": ["A", "pump"]},
            {"type": "image", "data": encoded},
            {"type": "image", "img_path": f"data:image/png;base64,{encoded}"},
            ImageBlock(path=picture),
            ImageBlock(image=png),
            ImageBlock(image=io.BytesIO(png)),
            ImageBlock(url=f"data:image/png;base64,{encoded}"),
            ImageNode(image_path=str(picture)),
            ImageNode(image=encoded),
        ]
        found = attachments_of(ways[:MAX_ATTACHMENTS]) + attachments_of(ways[MAX_ATTACHMENTS:])
        assert [each.read() for each in found] == [png] * len(ways)
        assert found[8].caption == "A pump"
        assert all(attachments_of(way)[0].read() == png for way in ways)

    def test_bytes_are_never_shown(self, png):
        assert "data" not in repr(ImageAttachment(data=png))
        assert "data" not in repr(AttachedQuery.of("?", [png]))

    @pytest.mark.parametrize(
        "value",
        [
            "http://127.0.0.1:1/x.png",
            "file:///etc/passwd.png",
            {"type": "image", "img_path": "https://example.org/a.png"},
            ImageBlock(url="https://example.org/a.png"),
            ImageNode(image_url="https://example.org/a.png"),
        ],
    )
    def test_nothing_is_fetched_from_a_url(self, value):
        with pytest.raises(ConfigurationError):
            attachments_of(value)

    @pytest.mark.parametrize("data", ["%%%", "abc", "图", "data:image/png;base64,", "data:image/png;base64,a"])
    def test_broken_base64_is_told(self, data):
        with pytest.raises(CorruptFileError, match="base64"):
            ImageAttachment(data=data)

    def test_path_or_data_and_not_both(self, png):
        for values in ({}, {"path": "a.png", "data": png}):
            with pytest.raises(ConfigurationError, match="path or data"):
                ImageAttachment(**values)

    def test_a_missing_file_is_told_when_it_is_read(self, tmp_path):
        with pytest.raises(SourceError, match=r"gone\.png"):
            ImageAttachment(tmp_path / "gone.png").read()


class TestTables:
    @pytest.mark.parametrize(
        "table",
        [
            ROWS,
            tuple(tuple(row) for row in ROWS),
            [dict(zip(ROWS[0], row, strict=True)) for row in ROWS[1:]],
            "Region,2023,2024\nSweden,21.9,29.4\n瑞典,1,2\n",
            "Region;2023;2024\r\nSweden;21.9;29.4\r\n瑞典;1;2",
            "Region\t2023\t2024\nSweden\t21.9\t29.4\n瑞典\t1\t2",
            "| Region | 2023 | 2024 |\n| --- | --- | --- |\n| Sweden | 21.9 | 29.4 |\n| 瑞典 | 1 | 2 |",
            "<table><tr><th>Region<th>2023<th>2024</tr><tr><td>Sweden<td>21.9<td>29.4<tr><td>瑞典<td>1<td>2</table>",
        ],
        ids=["lists", "tuples", "dictionaries", "commas", "semicolons", "tabs", "markdown", "html"],
    )
    def test_every_way_to_write_a_table_gives_its_rows(self, table):
        assert TableAttachment(table).cells == tuple(tuple(row) for row in ROWS)
        (found,) = attachments_of({"type": "table", "table_data": table, "table_caption": "Table 1"})
        assert found.cells == tuple(tuple(row) for row in ROWS)
        assert found.caption == "Table 1"

    def test_files_are_read(self, tmp_path):
        for name, text in (("a.csv", "\ufeffa,b\n1,2"), ("b.md", "| a | b |\n| --- | --- |\n| 1 | 2 |")):
            (tmp_path / name).write_text(text, encoding="utf-8")
            assert attachments_of(tmp_path / name)[0].cells == (("a", "b"), ("1", "2"))

    def test_other_values_become_text(self):
        assert TableAttachment([["a", None], [1, 2.5]]).cells == (("a", ""), ("1", "2.5"))
        assert TableAttachment([{"a": 1}, {"b": 2}]).cells == (("a", "b"), ("1", ""), ("", "2"))

    def test_a_table_that_spans_columns_stays_bounded(self):
        html = "<table><tr><td colspan='1000000000'>x</td><td colspan='二'>y</td></tr></table>"
        assert 1 <= len(TableAttachment(html).cells[0]) <= 1000

    @pytest.mark.parametrize("table", ["", " \n ", [], [[]], [["", " "]], [{}], "<table></table>", None, 5])
    def test_a_table_without_a_cell_is_told(self, table):
        with pytest.raises(ConfigurationError, match="no cell"):
            TableAttachment(table)

    def test_a_huge_table_is_told(self):
        for table in ("x," * MAX_TEXT, [["y" * 1000] * 1000] * 3):
            with pytest.raises(FileTooLargeError, match="characters"):
                TableAttachment(table)

    def test_a_large_table_gives_few_words_and_the_telling_ones(self):
        rows = [["Region", "Sales in 2024"], *([f"City {n}", str(n * 37)] for n in range(500))]
        words = TableAttachment(rows, caption="Sales by city").words.split()
        assert len(words) <= MAX_WORDS
        assert words[:4] == ["Sales", "by", "city", "Region"] or words[:3] == ["Sales", "city", "Region"]
        assert "37" not in words

    def test_an_llm_reads_as_many_rows_as_there_is_room_for(self):
        table = TableAttachment([["a", "b"], *([str(n), "x" * 100] for n in range(500))])
        text = table.full_text(1000)
        assert len(text) < 1200
        assert "rows are left out" in text
        assert TableAttachment(ROWS).full_text().count("\n") == 3
        assert "\\|" in TableAttachment([["a|b"]]).full_text()


class TestFormulas:
    @pytest.mark.parametrize(
        ("latex", "words"),
        [
            (r"E = mc^2", "E mc 2"),
            (r"\frac{\alpha}{\beta} + \mathrm{drag}", "alpha beta drag"),
            (r"\frac{\left( \unbalanced", "unbalanced"),
            ("$$" * 50, ""),
            ("速度 = 2", "速度 2"),
        ],
    )
    def test_words_without_layout_even_where_it_does_not_parse(self, latex, words):
        assert EquationAttachment(latex).words == words
        assert EquationAttachment(latex).full_text().startswith("$$")

    @pytest.mark.parametrize("latex", ["", "  ", None, 5])
    def test_an_empty_formula_is_told(self, latex):
        with pytest.raises(ConfigurationError, match="empty"):
            EquationAttachment(latex)

    def test_files_and_dictionaries(self, tmp_path):
        (tmp_path / "f.tex").write_text("a = b")
        assert attachments_of(tmp_path / "f.tex") == (EquationAttachment("a = b"),)
        for key in ("latex", "text", "equation"):
            assert attachments_of({"type": "equation", key: "a = b"}) == (EquationAttachment("a = b"),)

    def test_a_huge_formula_is_told(self):
        with pytest.raises(FileTooLargeError):
            EquationAttachment("x" * (MAX_TEXT + 1))


@pytest.mark.parametrize("value", ["notes.docx", "", "What is 3?", "x" * 100_000, 5, {}, {"type": "video"}, [[1]]])
def test_anything_else_is_told(value):
    with pytest.raises(ConfigurationError):
        attachments_of(value)


def test_none_and_too_many():
    assert attachments_of(None) == attachments_of([]) == ()
    with pytest.raises(ConfigurationError, match=str(MAX_ATTACHMENTS)):
        attachments_of([EquationAttachment("x")] * (MAX_ATTACHMENTS + 1))


class TestQuery:
    def make(self, png, picture):
        return AttachedQuery.of("Is this it?", [png, picture, TableAttachment(ROWS), EquationAttachment("E = mc^2")])

    def test_it_is_a_bundle_that_every_retriever_takes(self, png, picture):
        query = self.make(png, picture)
        assert isinstance(query, QueryBundle)
        assert query.query_str.startswith("Is this it?\n")
        assert {"Sweden", "mc", "29.4"} <= set(query.query_str.split())
        assert query.embedding_strs == [query.query_str]
        assert query.images == [png, str(picture)]
        assert query.image_path == str(picture)
        assert query.embedding_image == [str(picture)]

    def test_an_llm_reads_tables_and_formulas_in_full(self, png, picture):
        prompt = self.make(png, picture).with_readings(["a blue pump", ""]).prompt()
        assert "| Sweden | 21.9 | 29.4 |" in prompt
        assert "$$E = mc^2$$" in prompt
        assert "a blue pump" in prompt
        assert prompt.endswith("Is this it?")

    def test_the_prompt_is_bounded_and_the_question_is_not_cut(self):
        rows = [["word " * 50] * 5] * 200
        query = AttachedQuery.of("q" * 5000, [TableAttachment(rows), EquationAttachment("x" * 50_000)])
        assert len(query.prompt(2000)) < 7500
        assert query.prompt(2000).endswith("q" * 5000)

    def test_readings_join_the_words_to_search_for(self, png):
        query = AttachedQuery.of("Is this it?", [png]).with_readings(["pump " * 100 + "valve"])
        assert query.query_str == "Is this it?\npump valve"
        assert query.question == "Is this it?"

    def test_from_messages_and_bundles(self, png, picture):
        message = ChatMessage(blocks=[TextBlock(text="Is this"), ImageBlock(image=png), TextBlock(text="it?")])
        query = AttachedQuery.of(message, [picture])
        assert query.question == "Is this\nit?"
        assert query.images == [png, str(picture)]
        bundle = QueryBundle("Is this it?", image_path=str(picture), embedding=[1.0], custom_embedding_strs=["it"])
        query = AttachedQuery.of(bundle, [EquationAttachment("x")])
        assert (query.images, query.embedding, query.embedding_strs) == ([str(picture)], [1.0], ["it"])
        again = AttachedQuery.of(query, [png])
        assert again.images == [str(picture), png]
        assert bundle.query_str == "Is this it?"

    def test_a_message_with_something_else_is_told(self):
        with pytest.raises(ConfigurationError, match="AudioBlock"):
            AttachedQuery.of(ChatMessage(blocks=[AudioBlock(audio=b"x")]))

    def test_it_survives_json_pickle_and_events(self, png, picture):
        query = self.make(png, picture).with_readings(["one", "two"]).with_same([ImageNode(text="x")])
        assert AttachedQuery.from_json(query.to_json()) == query
        assert AttachedQuery.from_dict(query.to_dict()) == query
        assert json.loads(query.to_json())["query_str"] == query.query_str
        assert pickle.loads(pickle.dumps(query)) == query
        event = QueryStartEvent(query=query)
        assert event.query is query
        assert "Is this it?" in event.model_dump_json()

    @pytest.mark.parametrize("question", ["", " ", "\x00", "图中是什么？", "{{ x }} {% raw %} [1]", "/etc/passwd.png"])
    def test_no_text_of_a_question_is_a_path_or_does_harm(self, question, png):
        query = AttachedQuery.of(question, [png])
        assert query.question == question
        assert query.images == [png]
        assert query.prompt() == question.strip()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        "\ud800.png",
        Path("a\x00.csv"),
        Path("/"),
        Path("x" * 5000 + ".png"),
        object(),
        {"type": "table", "table_data": {"a": 1}},
    ],
    ids=range(7),
)
def test_whatever_is_attached_the_error_is_ours(value):
    with pytest.raises(RAGAnythingError):
        [each.read() for each in attachments_of(value)]
