"""The stored graph and its mirror: read late, changed together, brought up to date when others write."""

import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core.graph_stores.types import EntityNode, Relation
from llama_index.core.schema import TextNode
from milvus_server import milvus_lite

from llama_index_raganything.errors import SchemaMismatchError
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.stores.graph import collections as graph_tables
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore

HOSTILE = ['x" or 1==1 --', "a'b\\c", "%_|*", "\x00\x01\x1f", "{0}{{}}", "名字", "a" * 300, "🙂"]


def facts(name, text, node_id=None):
    node = TextNode(id_=node_id or f"n-{name}", text=text, metadata={"doc_id": name, "title": name})
    return EntityLinker().extract([node])


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("milvus") / "m.db")
    with MilvusPropertyGraphStore(path, "keep_open"):
        yield path


def opened(uri, name, tenant=None, **options):
    return KnowledgeGraph(MilvusPropertyGraphStore(uri, name, tenant=tenant), **options)


def test_it_is_read_late_and_changed_in_place(uri):
    graph = opened(uri, "kb")
    graph.put_facts(facts("Oslet", "Oslet is a village near Mount Verr."))
    assert graph._mirror is None
    mirror = graph.mirror
    graph.put_facts(facts("Verr", "Mount Verr is a mountain. Oslet lies below."))
    assert graph.mirror is mirror
    assert graph.describe("oslet").nodes == 2
    assert graph.describe("mount verr").nodes == 2
    graph.put_facts(facts("Verr", "Verr has no village."))
    assert graph.describe("Oslet").nodes == 1
    assert graph.describe("Oslet").title_of == ["n-Oslet"]
    graph.delete_facts(["n-Verr"])
    graph.delete_document("Oslet")
    assert graph.describe("Oslet") is None
    assert (graph.mirror is mirror, graph.mirror.size) == (True, 0)
    assert graph.stats()["nodes"] == graph.stats()["names"] == graph.stats()["entities"] == 0
    graph.close()


def test_nothing_to_do_and_names_of_nothing(uri):
    graph = opened(uri, "nothing")
    graph.put_facts([])
    graph.put_triples([], [])
    graph.delete_facts([])
    graph.delete_nodes([])
    graph.delete_document("unknown")
    for name in ("", "   ", "!!!", *HOSTILE):
        assert graph.describe(name) is None
    assert graph.stats()["nodes"] == 0
    graph.close()


def test_another_graph_sees_what_is_written_and_deleted_at_once(uri):
    first, second = opened(uri, "two", refresh_after_s=0), opened(uri, "two", refresh_after_s=0)
    first.put_facts(facts("One", "One is a village."))
    assert (first.mirror.size, second.mirror.size) == (1, 1)
    second.put_facts(facts("Two", "Two is a village."))
    assert (first.mirror.size, second.mirror.size) == (2, 2)
    first.delete_document("Two")
    assert (first.mirror.size, second.mirror.size) == (1, 1)
    # What one writes must not hide from it what the other has written meanwhile.
    first.put_facts(facts("Three", "Three is a village."))
    second.put_facts(facts("Four", "Four is a village."))
    assert (first.mirror.size, second.mirror.size) == (3, 3)
    first.delete_document("Three")
    second.delete_document("Four")
    assert (first.mirror.size, second.mirror.size) == (1, 1)
    first.close()
    second.close()


def test_it_is_asked_no_more_often_than_said(uri):
    first, second = opened(uri, "late"), opened(uri, "late", refresh_after_s=2)
    assert second.mirror.size == 0
    first.put_facts(facts("One", "One is a village."))
    assert second.mirror.size == 0
    time.sleep(2.05)
    assert second.mirror.size == 1
    first.close()
    second.close()


def test_reopened_and_pickled(uri):
    graph = opened(uri, "again", refresh_after_s=0.5)
    graph.put_facts(facts("One", "One is a village."))
    copy = pickle.loads(pickle.dumps(graph))
    graph.close()
    assert (copy.mirror.size, copy.refresh_after_s) == (1, 0.5)
    copy.close()
    graph = opened(uri, "again")
    assert graph.describe("One").title_of == ["n-One"]
    graph.close()


def test_a_document_goes_with_its_triples_and_what_is_shared_stays(uri):
    graph = opened(uri, "shared")
    for doc in ("a", "b"):
        source = {"triplet_source_id": f"n-{doc}", "ref_doc_id": doc}
        names = ["Acme", f"only {doc}"]
        graph.put_triples(
            [EntityNode(name=name, properties=dict(source)) for name in names],
            [Relation(label="KNOWS", source_id="Acme", target_id=names[1], properties=dict(source))],
        )
        graph.put_facts(facts(doc, f"Acme is known. Only {doc} is here."))
    graph.delete_document("a")
    assert {node.id for node in graph.store.get()} >= {"Acme", "only b"}
    assert "only a" not in {node.id for node in graph.store.get()}
    assert {doc for _, doc in graph.store.sources(["Acme"])["Acme"]} == {"b"}
    graph.delete_nodes(["n-b"])
    assert graph.store.stats() == {"entities": 0, "chunks": 0, "triples": 0, "nodes": 0}
    assert graph.mirror.size == 0
    graph.close()


