"""Chunks of any splitter know the page, box and section that they were cut from."""

import asyncio
import json
import pickle
from pathlib import Path

import pytest
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.node_parser import (
    HierarchicalNodeParser,
    MarkdownNodeParser,
    NodeParser,
    SemanticSplitterNodeParser,
    SentenceSplitter,
    SentenceWindowNodeParser,
    TokenTextSplitter,
)
from llama_index.core.schema import Document, ImageNode, MetadataMode, NodeRelationship, TextNode, TransformComponent
from llama_index.core.storage.docstore import SimpleDocumentStore

from llama_index_raganything import (
    ConfigurationError,
    PlacedSplitter,
    RAGAnythingNodeParser,
    RAGAnythingReader,
    document_elements,
    elements_to_document,
)
from llama_index_raganything.elements import Element
from llama_index_raganything.testing import HashEmbedding

DEMO = Path(__file__).parents[3] / "llama_index_raganything" / "demo_files" / "annual_report.pdf"


class LineSplitter(TransformComponent):
    """Stands for splitters of other libraries: no offsets, no metadata, other white space, a heading of its own."""

    prefix: str = ""

    @classmethod
    def class_name(cls):
        return "LineSplitter"

    def __call__(self, nodes, **kwargs):
        return [
            TextNode(text=f"{self.prefix}{'  '.join(block.split())}", relationships={"1": node.as_related_node_info()})
            for node in nodes
            for block in node.get_content(metadata_mode=MetadataMode.NONE).strip().split("\n\n")
        ]


SPLITTERS = {
    "sentences": lambda: SentenceSplitter(chunk_size=128, chunk_overlap=16),
    "default": SentenceSplitter,
    "tokens": lambda: TokenTextSplitter(chunk_size=96, chunk_overlap=16),
    "window": SentenceWindowNodeParser,
    "markdown": MarkdownNodeParser,
    "hierarchy": lambda: HierarchicalNodeParser.from_defaults(chunk_sizes=[256, 96], chunk_overlap=8),
    "semantic": lambda: SemanticSplitterNodeParser(embed_model=HashEmbedding()),
    "foreign": LineSplitter,
}
FACTS = [("Revenue in Germany fell", 1, (131, 398, 816, 426)), ("Halland ran for ten months", 2, (131, 127, 606, 141))]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return RAGAnythingReader(working_dir=str(tmp_path_factory.mktemp("work")))


@pytest.fixture(scope="module")
def report(reader):
    return reader.load_data(DEMO)[0]


def run(splitter, *documents):
    return IngestionPipeline(transformations=[splitter]).run(documents=list(documents))


def inside(inner, outer):
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


@pytest.mark.parametrize("name", SPLITTERS)
def test_a_fact_is_on_its_page_and_in_its_box(report, name):
    nodes = run(PlacedSplitter(SPLITTERS[name]()), report)
    for fact, page, box in FACTS:
        found = [node for node in nodes if fact in " ".join(node.get_content(metadata_mode=MetadataMode.NONE).split())]
        assert found
        for node in found:
            assert node.metadata["page"] == page
            assert inside(box, json.loads(node.metadata["bbox"]))
    assert all(node.metadata["page"] in {1, 2, 3} for node in nodes)
    assert {node.ref_doc_id for node in nodes} == {report.doc_id}
    assert {node.source_node.hash for node in nodes} == {report.hash}


def test_the_last_leaf_of_a_page_does_not_lead_to_a_chunk_of_the_next(report):
    nodes = run(PlacedSplitter(SPLITTERS["hierarchy"]()), report)
    by_id = {node.node_id: node for node in nodes}
    following = [(node, by_id[node.next_node.node_id]) for node in nodes if node.next_node is not None]
    assert all((one.parent_node is None) == (two.parent_node is None) for one, two in following)


