"""What every test starts from."""

import os

import pytest

_OURS = ("DASHSCOPE_", "ALIYUN_", "LLM_TEXT_", "LLM_VLM_", "EMBED_", "RERANK_", "MILVUS_", "RAG_", "OPENAI_", "OLLAMA_")


@pytest.fixture(autouse=True)
def environment_without_settings(monkeypatch):
    """Tests see no setting of the developer's: a key in the environment would make them call a paid service."""
    for name in list(os.environ):
        if name.startswith(_OURS):
            monkeypatch.delenv(name)
