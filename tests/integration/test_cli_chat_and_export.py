"""``chat``, ``export`` and ``completion`` on the command line."""

import io
import json
import subprocess
import sys

import pytest
from command_line import caller, ingested

from llama_index_raganything.cli.main import main
from llama_index_raganything.index.models import IndexModels
from llama_index_raganything.testing import ScriptedTextLLM

TEXT = "# Towers\n\nThe tower of Oslo is 42 metres high.\n\n| Tower | Metres |\n| --- | --- |\n| Oslo | 42 |\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ingested(tmp_path_factory.mktemp("chat"), "towers.md", TEXT)


@pytest.fixture
def cli(folder, capsys):
    return caller(folder, capsys)


@pytest.fixture
def llm(monkeypatch):
    scripted = ScriptedTextLLM(
        replies=["It is 42 metres high [1][7].", "How high is the tower of Oslo, in metres?", "42 [1]."]
    )
    monkeypatch.setattr(IndexModels, "answering_llm", property(lambda _self: scripted))
    return scripted


def test_a_chat_cites_and_remembers(cli, llm, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("How high is the tower?\n\nAnd in metres?\nexit\nNever asked.\n"))
    code, out, _ = cli("chat")
    assert code == 0
    assert "It is 42 metres high [1].\n   [1] towers.md" in out
    assert "42 [1]." in out
    assert len(llm.requests) == 3
    assert "How high is the tower?" in str(llm.requests[1])


def test_a_chat_as_json(cli, llm, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("How high is the tower?\n"))
    answer = json.loads(cli("chat", "--json")[1])
    assert (answer["answered"], answer["citations"][0]["file_name"]) == (True, "towers.md")


def test_a_chat_without_a_model_says_what_it_needs(cli, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("How high is the tower?\n"))
    code, _, err = cli("chat", "--models", "embedded")
    assert code == 1
    assert "needs an LLM" in err


def test_nodes_are_exported_as_json_lines(cli, tmp_path):
    code, out, _ = cli("export")
    nodes = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert any("42 metres high" in node["text"] for node in nodes)
    assert all(node["id"] and node["metadata"]["file_name"] == "towers.md" for node in nodes)
    target = tmp_path / "nodes.jsonl"
    code, out, err = cli("export", str(target), "--filter", "content_type=table")
    assert (code, out) == (0, "")
    assert "1 nodes written" in err
    assert json.loads(target.read_text(encoding="utf-8"))["metadata"]["content_type"] == "table"


def test_what_cannot_be_exported(cli, tmp_path):
    assert cli("export", "--filter", "content_type=video")[0] == 1
    code, _, err = cli("export", str(tmp_path / "none" / "nodes.jsonl"))
    assert code == 1
    assert "cannot be written" in err


def test_bash_completes_commands(capsys, tmp_path):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.sh"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    listed = subprocess.run(
        ["bash", "-c", f"source {script}; compgen -A function"], capture_output=True, text=True, check=True
    )
    assert "shtab" in listed.stdout
    assert "--filter" in script.read_text(encoding="utf-8")
