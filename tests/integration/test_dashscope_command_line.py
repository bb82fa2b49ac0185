"""The command line before and after there is a key: what it says of the settings, and what it binds to."""

import logging

import pytest

from llama_index_raganything import RAGAnythingSettings
from llama_index_raganything.cli import demo
from llama_index_raganything.cli.main import main
from llama_index_raganything.models import defaults
from llama_index_raganything.models.dashscope import endpoints
from llama_index_raganything.testing import DashScopeServer


@pytest.fixture
def server():
    with DashScopeServer() as running:
        yield running


def env_of(server):
    return {
        "DASHSCOPE_API_KEY": server.api_key,
        "ALIYUN_LLM_URL": server.compatible_url,
        "ALIYUN_VLM_URL": server.compatible_url,
        "ALIYUN_EMBED_URL": f"{server.native_url}/services/embeddings/text-embedding",
    }


def write_env(path, values):
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def test_what_is_corrected_or_not_used_of_the_settings_is_said(server, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(endpoints, "_announced", set())
    monkeypatch.setattr(defaults, "_announced", set())
    caplog.set_level(logging.ERROR)  # Of the root logger, as the command line has it.
    caplog.handler.setLevel(logging.NOTSET)
    write_env(tmp_path / ".env", env_of(server))
    assert main(["status", "--models", "dashscope"]) == 0
    assert "ALIYUN_EMBED_URL" in caplog.text
    caplog.clear()
    write_env(tmp_path / ".env", env_of(server) | {"DASHSCOPE_API_KEY": "your_api_key_here"})
    assert main(["status", "--env-file", ".env"]) == 0
    assert "placeholder" in caplog.text
    assert logging.getLogger("llama_index_raganything.models.dashscope").level == logging.NOTSET


def test_a_look_before_the_key_is_there_binds_to_no_model(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 0
    (tmp_path / "a.txt").write_text("Hello world.")
    for name, value in env_of(server).items():
        monkeypatch.setenv(name, value)
    assert main(["ingest", "a.txt", "--strict", "--no-progress"]) == 0
    assert "1 added" in capsys.readouterr().out


def test_documents_of_another_model_are_told(server, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.ERROR)  # Of the root logger, as the command line has it.
    caplog.handler.setLevel(logging.NOTSET)
    (tmp_path / "a.txt").write_text("Hello world.")
    write_env(tmp_path / ".env", env_of(server) | {"EMBED_MODEL": "text-embedding-v4"})
    assert main(["ingest", "a.txt", "--env-file", ".env", "--strict", "--no-progress"]) == 0
    assert "were embedded" not in caplog.text
    write_env(tmp_path / ".env", env_of(server) | {"EMBED_MODEL": "text-embedding-v3"})
    assert main(["status", "--env-file", ".env"]) == 0
    assert "text-embedding-v4 and are searched with DashScopeTextEmbedding text-embedding-v3" in caplog.text


def test_a_file_of_settings_that_is_not_read_is_told(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_env(tmp_path / ".env", env_of(server))
    for options, told in (([], True), (["--env-file", ".env"], False), (["--models", "dashscope"], False)):
        assert main(["search", "hello", "--collection", f"kb{len(options)}{told}", *options]) == 1
        assert ("There is a .env file here" in capsys.readouterr().err) is told


@pytest.mark.parametrize(
    ("models", "key", "used"),
    [
        ("auto", "sk-0123456789", "with DashScope's models"),
        ("auto", "", "no key, no download"),
        ("embedded", "sk-0123456789", "no key, no download"),
        ("dashscope", "sk-0123456789", "with DashScope's models"),
    ],
)
def test_the_demo_says_whose_models_it_used(models, key, used):
    assert demo._models_used(models, RAGAnythingSettings(dashscope_api_key=key)) == used
