from __future__ import annotations

import json
from collections import Counter

import pytest
from llama_index.core.schema import Document, ImageDocument, ImageNode, NodeRelationship, ObjectType, TextNode
from PIL import Image

from llama_index_raganything.documents.packing import elements_to_document, elements_to_text
from llama_index_raganything.elements import EXCLUDED_EMBED_KEYS, EXCLUDED_LLM_KEYS, Element, label_of
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.text.terms import simple_tokens

SENTENCE = "The north grew faster than the south in every year. "


def nodes_of(*elements: Element, metadata=None, title=None, **options):
    document = elements_to_document(elements, source="/data/a.pdf", metadata=metadata, title=title)
    return RAGAnythingNodeParser(**options).get_nodes_from_documents([document])


def text(words: str, page: int | None = 1, **values) -> Element:
    return Element(type="text", text=words, page=page, **values)


def by_type(nodes, content_type):
    return [node for node in nodes if node.metadata["content_type"] == content_type]


class TestText:
    def test_small_neighbours_on_a_page_become_one_node_with_the_box_around_them(self):
        (node,) = nodes_of(text("One.", bbox=(10, 10, 50, 20)), text("Two.", bbox=(5, 30, 80, 40)), page_nodes=False)
        assert node.text == "One.\n\nTwo."
        assert node.metadata["bbox"] == "[5,10,80,40]"
        assert node.metadata["page"] == 1

    def test_list_items_stay_on_lines_of_their_own(self):
        items = [Element(type="list", text=f"- item {n}", page=1) for n in range(3)]
        (node,) = nodes_of(*items, page_nodes=False)
        assert node.text == "- item 0\n- item 1\n- item 2"

    def test_text_of_two_pages_is_never_merged(self):
        nodes = nodes_of(text("One.", 1), text("Two.", 2), page_nodes=False)
        assert [(node.text, node.metadata["page"]) for node in nodes] == [("One.", 1), ("Two.", 2)]

    def test_text_of_two_sections_is_never_merged(self):
        nodes = nodes_of(
            Element(type="heading", text="A", level=1),
            text("One.", None),
            Element(type="heading", text="B", level=2),
            text("Two.", None),
            Element(type="heading", text="C", level=1),
            text("Three.", None),
        )
        assert [node.metadata["section"] for node in nodes] == ["A", "A > B", "C"]
        assert [node.text for node in nodes] == ["A\n\nOne.", "B\n\nTwo.", "C\n\nThree."]

    def test_a_new_column_starts_a_new_node(self):
        nodes = nodes_of(
            text("Left.", bbox=(0, 800, 450, 900)), text("Right.", bbox=(550, 50, 950, 100)), page_nodes=False
        )
        assert [node.text for node in nodes] == ["Left.", "Right."]

    def test_chunks_keep_to_the_budget(self):
        nodes = nodes_of(*[text(SENTENCE * 4) for _ in range(20)], chunk_size=64, chunk_overlap=8, page_nodes=False)
        assert len(nodes) > 10
        assert all(len(simple_tokens(node.text)) <= 64 for node in nodes)

    def test_a_long_paragraph_is_cut_at_sentences_with_overlap(self):
        numbered = "".join(f"Sentence number {n} stands here. " for n in range(60))
        nodes = nodes_of(text(numbered, bbox=(1, 2, 3, 4)), chunk_size=64, chunk_overlap=16, page_nodes=False)
        assert len(nodes) > 3
        assert all(node.text.endswith(".") for node in nodes)
        assert all(node.metadata["bbox"] == "[1,2,3,4]" for node in nodes)
        assert nodes[1].text.split(".")[0] in nodes[0].text

    def test_chinese_is_counted_by_character_and_cut_at_its_full_stops(self):
        nodes = nodes_of(text("水泵的流量是每分钟四点二升。" * 40), chunk_size=64, chunk_overlap=0, page_nodes=False)
        assert len(nodes) > 5
        assert all(node.text.endswith("。") for node in nodes)

    def test_a_heading_without_text_is_not_lost(self):
        (node,) = nodes_of(Element(type="heading", text="Alone", level=1, page=3), page_nodes=False)
        assert node.text == "Alone"
        assert node.metadata["section"] == "Alone"

    def test_furniture_is_no_node_but_notes_are(self):
        nodes = nodes_of(
            Element(type="furniture", text="Confidential", subtype="header", page=1),
            Element(type="furniture", text="1 As restated.", subtype="page_footnote", page=1),
            Element(type="furniture", text="Say hello first.", subtype="slide_notes", page=2),
            page_nodes=False,
        )
        assert [node.text for node in nodes] == ["1 As restated.", "Say hello first."]

    def test_blank_elements_make_no_nodes(self):
        assert nodes_of(text("  \n"), Element(type="page", text=" ", page=1)) == []


