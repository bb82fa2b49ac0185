"""Settings: the seed's names and values, what is wrong in them, and which models they lead to."""

import logging
from pathlib import Path

import pytest
from llama_index.core.llms import MockLLM
from llama_index.core.settings import Settings
from pydantic import SecretStr

from llama_index_raganything import RAGAnythingSettings, errors
from llama_index_raganything.models import defaults
from llama_index_raganything.models.dashscope import endpoints
from llama_index_raganything.models.dashscope.embedding import DashScopeMultiModalEmbedding, DashScopeTextEmbedding
from llama_index_raganything.models.dashscope.models import (
    dashscope_models,
    make_embed_model,
    make_llm,
    make_reranker,
    make_vision_llm,
)
from llama_index_raganything.models.defaults import resolve_embed_model, resolve_llm
from llama_index_raganything.models.wordllama import WordLlamaEmbedding
from llama_index_raganything.testing import HashEmbedding, ScriptedTextLLM

KEY = "sk-0123456789abcdef"
SEED = """\
DASHSCOPE_API_KEY=your_api_key_here
ALIYUN_LLM_URL=https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions
ALIYUN_VLM_URL=https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions
ALIYUN_EMBED_URL=https://dashscope.aliyuncs.com/api/v1/services/embeddings/text-embedding
LLM_TEXT_MODEL=qwen-max
LLM_VLM_MODEL=qwen-vl-max
EMBED_MODEL=tongyi-embedding-vision-plus
MILVUS_URI=milvus_lite.db
MILVUS_COLLECTION=rag_multimodal_collection
EMBED_DIM=1152
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    monkeypatch.setattr(defaults, "_announced", set())
    monkeypatch.setattr(endpoints, "_announced", set())
    monkeypatch.setattr(Settings, "_llm", None)
    monkeypatch.setattr(Settings, "_embed_model", None)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def seed(tmp_path):
    path = tmp_path / "seed.env"
    path.write_text(SEED.replace("your_api_key_here", KEY))
    return RAGAnythingSettings.from_env_file(path)


def test_the_seeds_env_file_leads_to_the_right_models_and_places(seed, caplog):
    with caplog.at_level(logging.WARNING):
        models = dashscope_models(seed)
        dashscope_models(seed)
    assert models.llm.model == "qwen-max"
    assert models.vision_llm.model == "qwen-vl-max"
    assert models.llm.api_base == "https://dashscope.aliyuncs.com/compatible-mode/v1"
    assert isinstance(models.embed_model, DashScopeMultiModalEmbedding)
    assert models.embed_model.dimension == 1152
    url = models.embed_model._send().client.url("")
    assert url == "https://dashscope.aliyuncs.com/api/v1"
    assert models.reranker.model == "qwen3-rerank"
    assert (models.llm.timeout, models.embed_model.timeout_s) == (60.0, 60.0)
    assert (seed.milvus_uri, seed.milvus_collection) == ("milvus_lite.db", "rag_multimodal_collection")
    (record,) = caplog.records
    assert "ALIYUN_EMBED_URL" in record.getMessage()
    assert "/multimodal-embedding/multimodal-embedding" in record.getMessage()


def test_the_example_file_of_the_project_has_the_seeds_names_and_values():
    example = (Path(__file__).parents[4] / ".env.example").read_text(encoding="utf-8").splitlines()
    for line in SEED.splitlines():
        assert line in example


def test_the_seeds_file_as_it_stands_asks_for_a_key(tmp_path, caplog):
    (tmp_path / ".env").write_text(SEED)
    settings = RAGAnythingSettings.from_env_file(tmp_path / ".env")
    with pytest.raises(errors.DashScopeAuthenticationError, match="placeholder"):
        dashscope_models(settings)
    with caplog.at_level(logging.WARNING):
        assert resolve_llm(None, settings) is None
        assert isinstance(resolve_embed_model(None, settings), WordLlamaEmbedding)
    assert sum("placeholder" in record.getMessage() for record in caplog.records) == 1


def test_who_is_asked_first(seed):
    own_llm, own_embedding = ScriptedTextLLM(), HashEmbedding()
    assert resolve_llm(own_llm, seed) is own_llm
    assert resolve_embed_model(own_embedding, seed) is own_embedding
    assert resolve_llm(None, seed).model == "qwen-max"
    assert resolve_embed_model(None, seed).model_name == "tongyi-embedding-vision-plus"
    Settings.llm, Settings.embed_model = own_llm, own_embedding
    assert resolve_llm(None, seed) is own_llm
    assert resolve_embed_model(None, seed) is own_embedding
    Settings.llm = MockLLM()
    assert resolve_llm(None, seed) is None


def test_without_a_key_nothing_is_paid(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    assert resolve_llm() is None
    assert isinstance(resolve_embed_model(), WordLlamaEmbedding)
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    assert resolve_llm().model == "qwen-max"
    assert resolve_embed_model().dimension == 1152
    none = RAGAnythingSettings(dashscope_api_key=None)
    assert resolve_llm(None, none) is None


def test_a_missing_extra_is_said_and_answers_are_quotes(seed, monkeypatch, caplog):
    import sys

    monkeypatch.setitem(sys.modules, "llama_index.llms.openai_like", None)
    monkeypatch.delitem(sys.modules, "llama_index_raganything.models.dashscope.chat", raising=False)
    with caplog.at_level(logging.WARNING):
        assert resolve_llm(None, seed) is None
    assert "llama-index-raganything[dashscope]" in caplog.text
    with pytest.raises(errors.MissingDependencyError, match="dashscope"):
        dashscope_models(seed)


@pytest.mark.parametrize(
    ("model", "dim", "kind"),
    [
        ("text-embedding-v4", 2048, DashScopeTextEmbedding),
        ("text-embedding-v3", None, DashScopeTextEmbedding),
        ("tongyi-embedding-vision-flash", 768, DashScopeMultiModalEmbedding),
        ("qwen3-vl-embedding", 1024, DashScopeMultiModalEmbedding),
    ],
)
def test_the_class_follows_from_the_model(model, dim, kind):
    settings = RAGAnythingSettings(dashscope_api_key=SecretStr(KEY), embed_model=model, embed_dim=dim)
    made = make_embed_model(settings)
    assert type(made) is kind
    assert made.model_name == model
    assert made.dimension == dim or (dim is None and made.dimension == 1024)


@pytest.mark.parametrize(("model", "dim"), [("text-embedding-v4", 1152), ("tongyi-embedding-vision-plus", 1000)])
def test_a_dimension_that_the_model_has_not(model, dim):
    settings = RAGAnythingSettings(dashscope_api_key=SecretStr(KEY), embed_model=model, embed_dim=dim)
    with pytest.raises(errors.ConfigurationError, match=rf"{dim}.*1024.*EMBED_DIM"):
        make_embed_model(settings)


def test_each_service_may_be_elsewhere():
    settings = RAGAnythingSettings(
        dashscope_api_key=SecretStr(KEY),
        aliyun_llm_url="https://one.example",
        aliyun_vlm_url="https://two.example/compatible-mode/v1",
        aliyun_embed_url="https://three.example/api/v1",
    )
    models = dashscope_models(settings)
    assert models.llm.api_base == "https://one.example/compatible-mode/v1"
    assert models.vision_llm.api_base == "https://two.example/compatible-mode/v1"
    assert models.embed_model._send().client.url("") == "https://three.example/api/v1"
    region = RAGAnythingSettings(dashscope_api_key=SecretStr(KEY), dashscope_region="ap-southeast-1")
    assert "dashscope-intl" in dashscope_models(region).llm.api_base


@pytest.mark.parametrize("written", [f"'{KEY}'", f'"{KEY}"', f"  {KEY}  "])
def test_quotes_and_blanks_around_values(monkeypatch, written):
    monkeypatch.setenv("DASHSCOPE_API_KEY", written)
    monkeypatch.setenv("LLM_TEXT_MODEL", "'qwen-plus'")
    monkeypatch.setenv("EMBED_DIM", " 512 ")
    settings = RAGAnythingSettings()
    assert settings.dashscope_api_key.get_secret_value() == KEY
    assert settings.llm_text_model == "qwen-plus"
    assert settings.embed_dim == 512


def test_empty_values_are_not_set(tmp_path):
    (tmp_path / ".env").write_text("DASHSCOPE_API_KEY=\nEMBED_DIM=\nLLM_TEXT_MODEL=\nALIYUN_LLM_URL=\n")
    settings = RAGAnythingSettings.from_env_file(tmp_path / ".env")
    assert settings.embed_dim is None
    assert settings.llm_text_model == "qwen-max"
    assert resolve_llm(None, settings) is None


@pytest.mark.parametrize(("name", "value"), [("EMBED_DIM", KEY), ("EMBED_DIM", "-1"), ("DASHSCOPE_TIMEOUT", "soon")])
def test_values_that_cannot_be_used_are_typed_errors_and_not_repeated(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(errors.ConfigurationError, match=name) as caught:
        RAGAnythingSettings()
    assert KEY not in str(caught.value)


def test_the_key_shows_nowhere(seed):
    models = dashscope_models(seed)
    shown = [repr(seed), str(seed.model_dump()), seed.model_dump_json(), repr(models), str(vars(models.embed_model))]
    assert not any(KEY in text for text in shown)


def test_blank_values_are_not_set(monkeypatch):
    for name in ("DASHSCOPE_API_KEY", "LLM_TEXT_MODEL", "EMBED_DIM", "ALIYUN_EMBED_URL"):
        monkeypatch.setenv(name, "  '' ")
    settings = RAGAnythingSettings()
    assert settings.dashscope_api_key is None
    assert settings.llm_text_model == "qwen-max"
    assert settings.embed_dim is None
    assert settings.aliyun_embed_url is None


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_that_windows_wrote(tmp_path, newline):
    text = f"DASHSCOPE_API_KEY={KEY}\n# 注释\nMILVUS_COLLECTION=知识库\n".replace("\n", newline)
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbf" + text.encode())
    settings = RAGAnythingSettings.from_env_file(tmp_path / ".env")
    assert settings.dashscope_api_key.get_secret_value() == KEY
    assert settings.milvus_collection == "知识库"


@pytest.mark.parametrize("content", [None, b"LLM_TEXT_MODEL=\xff\xfe\x00"])
def test_a_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "named.env"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.ConfigurationError, match=r"named\.env"):
        RAGAnythingSettings.from_env_file(path)


def test_the_environment_wins_over_the_file_and_arguments_over_both(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("LLM_TEXT_MODEL=of-file\nLLM_VLM_MODEL=of-file\nEMBED_MODEL=of-file\n")
    monkeypatch.setenv("LLM_VLM_MODEL", "of-environment")
    monkeypatch.setenv("EMBED_MODEL", "of-environment")
    settings = RAGAnythingSettings.from_env_file(tmp_path / ".env", embed_model="of-argument")
    assert (settings.llm_text_model, settings.llm_vlm_model) == ("of-file", "of-environment")
    assert settings.embed_model == "of-argument"


def test_options_of_the_models_go_with_the_settings(seed):
    llm = make_llm(seed, temperature=0.5, max_tokens=1024)
    assert (llm.model, llm.temperature, llm.max_tokens) == ("qwen-max", 0.5, 1024)
    assert make_vision_llm(seed, temperature=0.2).temperature == 0.2
    assert make_reranker(seed, top_n=7).top_n == 7


def test_the_choice_is_said_once(caplog):
    with caplog.at_level(logging.INFO, logger="llama_index_raganything"):
        for _ in range(2):
            resolve_llm()
            resolve_embed_model()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("LLM: none")
    assert "WordLlama" in said[1]


@pytest.mark.parametrize("written", ["sk-xxx", "sk-XXXXXXXX", "sk-your-api-key", "sk-***", "YOUR_API_KEY", "<sk-...>"])
def test_placeholders_of_other_examples_are_not_sent(written, caplog):
    settings = RAGAnythingSettings(dashscope_api_key=written)
    with pytest.raises(errors.DashScopeAuthenticationError, match="put your key into DASHSCOPE_API_KEY"):
        dashscope_models(settings)
    assert resolve_llm(None, settings) is None
    assert "placeholder" in caplog.text


@pytest.mark.parametrize("written", ["sk-xXxa0123456789", "xxx0123456789", "sk-0123456789xxx"])
def test_keys_that_look_odd_are_keys(written):
    assert resolve_llm(None, RAGAnythingSettings(dashscope_api_key=written)).model == "qwen-max"


def test_a_region_that_the_seeds_urls_overrule_is_said(caplog):
    settings = RAGAnythingSettings(
        dashscope_api_key="sk-0123456789",
        aliyun_llm_url="https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
        dashscope_region="ap-southeast-1",
    )
    with caplog.at_level(logging.WARNING):
        make_llm(settings)
    assert "DASHSCOPE_API_REGION=ap-southeast-1 is not used" in caplog.text
