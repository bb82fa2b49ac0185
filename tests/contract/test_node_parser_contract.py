from __future__ import annotations

from llama_index.core.schema import Document, NodeWithScore
from node_parser_suite import NodeParserSuite

from llama_index_raganything.documents.packing import elements_to_document
from llama_index_raganything.elements import Element
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.query_engine.context.page_context import PageContextPostprocessor
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.testing import HashEmbedding

PARAGRAPH = "The pump delivers 4.2 litres per minute. It is shown in Figure 1 and described in Table 1. "


def report() -> Document:
    elements = [
        Element(type="page", page=1, text="Annual report\n" + PARAGRAPH * 3),
        Element(type="furniture", page=1, text="Confidential", subtype="header"),
        Element(type="heading", page=1, text="1 Pumps", level=1, bbox=(10, 10, 500, 30)),
        Element(type="text", page=1, text=PARAGRAPH, bbox=(10, 40, 500, 90)),
        Element(type="text", page=1, text=PARAGRAPH, bbox=(10, 100, 500, 150)),
        Element(type="text", page=1, text=PARAGRAPH * 60, bbox=(10, 160, 500, 400)),
        Element(type="image", page=1, caption="Figure 1: A pump", label="Figure 1", asset="ab/pump.png"),
        Element(type="image", page=1, asset="ab/unnamed.png", bbox=(0, 900, 100, 950)),
        Element(type="page", page=2, text="Table 1 " + PARAGRAPH),
        Element(type="heading", page=2, text="1.1 数据", level=2),
        Element(
            type="table",
            page=2,
            caption="Table 1: Values",
            label="Table 1",
            rows=[["Name", "Value"]] + [[f"row {n}", str(n)] for n in range(400)],
            asset="cd/table.png",
        ),
        Element(type="equation", page=2, text="E = mc^2"),
        Element(type="code", page=2, text="print('hello')\n" * 3, subtype="python"),
        Element(type="text", page=2, text="水泵的流量是每分钟4.2升。"),
        Element(type="text", page=2, text="水泵的流量是每分钟4.2升。"),
    ]
    return elements_to_document(elements, source="/data/report.pdf", metadata={"author": "A. Writer", "year": 2024})


class TestElementDocuments(NodeParserSuite):
    def make_parser(self, **options):
        return RAGAnythingNodeParser(asset_root="/data/assets", **options)

    def make_documents(self):
        return [report(), elements_to_document([Element(type="text", text=PARAGRAPH)], source="/data/short.md")]


class TestPlainDocuments(NodeParserSuite):
    def make_parser(self, **options):
        return RAGAnythingNodeParser(**options)

    def make_documents(self):
        return [
            Document(id_="plain", text=PARAGRAPH * 100, metadata={"file_name": "a.txt", "page_label": "3"}),
            Document(id_="中文", text="水泵的流量是每分钟4.2升。" * 100),
        ]


def test_nodes_survive_milvus_and_lead_back_to_their_pages(tmp_path):
    embedding = HashEmbedding()
    nodes = embedding(RAGAnythingNodeParser(asset_root="/data/assets").get_nodes_from_documents([report()]))
    with MilvusNodeStore(str(tmp_path / "m.db"), "nodes", embedding.dimension) as store:
        store.add(nodes)
        store.flush()
        found = {node.node_id: node for node in store.get_nodes(node_ids=[node.node_id for node in nodes])}
        elements = [NodeWithScore(node=found[node.node_id]) for node in nodes if node.parent_node is not None]
        widened = PageContextPostprocessor(store=store).postprocess_nodes(elements[:1])
    for node in nodes:
        copy = found[node.node_id]
        assert type(copy) is type(node)
        assert copy.text == node.text
        assert copy.metadata.items() >= node.metadata.items()
        assert copy.relationships == node.relationships
        assert getattr(copy, "image_path", None) == getattr(node, "image_path", None)
    assert "Annual report" in widened[0].node.get_content()
