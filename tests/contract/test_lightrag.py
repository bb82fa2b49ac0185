"""LightRAG as a retriever: real LightRAG, real Milvus Lite, and a scripted LLM that answers LightRAG's prompts."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from lightrag_script import GraphScript, TokenEmbedding
from llama_index.core.schema import ImageNode, TextNode
from retriever_suite import RetrieverSuite, corpus_nodes, found, only

from llama_index_raganything.errors import (
    ConfigurationError,
    IngestionError,
    MissingDependencyError,
    RAGAnythingError,
    SchemaMismatchError,
    SourceError,
    StoreError,
)
from llama_index_raganything.retrievers.lightrag.retriever import LightRAGRetriever
from llama_index_raganything.retrievers.lightrag.runner import shared_loop_thread
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.testing import HashEmbedding

MODES = ("local", "global", "hybrid", "mix", "naive")
HOSTILE_ID = '../é\x00<SEP>/x" or 1==1 --.y'


def story() -> list[TextNode]:
    texts = {
        "n0": "Alice met Bob in Paris.",
        "n1": "Bob repairs the Turbine of Siemens.",
        HOSTILE_ID: "Siemens has its seat in Munich.",
        "n3": "Alice met Bob in Paris.",
        "n4": "水泵每分钟输送四升水。",
        "n5": "Delta meets Epsilon.",
    }
    return [TextNode(id_=name, text=text) for name, text in texts.items()]


def ids(items) -> list[str]:
    return [item.node.node_id for item in items]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("story")
    script = GraphScript()
    with LightRAGRetriever.from_nodes(story(), folder, llm=script.llm(), embed_model=TokenEmbedding()):
        pass
    return folder, script


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert not shared_loop_thread().is_running


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    store = MilvusNodeStore(str(folder / "milvus.db"), "nodes", TokenEmbedding().dimension)
    store.add(corpus_nodes())
    store.flush()
    nodes = {True: corpus_nodes(), False: []}
    for name, content in nodes.items():
        LightRAGRetriever.from_nodes(
            content, folder / str(name), store=store, llm=GraphScript().llm(), embed_model=TokenEmbedding()
        ).close()
    yield folder, store
    store.close()


class TestLightRAGRetriever(RetrieverSuite):
    mode = "mix"

    @pytest.fixture(autouse=True)
    def _corpus(self, corpus, _no_thread_is_left):
        self.folder, self.store = corpus
        self.opened = []
        yield
        for retriever in self.opened:
            retriever.close()
        # Copies that a test unpickled are closed when nobody holds them.
        shared_loop_thread().acquire()
        shared_loop_thread().run(asyncio.sleep(0.05))
        shared_loop_thread().release()

    def make(self, nodes, *, filters=None, similarity_top_k=5):
        self.opened.append(
            LightRAGRetriever(
                self.folder / str(bool(nodes)),
                store=self.store,
                embed_model=TokenEmbedding(),
                mode=self.mode,
                filters=filters,
                similarity_top_k=similarity_top_k,
            )
        )
        return self.opened[-1]


class TestLightRAGRetrieverNaive(TestLightRAGRetriever):
    mode = "naive"


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_stored_nodes_without_an_llm_call(built, mode):
    folder, _ = built
    script = GraphScript()
    with LightRAGRetriever(folder, llm=script.llm(), embed_model=TokenEmbedding(), mode=mode) as retriever:
        items = retriever.retrieve("Where has Siemens its seat?")
    originals = {node.node_id: node for node in story()}
    assert ids(items)[0] == HOSTILE_ID
    assert all(item.node.text == originals[item.node.node_id].text for item in items)
    assert script.calls == []


def test_one_hop_in_the_graph_brings_what_shares_an_entity(built):
    folder, _ = built
    with LightRAGRetriever(folder, embed_model=TokenEmbedding(), mode="local") as retriever:
        items = {item.node.node_id: item for item in retriever.retrieve("Siemens")}
    path = json.loads(items["n1"].node.metadata["graph_path"])
    assert {entity["name"] for entity in path["entities"]} >= {"Siemens"}
    assert {relation["source"] for relation in path["relations"]} & {"Siemens", "Turbine"}
    assert "graph_path" in items["n1"].node.excluded_llm_metadata_keys
    assert "graph_path" in items["n1"].node.excluded_embed_metadata_keys


def test_equal_texts_are_one_document_and_all_their_nodes_are_returned(built):
    folder, script = built
    assert script.calls.count("extraction") == 5
    with LightRAGRetriever(folder, embed_model=TokenEmbedding()) as retriever:
        items = {item.node.node_id: item.score for item in retriever.retrieve("Alice in Paris")}
    assert items["n0"] == items["n3"]


def test_scores_are_reciprocal_ranks(built):
    folder, _ = built
    with LightRAGRetriever(folder, embed_model=TokenEmbedding(), mode="naive") as retriever:
        scores = [item.score for item in retriever.retrieve("Siemens has its seat in Munich")]
    assert scores[0] == pytest.approx(1 / 61)
    assert scores == sorted(scores, reverse=True)


def test_an_llm_may_extract_the_keywords(built):
    folder, _ = built
    script = GraphScript()
    with LightRAGRetriever(
        folder, llm=script.llm(), embed_model=TokenEmbedding(), llm_keywords=True, mode="local"
    ) as retriever:
        assert ids(retriever.retrieve("Who repairs what?"))[0] in (HOSTILE_ID, "n1")
    assert script.calls == ["keywords"]


def test_deleting_a_node_keeps_what_shares_its_text_and_asks_no_llm(tmp_path):
    script = GraphScript()
    with LightRAGRetriever.from_nodes(
        story(), tmp_path, llm=script.llm(), embed_model=TokenEmbedding(), similarity_top_k=20
    ) as retriever:
        calls = len(script.calls)
        retriever.delete_nodes(["n0", "unknown"])
        assert "n3" in ids(retriever.retrieve("Alice Paris"))
        retriever.delete_nodes(["n3", HOSTILE_ID])
        left = set(ids(retriever.retrieve("Alice Paris Siemens")))
        assert left == {"n1", "n4", "n5"}
        assert len(script.calls) == calls
    with LightRAGRetriever(tmp_path, embed_model=TokenEmbedding(), similarity_top_k=20) as retriever:
        assert set(ids(retriever.retrieve("Alice Paris Siemens"))) == left


def test_a_second_build_costs_nothing_and_a_changed_text_replaces_the_old_one(tmp_path):
    script = GraphScript()
    with LightRAGRetriever.from_nodes(story(), tmp_path, llm=script.llm(), embed_model=TokenEmbedding()) as retriever:
        calls = len(script.calls)
        report = retriever.add_nodes(story())
        assert sorted(report.unchanged) == sorted(node.node_id for node in story())
        assert len(script.calls) == calls
        report = retriever.add_nodes([TextNode(id_="n1", text="Carol paints Lisbon.")])
        assert report.added == ["n1"]
        items = {item.node.node_id: item.node.text for item in retriever.retrieve("Carol in Lisbon")}
        assert items["n1"] == "Carol paints Lisbon."


def test_one_failed_text_is_reported_the_others_are_in_and_it_may_be_tried_again(tmp_path, caplog):
    script = GraphScript(fail_on="Delta")
    arguments = {"llm": script.llm(), "embed_model": TokenEmbedding(), "similarity_top_k": 20}
    with caplog.at_level(logging.WARNING, "llama_index_raganything"):
        retriever = LightRAGRetriever.from_nodes(story(), tmp_path, **arguments)
    assert "n5" in caplog.text
    assert "refuses Delta" in caplog.text
    with retriever:
        assert set(ids(retriever.retrieve("Delta Epsilon Alice"))) == {node.node_id for node in story()} - {"n5"}
        with pytest.raises(IngestionError, match="refuses Delta") as caught:
            retriever.add_nodes(story(), strict=True)
        assert [node_id for node_id, _ in caught.value.failures] == ["n5"]
        script.fail_on = None
        assert retriever.add_nodes(story()).added == ["n5"]
        assert ids(retriever.retrieve("Delta Epsilon"))[0] == "n5"


def test_what_an_interrupted_build_left_is_done_again(tmp_path):
    arguments = {"llm": GraphScript().llm(), "embed_model": TokenEmbedding()}
    LightRAGRetriever.from_nodes(story(), tmp_path, **arguments).close()
    table = json.loads((tmp_path / "raganything_chunks.json").read_text())
    del table["documents"]["n5"]
    (tmp_path / "raganything_chunks.json").write_text(json.dumps(table))
    with LightRAGRetriever(tmp_path, **arguments) as retriever:
        report = retriever.add_nodes(story())
        assert (report.added, report.failed) == (["n5"], {})
        assert ids(retriever.retrieve("Delta meets Epsilon"))[0] == "n5"
    statuses = json.loads((tmp_path / "kv_store_doc_status.json").read_text())
    assert len(statuses) == 5
    assert {status["status"] for status in statuses.values()} == {"processed"}


def test_more_is_fetched_when_the_filter_lets_little_pass(tmp_path):
    nodes = [TextNode(id_=f"a{i}", text=f"Siemens report {i}", metadata={"tenant": "a"}) for i in range(90)]
    nodes.append(TextNode(id_="b", text="something else entirely", metadata={"tenant": "b"}))
    for mode in ("naive", "mix"):
        arguments = {"mode": mode, "embed_model": TokenEmbedding(), "llm": GraphScript().llm(), "similarity_top_k": 2}
        with LightRAGRetriever.from_nodes(
            nodes, tmp_path / mode, filters=only("tenant", "b"), **arguments
        ) as retriever:
            assert ids(retriever.retrieve("Siemens report tenant a")) == ["b"]


def test_nodes_without_text_are_reported(tmp_path):
    nodes = [TextNode(id_="blank", text=" \x00 "), ImageNode(id_="figure", text="Figure One shows Rome.")]
    with LightRAGRetriever.from_nodes([], tmp_path, llm=GraphScript().llm(), embed_model=TokenEmbedding()) as retriever:
        report = retriever.add_nodes(nodes)
        assert (report.added, list(report.failed)) == (["figure"], ["blank"])
        assert isinstance(retriever.retrieve("Rome")[0].node, ImageNode)


def test_a_long_text_stays_one_chunk(tmp_path):
    text = "Alpha " * 5_000 + "Omega."
    with LightRAGRetriever.from_nodes(
        [TextNode(id_="long", text=text)], tmp_path, llm=GraphScript().llm(), embed_model=TokenEmbedding()
    ) as retriever:
        assert ids(retriever.retrieve("Omega")) == ["long"]
    stored = json.loads((tmp_path / "kv_store_text_chunks.json").read_text())
    assert [chunk["content"] for chunk in stored.values()] == [text]


def test_naive_needs_no_llm_and_the_other_modes_say_so(tmp_path):
    with LightRAGRetriever.from_nodes(story(), tmp_path, embed_model=TokenEmbedding(), mode="naive") as retriever:
        assert ids(retriever.retrieve("Siemens seat in Munich"))[0] == HOSTILE_ID
    for mode in ("local", "mix"):
        with (
            LightRAGRetriever(tmp_path, embed_model=TokenEmbedding(), mode=mode) as retriever,
            pytest.raises(ConfigurationError, match="LLM"),
        ):
            retriever.add_nodes(story())


class TestForeignFolder:
    """A working directory that LightRAG itself has made, without our table."""

    @pytest.fixture(scope="class")
    def folder(self, built, tmp_path_factory):
        folder = tmp_path_factory.mktemp("foreign")
        for path in built[0].iterdir():
            if path.is_file() and not path.name.startswith("raganything_"):
                (folder / path.name).write_bytes(path.read_bytes())
        return folder

    def test_chunks_come_as_text_nodes_with_ids_that_stay(self, folder):
        with LightRAGRetriever(folder, embed_model=TokenEmbedding()) as retriever:
            first, second = (retriever.retrieve("Where has Siemens its seat?") for _ in range(2))
        assert found(first) == found(second)
        assert first[0].node.text == "Siemens has its seat in Munich."
        assert set(first[0].node.metadata) == {"file_path", "chunk_id", "graph_path"}

    def test_a_file_path_that_is_a_node_id_gives_the_node(self, folder):
        node = TextNode(id_="n1", text="Bob repairs the Turbine of Siemens.", metadata={"page": 3})
        with LightRAGRetriever(folder, nodes=[node], embed_model=TokenEmbedding(), similarity_top_k=20) as retriever:
            items = {item.node.node_id: item.node for item in retriever.retrieve("Siemens")}
        assert items["n1"].metadata["page"] == 3
        assert len(items) == 5

    def test_filters_hold_for_what_is_known_of_a_chunk(self, folder):
        with LightRAGRetriever(
            folder, embed_model=TokenEmbedding(), filters=only("file_path", "n1"), similarity_top_k=20
        ) as retriever:
            assert [item.node.metadata["file_path"] for item in retriever.retrieve("Siemens")] == ["n1"]

    def test_with_a_store_only_its_nodes_are_shown(self, folder, tmp_path):
        node = TextNode(id_="n1", text="Bob repairs the Turbine of Siemens.", embedding=[1.0, 0.0])
        store = MilvusNodeStore(str(tmp_path / "milvus.db"), "kb", 2)
        store.add([node])
        with LightRAGRetriever(folder, store=store, embed_model=TokenEmbedding()) as retriever:
            assert ids(retriever.retrieve("Siemens Alice")) == ["n1"]
        store.close()


def test_a_tenant_never_sees_the_nodes_of_another(tmp_path):
    uri = str(tmp_path / "milvus.db")
    model = TokenEmbedding()
    mine = TextNode(id_="mine", text="Siemens has its seat in Munich.", embedding=model.get_text_embedding("a"))
    secret = TextNode(id_="secret", text="Siemens pays Bob.", embedding=model.get_text_embedding("b"))
    with MilvusTenants(uri, mine, secret) as stores:
        LightRAGRetriever.from_nodes(
            [mine, secret], tmp_path / "graph", llm=GraphScript().llm(), embed_model=model, store=stores[0]
        ).close()
        with LightRAGRetriever(tmp_path / "graph", stores[0], embed_model=model, similarity_top_k=9) as retriever:
            assert ids(retriever.retrieve("Whom does Siemens pay? Bob")) == ["mine"]


class MilvusTenants:
    def __init__(self, uri, *nodes):
        self.stores = []
        for number, node in enumerate(nodes):
            store = MilvusNodeStore(uri, "kb", len(node.embedding), tenant=f"t{number}")
            store.add([node])
            self.stores.append(store)

    def __enter__(self):
        return self.stores

    def __exit__(self, *_):
        for store in self.stores:
            store.close()


def test_two_folders_do_not_share_what_lightrag_keeps_in_memory(built, tmp_path):
    other = LightRAGRetriever.from_nodes(
        [TextNode(id_="other", text="Siemens owns Gamma.")],
        tmp_path,
        llm=GraphScript().llm(),
        embed_model=TokenEmbedding(),
    )
    with other, LightRAGRetriever(built[0], embed_model=TokenEmbedding(), similarity_top_k=20) as first:
        assert ids(other.retrieve("Siemens")) == ["other"]
        assert set(ids(first.retrieve("Siemens"))) == {node.node_id for node in story()}


def test_two_folders_are_built_at_the_same_time(tmp_path):
    script = GraphScript(pause=0.05)

    def build(number):
        nodes = [TextNode(id_=f"{number}-{i}", text=f"Siemens builds Plant {number} {i}.") for i in range(4)]
        retriever = LightRAGRetriever.from_nodes(
            nodes, tmp_path / str(number), strict=True, llm=script.llm(), embed_model=TokenEmbedding()
        )
        with retriever:
            return set(ids(retriever.retrieve("Siemens Plant")))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(build, range(2))) == [{f"{number}-{i}" for i in range(4)} for number in range(2)]


def test_two_retrievers_of_one_folder_see_what_one_of_them_writes(tmp_path):
    arguments = {"llm": GraphScript().llm(), "embed_model": TokenEmbedding()}
    with (
        LightRAGRetriever.from_nodes(story(), tmp_path, **arguments) as writer,
        LightRAGRetriever(tmp_path, **arguments) as reader,
    ):
        assert reader.retrieve("Zeta")
        writer.add_nodes([TextNode(id_="new", text="Zeta likes Theta.")])
        assert ids(reader.retrieve("Zeta likes Theta"))[0] == "new"


def test_workspaces_are_apart(tmp_path):
    arguments = {"llm": GraphScript().llm(), "embed_model": TokenEmbedding()}
    for workspace, text in (("one", "Siemens owns Gamma."), ("two", "Siemens owns Delta.")):
        LightRAGRetriever.from_nodes(
            [TextNode(id_=workspace, text=text)], tmp_path, workspace=workspace, **arguments
        ).close()
    with LightRAGRetriever(tmp_path, workspace="two", embed_model=TokenEmbedding()) as retriever:
        assert ids(retriever.retrieve("Siemens")) == ["two"]


class TestLoopsAndThreads:
    def test_from_several_threads_at_once(self, built):
        with LightRAGRetriever(built[0], embed_model=TokenEmbedding()) as retriever:
            expected = found(retriever.retrieve("Siemens"))
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda _: found(retriever.retrieve("Siemens")), range(12)))
        assert answers == [expected] * 12

    async def test_sync_calls_inside_a_running_loop(self, built):
        retriever = LightRAGRetriever(built[0], embed_model=TokenEmbedding())
        assert ids(retriever.retrieve("Siemens")) == ids(await retriever.aretrieve("Siemens"))
        await retriever.aclose()

    def test_a_build_in_one_asyncio_run_and_a_question_in_the_next(self, tmp_path):
        async def build():
            return await LightRAGRetriever.afrom_nodes(
                story(), tmp_path, llm=GraphScript().llm(), embed_model=TokenEmbedding()
            )

        retriever = asyncio.run(build())
        assert ids(asyncio.run(retriever.aretrieve("Siemens has its seat in Munich")))[0] == HOSTILE_ID
        asyncio.run(retriever.adelete_nodes([HOSTILE_ID]))
        assert HOSTILE_ID not in ids(asyncio.run(retriever.aretrieve("Siemens")))
        asyncio.run(retriever.aclose())

    def test_closing_twice_and_asking_again(self, built):
        retriever = LightRAGRetriever(built[0], embed_model=TokenEmbedding())
        assert retriever.retrieve("Siemens")
        retriever.close()
        retriever.close()
        assert not shared_loop_thread().is_running
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("lightrag-loop")]
        assert retriever.retrieve("Siemens")
        retriever.close()

    def test_a_retriever_that_nobody_holds_ends_its_thread(self, built):
        retriever = LightRAGRetriever(built[0], embed_model=TokenEmbedding())
        assert retriever.retrieve("Siemens")
        thread = shared_loop_thread()._thread
        del retriever
        thread.join(5)
        assert not thread.is_alive()


class TestErrors:
    def test_a_folder_that_is_not_there(self, tmp_path):
        for folder in (tmp_path / "missing", tmp_path):
            with pytest.raises(SourceError, match="from_nodes"):
                LightRAGRetriever(folder, embed_model=TokenEmbedding())

    def test_an_embedding_of_another_dimension(self, built):
        with (
            LightRAGRetriever(built[0], embed_model=HashEmbedding(dimension=32)) as retriever,
            pytest.raises(SchemaMismatchError, match="dimension"),
        ):
            retriever.retrieve("Siemens")

    @pytest.mark.parametrize(
        "arguments",
        [
            {"mode": "bypass"},
            {"mode": "Local"},
            {"similarity_top_k": 0},
            {"workers": 0},
            {"llm_keywords": True},
            {"workspace": "../.."},
            {"workspace": "a/b"},
            {"workspace": "x\x00"},
            {"workspace": "ten-ant", "milvus_uri": "./x.db"},
            {"milvus_uri": "no-database"},
        ],
    )
    def test_arguments_that_cannot_work(self, built, arguments):
        with pytest.raises(ConfigurationError):
            LightRAGRetriever(built[0], embed_model=TokenEmbedding(), **arguments)

    def test_a_build_into_a_path_that_cannot_be_one(self, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(SourceError):
            LightRAGRetriever.from_nodes([], tmp_path / "file", embed_model=TokenEmbedding(), mode="naive")
        with pytest.raises(ConfigurationError):
            LightRAGRetriever.from_nodes([], tmp_path, workspace="../x", embed_model=TokenEmbedding(), mode="naive")
        with pytest.raises(ConfigurationError, match="workspace"):
            LightRAGRetriever.from_nodes([], tmp_path, milvus_uri=tmp_path / "m.db", embed_model=TokenEmbedding())

    def test_a_damaged_table(self, built, tmp_path):
        for path in built[0].iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / "raganything_chunks.json").write_text('{"version": 1, "documents": {"a": 3}}')
        with (
            LightRAGRetriever(tmp_path, embed_model=TokenEmbedding()) as retriever,
            pytest.raises(SchemaMismatchError, match="damaged"),
        ):
            retriever.retrieve("Siemens")

    def test_a_damaged_file_of_lightrag(self, built, tmp_path):
        for path in built[0].iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / "graph_chunk_entity_relation.graphml").write_text("<graphml")
        with (
            LightRAGRetriever(tmp_path, embed_model=TokenEmbedding()) as retriever,
            pytest.raises(StoreError, match="opening"),
        ):
            retriever.retrieve("Siemens")

    @pytest.mark.parametrize("mode", ["local", "naive"])
    def test_an_embedding_model_that_fails(self, built, mode):
        class Failing(TokenEmbedding):
            def _get_query_embedding(self, query):
                raise RuntimeError("no connection")

        with (
            LightRAGRetriever(built[0], embed_model=Failing(), mode=mode) as retriever,
            pytest.raises(StoreError, match="no connection"),
        ):
            retriever.retrieve("Siemens")

    def test_an_llm_that_fails_to_give_keywords(self, built):
        script = GraphScript()
        llm = script.llm()
        llm.replies = [lambda messages: (_ for _ in ()).throw(RuntimeError("no credit"))]
        with (
            LightRAGRetriever(built[0], llm=llm, embed_model=TokenEmbedding(), llm_keywords=True) as retriever,
            pytest.raises(RAGAnythingError, match="no credit"),
        ):
            retriever.retrieve("Who repairs?")

    def test_nothing_is_installed_at_run_time(self):
        import pipmaster

        from llama_index_raganything.retrievers.lightrag.opening import lightrag_imports

        before = pipmaster.install
        with pytest.raises(MissingDependencyError, match=r"lightrag\]"), lightrag_imports():
            import lightrag_that_is_not_installed  # noqa: F401
        with pytest.raises(MissingDependencyError, match="refused"), lightrag_imports():
            pipmaster.install("neo4j")
        assert pipmaster.install is before


def test_importing_is_light_and_leaves_the_loggers_of_others_alone(built):
    script = """