@pytest.mark.parametrize("name", [name for name in SPLITTERS if name != "foreign"])
def test_chunks_are_those_of_the_splitter_where_pages_do_not_matter(report, name):
    placed = run(PlacedSplitter(SPLITTERS[name](), by_page=False), report)
    plain = run(SPLITTERS[name](), report)
    assert [node.text for node in placed] == [node.text for node in plain]
    kinds = [sorted(kind.name for kind in node.relationships) for node in placed]
    assert kinds == [sorted(kind.name for kind in node.relationships) for node in plain]
    for node in placed:
        if node.start_char_idx is not None:
            assert report.text[node.start_char_idx : node.end_char_idx].split() == node.text.split()
    for key, value in plain[0].metadata.items():
        assert placed[0].metadata[key] == value


def test_what_differs_within_a_chunk_is_left_out(report):
    first, *_ = run(PlacedSplitter(SentenceSplitter(), by_page=False), report)
    assert {"page", "bbox", "label", "element_id"}.isdisjoint(first.metadata)
    assert first.metadata["section"] == "Nordlys Wind: annual report 2024"


def test_a_chunk_of_one_element_names_it(report):
    nodes = run(PlacedSplitter(LineSplitter()), report)
    (table,) = [node for node in nodes if "| Sweden |" in " ".join(node.text.split())]
    element = next(element for element in document_elements(report) if element.type == "table")
    assert table.metadata["element_id"] == element.fingerprint()
    assert (table.metadata["label"], table.metadata["asset"]) == ("Table 1", element.asset)
    assert table.metadata["section"].endswith("> 2 Revenue")
    assert table.metadata["caption"] == element.caption


def test_models_do_not_see_places(report):
    chunk = run(PlacedSplitter(SentenceWindowNodeParser()), report)[3]
    assert "bbox" not in chunk.get_content(metadata_mode=MetadataMode.EMBED)
    assert "element_id" not in chunk.get_content(metadata_mode=MetadataMode.LLM)
    assert "page: 1" in chunk.get_content(metadata_mode=MetadataMode.LLM)


def test_chunks_are_linked_over_the_ends_of_pages(report):
    nodes = run(PlacedSplitter(SentenceSplitter(chunk_size=128, chunk_overlap=16)), report)
    following = [node.next_node.node_id for node in nodes[:-1]]
    assert following == [node.node_id for node in nodes[1:]]
    assert {node.metadata["page"] for node in nodes} == {1, 2, 3}


def test_printed_page_numbers_and_repeated_words():
    elements = [
        Element(type="page", page=page, page_label=f"{page + 10}", text="See there.")
        if text is None
        else Element(type="text", page=page, text=text, bbox=(page, 0, 500, 500))
        for page in (1, 2, 3)
        for text in (None, "See there. Same words.", f"Only page {page} says this.")
    ]
    document = elements_to_document(elements, source="/data/a.pdf")
    for by_page in (True, False):
        nodes = run(PlacedSplitter(SentenceWindowNodeParser(), by_page=by_page), document)
        assert [node.metadata["page"] for node in nodes] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
        assert [node.metadata["page_label"] for node in nodes][::3] == ["11", "12", "13"]


def test_a_summary_in_front_does_not_hide_the_place(report):
    nodes = run(PlacedSplitter(LineSplitter(prefix="This part of the report is summed up in a few words.\n")), report)
    (node,) = [node for node in nodes if "Halland ran" in " ".join(node.text.split())]
    assert node.metadata["page"] == 2
    assert node.start_char_idx is None


def test_an_edited_document(report):
    edited = report.model_copy(deep=True)
    edited.set_content(edited.text.replace("Nordlys", "X"))
    nodes = run(PlacedSplitter(SentenceWindowNodeParser()), edited)
    assert "Nordlys" not in "".join(node.to_json() for node in nodes).replace("annual_report", "")
    assert next(node for node in nodes if "Halland ran" in node.text).metadata["page"] == 2


def test_documents_of_other_readers_and_nodes_pass_through():
    document = Document(text="One sentence. Another one.", metadata={"page": 7})
    placed = run(PlacedSplitter(SentenceWindowNodeParser()), document, TextNode(text="A node."))
    plain = run(SentenceWindowNodeParser(), document, TextNode(text="A node."))
    assert [(node.text, node.metadata) for node in placed] == [(node.text, node.metadata) for node in plain]


