"""Somebody changed a document's text: the text wins over the elements inside, in every way a node says something."""

import json
import pickle
import random
import re
import time
from pathlib import Path

import pytest
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import Document, ImageNode, MediaResource, MetadataMode, TransformComponent

from llama_index_raganything import RAGAnythingNodeParser, RAGAnythingReader, document_elements, elements_to_document
from llama_index_raganything.documents.packing import document_contents, elements_to_text
from llama_index_raganything.elements import Element
from llama_index_raganything.query_engine.context.images import ImageFiles

DEMO = Path(__file__).parents[3] / "llama_index_raganything" / "demo_files" / "annual_report.pdf"


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return RAGAnythingReader(working_dir=str(tmp_path_factory.mktemp("work")))


@pytest.fixture(scope="module")
def read(reader):
    return reader.load_data(DEMO)[0]


@pytest.fixture
def report(read):
    return read.model_copy(deep=True)


def document(*elements, **options):
    return elements_to_document(elements, source="/data/a.pdf", **options)


def nodes_of(one, **options):
    return RAGAnythingNodeParser(asset_root="/data/assets", **options).get_nodes_from_documents([one])


def said(nodes):
    """All that nodes say or show, but for the name of the file, in lower case."""
    parts = []
    for node in nodes:
        metadata = {key: value for key, value in node.metadata.items() if key not in {"source", "file_name", "doc_id"}}
        parts += [node.get_content(metadata_mode=MetadataMode.NONE), json.dumps(metadata, ensure_ascii=False)]
        parts.append(node.model_dump_json(include={"relationships"}))
    return "\n".join(parts).lower()


def redact(one, word, by="[REDACTED]"):
    one.set_content(one.text.replace(word, by))
    return one


def pictures(nodes):
    return [node.metadata.get("label") for node in nodes if isinstance(node, ImageNode)]


