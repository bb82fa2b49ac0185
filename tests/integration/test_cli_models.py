"""The command line with models of any OpenAI-compatible server, and what its exit codes say."""

import json
import logging

import pytest
from openai_server import DIMENSION, OpenAIServer

from llama_index_raganything import RAGAnythingIndex
from llama_index_raganything.cli.main import main

TEXT = "# Harbour\n\nThe harbour office opens at 7 a.m. on weekdays.\n"
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server():
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "hours.md").write_text(TEXT)
    return folder


@pytest.fixture
def cli(tmp_path, capsys):
    def call(command, *arguments):
        common = ["--uri", str(tmp_path / "cli.db"), "--working-dir", str(tmp_path / "storage")]
        capsys.readouterr()
        code = main([command, *common, *map(str, arguments)])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def test_an_openai_like_server_embeds_and_answers(cli, server, folder):
    models = ["--llm", f"openai-like:my-chat@{server.url}", "--embed-model", f"openai-like:my-embed@{server.url}"]
    assert cli("ingest", *models, "--no-progress", folder)[0] == 0
    assert {body["model"] for body in server.asked("embeddings")} == {"my-embed"}
    code, out, _ = cli("ask", *models, "When does the harbour office open?", "--json")
    answer = json.loads(out)
    assert (code, answer["answer"], answer["answered"]) == (0, server.reply, True)
    assert answer["citations"][0]["file_name"] == "hours.md"
    (chat,) = server.asked("chat/completions")
    assert chat["model"] == "my-chat"
    assert "opens at 7 a.m." in json.dumps(chat["messages"])
    assert server.keys() == {"Bearer no-key"}


def test_settings_name_the_models_too(cli, server, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_LLM_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai-0123456789")
    settings = f"RAG_LLM=openai-like:chat@{server.url}\nRAG_EMBED=ollama:nomic-embed-text\nOLLAMA_HOST={server.host}\n"
    (tmp_path / "my.env").write_text(settings)
    env = ["--env-file", tmp_path / "my.env"]
    assert cli("ingest", *env, "--no-progress", folder)[0] == 0
    code, out, _ = cli("ask", *env, "When does the harbour office open?")
    assert (code, server.reply in out) == (0, True)
    assert {body["model"] for body in server.asked("embeddings")} == {"nomic-embed-text"}
    assert server.keys() == {"Bearer no-key", f"Bearer {KEY}"}
    assert {headers["Authorization"] for path, headers, _ in server.requests if "chat" in path} == {f"Bearer {KEY}"}
    # "embedded" means no network, whatever the settings name.
    asked = len(server.requests)
    assert cli("status", *env, "--models", "embedded", "--collection", "other")[0] == 0
    assert len(server.requests) == asked
    with RAGAnythingIndex(uri=str(tmp_path / "x.db"), working_dir=tmp_path / "x", models="embedded") as index:
        assert index.llm is None


def test_a_vision_llm_by_name_describes_images(cli, server, tmp_path):
    from PIL import Image

    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "noise.png")
    server.reply = json.dumps(
        {
            "detailed_description": "A grey harbour at dawn.",
            "entity_info": {"entity_name": "Harbour", "entity_type": "image", "summary": "A harbour."},
        }
    )
    arguments = ["--vision-llm", f"openai-like:my-eyes@{server.url}", "--no-progress", tmp_path / "noise.png"]
    assert cli("ingest", *arguments)[0] == 0
    (asked,) = server.asked("chat/completions")
    assert asked["model"] == "my-eyes"
    assert any(part["type"] == "image_url" for part in asked["messages"][-1]["content"])
    assert "grey harbour" in cli("search", "grey harbour at dawn")[1]