def test_pictures_are_nodes_beside_the_chunks(reader, report):
    assert not any(isinstance(node, ImageNode) for node in run(PlacedSplitter(SentenceSplitter()), report))
    nodes = run(PlacedSplitter(SentenceSplitter(), asset_root=reader.assets.root), report)
    images = [node for node in nodes if isinstance(node, ImageNode)]
    assert [node.metadata["label"] for node in images] == ["Figure 1", "Figure 2"]
    assert all(Path(node.image_path).is_file() for node in images)
    assert {node.ref_doc_id for node in images} == {report.doc_id}


def test_ids_of_a_function_are_unique(report):
    splitter = SentenceSplitter(id_func=lambda index, document: f"{document.node_id}-{index}")
    nodes = run(PlacedSplitter(splitter), report)
    assert len({node.node_id for node in nodes}) == len(nodes) == 3


@pytest.mark.parametrize("name", SPLITTERS)
def test_async_makes_the_same(report, name):
    splitter = PlacedSplitter(SPLITTERS[name]())
    made = asyncio.run(IngestionPipeline(transformations=[splitter]).arun(documents=[report]))
    assert [(n.text, n.metadata) for n in made] == [(n.text, n.metadata) for n in run(splitter, report)]


@pytest.mark.parametrize("name", SPLITTERS)
def test_survives_pickling_and_dictionaries(report, name):
    splitter = PlacedSplitter(SPLITTERS[name](), by_page=False, asset_root="/data/assets")
    again = pickle.loads(pickle.dumps(splitter))
    assert (again.by_page, again.asset_root) == (False, "/data/assets")
    assert [n.text for n in run(again, report)] == [n.text for n in run(splitter, report)]
    data = splitter.to_dict()
    assert json.loads(json.dumps(data)) == data
    rebuilt = PlacedSplitter.from_dict(data)
    assert rebuilt.to_dict() == data
    assert type(rebuilt.splitter) is type(splitter.splitter)


def test_a_splitter_of_an_unknown_name_is_asked_for():
    data = {"splitter": {"class_name": "Nobody"}, "by_page": False}
    with pytest.raises(ConfigurationError, match="'Nobody'"):
        PlacedSplitter.from_dict(data)
    assert PlacedSplitter.from_dict(data, splitter=SentenceSplitter()).by_page is False


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("text", "no transformation"),
        (RAGAnythingNodeParser(), "by itself"),
        (PlacedSplitter(SentenceSplitter()), "by itself"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(wrong, reason):
    with pytest.raises(ConfigurationError, match=reason):
        PlacedSplitter(wrong)


def test_in_a_pipeline_with_cache_docstore_and_workers(report):
    def pipeline(size, cache):
        return IngestionPipeline(
            transformations=[PlacedSplitter(SentenceSplitter(chunk_size=size, chunk_overlap=0)), MockEmbedding(8)],
            cache=cache,
            docstore=SimpleDocumentStore(),
        )

    cache = IngestionCache()
    first = pipeline(128, cache)
    nodes = first.run(documents=[report])
    assert all(node.metadata["page"] for node in nodes)
    assert first.run(documents=[report]) == []
    assert [n.node_id for n in pipeline(128, cache).run(documents=[report])] == [n.node_id for n in nodes]
    assert len(pipeline(256, cache).run(documents=[report])) < len(nodes)


@pytest.mark.slow
def test_in_worker_processes(report):
    # Not SentenceSplitter: LlamaIndex hangs with it here, with and without us.
    pipeline = IngestionPipeline(transformations=[PlacedSplitter(MarkdownNodeParser())])
    made = pipeline.run(documents=[report, report.model_copy(update={"id_": "other"})], num_workers=2)
    assert {node.metadata["page"] for node in made} == {1, 2, 3}
    assert isinstance(pipeline.transformations[0], NodeParser)
    assert all(NodeRelationship.SOURCE in node.relationships for node in made)
