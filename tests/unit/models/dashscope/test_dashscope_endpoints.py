"""Where DashScope is, and with which key."""

import logging
import pickle

import pytest
from pydantic import SecretStr

from llama_index_raganything.errors import ConfigurationError, DashScopeAuthenticationError
from llama_index_raganything.models.dashscope import endpoints
from llama_index_raganything.models.dashscope.endpoints import Endpoints, resolve_api_key

BEIJING = Endpoints("https://dashscope.aliyuncs.com/api/v1", "https://dashscope.aliyuncs.com/compatible-mode/v1")


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "  ",
        "dashscope.aliyuncs.com",
        "https://dashscope.aliyuncs.com",
        "https://dashscope.aliyuncs.com/",
        "http://dashscope.aliyuncs.com/api/v1",
        "http://dashscope.aliyuncs.com./api/v1",
        "http://dashscope.aliyuncs.com:80/api/v1",
        "https://dashscope.aliyuncs.com/compatible-mode/v1/",
        "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
        "https://dashscope.aliyuncs.com/compatible-api/v1/reranks",
        "https://dashscope.aliyuncs.com/api/v1/services/embeddings/text-embedding",
        " https://dashscope.aliyuncs.com/api/v1/services/embeddings/text-embedding/text-embedding ",
        "https://dashscope.aliyuncs.com/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding?x=1",
    ],
)
def test_every_url_of_a_service_leads_to_its_bases(url):
    assert Endpoints.resolve(url) == BEIJING


@pytest.mark.parametrize(
    ("url", "native", "compatible"),
    [
        (
            "http://127.0.0.1:8080/compatible-mode/v1",
            "http://127.0.0.1:8080/api/v1",
            "http://127.0.0.1:8080/compatible-mode/v1",
        ),
        ("http://[::1]:8080", "http://[::1]:8080/api/v1", "http://[::1]:8080/compatible-mode/v1"),
        (
            "https://gate.example/ali/api/v1",
            "https://gate.example/ali/api/v1",
            "https://gate.example/ali/compatible-mode/v1",
        ),
        ("https://gate.example/ali", "https://gate.example/ali/api/v1", "https://gate.example/ali/compatible-mode/v1"),
        ("https://gate.example/v1/chat/completions", "https://gate.example/v1", "https://gate.example/v1"),
    ],
)
def test_other_hosts(url, native, compatible):
    assert Endpoints.resolve(url) == Endpoints(native, compatible)


def test_regions_and_workspaces():
    assert Endpoints.resolve(region="cn-beijing") == BEIJING
    assert Endpoints.resolve(region="ap-southeast-1").native == "https://dashscope-intl.aliyuncs.com/api/v1"
    assert (
        Endpoints.resolve(region="eu-central-1", workspace="ws-1").compatible
        == "https://ws-1.eu-central-1.maas.aliyuncs.com/compatible-mode/v1"
    )
    with pytest.raises(ConfigurationError, match=r"eu-central-1.*workspace"):
        Endpoints.resolve(region="eu-central-1")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://dashscope.aliyuncs.com",
        "htp:/dashscope",
        "https:/dashscope.aliyuncs.com",
        "https://",
        "https://user:secret@dashscope.aliyuncs.com",
        "http://[::1",
        "https://a:b",
    ],
)
def test_urls_that_cannot_be_called(url):
    with pytest.raises(ConfigurationError) as caught:
        Endpoints.resolve(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a/b", "a.b", "evil.example#", "a b", "-a", "a\n", "@"])
def test_names_that_would_leave_the_host(name):
    with pytest.raises(ConfigurationError):
        Endpoints.resolve(region=name, workspace="ws")
    with pytest.raises(ConfigurationError):
        Endpoints.resolve(region="eu-central-1", workspace=name)


def test_a_correction_is_said_once(caplog, monkeypatch):
    monkeypatch.setattr(endpoints, "_announced", set())
    used = "https://h/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding"
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            endpoints.announce_correction(
                "ALIYUN_EMBED_URL", "https://h/api/v1/services/embeddings/text-embedding", used
            )
        endpoints.announce_correction("ALIYUN_EMBED_URL", "https://h/api/v1", used)
        endpoints.announce_correction("ALIYUN_EMBED_URL", used, used)
    assert [record.getMessage().split("=")[0] for record in caplog.records] == ["ALIYUN_EMBED_URL"]


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    monkeypatch.delenv("DASHSCOPE_API_KEY_FILE_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_where_a_key_comes_from(no_key, monkeypatch):
    with pytest.raises(DashScopeAuthenticationError, match="DASHSCOPE_API_KEY"):
        resolve_api_key()
    (no_key / ".dashscope").mkdir()
    (no_key / ".dashscope" / "api_key").write_text("sk-home\n")
    assert resolve_api_key().get_secret_value() == "sk-home"
    (no_key / "named").write_text(" sk-named ")
    monkeypatch.setenv("DASHSCOPE_API_KEY_FILE_PATH", str(no_key / "named"))
    assert resolve_api_key().get_secret_value() == "sk-named"
    monkeypatch.setenv("DASHSCOPE_API_KEY", "'sk-environment'")
    assert resolve_api_key().get_secret_value() == "sk-environment"
    assert resolve_api_key("sk-argument").get_secret_value() == "sk-argument"
    assert resolve_api_key(SecretStr("sk-secret")).get_secret_value() == "sk-secret"


@pytest.mark.parametrize("key", ["your_api_key_here", "<your key>", "sk-钥匙", "sk-a b", "sk-a\nb", "xxxx", "..."])
def test_what_is_no_key(no_key, key):
    with pytest.raises(DashScopeAuthenticationError) as caught:
        resolve_api_key(key)
    assert "sk-" not in str(caught.value)


def test_no_key_of_another_service_is_taken(no_key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    with pytest.raises(DashScopeAuthenticationError):
        resolve_api_key()


def test_bases_survive_pickling():
    assert pickle.loads(pickle.dumps(BEIJING)) == BEIJING


@pytest.mark.parametrize(
    ("url", "region", "said"),
    [
        ("https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions", "ap-southeast-1", 1),
        ("https://dashscope.aliyuncs.com", "eu-central-1", 1),
        ("https://dashscope-intl.aliyuncs.com/api/v1", "ap-southeast-1", 0),
        ("https://gateway.example.com/v1", "ap-southeast-1", 0),
        ("https://dashscope.aliyuncs.com", None, 0),
        (" ", "ap-southeast-1", 0),
        (None, "ap-southeast-1", 0),
    ],
)
def test_a_region_beside_a_url_of_another_is_said_once(caplog, monkeypatch, url, region, said):
    monkeypatch.setattr(endpoints, "_announced", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            endpoints.announce_unused_region(url, region)
    assert len(caplog.records) == said
    assert all(str(region) in record.getMessage() for record in caplog.records)


def test_clear_text_to_a_public_host_is_said_once(caplog, monkeypatch):
    monkeypatch.setattr(endpoints, "_announced", set())
    with caplog.at_level(logging.WARNING):
        for url in ("http://gate.example/v1", "http://gate.example/v1", "http://8.8.8.8", "https://gate.example"):
            Endpoints.resolve(url)
        for near in (
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://10.0.0.7",
            "http://gateway/v1",
            "http://a.internal",
        ):
            Endpoints.resolve(near)
    assert [record.args for record in caplog.records] == [("gate.example",), ("8.8.8.8",)]