class TestUnchanged:
    IDS = 11

    def test_nodes_are_those_of_the_elements_as_they_were_read(self, report):
        before = nodes_of(report)
        assert len(before) == self.IDS
        report.set_content(report.text)
        assert [node.model_dump() for node in nodes_of(report)] == [node.model_dump() for node in before]

    def test_other_white_space_changes_no_node(self, report):
        before = [node.node_id for node in nodes_of(report)]
        report.set_content("\n" + report.text.replace("\n\n", " \n \n\n").replace(". ", ".\n"))
        assert [node.node_id for node in nodes_of(report)] == before

    def test_elements_know_where_they_stand(self, report):
        for text in (report.text, report.text.replace("\n\n", "\n \n\n")):
            report.set_content(text)
            contents = document_contents(report)
            for element, span in zip(contents.elements, contents.spans, strict=True):
                if span is None:
                    assert element.type == "page"
                else:
                    assert text[slice(*span)].split() == elements_to_text([element]).split()

    def test_changed_metadata_is_on_the_nodes(self, report):
        report.metadata |= {"department": "Sales", "title": "Other title"}
        assert {(node.metadata["department"], node.metadata["title"]) for node in nodes_of(report)} == {
            ("Sales", "Other title")
        }

    def test_the_check_costs_next_to_nothing(self):
        many = document(*[Element(type="text", page=n // 20 + 1, text=f"Paragraph {n}. " * 20) for n in range(5000)])
        parser = RAGAnythingNodeParser()
        started = time.process_time()
        contents = document_contents(many)
        check = time.process_time() - started
        started = time.process_time()
        parser.get_nodes_from_documents([many])
        assert check < (time.process_time() - started) / 3
        assert len(contents.elements) == 5000


class TestRedaction:
    def test_no_node_says_the_word(self, report):
        assert said(nodes_of(report)).count("sweden") > 3
        nodes = nodes_of(redact(report, "Sweden"))
        assert "sweden" not in said(nodes)
        assert said(nodes).count("[redacted]") > 3

    def test_what_still_agrees_keeps_its_place_and_picture(self, report):
        before = {node.node_id for node in nodes_of(report)}
        nodes = nodes_of(redact(report, "Sweden"))
        assert pictures(nodes) == ["Figure 1", "Figure 2"]
        kept = [node for node in nodes if node.node_id in before]
        assert {node.metadata["page"] for node in kept} == {1, 2, 3}
        assert len(kept) == self_agreeing(nodes)

    def test_the_changed_table_keeps_caption_page_and_cells_but_no_box_and_no_picture(self, report):
        nodes = nodes_of(redact(report, "Sweden"))
        (table,) = [node for node in nodes if node.metadata["content_type"] == "table"]
        assert not isinstance(table, ImageNode)
        assert table.metadata["caption"] == "Table 1: Revenue by region in million EUR"
        assert (table.metadata["page"], table.metadata["label"]) == (1, "Table 1")
        assert {"bbox", "asset"}.isdisjoint(table.metadata)
        assert "| [REDACTED] | 18.6 | 21.9 | 29.4 |" in table.text

    def test_the_page_says_what_is_left(self, report):
        nodes = nodes_of(redact(report, "Sweden"))
        (page,) = [n for n in nodes if n.metadata["content_type"] == "page" and n.metadata["page"] == 1]
        assert "Revenue in Germany fell in 2023" in page.text
        assert "[REDACTED]" in page.text

    @pytest.mark.parametrize(
        "edit",
        [
            lambda one, text: one.set_content(text),
            lambda one, text: setattr(one.text_resource, "text", text),
            lambda one, text: setattr(one, "text_resource", MediaResource(text=text)),
        ],
        ids=["set_content", "text_resource.text", "text_resource"],
    )
    def test_whichever_way_the_text_was_changed(self, report, edit):
        edit(report, report.text.replace("Sweden", "X"))
        assert "sweden" not in said(nodes_of(report))

    def test_in_a_subclass_a_copy_a_pickle_and_json(self, report):
        class Report(Document):
            pass

        redact(report, "Sweden")
        copies = [
            Report(**report.model_dump()),
            pickle.loads(pickle.dumps(report)),
            Document.from_json(report.to_json()),
            report.model_copy(deep=True),
        ]
        for copy in copies:
            assert "sweden" not in said(nodes_of(copy))
            assert pictures(nodes_of(copy)) == ["Figure 1", "Figure 2"]

    def test_by_a_transformation_before_the_parser(self, report):
        nodes = IngestionPipeline(transformations=[Redactor(), RAGAnythingNodeParser()]).run(documents=[report])
        assert "sweden" not in said(nodes)
        assert "[redacted]" in said(nodes)

    def test_a_heading_is_changed_in_the_section_of_what_stands_below_it(self, report):
        nodes = nodes_of(redact(report, "Skagen", "Place"))
        assert "skagen" not in said(nodes)
        assert any(str(node.metadata.get("section", "")).endswith("4 The Place site") for node in nodes)

    def test_a_title_that_repeats_the_word_goes(self, report):
        nodes = nodes_of(redact(report, "Nordlys"))
        assert "nordlys" not in said(nodes)
        assert all("title" not in node.metadata for node in nodes)
        assert report.metadata["title"]

    def test_no_page_of_the_file_is_shown_for_it(self, report, reader):
        images = ImageFiles(str(reader.assets.root))

        def pages():
            return [n for n in nodes_of(report) if n.metadata["content_type"] == "page"]

        assert all(images.fitted_page(page, 100_000) for page in pages())
        redact(report, "Sweden")
        assert len(pages()) == 3
        assert not any(images.fitted_page(page, 100_000) for page in pages())

    def test_a_caption(self, report):
        nodes = nodes_of(redact(report, "turbines", "mills"))
        assert "turbines" not in said(nodes)
        (figure,) = [node for node in nodes if node.metadata.get("label") == "Figure 2"]
        assert not isinstance(figure, ImageNode)

    def test_an_element_repeats_what_the_text_does_not_show(self):
        one = document(
            Element(type="page", page=1, text="Secret\u00adplan by Jo-\nhanna Berg\nsales grew"),
            Element(type="furniture", page=1, subtype="page_footnote", text="1 as Johanna Berg says"),
            Element(type="text", page=1, text="Sales grew, says Johanna Berg."),
            Element(type="table", page=2, text="A table", rows=[["Who", "Berg"]], html="<td>Berg</td>", asset="t.png"),
            Element(type="page", page=2, text="A table\nsheet of JohannaBerg"),
            Element(type="text", page=2, page_label="Berg", text="Second page."),
        )
        nodes = nodes_of(redact(one, "Johanna Berg"))
        assert "berg" not in said(nodes)
        assert "hanna" not in said(nodes)
        assert pictures(nodes) == []
        assert {node.metadata["page"] for node in nodes} == {1, 2}

    def test_a_name_whose_words_stay_elsewhere(self):
        one = document(
            Element(type="furniture", page=1, subtype="footnote", text="Written by John Smith"),
            Element(type="text", page=1, text="John Smith met John Doe and Adam Smith."),
            Element(type="text", page=2, text="The end."),
            Element(type="page", page=2, text="John Smith\nThe end."),
        )
        assert "john smith" not in said(nodes_of(redact(one, "John Smith", "X")))

    def test_chinese(self):
        one = document(
            Element(type="page", page=1, text="瑞典的收入\n丹麦"),
            Element(type="text", page=1, text="瑞典的收入增长了。"),
            Element(type="text", page=1, text="丹麦的收入。"),
            Element(type="furniture", page=1, subtype="footnote", text="瑞典。"),
        )
        nodes = nodes_of(redact(one, "瑞典", "某国"))
        assert "瑞典" not in said(nodes)
        assert "某国的收入" in said(nodes)

    @pytest.mark.parametrize(
        ("text", "word", "note"),
        [
            ("Salary of Anna: high.", "Anna", "Annas note"),
            ("Salary of Anna: high.", "Anna", "See AnnaBerg"),
            ("Salary of Anna: high.", "Anna", "An-\nna says so"),
            ("Salary of Anna: high.", "Anna", "An\u00adna says so"),
            ("Salary of Müller: high.", "Müller", "Muller says so"),
            ("Salary of Muller: high.", "Muller", "Mu\u0308ller says so"),
            ("Salary: 120,000 a year.", "120,000", "120000 since May"),
            ("Salary: 120000 a year.", "120000", "120 000 since May"),
            ("Mood 😀 today.", "😀", "Mostly 😀"),
            ("ฉันรักกรุงเทพมาก", "กรุงเทพ", "ไปกรุงเทพกัน"),
        ],
    )
    def test_a_note_that_the_text_does_not_show_writes_it_otherwise(self, text, word, note):
        one = document(
            Element(type="text", page=1, text=text),
            Element(type="text", page=2, text="The end."),
            Element(type="furniture", page=2, subtype="slide_notes", text=note),
        )
        assert note.lower() in "\n".join(node.text for node in nodes_of(one)).lower()
        assert [node.text for node in nodes_of(redact(one, word, "X")) if node.metadata["page"] == 2] == ["The end."]

    def test_words_that_stay_take_no_note_with_them(self):
        one = document(
            Element(type="text", page=1, text="Annals and Müller, 120 000."),
            Element(type="text", page=1, text="A row of spans and a body, says Anna."),
            Element(
                type="table", page=2, text="A table", rows=[["Who", "Bo"]], html="<tr rowspan='2'><td>Bo</td></tr>"
            ),
            Element(type="furniture", page=2, subtype="slide_notes", text="Annals, Müller: 120 000"),
        )
        gone = redact(one, "A row of spans and a body, says Anna.", "")
        nodes = "\n".join(node.text for node in nodes_of(gone))
        assert "Annals, Müller" in nodes
        assert "| Bo |" in nodes

    def test_a_label_that_stands_in_no_caption(self):
        one = document(
            Element(type="text", page=1, text="The plan is Figure 3."),
            Element(type="image", page=2, label="Figure 3", asset="ab/x.png"),
        )
        assert "figure 3" not in said(nodes_of(redact(one, "Figure 3")))

    def test_pictures_that_may_show_it(self):
        one = document(
            Element(type="text", page=1, text="Map of Sweden", bbox=(100, 100, 300, 200)),
            Element(type="image", page=1, caption="Figure 1: Coast", asset="over.png", bbox=(50, 50, 400, 400)),
            Element(type="image", page=1, caption="Figure 2: Hill", asset="beside.png", bbox=(500, 500, 900, 900)),
            Element(type="text", page=2, text="Nothing here."),
            Element(type="image", page=2, asset="mute.png"),
            Element(type="text", page=2, text="This is Sweden."),
            Element(type="page", page=3, text="A page of its own in Sweden", asset="page.png"),
            Element(type="image", page=4, text="OCR: Sweden", ocr=True, asset="ocr.png"),
            Element(type="text", page=4, text="Last."),
        )
        assert len(pictures(nodes_of(one))) == 5
        nodes = nodes_of(redact(one, "Sweden"))
        assert "sweden" not in said(nodes)
        assert [Path(node.image_path).name for node in nodes if isinstance(node, ImageNode)] == ["beside.png"]
        assert "mute.png" not in said(nodes)

    def test_the_document_that_is_packed_again_holds_nothing_of_it(self, report):
        redact(report, "Sweden")
        clean = elements_to_document(document_elements(report), source="/data/a.pdf")
        assert "Sweden" not in clean.to_json()
        assert clean.text.split() == report.text.split()


def self_agreeing(nodes):
    """Number of nodes without a changed word that are no page of a changed one."""
    return sum("[REDACTED]" not in node.text for node in nodes)


class Redactor(TransformComponent):
    def __call__(self, nodes, **kwargs):
        for node in nodes:
            node.set_content(node.text.replace("Sweden", "[REDACTED]"))
        return nodes


class TestOtherEdits:
    def test_a_removed_paragraph(self, report):
        paragraph = "Revenue in Germany fell in 2023, when the Rugen grid connection was under repair for nine weeks."
        nodes = nodes_of(redact(report, paragraph, ""))
        assert "nine weeks" not in said(nodes)
        assert pictures(nodes) == ["Table 1", "Figure 1", "Figure 2"]

    def test_an_added_paragraph_is_a_node_at_its_place(self, report):
        added = "The works council agreed in May."
        report.set_content(report.text.replace("## 3 Generation", f"{added}\n\n## 3 Generation"))
        nodes = nodes_of(report)
        assert any(added in node.text for node in nodes if node.metadata["content_type"] == "text")
        assert pictures(nodes) == ["Table 1", "Figure 1", "Figure 2"]
        within = report.text.replace("## 2 Revenue", f"{added}\n\n## 2 Revenue").replace(f"{added}\n\n## 3", "## 3")
        report.set_content(within)
        (node,) = [n for n in nodes_of(report) if added in n.text and n.metadata["content_type"] == "text"]
        assert (node.metadata["page"], node.metadata["section"][-9:]) == (1, "1 Summary")
        (page,) = [n for n in nodes_of(report) if n.metadata["content_type"] == "page" and n.metadata["page"] == 1]
        assert added in page.text

    def test_an_added_heading_and_table(self, report):
        report.set_content(report.text + "\n\n# Annex\n\n| Item | Price |\n| --- | --- |\n| Rope | 4 |")
        table = nodes_of(report)[-1]
        assert (table.metadata["content_type"], table.metadata["section"]) == ("table", "Annex")

    def test_the_whole_text_replaced(self, report):
        report.set_content("Something else altogether.")
        nodes = nodes_of(report)
        assert [node.text for node in nodes] == ["Something else altogether."]
        assert not pictures(nodes)
        assert "title" not in nodes[0].metadata

    def test_no_text_any_more(self, report):
        report.set_content("")
        assert nodes_of(report) == []

    def test_moved_paragraphs_keep_their_places(self, report):
        first, second = "## 4 The Skagen site", "## 5 Capacity factor"
        head, _, rest = report.text.partition(first)
        middle, _, tail = rest.partition(second)
        before = {node.node_id for node in nodes_of(report, page_nodes=False)}
        report.set_content(f"{head}{second}{tail}\n\n{first}{middle}")
        nodes = nodes_of(report, page_nodes=False)
        assert {node.node_id for node in nodes} == before
        assert [node.metadata["page"] for node in nodes][-1] == 2

    def test_code_and_formulas_stay_what_they_are(self):
        one = document(
            Element(type="equation", text="E = mc^2"),
            Element(
                type="code", text="password = 'x1'\n\nlogin(password)", subtype="python", caption="Listing 1: Login"
            ),
            Element(type="list", text="- one\n- two"),
        )
        nodes = nodes_of(redact(redact(redact(one, "x1", "***"), "mc", "mk"), "two", "2"))
        assert [node.metadata["content_type"] for node in nodes] == ["equation", "code", "text"]
        assert nodes[1].metadata["subtype"] == "python"
        assert nodes[1].metadata["caption"] == "Listing 1: Login"

    @pytest.mark.parametrize("seed", range(8))
    def test_elements_say_what_the_text_says_whatever_was_done(self, read, seed):
        chance = random.Random(seed)
        for _ in range(30):
            one = read.model_copy(deep=True)
            text = one.text
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(text))
                blocks = text.split("\n\n")
                text = (
                    chance.choice(
                        [
                            text[:at] + text[at + chance.randrange(300) :],
                            text[:at] + chance.choice(["\n\n", "\nnew\n", "# x\n\n", "|", "```", "$$"]) + text[at:],
                            "\n\n".join(chance.sample(blocks, len(blocks))),
                            text.replace("\n\n", "\n"),
                            text.replace(chance.choice(text.split()), "Q"),
                        ]
                    )
                    or "x"
                )
            one.set_content(text)
            assert elements_to_text(document_elements(one)).split() == text.split()
            gone = set(re.findall(r"[a-z]+", read.text.lower())) - set(re.findall(r"[a-z]+", text.lower()))
            words = set(re.findall(r"[a-z]+", " ".join(n.text.lower() for n in nodes_of(one))))
            assert gone.isdisjoint(words)

    def test_hostile_texts(self, read):
        for text in ["\x00", "|||\n|---|\n|", "a b " * 20_000, "```\n" * 500, "$$ " * 500, "# " * 500]:
            one = read.model_copy(deep=True)
            one.set_content(text)
            assert "nordlys" not in said(nodes_of(one))

    def test_many_edits_of_a_long_document_take_seconds(self):
        elements = [
            Element(type="text", page=n // 20 + 1, text=f"Paragraph {n} speaks of Sweden {n % 7} times. " * 8)
            for n in range(4000)
        ]
        one = redact(document(*elements), "Sweden")
        started = time.process_time()
        contents = document_contents(one)
        assert time.process_time() - started < 10
        assert [element.page for element in contents.elements] == [element.page for element in elements]