class TestPages:
    def test_a_page_is_the_parent_of_its_elements(self):
        nodes = nodes_of(
            Element(type="page", text="The whole page.", page=1, page_label="iv"),
            text("One.", bbox=(1, 1, 2, 2)),
            Element(type="table", rows=[["a"], ["b"]], page=1),
        )
        page, *elements = nodes
        assert page.text == "The whole page."
        assert page.metadata["content_type"] == "page"
        assert page.metadata["page_label"] == "iv"
        assert "bbox" not in page.metadata
        assert [child.node_id for child in page.child_nodes] == [node.node_id for node in elements]
        assert {node.parent_node.node_id for node in elements} == {page.node_id}

    def test_pages_follow_pages_and_elements_follow_elements(self):
        nodes = nodes_of(
            Element(type="page", text="P1", page=1),
            text("One.", 1),
            Element(type="page", text="P2", page=2),
            text("Two.", 2),
        )
        assert [node.text for node in nodes] == ["P1", "One.", "P2", "Two."]
        assert nodes[0].next_node.node_id == nodes[2].node_id
        assert nodes[1].next_node.node_id == nodes[3].node_id

    def test_a_page_over_the_byte_limit_becomes_several_nodes_and_loses_nothing(self):
        words = " ".join(f"词{n}" for n in range(30_000))
        pages = nodes_of(Element(type="page", text=words, page=1), text("One."))[:-1]
        assert len(pages) > 2
        assert all(len(page.text.encode()) <= 65_535 for page in pages)
        assert " ".join(page.text for page in pages) == words

    def test_elements_of_a_page_over_the_byte_limit_hang_on_the_piece_that_has_them(self):
        rows = [["Part", "Maker", "Price"], *([f"part-{n}", f"Maker {n % 7}", f"{n}.50"] for n in range(4000))]
        sheet = "\n".join(
            ["| Part | Maker | Price |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows[1:])]
        )
        nodes = nodes_of(
            Element(type="page", text=f"Stock\n{sheet}", page=1),
            Element(type="table", text=sheet, rows=rows, header_rows=1, page=1),
        )
        pages = {node.node_id: node for node in nodes if node.metadata["content_type"] == "page"}
        assert len(pages) > 1
        for page in pages.values():
            assert len(page.text.encode()) <= 65_535
            assert page.text.count("| Part | Maker | Price |\n| --- | --- | --- |\n| part-") == 1
            assert page.child_nodes
        assert sum(page.text.count("| part-") for page in pages.values()) == 4000
        for node in nodes:
            if node.node_id not in pages:
                row = node.text.split("\n")[len(node.text.split("\n")) // 2]
                assert row in pages[node.parent_node.node_id].text

    def test_rows_below_the_end_of_a_cut_page_stand_by_themselves(self):
        lines = [f"| part-{n} | Maker{n} | {n}.50 |" for n in range(4000)]
        head = ["| Part | Maker | Price |", "| --- | --- | --- |"]
        nodes = nodes_of(
            Element(type="page", text="\n".join([*head, *lines[:3000]]), page=1),
            Element(type="table", text="\n".join([*head, *lines]), page=1),
        )
        for node in nodes:
            if node.metadata["content_type"] == "table" and lines[2990] not in node.text:
                assert (node.parent_node is None) is (int(node.text.rsplit("part-", 1)[1].split()[0]) > 3000)

    def test_a_page_without_page_element_is_put_together(self):
        page = nodes_of(
            Element(type="furniture", text="Header", page=1), text("One."), Element(type="image", page=1, caption="Fig")
        )[0]
        assert page.metadata["content_type"] == "page"
        assert page.text == "Header\n\nOne.\n\nFig"

    def test_a_single_element_is_not_repeated_as_a_page(self):
        assert len(nodes_of(Element(type="image", page=1, text="words in the picture"))) == 1

    def test_a_fast_parse_with_pages_alone_gives_pages(self):
        nodes = nodes_of(*[Element(type="page", text=f"Page {n}", page=n) for n in (1, 2, 3)])
        assert [node.text for node in nodes] == ["Page 1", "Page 2", "Page 3"]

    def test_a_page_image_makes_an_image_node(self):
        (node,) = nodes_of(Element(type="page", text="Page", page=1, asset="aa/page.png"), asset_root="/data/assets")
        assert isinstance(node, ImageNode)


class TestAtomicElements:
    def test_a_figure_is_an_image_node_with_path_caption_and_the_sentence_that_cites_it(self):
        nodes = nodes_of(
            text("Sales fell. As shown in Fig. 3, they rose again. Nobody knows why."),
            Element(
                type="image",
                page=1,
                caption="Figure 3: Sales",
                label="Figure 3",
                text="axis words",
                footnote="Source: survey",
                asset="ab/cd.png",
                bbox=(1, 2, 3, 4),
            ),
            asset_root="/data/assets",
        )
        (figure,) = by_type(nodes, "image")
        assert isinstance(figure, ImageNode)
        assert figure.image_path == "/data/assets/ab/cd.png"
        assert figure.image_mimetype == "image/png"
        assert figure.metadata["asset"] == "ab/cd.png"
        assert figure.metadata["label"] == "Figure 3"
        assert figure.metadata["caption"] == "Figure 3: Sales"
        assert json.loads(figure.metadata["bbox"]) == [1, 2, 3, 4]
        assert figure.text == (
            "Figure 3: Sales\n\naxis words\n\nSource: survey\n\nAs shown in Fig. 3, they rose again."
        )

    def test_a_chinese_label_finds_its_sentence(self):
        nodes = nodes_of(
            text("收入如图 2 所示。成本见表 1。"), Element(type="image", page=1, caption="图2 收入", label="图 2")
        )
        assert "收入如图 2 所示。" in by_type(nodes, "image")[0].text

    def test_a_figure_without_any_words_is_named_by_its_place(self):
        nodes = nodes_of(
            Element(type="heading", text="Results", page=3), Element(type="image", page=3), page_nodes=False
        )
        assert nodes[0].text == "Results"
        (node,) = nodes_of(Element(type="image", page=3))
        assert node.text == "Figure on page 3"

    def test_an_asset_outside_its_folder_is_not_opened(self):
        (node,) = nodes_of(Element(type="image", page=1, asset="../../etc/passwd.png"), asset_root="/data/assets")
        assert type(node) is TextNode

    def test_media_are_no_image_nodes(self):
        (node,) = nodes_of(Element(type="audio", text="hello", asset="aa/talk.mp3"), asset_root="/data/assets")
        assert type(node) is TextNode
        assert node.metadata["asset"] == "aa/talk.mp3"

    def test_an_equation_stands_with_the_words_that_introduce_it(self):
        nodes = nodes_of(
            text("Nothing here. The energy is"), Element(type="equation", text="E=mc^2", page=1), page_nodes=False
        )
        (equation,) = by_type(nodes, "equation")
        assert equation.text == "$$\nE=mc^2\n$$\n\nThe energy is"

    def test_words_before_a_heading_introduce_no_equation_after_it(self):
        nodes = nodes_of(
            text("Costs fell."), Element(type="heading", text="Energy"), Element(type="equation", text="E=mc^2")
        )
        (equation,) = by_type(nodes, "equation")
        assert "Costs" not in equation.text

    def test_words_that_are_caption_and_alternative_text_stand_once(self):
        image = Element(type="image", text="Figure 1: Harbour", caption="Figure 1: Harbour", page=1)
        nodes = nodes_of(image, text("x"))
        assert [node.text.count("Harbour") for node in nodes if "Harbour" in node.text] == [1, 1]
        assert elements_to_text([image]) == "Figure 1: Harbour"

    def test_all_nodes_of_a_page_carry_its_printed_label(self):
        nodes = nodes_of(
            Element(type="page", text="All of it", page=3, page_label="iv"),
            text("Words.", 3),
            Element(type="image", caption="Harbour", page=3),
            text("Other page.", 4),
        )
        assert [node.metadata.get("page_label") for node in nodes] == ["iv", "iv", "iv", None]

    def test_full_width_digits_are_digits(self):
        assert label_of("表１２ 结果") == "表 12"
        assert label_of("表十二：结果") == "表 12"
        assert label_of("图三 概览") == "图 3"
        assert label_of("表一般用于") is None

    def test_an_equation_does_not_cut_its_paragraph(self):
        nodes = nodes_of(
            text("The energy is"), Element(type="equation", text="E", page=1), text("where"), page_nodes=False
        )
        assert [node.text for node in by_type(nodes, "text")] == ["The energy is\n\nwhere"]

    def test_code_is_fenced_and_cut_at_lines(self):
        code = "\n".join(f"line_{n} = {n}" for n in range(200))
        parts = nodes_of(Element(type="code", text=code, subtype="python"), table_chunk_size=100)
        assert len(parts) > 3
        assert all(part.text.startswith("```python\nline_") for part in parts)
        assert sum(part.text.count("line_") for part in parts) == 200


class TestTables:
    def test_a_table_is_markdown_with_caption_and_footnote(self):
        (node,) = nodes_of(
            Element(
                type="table",
                caption="Table 1: Revenue",
                footnote="in millions",
                rows=[["Region", "2023"], ["North | East", "4.2\n(est.)"]],
            )
        )
        assert node.text == (
            "Table 1: Revenue\n\n| Region | 2023 |\n| --- | --- |\n| North \\| East | 4.2 (est.) |\n\nin millions"
        )

    def test_a_big_table_is_cut_by_rows_with_its_header_repeated(self):
        rows = [["Region", "2023"]] + [[f"Region {n}", str(n)] for n in range(500)]
        parts = nodes_of(Element(type="table", caption="Table 1", rows=rows), table_chunk_size=200)
        assert len(parts) > 5
        assert all("| Region | 2023 |" in part.text and part.text.startswith("Table 1") for part in parts)
        assert [
            line
            for part in parts
            for line in part.text.splitlines()
            if line.startswith("| Region ") and "2023" not in line
        ] == [f"| Region {n} | {n} |" for n in range(500)]
        assert len({part.node_id for part in parts}) == len(parts)

    def test_several_header_rows_are_joined_by_column(self):
        rows = [["", "2023", "2023"], ["Region", "Q1", "Q2"], ["North", "1", "2"]]
        (node,) = nodes_of(Element(type="table", rows=rows, header_rows=2))
        assert node.text.splitlines()[0] == "| Region | 2023 Q1 | 2023 Q2 |"

    def test_ragged_rows_and_missing_cells(self):
        (node,) = nodes_of(Element(type="table", rows=[["a"], ["b", "c", "d"], []]))
        assert node.text == "| a |  |  |\n| --- | --- | --- |\n| b | c | d |"

    def test_a_table_with_header_alone_keeps_it(self):
        (node,) = nodes_of(Element(type="table", rows=[["Name", "Value"]]))
        assert "| Name | Value |" in node.text

    def test_a_table_with_text_alone_keeps_it(self):
        (node,) = nodes_of(Element(type="table", text="North 4.2\nSouth 3.1"))
        assert node.text == "North 4.2\nSouth 3.1"

    def test_one_enormous_cell_stays_within_the_byte_limit(self):
        nodes = nodes_of(Element(type="table", rows=[["a", "b"], ["x" * 200_000, "y"]]))
        assert all(len(node.text.encode()) <= 65_535 for node in nodes)
        assert sum(node.text.count("x") for node in nodes) == 200_000


class TestMetadata:
    def test_a_documents_own_small_metadata_reach_its_nodes(self):
        (node,) = nodes_of(text("One."), metadata={"author": "A", "big": "x" * 5000, "odd": {1, 2}}, title="Report")
        assert node.metadata["author"] == "A"
        assert node.metadata["title"] == "Report"
        assert node.metadata["file_name"] == "a.pdf"
        assert not {"big", "odd"} & set(node.metadata)

    def test_much_metadata_is_cut_off(self):
        (node,) = nodes_of(text("One."), metadata={f"key{n}": "x" * 1000 for n in range(100)})
        assert len(json.dumps(node.metadata)) < 20_000

    def test_metadata_of_the_document_can_be_left_out(self):
        (node,) = nodes_of(text("One."), metadata={"author": "A"}, include_metadata=False)
        assert "author" not in node.metadata
        assert node.metadata["page"] == 1

    def test_keys_are_hidden_from_models_and_the_readers_choice_is_kept(self):
        document = Document(text="One.", metadata={"file_path": "/a"}, excluded_llm_metadata_keys=["file_path"])
        (node,) = RAGAnythingNodeParser().get_nodes_from_documents([document])
        assert set(EXCLUDED_EMBED_KEYS) <= set(node.excluded_embed_metadata_keys)
        assert {*EXCLUDED_LLM_KEYS, "file_path"} <= set(node.excluded_llm_metadata_keys)

    def test_equal_paragraphs_in_one_document_have_different_ids(self):
        nodes = nodes_of(text("Same.", None), Element(type="image"), text("Same.", None))
        assert len({node.node_id for node in nodes}) == 3

    def test_an_id_function_wins(self):
        nodes = nodes_of(
            text("One.", 1), text("Two.", 2), page_nodes=False, id_func=lambda index, document: f"n{index}"
        )
        assert [node.node_id for node in nodes] == ["n0", "n1"]

    def test_relations_know_the_kind_of_node(self):
        first, second = nodes_of(
            text("One."), Element(type="image", page=1, asset="a/b.png"), page_nodes=False, asset_root="/assets"
        )
        assert first.relationships[NodeRelationship.NEXT].node_type == ObjectType.IMAGE
        assert second.relationships[NodeRelationship.SOURCE].node_type == ObjectType.DOCUMENT


class TestPlainDocuments:
    def test_offsets_point_into_the_document(self):
        document = Document(text=SENTENCE * 100)
        nodes = RAGAnythingNodeParser(chunk_size=64, chunk_overlap=0).get_nodes_from_documents([document])
        assert len(nodes) > 5
        assert all(document.text[node.start_char_idx : node.end_char_idx] == node.text for node in nodes)

    def test_an_image_document_stays_an_image(self, tmp_path):
        path = tmp_path / "a.png"
        Image.new("RGB", (4, 4)).save(path)
        (node,) = RAGAnythingNodeParser().get_nodes_from_documents(
            [ImageDocument(text="A pump.", image_path=str(path))]
        )
        assert isinstance(node, ImageNode)
        assert node.image_path == str(path)

    def test_image_nodes_pass_through_untouched(self):
        image = ImageNode(text="", image_path="/a.png")
        assert RAGAnythingNodeParser().get_nodes_from_documents([image]) == [image]

    def test_a_chunk_of_a_document_keeps_the_document_as_its_source(self):
        first = RAGAnythingNodeParser(chunk_size=128).get_nodes_from_documents([Document(id_="d", text=SENTENCE * 50)])
        again = RAGAnythingNodeParser(chunk_size=40).get_nodes_from_documents(first)
        assert len(again) > len(first)
        assert {node.ref_doc_id for node in again} == {"d"}


def test_an_overlap_as_large_as_the_chunk_is_refused():
    with pytest.raises(ConfigurationError, match="overlap must be smaller"):
        RAGAnythingNodeParser(chunk_size=10, chunk_overlap=10)


def test_another_tokenizer_counts_instead():
    many = nodes_of(
        *[text("a b c") for _ in range(8)], page_nodes=False, chunk_size=40, chunk_overlap=0, tokenizer=list
    )
    assert len(many) == 1
    many = nodes_of(
        *[text("a b c") for _ in range(8)], page_nodes=False, chunk_size=10, chunk_overlap=0, tokenizer=list
    )
    assert len(many) == 4


def test_equal_tables_of_a_document_are_two_elements():
    rows = [["Item", "Price"], *([f"part {number}", str(number)] for number in range(300))]
    tables = [Element(type="table", rows=rows, page=1), Element(type="table", rows=rows, page=1)]
    document = elements_to_document(tables, source="a.xlsx", doc_id="d")
    nodes = RAGAnythingNodeParser().get_nodes_from_documents([document])
    parts = Counter(node.metadata["element_id"] for node in nodes)
    assert len(parts) == 2
    assert len(set(parts.values())) == 1
    assert tables[0].fingerprint() in parts
