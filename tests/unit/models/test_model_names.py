"""Names of models: which provider, which model, which address, and no key."""

import pickle
import sys

import pytest

from llama_index_raganything import ConfigurationError, MissingDependencyError, RAGAnythingSettings
from llama_index_raganything.models.defaults import (
    named_embed_model,
    named_llm,
    resolve_embed_model,
    resolve_llm,
    resolve_vision_llm,
)
from llama_index_raganything.models.model_names import ModelName, address_of

SECRET = "sk-secret-0123456789"


@pytest.mark.parametrize(
    ("text", "provider", "model", "url"),
    [
        ("openai:gpt-4o-mini", "openai", "gpt-4o-mini", ""),
        ("ollama:qwen3", "ollama", "qwen3", ""),
        (" Ollama:qwen3:8b ", "ollama", "qwen3:8b", ""),
        ("ollama:qwen3@http://gpu.local:11434", "ollama", "qwen3", "http://gpu.local:11434/v1"),
        (
            "openai-like:Qwen/Qwen3-8B@http://localhost:8000/v1",
            "openai-like",
            "Qwen/Qwen3-8B",
            "http://localhost:8000/v1",
        ),
        ("openai-like:@cf/meta/x@https://host/a/v1/", "openai-like", "@cf/meta/x", "https://host/a/v1"),
        ("openai-like:m@http://h/v1/chat/completions", "openai-like", "m", "http://h/v1"),
        ("openai-like:m@http://h:1/v1/embeddings", "openai-like", "m", "http://h:1/v1"),
        ("openai-like:m@http://[::1]:8000", "openai-like", "m", "http://[::1]:8000/v1"),
        ("dashscope:qwen-plus", "dashscope", "qwen-plus", ""),
    ],
)
def test_names_are_read(text, provider, model, url):
    assert ModelName.parse(text) == ModelName(provider, model, url)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "PROVIDER:MODEL"),
        ("qwen3", "PROVIDER:MODEL"),
        ("nobody:qwen3", "ollama"),
        ("ollama:", "PROVIDER:MODEL"),
        ("openai-like:m", "where the model is; add its address: openai-like:m@http://localhost:8000/v1."),
        ("openai-like:m@10.0.0.1:8000/v1", "add its address: openai-like:m@http://10.0.0.1:8000/v1."),
        ("openai-like:@cf/meta/x", "add its address: openai-like:@cf/meta/x@http://localhost:8000/v1."),
        ("openai-like:m@ftp://h/v1", "http"),
        ("openai-like:m@http://", "http"),
        ("openai-like:m@http://h:99999/v1", "http"),
        ("openai:gpt-4o@http://h/v1", "openai-like:gpt-4o@URL"),
    ],
)
def test_names_that_cannot_be_used_say_how_they_are_written(text, words):
    with pytest.raises(ConfigurationError, match=words):
        ModelName.parse(text)


@pytest.mark.parametrize("url", [f"http://me:{SECRET}@h/v1", f"http://{SECRET}@h/v1", f"http://h/v1?api_key={SECRET}"])
def test_keys_in_addresses_are_refused_and_not_repeated(url):
    with pytest.raises(ConfigurationError, match="RAG_LLM_API_KEY") as caught:
        ModelName.parse(f"openai-like:m@{url}")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", [f"m@http://user:{SECRET}@h/v1", f"nobody:m@http://h/v1?key={SECRET}"])
def test_a_name_that_is_none_is_told_without_its_address(name):
    with pytest.raises(ConfigurationError, match="does not name a model") as caught:
        ModelName.parse(name)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (None, "http://127.0.0.1:11434/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234/v1"),
        (":1234", "http://127.0.0.1:1234/v1"),
        ("gpu", "http://gpu:11434/v1"),
        ("https://ollama.example.com", "https://ollama.example.com:443/v1"),
    ],
)
def test_ollama_is_where_its_own_variable_says(host, url, monkeypatch):
    if host is not None:
        monkeypatch.setenv("OLLAMA_HOST", host)
    assert address_of(ModelName.parse("ollama:qwen3"), RAGAnythingSettings()) == url


def test_the_key_of_openai_goes_to_openai_alone(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert named_llm("openai:gpt-4o").api_key == SECRET
    assert named_embed_model("openai:text-embedding-3-small").api_key == SECRET
    for name in ("openai-like:m@http://h/v1", "ollama:m"):
        assert SECRET not in (named_llm(name).api_key, named_embed_model(name).api_key)
    monkeypatch.setenv("RAG_LLM_API_KEY", "sk-own-of-the-llm")
    assert named_llm("openai-like:m@http://h/v1").api_key == "sk-own-of-the-llm"
    assert named_embed_model("openai-like:m@http://h/v1").api_key != "sk-own-of-the-llm"
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        named_embed_model("openai:text-embedding-3-small")


@pytest.mark.parametrize("make", [named_llm, named_embed_model])
def test_keys_show_nowhere_and_come_back_from_the_environment(make, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    model = make("openai:some-model")
    data = pickle.dumps(model)
    assert SECRET.encode() not in data
    assert SECRET not in repr(model) + str(model) + str(model.to_dict())
    again = pickle.loads(data)
    assert (again.api_key, again.api_base, again.class_name()) == (SECRET, model.api_base, model.class_name())
    assert model.api_key == SECRET  # The model itself goes on.


def test_context_windows(monkeypatch):
    assert named_llm("openai-like:m@http://h/v1").metadata.context_window == 32_768
    assert named_llm("ollama:m").metadata.context_window == 4096
    monkeypatch.setenv("OLLAMA_CONTEXT_LENGTH", "16384")
    assert named_llm("ollama:m").metadata.context_window == 16_384
    monkeypatch.setenv("RAG_LLM_CONTEXT_WINDOW", "65536")
    for name in ("ollama:m", "openai-like:m@http://h/v1"):
        assert named_llm(name).metadata.context_window == 65_536
    assert named_llm("ollama:m").metadata.is_chat_model


def test_sight_follows_the_name_or_the_caller():
    assert named_llm("ollama:qwen2.5vl").supports_images
    assert not named_llm("ollama:my-own-model").supports_images
    assert named_llm("ollama:my-own-model", supports_images=True).supports_images


def test_settings_name_the_default_models(monkeypatch):
    monkeypatch.setenv("RAG_LLM", "openai-like:chat@http://h/v1")
    monkeypatch.setenv("RAG_EMBED", "ollama:nomic-embed-text")
    assert resolve_llm().model == "chat"
    assert resolve_vision_llm().model == "chat"
    assert resolve_embed_model().model_name == "nomic-embed-text"
    monkeypatch.setenv("RAG_VISION_LLM", "ollama:some-eyes")
    assert (resolve_vision_llm().model, resolve_vision_llm().supports_images) == ("some-eyes", True)
    assert resolve_llm().model == "chat"


def test_dashscope_by_name(monkeypatch):
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    assert named_llm("dashscope:qwen-plus").model == "qwen-plus"
    assert named_llm("dashscope:qwen-vl-plus", supports_images=True).supports_images
    assert named_embed_model("dashscope:text-embedding-v4").model_name == "text-embedding-v4"


@pytest.mark.parametrize(
    ("make", "package", "module"),
    [
        (named_llm, "llama_index.llms.openai_like", "openai_like"),
        (named_embed_model, "llama_index.embeddings.openai_like", "openai_like_embedding"),
    ],
)
def test_a_missing_package_is_named(make, package, module, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"llama_index_raganything.models.{module}", raising=False)
    with pytest.raises(MissingDependencyError, match=r"llama-index-raganything\[openai\]"):
        make("ollama:qwen3")
