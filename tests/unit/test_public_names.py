"""The public face: what it exports and what importing it does not do."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import llama_index_raganything
from llama_index_raganything import errors

HEAVY = (
    "cv2", "docvortex", "lightrag", "llama_index.core", "mineru", "milvus_lite", "numpy", "onnxruntime",
    "pymilvus", "pypdfium2", "raganything", "rapidocr", "torch", "wordllama",
)  # fmt: skip
CAUGHT = {
    "ConfigurationError", "DashScopeError", "IngestionError", "MissingDependencyError", "ParseError",
    "RAGAnythingError", "SQLError", "SourceError", "StoreError", "UnknownArgumentError",
}  # fmt: skip
"""The exceptions that are public at the top; the others are in ``errors``."""


def run(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_public_name_can_be_had_and_is_sorted():
    for name in llama_index_raganything.__all__:
        assert getattr(llama_index_raganything, name) is not None
    assert llama_index_raganything.__all__ == sorted(llama_index_raganything.__all__)
    assert dir(llama_index_raganything) == llama_index_raganything.__all__


def test_every_exception_is_public_and_in_one_tree():
    tree = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    for error in tree:
        assert issubclass(error, errors.RAGAnythingError)
        assert not issubclass(error, RuntimeError)  # LlamaIndex takes those for its own in asyncio_run().
        assert error is getattr(llama_index_raganything.errors, error.__name__)
        assert error.__name__ in (errors.__doc__ or "")
    assert {name for name in llama_index_raganything.__all__ if name.endswith("Error")} == CAUGHT
    assert {error.__name__ for error in tree} > CAUGHT


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Nothing"):
        _ = llama_index_raganything.Nothing


def test_import_is_light_and_leaves_no_trace(tmp_path):
    (tmp_path / ".env").write_text("MILVUS_COLLECTION=from_dotenv\n")
    code = (
        "import sys, os; before = set(os.listdir()); import llama_index_raganything; "
        f"print([name for name in {HEAVY!r} if name in sys.modules], set(os.listdir()) - before, "
        "os.environ.get('MILVUS_COLLECTION'))"
    )
    assert run(code, tmp_path) == "[] set() None"


def test_heavy_packages_do_not_read_the_working_directorys_env_file(tmp_path):
    (tmp_path / ".env").write_text("MILVUS_COLLECTION=from_dotenv\n")
    code = (
        "import os; os.environ['MILVUS_URI'] = './a.db'; from llama_index_raganything import *; "
        "print(MilvusNodeStore.__name__, RAGAnythingSettings().milvus_collection, os.environ['MILVUS_URI'], "
        "os.environ.get('PYTHON_DOTENV_DISABLED'))"
    )
    assert run(code, tmp_path) == "MilvusNodeStore rag_anything ./a.db None"


def test_settings_read_the_env_file_that_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MILVUS_URI", raising=False)
    monkeypatch.setenv("MILVUS_COLLECTION", "from_environment")
    path = tmp_path / "my.env"
    path.write_text("MILVUS_URI=./of_file.db\nMILVUS_COLLECTION=of_file\nMILVUS_TOKEN=root:secret\n")
    settings = importlib.import_module("llama_index_raganything.settings").RAGAnythingSettings.from_env_file(path)
    assert settings.milvus_uri == "./of_file.db"
    assert settings.milvus_collection == "from_environment"
    assert settings.milvus_token.get_secret_value() == "root:secret"
    assert "secret" not in repr(settings)
    assert "secret" not in str(settings.model_dump())
