import pytest
from pydantic import SecretStr

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.stores.milvus.connection import Address, batches


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
