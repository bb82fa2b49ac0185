"""Tables are found in any LlamaIndex store, each once, under the caller's filters."""

from dataclasses import replace

import pytest
from llama_index.core.schema import NodeRelationship, TextNode
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilter, MetadataFilters

from llama_index_raganything.elements import content_id
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.retrievers.tables import TableRetriever
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.testing import HashEmbedding

MODEL = HashEmbedding()


def node(doc, text, kind="text", **metadata):
    source = TextNode(id_=doc).as_related_node_info()
    made = TextNode(
        id_=content_id(doc, kind, text),
        text=text,
        metadata={"doc_id": doc, "content_type": kind, **metadata},
        relationships={NodeRelationship.SOURCE: source},
    )
    made.embedding = MODEL.get_text_embedding(text)
    return made


def corpus():
    head = "| Pump | Flow |\n| --- | --- |\n"
    nodes = [
        node("pumps", f"{head}| Bilge pump {n} | {n * 10} |", "table", section="Pumps", element_id="e1")
        for n in range(4)
    ]
    nodes += [node("lathes", "| Lathe | Speed |\n| --- | --- |\n| Big lathe | 900 |", "table", section="Lathes")]
    nodes += [node("lathes", "Turning speeds in the Bergen workshop are given below.", section="Lathes")]
    nodes += [node("notes", f"Bilge pump flow memo number {n}: the bilge pump has a flow.") for n in range(60)]
    return nodes


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with MilvusNodeStore(str(tmp_path_factory.mktemp("db") / "milvus.db"), "tables") as made:
        made.add(corpus())
        yield made


def retriever(store, **options):
    return TableRetriever(store, embed_model=MODEL, memory=None, **options)


def test_parts_of_one_table_are_one_result_and_texts_crowd_no_table_out(store):
    results = retriever(store, candidates=5).retrieve("bilge pump flow")
    assert [item.node.metadata["content_type"] for item in results] == ["table"] * len(results)
    assert results[0].node.metadata["doc_id"] == "pumps"
    assert [item.node.metadata["doc_id"] for item in results].count("pumps") == 1


def test_the_best_part_stands_for_its_table(store):
    assert "Bilge pump 3" in retriever(store).retrieve("flow of bilge pump 3")[0].node.get_content()


def test_a_text_of_the_section_helps_its_table_without_a_graph(store):
    best = retriever(store).retrieve("Which speeds are given in the Bergen workshop?")[0].node
    assert best.metadata["doc_id"] == "lathes"
    companion = store.get_nodes(node_ids=[best.metadata["companion_id"]])[0]
    assert "Bergen" in companion.get_content()
    assert "table_name" not in best.metadata


def test_filters_hold(store):
    filters = MetadataFilters(filters=[MetadataFilter(key="doc_id", value="lathes")])
    results = retriever(store, filters=filters).retrieve("bilge pump flow")
    assert {item.node.metadata["doc_id"] for item in results} <= {"lathes"}


class VectorsOnly(BasePydanticVectorStore):
    """A store as others make them: text, vectors and filters, nothing else."""

    inner: MilvusNodeStore
    stores_text: bool = True

    @property
    def client(self):
        return None

    def add(self, nodes, **kwargs):
        return self.inner.add(nodes)

    def delete(self, ref_doc_id, **kwargs):
        self.inner.delete(ref_doc_id)

    def query(self, query, **kwargs):
        return self.inner.query(replace(query, output_fields=None))

    def get_nodes(self, node_ids=None, filters=None):
        return self.inner.get_nodes(node_ids=node_ids, filters=filters)


def test_it_works_with_other_stores(store):
    best = retriever(VectorsOnly(inner=store), modes=["default"], similarity_top_k=1).retrieve("flow of bilge pump 2")
    assert "Bilge pump 2" in best[0].node.get_content()


def test_numbers_below_one_are_refused(store):
    with pytest.raises(ConfigurationError, match="similarity_top_k"):
        retriever(store, similarity_top_k=0)
