"""Opening, closing, crashing, sharing: what a store must survive."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, VectorStoreQuery
from pydantic import SecretStr
from vector_store_suite import DIM, NASTY, SHELF, ask, filters_of, node

from llama_index_raganything.errors import (
    ConfigurationError,
    FilterError,
    NodeValueError,
    SchemaMismatchError,
    StoreUnavailableError,
)
from llama_index_raganything.stores.ledger import Ledger, LedgerEntry
from llama_index_raganything.stores.nodes.store import MilvusNodeStore


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return str(tmp_path_factory.mktemp("milvus") / "m.db")


@pytest.fixture(scope="module")
def shared(uri):
    with MilvusNodeStore(uri, "shared", DIM) as store:
        yield store


@pytest.fixture
def store(shared):
    shared.clear() if shared.count() > 5000 else shared.delete_nodes(
        filters=filters_of(("doc_id", FilterOperator.NE, "no such document"))
    )
    return shared


def run_python(code, *arguments, check=True):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=check
    )


class TestOpening:
    def test_dimension_comes_from_the_first_node_and_then_from_the_collection(self, uri):
        with MilvusNodeStore(uri, "lazy") as first:
            assert ask(first).ids == []
            assert first.get_nodes() == []
            assert first.count() == 0
            first.delete("nothing")
            first.flush()
            first.add([node("a")])
            assert first.dim == DIM
            with MilvusNodeStore(uri, "lazy") as second:
                assert second.dim == DIM
                assert ask(second).ids == ["a"]

    def test_two_stores_opened_before_the_collection_is_made(self, uri):
        with MilvusNodeStore(uri, "late") as one, MilvusNodeStore(uri, "late") as two:
            one.add([node("a")])
            two.add([node("b")])
            assert set(ask(one).ids) == {"a", "b"}

    def test_other_dimension_is_refused_where_there_are_rows(self, uri):
        with MilvusNodeStore(uri, "filled", DIM) as filled:
            filled.add([node("a")])
            with pytest.raises(SchemaMismatchError, match="dimension 4"):
                MilvusNodeStore(uri, "filled", DIM + 1)
            assert filled.count() == 1

    def test_an_empty_collection_takes_another_dimension(self, uri):
        MilvusNodeStore(uri, "looked_into", DIM).close()
        with MilvusNodeStore(uri, "looked_into", DIM + 1) as store:
            store.add([node("a", vector=[0.0] * DIM + [1.0])])
            assert (store.dim, store.count()) == (DIM + 1, 1)

    def test_an_empty_collection_of_tenants_keeps_its_dimension(self, uri):
        MilvusNodeStore(uri, "rented", DIM, tenant="a").close()
        with pytest.raises(SchemaMismatchError, match="dimension 4"):
            MilvusNodeStore(uri, "rented", DIM + 1, tenant="b")

    def test_foreign_collection_is_refused(self, uri, shared):
        shared.client.create_collection("foreign", dimension=DIM)
        with pytest.raises(SchemaMismatchError, match="doc_id"):
            MilvusNodeStore(uri, "foreign", DIM)

    def test_keyword_search_cannot_be_added_later(self, uri):
        with MilvusNodeStore(uri, "dense_only", DIM, enable_sparse=False) as dense:
            dense.add(SHELF)
            assert ask(dense, top_k=1).ids == ["a"]
            with pytest.raises(ConfigurationError, match="enable_sparse"):
                ask(dense, "hybrid", words="x")
        with pytest.raises(SchemaMismatchError, match="_keywords"):
            MilvusNodeStore(uri, "dense_only", DIM)

    def test_keyword_only(self, uri):
        with MilvusNodeStore(uri, "words_only", enable_dense=False) as words:
            words.add([node("a", "a dog", vector=()), node("b", "a cat", vector=())])
            assert ask(words, "text_search", words="dogs").ids == ["a"]
            assert words.get_nodes(["a"])[0].embedding is None

    def test_overwrite_only_once(self, uri):
        with MilvusNodeStore(uri, "again", DIM) as store:
            store.add([node("a")])
        with MilvusNodeStore(uri, "again", DIM + 1, overwrite=True) as store:
            assert store.count() == 0
            store.add([node("b", vector=[1.0] * (DIM + 1))])
            with MilvusNodeStore.from_dict(store.to_dict()) as copy:
                assert copy.count() == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            {"uri": ""},
            {"uri": "folder/without/suffix"},
            {"uri": "ftp://host/x.db"},
            {"collection_name": "a-b"},
            {"collection_name": ""},
            {"collection_name": 'x"; drop'},
            {"dim": 0},
            {"tenant": ""},
            {"tenant": "a|b"},
            {"similarity_metric": "manhattan"},
            {"hybrid_ranker": "Best"},
            {"enable_dense": False, "enable_sparse": False},
        ],
        ids=str,
    )
    def test_wrong_arguments(self, uri, arguments):
        with pytest.raises(ConfigurationError):
            MilvusNodeStore(**{"uri": uri, **arguments})

    def test_home_and_missing_folders(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("MILVUS_URI", "/nowhere/x.db")
        with MilvusNodeStore("~/new/folder/m.db") as store:
            assert store.uri == str(tmp_path / "new/folder/m.db")
            assert (tmp_path / "new/folder/m.db").is_dir()

    def test_file_of_an_old_version(self, tmp_path):
        (tmp_path / "old.db").write_bytes(b"SQLite")
        with pytest.raises(StoreUnavailableError, match="Lite 2"):
            MilvusNodeStore(str(tmp_path / "old.db"))

    def test_unreachable_server(self):
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:9"):
            MilvusNodeStore("http://127.0.0.1:9", timeout_s=1)
        assert time.monotonic() - began < 20

    def test_folder_without_write_permission(self, tmp_path, monkeypatch):
        # The tests may run as root, who may write anywhere.
        monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(tmp_path)))
        with pytest.raises(StoreUnavailableError, match="No permission"):
            MilvusNodeStore(str(tmp_path / "m.db"))


class TestSharing:
    def test_second_process_is_told_what_to_do(self, uri, store):
        code = (
            "import sys\n"
            "from llama_index_raganything import MilvusNodeStore\n"
            "try: MilvusNodeStore(sys.argv[1])\n"
            "except Exception as error: print(type(error).__name__, error)\n"
        )
        done = run_python(code, uri)
        assert done.stdout.startswith("StoreLockedError")
        assert "milvus-lite server" in done.stdout
        assert done.stderr == ""

    def test_close_releases_the_directory(self, tmp_path):
        path = str(tmp_path / "m.db")
        one, two = MilvusNodeStore(path, "kb", DIM), MilvusNodeStore(path, "kb", DIM)
        one.add([node("a", "in process one")])
        one.close()
        one.close()
        assert ask(two).ids == ["a"]
        with pytest.raises(StoreUnavailableError, match="closed"):
            one.count()
        two.close()
        # Another process opens it, uses everything, and leaves without closing and without a word.
        code = (
            "import asyncio, sys\n"
            "from llama_index.core.schema import TextNode\n"
            "from llama_index.core.vector_stores.types import VectorStoreQuery\n"
            "from llama_index_raganything import Ledger, MilvusNodeStore\n"
            "from llama_index_raganything.stores.ledger import LedgerEntry\n"
            "store, ledger = MilvusNodeStore(sys.argv[1], 'kb'), Ledger(sys.argv[1], 'kb')\n"
            "print(*[node.text for node in store.get_nodes()])\n"
            "store.add([TextNode(text='x', embedding=[1.0, 0, 0, 0])], force_flush=True)\n"
            "ledger.put(LedgerEntry(doc_id='d'))\n"
            "query = VectorStoreQuery(query_embedding=[1.0, 0, 0, 0], similarity_top_k=5)\n"
            "for _ in range(2): print(len(asyncio.run(store.aquery(query)).ids))\n"
            "store.delete('d'); print(len(ledger.list()))\n"
        )
        done = run_python(code, path)
        assert (done.stdout.split("\n"), done.stderr) == (["in process one", "2", "2", "1", ""], "")
        with MilvusNodeStore(path, "kb") as again:
            assert again.count() == 2

    def test_threads_add_flush_and_query(self, store):
        failures = []

        def work(number):
            try:
                for batch in range(5):
                    store.add([node(f"{number}-{batch}-{row}", f"row {row}") for row in range(10)])
                    store.flush()
                    ask(store, "hybrid", words="row", top_k=5)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert failures == []
        assert store.count() == 6 * 5 * 10

    def test_two_event_loops_and_a_running_one(self, store):
        store.add(SHELF)
        request = VectorStoreQuery(query_embedding=[1.0, 0, 0, 0], similarity_top_k=1)

        async def many():
            await asyncio.gather(*(store.async_add([node(f"x{number}", doc="x")]) for number in range(5)))
            results = await asyncio.gather(*(store.aquery(request) for _ in range(10)))
            assert store.query(request).ids  # Sync inside a running loop.
            await store.adelete("x")
            await store.adelete_nodes(["h"])
            await store.aflush()
            assert len(await store.aget_nodes(["a", "h"])) == 1
            return {tuple(result.ids) for result in results}

        for _ in range(2):
            assert len(asyncio.run(many())) == 1
        assert store.count() == len(SHELF) - 1

    def test_killed_in_the_middle_of_adding(self, tmp_path):
        path = str(tmp_path / "m.db")
        code = (
            "import sys\n"
            "from llama_index.core.schema import TextNode\n"
            "from llama_index_raganything import Ledger, MilvusNodeStore\n"
            "from llama_index_raganything.stores.ledger import LedgerEntry\n"
            "ledger, store = Ledger(sys.argv[1], 'kb'), MilvusNodeStore(sys.argv[1], 'kb', 4)\n"
            "ledger.put(LedgerEntry(doc_id='done', state='ready'), LedgerEntry(doc_id='half', state='writing'))\n"
            "for batch in range(10_000):\n"
            "    rows = [TextNode(id_=f'{batch}-{row}', text='x', embedding=[1.0, 0, 0, 0]) for row in range(20)]\n"
            "    store.add(rows)\n"
            "    print(batch, flush=True)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
        acknowledged = [process.stdout.readline() for _ in range(8)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.read().split()
        process.wait()

        with MilvusNodeStore(path, "kb") as store, Ledger(path, "kb") as ledger:
            assert store.count() >= 20 * len(acknowledged)
            assert {item.node_id for item in store.get_nodes(["0-0", "7-19"])} == {"0-0", "7-19"}
            assert [entry.doc_id for entry in ledger.list("writing")] == ["half"]


class TestSerialisation:
    def test_round_trips_hold_no_secret(self, uri, store, monkeypatch):
        store.add([node("a")])
        monkeypatch.setenv("MILVUS_TOKEN", "env-secret")
        store.token = SecretStr("hush-hush")
        try:
            written = [json.dumps(store.to_dict()), repr(store), str(store), repr(pickle.dumps(store)), store.to_json()]
            assert not any("hush" in text or "env-secret" in text for text in written)
            for copy in (pickle.loads(pickle.dumps(store)), MilvusNodeStore.from_dict(store.to_dict())):
                with copy:
                    assert (copy.uri, copy.collection_name, copy.dim) == (uri, "shared", DIM)
                    assert copy.count() == 1
        finally:
            store.token = None

    def test_a_pickle_that_cannot_open_says_so(self, store):
        store.uri, uri = "http://127.0.0.1:9", store.uri
        store.timeout_s = 0.5
        try:
            data = pickle.dumps(store)
        finally:
            store.uri, store.timeout_s = uri, 10.0
        with pytest.raises(StoreUnavailableError):
            pickle.loads(data)


class TestLimits:
    @pytest.mark.slow
    def test_delete_of_a_document_with_more_rows_than_one_answer_gives(self, uri):
        with MilvusNodeStore(uri, "big", DIM) as store:
            store.add([node(f"r{row}", "x", doc="big") for row in range(16_500)] + [node("other", doc="small")])
            store.flush()
            assert store.count(filters_of(("doc_id", FilterOperator.EQ, "big"))) == 16_500
            assert len(store.get_nodes(filters=filters_of(("doc_id", FilterOperator.EQ, "big")))) == 16_500
            store.delete("big")
            assert [item.node_id for item in store.get_nodes()] == ["other"]

    @pytest.mark.parametrize(
        "vector",
        [
            None,
            (),
            (1.0,),
            (1.0,) * 5,
            (float("nan"), 0, 0, 0),
            (float("inf"), 0, 0, 0),
            (1e39, 0, 0, 0),
            ("x", 0, 0, 0),
            ((1.0,),) * 4,
        ],
        ids=str,
    )
    def test_wrong_vectors_write_nothing(self, store, vector):
        bad = node("bad")
        object.__setattr__(bad, "embedding", vector)
        with pytest.raises(NodeValueError, match="bad"):
            store.add([node("good"), bad])
        assert store.count() == 0

    def test_wrong_query_vectors(self, store):
        for vector in ([], [1.0], [float("nan"), 0, 0, 0]):
            with pytest.raises(NodeValueError, match="query"):
                ask(store, vector=vector)

    def test_metadata_near_the_limit(self, store):
        store.add([node("a", big="字" * 21_000)])
        with pytest.raises(NodeValueError, match="'big'"):
            store.add([node("b", big="字" * 22_000)])
        assert store.get_nodes(["a"])[0].metadata["big"] == "字" * 21_000

    def test_text_that_is_hopelessly_long(self, store):
        with pytest.raises(NodeValueError, match="split"):
            store.add([node("a", "x" * 5_000_000)])

    def test_odd_ids(self, store):
        with pytest.raises(NodeValueError):
            store.add([node("x" * 70_000)])
        with pytest.raises(NodeValueError):
            store.add([node("\ud800")])
        with pytest.raises(NodeValueError):
            store.add([node("a", doc="x" * 70_000)])

    def test_lone_surrogates_in_text_and_metadata(self, store):
        store.add([node("a", "bad \ud800 text", key="also \udfff")])
        assert store.get_nodes(["a"])[0].text == "bad ? text"
        assert ask(store).ids == ["a"]

    def test_top_k_of_zero_and_of_millions(self, store):
        store.add(SHELF)
        assert ask(store, top_k=0).ids == []
        assert len(ask(store, top_k=10_000_000).ids) == len(SHELF)

    def test_unknown_modes(self, store):
        with pytest.raises(ConfigurationError, match="svm"):
            ask(store, "svm")

    def test_l2_scores_are_higher_for_nearer(self, uri):
        with MilvusNodeStore(uri, "l2", DIM, similarity_metric="L2", index_config={"index_type": "FLAT"}) as store:
            store.add(SHELF)
            result = ask(store, top_k=3)
            assert result.ids[0] == "a"
            assert result.similarities == sorted(result.similarities, reverse=True)
            assert result.similarities[0] == pytest.approx(1.0)

    def test_batches_by_bytes(self, uri):
        with MilvusNodeStore(uri, "small_batches", DIM, max_batch_bytes=100_000) as store:
            store.add([node(f"{number}", "字" * 20_000) for number in range(5)])
            assert store.count() == 5

    def test_delete_everything_by_mistake_is_refused(self, store):
        store.add(SHELF)
        for filters in (None, filters_of()):
            with pytest.raises(ConfigurationError, match="clear"):
                store.delete_nodes(filters=filters)
        assert store.count() == len(SHELF)

    @pytest.mark.parametrize(
        "key", [*NASTY, "a b", "text", "tenant", "embedding", "_lower", "a..b", "$meta", "", "1a", "id == 1"]
    )
    def test_keys_that_cannot_be_filtered(self, store, key):
        with pytest.raises(FilterError):
            ask(store, filters=filters_of((key, FilterOperator.EQ, "x")))


class TestTenants:
    @pytest.fixture(scope="class")
    def tenants(self, uri):
        stores = [MilvusNodeStore(uri, "tenants", DIM, tenant=name) for name in ("a", 'b" or 1==1')]
        yield stores
        for store in stores:
            store.close()

    @pytest.fixture(autouse=True)
    def rows(self, tenants):
        for store in tenants:
            store.clear()
            store.add([node("same", f"secret of {store.tenant}", page=1), node("n", "common words")])

    def test_same_ids_are_different_rows(self, tenants):
        for store in tenants:
            assert store.get_nodes(["same"])[0].text == f"secret of {store.tenant}"
            assert store.count() == 2

    @pytest.mark.parametrize("mode", ["default", "sparse", "hybrid", "mmr"])
    def test_no_filter_reaches_another_tenant(self, tenants, mode):
        everything = filters_of(
            ("page", FilterOperator.GTE, 0), ("nothing", FilterOperator.NE, "x"), condition=FilterCondition.OR
        )
        for store in tenants:
            for options in ({}, {"filters": everything}, {"arguments": {"string_expr": 'id != "" or page >= 0'}}):
                result = ask(store, mode, words="common secret of words", **options)
                assert set(result.ids) == {"same", "n"}
                assert all(item.text in (f"secret of {store.tenant}", "common words") for item in result.nodes)

    def test_own_expression_cannot_leave_its_brackets(self, tenants):
        with pytest.raises(FilterError, match="brackets"):
            ask(tenants[0], arguments={"string_expr": 'page > 1) or (id != ""'})

    def test_deletions_stay_inside(self, tenants):
        one, other = tenants
        one.delete("doc")
        assert (one.count(), other.count()) == (0, 2)
        other.delete_nodes(filters=filters_of(("missing", FilterOperator.NE, "x")))
        assert other.count() == 0

    def test_clear_and_overwrite_stay_inside(self, tenants, uri):
        one, other = tenants
        one.clear()
        assert (one.count(), other.count()) == (0, 2)
        with MilvusNodeStore(uri, "tenants", DIM, tenant="a", overwrite=True):
            assert other.count() == 2

    def test_collections_are_for_tenants_or_not(self, uri, tenants, shared):
        with pytest.raises(SchemaMismatchError, match="tenant"):
            MilvusNodeStore(uri, "tenants", DIM)
        with pytest.raises(SchemaMismatchError, match="without"):
            MilvusNodeStore(uri, "shared", DIM, tenant="a")


def test_nothing_waits_for_the_index_of_a_collection_without_rows(tmp_path, monkeypatch):
    def wait(*_, **__):
        raise AssertionError("pymilvus waits half a second for each index")

    monkeypatch.setattr("pymilvus.client.grpc_handler.GrpcHandler.wait_for_creating_index", wait)
    uri = str(tmp_path / "m.db")
    with MilvusNodeStore(uri, "kb", DIM) as store, Ledger(uri, "kb") as ledger:
        store.add(SHELF)
        assert ask(store).ids
        ledger.put(LedgerEntry(doc_id="d"))
        assert len(ledger.list()) == 1


class TestLedger:
    @pytest.fixture(scope="class")
    def shared_ledger(self, uri):
        with Ledger(uri, "kb") as ledger:
            yield ledger

    @pytest.fixture
    def ledger(self, shared_ledger):
        shared_ledger.clear()
        return shared_ledger

    async def test_limit(self, ledger):
        ledger.put(*(LedgerEntry(doc_id=str(number), state="ready") for number in range(5)), LedgerEntry(doc_id="x"))
        assert len(ledger.list("ready", limit=2)) == len(await ledger.alist("ready", limit=2)) == 2
        assert len(ledger.list("ready", limit=9)) == 5

    def test_round_trip(self, ledger):
        entry = LedgerEntry(
            doc_id="d",
            source="/a/报告.pdf",
            file_name="报告.pdf",
            title='The "best"',
            content_hash="h",
            fingerprint="f",
            state="ready",
            node_counts={"text": 3, "table": 1},
            pages=7,
            embed_model="HashEmbedding unknown",
        )
        before = int(time.time() * 1000)
        ledger.put(entry)

        back = ledger.get("d")
        assert back.model_dump(exclude={"updated_at"}) == entry.model_dump(exclude={"updated_at"})
        assert before <= back.updated_at <= int(time.time() * 1000)
        assert ledger.get("other") is None

    def test_states(self, ledger):
        ledger.put(*(LedgerEntry(doc_id=state, state=state, source=state) for state in ("writing", "ready", "failed")))
        ledger.put(LedgerEntry(doc_id="writing", state="ready", source="a"))

        assert [entry.doc_id for entry in ledger.list("ready")] == ["writing", "ready"]
        assert [entry.doc_id for entry in ledger.list(["failed", "writing"])] == ["failed"]
        assert [entry.doc_id for entry in ledger.list(source="failed")] == ["failed"]
        assert len(ledger.list()) == 3
        assert ledger.list([]) == []
        with pytest.raises(ConfigurationError):
            ledger.list('ready" or "1"=="1')

    @pytest.mark.parametrize("nasty", NASTY)
    def test_nasty_ids_and_values(self, ledger, nasty):
        ledger.put(LedgerEntry(doc_id="n0"), LedgerEntry(doc_id=nasty, source=nasty, error=nasty))

        assert ledger.get(nasty).error == nasty
        assert [entry.doc_id for entry in ledger.list(source=nasty)] == [nasty]
        ledger.delete(nasty)
        assert [entry.doc_id for entry in ledger.list()] == ["n0"]

    def test_thousands(self, ledger, caplog):
        ledger.put(*(LedgerEntry(doc_id=f"d{number}", source=f"{number:05}") for number in range(4500)))

        assert [entry.source for entry in ledger.list()] == [f"{number:05}" for number in range(4500)]
        assert len(ledger.get_many([f"d{number}" for number in range(4500)])) == 4500
        assert ledger.get_many([]) == {}
        assert [record.getMessage() for record in caplog.records] == []

    def test_async(self, ledger):
        async def use():
            await ledger.aput(LedgerEntry(doc_id="d"))
            assert (await ledger.aget("d")).state == "writing"
            assert len(await ledger.alist("writing")) == len(await ledger.aget_many(["d"])) == 1
            await ledger.adelete("d")
            return await ledger.alist()

        for _ in range(2):
            assert asyncio.run(use()) == []

    def test_tenants(self, uri, ledger):
        ledger.put(LedgerEntry(doc_id="d", title="of nobody"))
        with Ledger(uri, "kb", tenant="a") as own:
            assert own.get("d") is None
            own.put(LedgerEntry(doc_id="d", title="of a", tenant="forged"))
            assert own.get("d").tenant == "a"
            own.clear()
        assert ledger.get("d").title == "of nobody"

    def test_limits(self, ledger):
        ledger.put()
        ledger.delete()
        with pytest.raises(NodeValueError):
            ledger.put(LedgerEntry(doc_id="d", error="x" * 70_000))
        with pytest.raises(ValueError, match="doc_id"):
            LedgerEntry(doc_id="")
        ledger.put(LedgerEntry(doc_id="d", title="lone \ud800"))
        assert ledger.get("d").title == "lone ?"

    def test_not_a_ledger(self, uri, ledger):
        ledger._connected().client.create_collection("odd__ledger", dimension=2)
        with pytest.raises(SchemaMismatchError):
            Ledger(uri, "odd")
