import pytest
from llama_index.core.schema import TextNode
from pydantic import SecretStr

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.stores.milvus.connection import Address
from llama_index_raganything.stores.nodes.rows import RowCodec, batches, keyword_terms, query_terms


@pytest.mark.parametrize(
    "text", ["The Dogs, running 3.5!", "图像检索 mixed with English", "café naïve", "1,234 İstanbul ٣"]
)
def test_terms_are_words_that_no_analyser_splits(text):
    terms = keyword_terms(text)

    assert terms
    assert all(term.isascii() and term.replace("_", "a").isalnum() for term in terms.split(" "))


def test_terms_of_query_and_text_agree():
    text = keyword_terms("The runners were running; 图像检索系统, about 1,234.5 café").split()

    for question in ("run", "检索", "1234.5", "CAFÉ"):
        assert set(query_terms(question).split()) <= set(text)


def test_chinese_terms_are_pairs():
    assert len(keyword_terms("图像检索").split()) == 3
    assert set(query_terms("像检").split()) <= set(keyword_terms("图像检索").split())


def test_query_leaves_out_words_that_say_nothing():
    assert query_terms("the cat and the dog") == "cat dog"
    assert query_terms("to be or not to be").split()[:2] == ["to", "be"]
    assert query_terms("?!") == ""


def test_terms_are_cut_between_words():
    terms = keyword_terms("word " * 20_000, 65_535)

    assert len(terms) <= 65_535
    assert set(terms.split()) == {"word"}


def test_stored_text_is_not_stored_twice():
    row = RowCodec(None, "", keywords=False, tenant=None).encode(TextNode(text="unmistakable words"))

    assert [name for name, value in row.items() if "unmistakable" in str(value)] == ["text"]


def test_tenant_keys_are_reversible():
    codec = RowCodec(None, "", keywords=False, tenant="a")

    assert codec.node_id(codec.key("x|y")) == "x|y"


def test_batches_keep_order_and_limits():
    rows = [{"text": "x" * 100, "vector": [0.0] * 10} for _ in range(25)]

    assert [len(batch) for batch in batches(rows, 10, 10**6)] == [10, 10, 5]
    assert all(len(batch) == 1 for batch in batches(rows, 10, 1))
    assert list(batches([], 10, 10)) == []


class TestAddress:
    def test_local_paths_are_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MILVUS_TOKEN", "secret")

        address = Address.parse("./a/../m.db", token="also secret")
        assert (address.uri, address.is_local, address.token) == (str(tmp_path / "m.db"), True, None)

    def test_secrets_stay_inside(self, monkeypatch):
        monkeypatch.setenv("MILVUS_TOKEN", "from-env")
        inside = Address.parse("https://user:p%40ss@host:443/db")
        assert inside.uri == "https://host:443/db"
        assert inside.token.get_secret_value() == "user:p@ss"
        assert Address.parse("http://host").token.get_secret_value() == "from-env"
        assert Address.parse("http://host", SecretStr("given")).token.get_secret_value() == "given"
        for address in (inside, Address.parse("http://host")):
            assert not any(word in repr(address) + repr(address.key) for word in ("p@ss", "from-env"))
        assert inside.key != Address.parse("https://host:443/db").key

    @pytest.mark.parametrize("uri", ["", "  ", "m.sqlite", "s3://bucket/m.db", "a\x00.db"])
    def test_what_is_no_address(self, uri):
        with pytest.raises(ConfigurationError):
            Address.parse(uri)


def test_importing_the_package_loads_no_client():
    import subprocess
    import sys

    code = "import sys, llama_index_raganything.stores; print('pymilvus' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