def test_tenants_know_nothing_of_each_other(uri):
    graphs = {name: opened(uri, "tenants", tenant=name, refresh_after_s=0) for name in ("a", 'b" or tenant != "')}
    ours, theirs = graphs.values()
    ours.put_facts(facts("Oslet", "Oslet is a village."))
    theirs.put_facts(facts("Secret", "Secret is near Oslet in Oslet."))
    theirs.put_triples(
        [EntityNode(name="Secret", properties={"ref_doc_id": "Secret"}), EntityNode(name="Oslet")],
        [Relation(label="NEAR", source_id="Oslet", target_id="Secret")],
    )
    for graph, size in ((ours, 1), (theirs, 1)):
        assert (graph.mirror.size, graph.stats()["nodes"]) == (size, 1)
    assert ours.describe("Secret") is None
    assert ours.describe("Oslet").nodes == 1
    assert ours.stats()["triples"] == 0
    assert "Secret" not in str(ours.store.get()) + str(ours.store.get_rel_map(ours.store.get()))
    assert ours.store.sources(["Secret"])["Secret"] == []
    ours.delete_document("Secret")
    ours.delete_nodes(["n-Secret"])
    assert theirs.describe("Secret").title_of == ["n-Secret"]
    for graph in graphs.values():
        graph.close()


def test_hostile_names_and_ids(uri):
    graph = opened(uri, "hostile")
    for name in HOSTILE:
        graph.put_facts(facts(name, f"{name} is a village near Oslet. {name} again.", node_id=f"n{name}"))
    assert graph.mirror.size == len(HOSTILE)
    assert graph.describe("Oslet").nodes == len(HOSTILE)
    for count, name in enumerate(HOSTILE, 1):
        graph.describe(name)
        graph.delete_document(name)
        assert graph.mirror.size == graph.store.stats()["nodes"] == len(HOSTILE) - count
    graph.close()


def test_a_graph_of_another_version_is_refused_with_a_remedy(uri, monkeypatch):
    graph = opened(uri, "old")
    graph.put_facts(facts("One", "One is a village."))
    graph.close()
    monkeypatch.setattr(graph_tables, "SCHEMA_VERSION", "999")
    with pytest.raises(SchemaMismatchError, match="overwrite=True"):
        opened(uri, "old")


def test_reading_while_others_write(uri):
    graph = opened(uri, "busy", refresh_after_s=0)
    graph.put_facts(facts("Oslet", "Oslet is a village near Verr."))
    stop = []

    def read():
        seen = 0
        while not stop:
            assert graph.describe("Oslet").title_of == ["n-Oslet"]
            assert graph.mirror.size >= 1
            seen += 1
        return seen

    def write(worker):
        for number in range(6):
            name = f"w{worker}-{number}"
            graph.put_facts(facts(name, f"Oslet is seen from {name}."))
            graph.delete_document(name)

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write, worker) for worker in range(2)]
        try:
            for writer in writers:
                writer.result()
        finally:
            stop.append(True)
        assert all(reader.result() > 0 for reader in readers)
    assert (graph.mirror.size, graph.describe("Oslet").nodes) == (1, 1)
    graph.close()


@pytest.mark.slow
def test_another_process_on_a_server(tmp_path):
    code = (
        "import sys\n"
        "from llama_index.core.schema import TextNode\n"
        "from llama_index_raganything.graph.extraction.entity_linker import EntityLinker\n"
        "from llama_index_raganything import MilvusPropertyGraphStore\n"
        "from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph\n"
        "graph = KnowledgeGraph(MilvusPropertyGraphStore(sys.argv[1], 'kb'))\n"
        "node = TextNode(id_='n2', text='Verr is above Oslet.', metadata={'doc_id': 'Verr', 'title': 'Verr'})\n"
        "graph.put_facts(EntityLinker().extract([node])) if sys.argv[2] == 'put' else graph.delete_document('Oslet')\n"
        "graph.close()\n"
    )
    with milvus_lite(tmp_path / "m.db") as url:
        graph = opened(url, "kb")
        graph.put_facts(facts("Oslet", "Oslet is a village."))
        assert graph.mirror.size == 1
        for change, left in (("put", {"Oslet": True, "Verr": True}), ("delete", {"Oslet": False, "Verr": True})):
            subprocess.run([sys.executable, "-c", code, url, change], check=True)
            time.sleep(graph.refresh_after_s)
            assert {name: bool(graph.describe(name) and graph.describe(name).title_of) for name in left} == left
        graph.close()
