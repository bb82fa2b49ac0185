"""What every node parser of this package must do, whatever the documents; inherit and fill in the two makers."""

from __future__ import annotations

import asyncio
import json
import pickle

import pytest
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import (
    Document,
    ImageNode,
    MetadataMode,
    NodeRelationship,
    TextNode,
    TransformComponent,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQuery
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from llama_index_raganything.elements import METADATA_KEYS
from llama_index_raganything.testing import HashEmbedding

HOSTILE = [
    "",
    "   \n\t ",
    "\x00\x01\x02",
    "\ud800 lone surrogate",
    "\" ' \\ ; DROP TABLE nodes; -- {{ x }} {% raw %} %s {0} {text}",
    "word" * 20_000,
    "a b " * 20_000,
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﷽ 👩‍👩‍👧‍👦 é ﬀ",
    "مرحبا بالعالم. هذا نص عربي.",
    "这是一个很长的中文段落。" * 400,
    "|||\n|---|\n|",
    "no sentence end " * 2_000,
]


class NodeParserSuite:
    """Contract of a node parser."""

    def make_parser(self, **options) -> NodeParser:
        raise NotImplementedError

    def make_documents(self) -> list[Document]:
        """Documents with at least text, and where the parser knows them, images, tables and pages."""
        raise NotImplementedError

    def nodes(self, **options):
        return self.make_parser(**options).get_nodes_from_documents(self.make_documents())

    def test_is_a_node_parser_and_a_transform(self):
        names = [base.__name__ for base in type(self.make_parser()).__mro__]
        assert NodeParser.__name__ in names
        assert TransformComponent.__name__ in names

    def test_makes_only_storable_node_classes(self):
        assert {type(node) for node in self.nodes()} <= {TextNode, ImageNode}

    def test_text_is_never_empty(self):
        assert all(node.get_content(MetadataMode.NONE).strip() for node in self.nodes())

    def test_ids_are_unique_and_the_same_in_every_run(self):
        first, second = self.nodes(), self.nodes()
        assert [node.node_id for node in first] == [node.node_id for node in second]
        assert len({node.node_id for node in first}) == len(first)

    def test_equal_documents_under_two_ids_share_no_node_id(self):
        documents, others = self.make_documents(), self.make_documents()
        for other in others:
            other.id_ = f"other-{other.id_}"
        parser = self.make_parser()
        mine = {node.node_id for node in parser.get_nodes_from_documents(documents)}
        theirs = {node.node_id for node in parser.get_nodes_from_documents(others)}
        assert mine.isdisjoint(theirs)

    def test_every_node_names_its_document(self):
        ids = {document.id_ for document in self.make_documents()}
        for node in self.nodes():
            assert node.ref_doc_id in ids
            assert node.metadata["doc_id"] == node.ref_doc_id

    def test_metadata_is_flat_and_declared(self):
        allowed = set(METADATA_KEYS).union(*(document.metadata for document in self.make_documents()))
        for node in self.nodes():
            assert set(node.metadata) <= allowed
            assert all(isinstance(value, (str, int, float, bool)) for value in node.metadata.values())

    def test_relations_carry_no_metadata(self):
        for node in self.nodes():
            for related in node.relationships.values():
                for info in related if isinstance(related, list) else [related]:
                    assert info.metadata == {}

    def test_neighbours_point_at_each_other(self):
        nodes = {node.node_id: node for node in self.nodes()}
        for node in nodes.values():
            if node.next_node is not None:
                assert nodes[node.next_node.node_id].prev_node.node_id == node.node_id

    def test_parents_and_children_point_at_each_other(self):
        nodes = {node.node_id: node for node in self.nodes()}
        for node in nodes.values():
            if node.parent_node is not None:
                parent = nodes[node.parent_node.node_id]
                assert node.node_id in {child.node_id for child in parent.child_nodes}
            for child in node.child_nodes or []:
                assert nodes[child.node_id].parent_node.node_id == node.node_id

    def test_pickling_a_used_parser_warns_of_nothing(self, caplog):
        parser = self.make_parser()
        parser.get_nodes_from_documents(self.make_documents())
        pickle.dumps(parser)
        assert caplog.text == ""

    def test_settings_survive_to_dict_and_pickle(self):
        parser = self.make_parser(chunk_size=77, chunk_overlap=7)
        for copy in (type(parser).from_dict(parser.to_dict()), pickle.loads(pickle.dumps(parser))):
            assert copy.to_dict() == parser.to_dict()
            documents = self.make_documents()
            expected = [node.node_id for node in parser.get_nodes_from_documents(documents)]
            assert [node.node_id for node in copy.get_nodes_from_documents(documents)] == expected

    def test_settings_are_json(self):
        json.dumps(self.make_parser().to_dict())

    async def test_async_gives_the_same_nodes(self):
        got = await self.make_parser().aget_nodes_from_documents(self.make_documents())
        assert [node.to_dict() for node in got] == [node.to_dict() for node in self.nodes()]

    async def test_async_call_gives_the_same_nodes(self):
        got = await self.make_parser().acall(self.make_documents())
        assert [node.node_id for node in got] == [node.node_id for node in self.nodes()]

    def test_two_event_loops_in_a_row(self):
        parser = self.make_parser()
        first = asyncio.run(parser.aget_nodes_from_documents(self.make_documents()))
        second = asyncio.run(parser.aget_nodes_from_documents(self.make_documents()))
        assert [node.node_id for node in first] == [node.node_id for node in second]

    def test_no_documents_give_no_nodes(self):
        assert self.make_parser().get_nodes_from_documents([]) == []

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_hostile_plain_text_is_split_within_the_limits(self, text):
        document = Document(id_="hostile", text=text.encode("utf-8", "replace").decode())
        nodes = self.make_parser().get_nodes_from_documents([document])
        assert all(node.text.strip() and len(node.text.encode()) <= 65_535 for node in nodes)
        assert len({node.node_id for node in nodes}) == len(nodes)

    def test_nodes_survive_every_storage_form(self):
        for node in self.nodes():
            for copy in (
                _through_vector_dict(node),
                _through_docstore(node),
                _through_cache(node),
                _through_pickle(node),
            ):
                assert type(copy) is type(node)
                assert copy.node_id == node.node_id
                assert copy.text == node.text
                assert copy.metadata == node.metadata
                assert copy.relationships == node.relationships
                if isinstance(node, ImageNode):
                    assert copy.image_path == node.image_path

    def test_nodes_survive_a_vector_store(self):
        embedding = HashEmbedding()
        nodes = embedding(self.nodes())
        store = SimpleVectorStore(stores_text=False)
        store.add(nodes)
        result = store.query(VectorStoreQuery(query_embedding=nodes[0].embedding, similarity_top_k=1))
        assert result.ids == [nodes[0].node_id] or len(nodes) > 1

    def test_a_pipeline_run_twice_gives_the_same_nodes_from_its_cache(self):
        pipeline = IngestionPipeline(transformations=[self.make_parser(), HashEmbedding()], cache=IngestionCache())
        first = pipeline.run(documents=self.make_documents())
        second = pipeline.run(documents=self.make_documents())
        assert [node.node_id for node in first] == [node.node_id for node in second]
        assert [type(node) for node in first] == [type(node) for node in second]
        assert [getattr(node, "image_path", None) for node in first] == [
            getattr(node, "image_path", None) for node in second
        ]

    def test_a_pipeline_with_a_docstore_skips_what_is_unchanged(self):
        pipeline = IngestionPipeline(transformations=[self.make_parser()], docstore=SimpleDocumentStore())
        assert pipeline.run(documents=self.make_documents())
        assert pipeline.run(documents=self.make_documents()) == []

    @pytest.mark.slow
    def test_a_pipeline_with_two_workers_gives_the_same_nodes(self):
        pipeline = IngestionPipeline(transformations=[self.make_parser()])
        alone = {node.node_id for node in pipeline.run(documents=self.make_documents(), num_workers=None)}
        workers = IngestionPipeline(transformations=[self.make_parser()])
        assert {node.node_id for node in workers.run(documents=self.make_documents(), num_workers=2)} == alone

    def test_the_document_is_the_source_and_not_a_parent(self):
        for node in self.nodes():
            assert node.relationships[NodeRelationship.SOURCE].node_id == node.ref_doc_id


def _through_vector_dict(node):
    return metadata_dict_to_node(node_to_metadata_dict(node, remove_text=True), text=node.text)


def _through_docstore(node):
    store = SimpleDocumentStore()
    store.add_documents([node])
    return SimpleDocumentStore.from_dict(json.loads(json.dumps(store.to_dict()))).get_document(node.node_id)


def _through_cache(node):
    cache = IngestionCache()
    cache.put("key", [node])
    return cache.get("key")[0]


def _through_pickle(node):
    return pickle.loads(pickle.dumps(node))
