"""What the seed article sets up, in processes of their own: its demo, and its ``MILVUS_URI``, which is a path."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from llama_index_raganything.testing import DashScopeServer

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "seed_demo.py"
EXAMPLE = ROOT / ".env.example"
TEXT_QUESTION = "Does Milvus support simultaneous insertion and search? Give a short answer."
DESCRIPTION = "A drawing of an access layer, coordinators, worker nodes and storage."


def run(*arguments, cwd, **environment):
    """Run Python in a folder, with nothing set but what a shell sets."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**kept, "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def server():
    with DashScopeServer() as running:
        yield running


def says(body):
    """Describe pictures, in the JSON that RAG-Anything's prompt asks for, and answer questions."""
    if "data:image/" not in str(body["messages"]):
        return "Yes, both at the same time. [1]"
    entity = {"entity_name": "Milvus architecture", "entity_type": "image", "summary": "Its parts."}
    return json.dumps({"detailed_description": DESCRIPTION, "entity_info": entity})


def test_the_seeds_demo(server, tmp_path):
    server.replies = [says]
    written = EXAMPLE.read_text(encoding="utf-8").replace("https://dashscope.aliyuncs.com", server.url)
    (tmp_path / "my.env").write_text(written.replace("your_api_key_here", server.api_key), encoding="utf-8")
    done = run(str(DEMO), "--env-file", "my.env", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    text_part, image_part = done.stdout.split("Q: What are the key components of the Milvus architecture?")
    assert "2 added" in text_part
    assert "Warning" not in text_part
    assert f"Q: {TEXT_QUESTION}\nA: Yes, both at the same time. [1]" in text_part
    assert "1. milvus_architecture.png" in image_part
    assert DESCRIPTION in image_part
    assert "faq_milvus.txt" not in image_part
    assert done.stderr.count("ALIYUN_EMBED_URL") == 1
    assert server.api_key not in done.stdout + done.stderr
    assert (tmp_path / "milvus_lite.db").is_dir()

    assert {request.status for request in server.requests} == {200}
    described, answered = (request.body for request in server.requests_to("chat"))
    assert (described["model"], described["temperature"]) == ("qwen-vl-max", 0.2)
    assert "data:image/" in str(described["messages"])
    assert (answered["model"], answered["temperature"], answered["max_tokens"]) == ("qwen-max", 0.5, 1024)
    assert TEXT_QUESTION in str(answered["messages"])
    embedded = server.requests_to("embeddings")
    assert {request.route for request in embedded} == {"multimodal-embedding"}
    assert {request.body["model"] for request in embedded} == {"tongyi-embedding-vision-plus"}


@pytest.mark.parametrize(
    ("content", "said"), [(EXAMPLE.read_bytes(), "put your key into DASHSCOPE_API_KEY"), (None, ".env.example")]
)
def test_the_seeds_demo_without_a_key_says_what_to_do(tmp_path, monkeypatch, capsys, content, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["seed_demo.py"])
    if content is not None:
        (tmp_path / ".env").write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(DEMO), run_name="__main__")
    assert ended.value.code == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "milvus_lite.db").exists()


def test_a_path_as_milvus_uri_and_a_foreign_env_file(tmp_path):
    """``import pymilvus`` fails with this MILVUS_URI, and reads the ``.env`` file of the folder where it is allowed."""
    (tmp_path / ".env").write_text("MILVUS_COLLECTION=foreign\nDASHSCOPE_API_KEY=sk-foreign-0123456789\n")
    code = """
import os
from llama_index.core.schema import Document
from llama_index_raganything import LightRAGRetriever, MilvusNodeStore, MilvusVisualStore, RAGAnythingIndex
with RAGAnythingIndex.from_documents([Document(text="The pump delivers 4.2 litres.")]) as index:
    print(index.store.uri, index.store.collection_name, index.embed_model.class_name())
    print(index.as_query_engine().query("What does the pump deliver?"))
print(os.environ["MILVUS_URI"], os.environ.get("MILVUS_COLLECTION"), os.environ.get("DASHSCOPE_API_KEY"))
import pymilvus
"""
    done = run("-c", code, cwd=tmp_path, MILVUS_URI="milvus_lite.db")
    assert done.returncode == 0, done.stderr
    opened, answer, environment = done.stdout.splitlines()
    assert opened == f"{tmp_path / 'milvus_lite.db'} rag_anything WordLlamaEmbedding"
    assert "4.2 litres" in answer
    assert environment == "milvus_lite.db None None"
    assert (tmp_path / "milvus_lite.db").is_dir()