def test_errors_of_servers_are_short_and_hold_no_key(cli, folder, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("RAG_LLM_API_KEY", KEY)
    assert cli("ingest", "--no-progress", folder)[0] == 0
    with OpenAIServer(api_key="another") as server:
        code, out, err = cli("ask", "--llm", f"openai-like:m@{server.url}", "When does the office open?")
        gone = server.url
    assert (code, out) == (1, "")
    assert err.startswith("AuthenticationError: ")
    assert "Incorrect API key provided" in err
    code, out, err2 = cli("ask", "--json", "--llm", f"openai-like:m@{gone}", "When does the office open?")
    assert (code, json.loads(out)["error"]) == (1, "APIConnectionError")
    assert f"No answer from {gone.removesuffix('/v1')}." in json.loads(out)["message"]
    assert KEY not in err + err2 + out + caplog.text
    for name in ("qwen3", f"openai-like:m@http://u:{KEY}@h/v1"):
        code, out, err = cli("ask", "--llm", name, "When?")
        assert (code, out) == (1, "")
        assert err.startswith("ConfigurationError: ")
        assert KEY not in err


@pytest.mark.parametrize("answer", ["A web page.", {}, ["x"], None])
def test_a_server_that_speaks_something_else_is_told(cli, folder, answer, monkeypatch):
    assert cli("ingest", "--no-progress", folder)[0] == 0
    with OpenAIServer() as server:
        monkeypatch.setattr(server, "answer", lambda *_: (200, answer))
        code, out, err = cli("ask", "--llm", f"openai-like:m@{server.url}", "When does the office open?")
        assert code == 1
        assert "none of OpenAI's protocol" in err or out.startswith("A: Empty Response")
        code, out, err = cli(
            "search", "--embed-model", f"openai-like:e@{server.url}", "office", "--collection", "other"
        )
        assert (code, out) == (1, "")
        assert "none of OpenAI's protocol" in err


def test_an_empty_name_of_a_model_is_refused(cli, folder):
    assert cli("ingest", "--no-progress", folder)[0] == 0
    for option in ("--llm", "--vision-llm", "--embed-model"):
        code, out, err = cli("ask", option, "", "When does the office open?")
        assert (code, out, err.startswith("ConfigurationError: '' does not name a model")) == (1, "", True)


def test_the_dimension_is_asked_and_kept(tmp_path, server, folder):
    from llama_index_raganything.models.defaults import named_embed_model

    embed_model = named_embed_model(f"openai-like:my-embed@{server.url}")
    options = {"uri": str(tmp_path / "d.db"), "working_dir": tmp_path / "d", "embed_model": embed_model}
    with RAGAnythingIndex.from_paths(folder, **options) as index:
        assert index.store.dim == DIMENSION
        assert {entry.embed_model for entry in index.documents()} == {"CompatibleEmbedding my-embed"}


# --- Exit codes


def test_ingest_says_by_its_exit_code_that_nothing_came_in(cli, folder, tmp_path):
    code, out, err = cli("ingest", "--no-progress", tmp_path / "nosuchfile.pdf")
    assert (code, out) == (1, "")
    assert "SourceError" in err
    assert "nosuchfile.pdf" in err
    (tmp_path / "empty").mkdir()
    code, out, err = cli("ingest", "--no-progress", tmp_path / "empty")
    assert (code, err) == (1, "Nothing was added.\n")
    assert "there are no files to read" in out
    code, out, _ = cli("ingest", "--no-progress", folder / "hours.md", tmp_path / "nosuchfile.pdf")
    assert (code, "1 added" in out) == (1, True)
    assert cli("ingest", "--no-progress", folder)[0] == 0  # Unchanged is in.
    (folder / "bad.docx").write_bytes(b"PK\x03\x04 not really")
    assert cli("ingest", "--no-progress", folder)[0] == 0
    assert cli("ingest", "--no-progress", "--strict", folder)[0] == 1
    assert cli("ingest", "--no-progress", folder / "bad.docx")[0] == 1
    for path in folder.iterdir():
        path.unlink()
    code, out, _ = cli("ingest", "--sync", "--no-progress", folder)
    assert (code, "2 deleted" in out) == (0, True)


def test_ingest_excludes_and_tells_what_it_skipped(cli, folder):
    (folder / "old.bak").write_text("Old.")
    (folder / "drafts").mkdir()
    (folder / "drafts" / "a.md").write_text("Draft.")
    code, out, _ = cli("ingest", "--no-progress", "--exclude", "*.bak", "--exclude", "drafts/", folder)
    assert code == 0
    assert "1 added" in out
    assert "Skipped: 2 excluded (drafts/, old.bak)" in out
    code, out, _ = cli("ingest", "--no-progress", "--sync", "--json", "--exclude", "drafts/", folder)
    assert json.loads(out)["skipped"] == {"excluded": {"count": 1, "names": [f"{folder / 'drafts'}/"]}}


@pytest.mark.parametrize("command", ["ask", "search"])
@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_wrong_usage(cli, command, question, capsys):
    with pytest.raises(SystemExit) as stop:
        cli(command, question)
    assert stop.value.code == 2
    assert "it is empty" in capsys.readouterr().err


def test_what_is_not_found_exits_with_one_and_says_so_in_json(cli, folder):
    cli("ingest", "--no-progress", folder)
    code, out, _ = cli("ask", "Who painted the ceiling of the Sistine Chapel?", "--json")
    assert (code, json.loads(out)["answered"]) == (1, False)
    code, out, _ = cli("ask", "When does the harbour office open?", "--json")
    assert (code, json.loads(out)["answered"]) == (0, True)
    code, out, _ = cli("search", "harbour", "--filter", "page=77")
    assert (code, out) == (1, "Nothing found.\n")
    code, out, _ = cli("search", "harbour", "--filter", "page=77", "--json")
    assert (code, json.loads(out)) == (1, [])
    assert cli("search", "harbour")[0] == 0


def test_delete_takes_a_unique_file_name(cli, folder):
    (folder / "more").mkdir()
    (folder / "more" / "hours.md").write_text(TEXT)
    (folder / "mixed.md").write_text("# Mixed\n\nText.")
    cli("ingest", "--no-progress", folder)
    code, out, _ = cli("delete", "hours.md", "mixed.md", "--json")
    found = json.loads(out)
    assert (code, found["deleted"]) == (1, {"hours.md": False, "mixed.md": True})
    assert str(folder / "more" / "hours.md") in found["errors"]["hours.md"]
    code, out, _ = cli("delete", "hours.md")
    assert (code, "2 documents have the file name" in out) == (1, True)
    assert cli("delete", folder / "hours.md")[0] == 0
    assert cli("delete", "hours.md")[1] == "Deleted: hours.md\n"


def test_help_tells_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Exit codes: 0 all went well" in " ".join(capsys.readouterr().out.split())
