"""MilvusNodeStore against Milvus Lite over TCP: the network path, with everything that Lite can do."""

import subprocess
import sys

import pytest
from milvus_server import milvus_lite
from milvus_suite import MilvusSuite
from vector_store_suite import DIM, ask, node

from llama_index_raganything.stores.ledger import Ledger, LedgerEntry
from llama_index_raganything.stores.nodes.store import MilvusNodeStore

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with milvus_lite(tmp_path_factory.mktemp("served") / "m.db") as url:
        yield url


class TestMilvusLiteOverTcp(MilvusSuite):
    @pytest.fixture(scope="class")
    def milvus_uri(self, url):
        return url


def test_two_processes_share_one_server(url):
    code = (
        "import sys\n"
        "from llama_index_raganything import Ledger, MilvusNodeStore\n"
        "print(MilvusNodeStore(sys.argv[1], 'kb').count(), Ledger(sys.argv[1], 'kb').get('d').state)\n"
    )
    with MilvusNodeStore(url, "kb", DIM) as store, Ledger(url, "kb") as ledger:
        store.add([node("a"), node("b")])
        ledger.put(LedgerEntry(doc_id="d", state="ready"))
        done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)
        assert (done.stdout.split(), done.stderr) == (["2", "ready"], "")
        assert set(ask(store).ids) == {"a", "b"}