import logging, sys
from llama_index_raganything import LightRAGRetriever
assert "lightrag" not in sys.modules and "pymilvus" not in sys.modules
from llama_index_raganything.testing import HashEmbedding
before = (list(logging.getLogger().handlers), logging.getLogger().level)
with LightRAGRetriever(sys.argv[1], embed_model=HashEmbedding()) as retriever:
    print(len(retriever.retrieve("Siemens")))
assert (list(logging.getLogger().handlers), logging.getLogger().level) == before
"""
    run = subprocess.run([sys.executable, "-c", script, str(built[0])], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("5\n", "")


def test_a_pickle_holds_no_token(built, tmp_path):
    retriever = LightRAGRetriever(
        built[0],
        embed_model=TokenEmbedding(),
        workspace="",
        milvus_uri="http://localhost:19530",
        milvus_token="user:secret-word",
    )
    payload = pickle.dumps(retriever)
    assert b"secret-word" not in payload
    assert pickle.loads(payload)._address.uri == "http://localhost:19530"


@pytest.mark.slow
def test_vectors_in_milvus_beside_our_nodes(tmp_path, monkeypatch):
    uri = str(tmp_path / "milvus.db")
    monkeypatch.setenv("MILVUS_WORKSPACE", "another")
    before = dict(os.environ)
    model = TokenEmbedding()
    store = MilvusNodeStore(uri, "kb", model.dimension)
    nodes = story()
    for node in nodes:
        node.embedding = model.get_text_embedding(node.text)
    store.add(nodes)
    arguments = {"store": store, "embed_model": model, "milvus_uri": uri, "workspace": "graph"}
    with LightRAGRetriever.from_nodes(nodes, tmp_path / "work", llm=GraphScript().llm(), **arguments) as retriever:
        for mode in MODES:
            retriever.mode = mode
            assert ids(retriever.retrieve("Where has Siemens its seat?"))[0] == HOSTILE_ID
        retriever.delete_nodes([HOSTILE_ID])
        assert HOSTILE_ID not in ids(retriever.retrieve("Siemens"))
    assert sorted(store.client.list_collections()) == ["graph_chunks", "graph_entities", "graph_relationships", "kb"]
    assert not list((tmp_path / "work" / "graph").glob("vdb_*"))
    assert dict(os.environ) == before
    with LightRAGRetriever(tmp_path / "work", **arguments) as retriever:
        assert ids(retriever.retrieve("Who repairs the turbine?"))[0] == "n1"
        store.client.drop_collection("graph_chunks")
        with pytest.raises(StoreError):
            retriever.retrieve("Who repairs the turbine?")
    with (
        LightRAGRetriever(tmp_path / "work", **arguments | {"embed_model": HashEmbedding(dimension=32)}) as retriever,
        pytest.raises(SchemaMismatchError, match="dimension"),
    ):
        retriever.retrieve("Siemens")
    assert store.count() == len(nodes)
    store.close()
    reopened = MilvusNodeStore(uri, "kb", model.dimension)
    assert reopened.count() == len(nodes)
    reopened.close()
