"""Indexes and engines in pickles: the same stores again, and no secret."""

import copy
import pickle
import subprocess
import sys

import pytest

from llama_index_raganything import ConfigurationError, RAGAnythingIndex, RAGAnythingSettings
from llama_index_raganything.errors import StoreLockedError
from llama_index_raganything.models.defaults import named_llm
from llama_index_raganything.testing import ColorEmbedding, HashEmbedding, ScriptedChatLLM

SECRET = "sk-very-secret-0123456789"
QUESTION = "When does the harbour office open?"


@pytest.fixture
def common(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "hours.md").write_text("# Harbour\n\nThe harbour office opens at 7 a.m. on weekdays.\n")
    return {"uri": str(tmp_path / "kb.db"), "working_dir": tmp_path / "storage"}


@pytest.fixture
def index(common, tmp_path):
    with RAGAnythingIndex.from_paths(tmp_path / "files", **common) as opened:
        yield opened


def test_an_index_comes_back_over_the_same_stores(index, tmp_path):
    again = pickle.loads(pickle.dumps(index))
    assert again.status() == index.status()
    assert "7 a.m." in str(again.as_query_engine().query(QUESTION))
    (tmp_path / "files" / "tea.md").write_text("# Tea\n\nTea is served at four.\n")
    assert len(again.add(tmp_path / "files").added) == 1
    assert len(again.add(tmp_path / "files").unchanged) == 2
    assert len(index.documents()) == 2
    assert index.knowledge_graph is not None
    assert again.knowledge_graph is not index.knowledge_graph
    # Each closes its own.
    again.close()
    assert "four" in str(index.as_query_engine().query("When is tea served?"))


def test_a_tenant_stays_in_its_pickle(common, tmp_path):
    with RAGAnythingIndex(tenant="ours", **common) as ours, RAGAnythingIndex(tenant="theirs", **common) as theirs:
        ours.add(tmp_path / "files")
        with pickle.loads(pickle.dumps(theirs)) as again:
            assert again.documents() == []
            assert again.as_retriever().retrieve("harbour office") == []
        with pickle.loads(pickle.dumps(ours)) as again:
            assert len(again.documents()) == 1


@pytest.mark.parametrize("llm", [None, "chat"])
def test_an_engine_comes_back_and_answers_alike(index, llm):
    model = ScriptedChatLLM(responses=["At 7 a.m. [1]"]) if llm else None
    engine = index.as_query_engine(llm=model)
    before = engine.query(QUESTION)
    again = pickle.loads(pickle.dumps(engine))
    after = again.query(QUESTION)
    assert str(after) == str(before)
    assert after.metadata["citations"] == before.metadata["citations"]


def test_an_index_with_images_and_a_parser_of_its_own(common, tmp_path):
    model = ColorEmbedding()
    with RAGAnythingIndex(embed_model=model, image_embed_model=model, **common) as index:
        index.add(tmp_path / "files")
        with pickle.loads(pickle.dumps(index)) as again:
            assert again.visual_store.collection_name == index.visual_store.collection_name
            assert len(again.documents()) == 1


def test_no_secret_is_in_a_pickle_and_keys_come_from_the_environment(common, tmp_path, monkeypatch):
    from llama_index.llms.openai import OpenAI

    monkeypatch.setenv("RAG_LLM_API_KEY", SECRET)
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    settings = RAGAnythingSettings(milvus_token=SECRET)
    options = {"embed_model": HashEmbedding(dimension=16), "settings": settings, **common}
    for llm in (OpenAI(model="gpt-4o", api_key=SECRET), named_llm("openai-like:m@http://127.0.0.1:9/v1")):
        with RAGAnythingIndex(llm=llm, vision_llm=llm, **options) as index:
            assert SECRET not in repr(index) + str(index.__dict__["_models"].settings)
            data = pickle.dumps(index), pickle.dumps(index.as_query_engine())
            assert SECRET.encode() not in data[0] + data[1]
            assert llm.api_key == SECRET
            monkeypatch.setenv("RAG_LLM_API_KEY", "sk-of-the-environment")
            monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
            with pickle.loads(data[0]) as again:
                assert again.llm.api_key == "sk-of-the-environment"
                assert again.llm.model == llm.model
                assert again._models.settings.dashscope_api_key.get_secret_value() == SECRET


def test_what_an_index_was_told_to_leave_out_stays_out(common, monkeypatch):
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    with (
        RAGAnythingIndex(models="embedded", **common) as index,
        pickle.loads(pickle.dumps(index)) as again,
    ):
        assert again.llm is None
        assert again._models.settings.dashscope_api_key is None


def test_a_part_that_cannot_be_pickled_is_a_typed_error(common):
    def transform(nodes, **_kwargs):
        return nodes

    with (
        RAGAnythingIndex(transformations=[transform], **common) as index,
        pytest.raises(ConfigurationError, match=r"cannot be pickled: .*transform.*open another one"),
    ):
        pickle.dumps(index)


def test_copies_share_and_deep_copies_do_not(index):
    shallow = copy.copy(index)
    assert shallow.store is index.store
    engine = copy.copy(index.as_query_engine())
    assert "7 a.m." in str(engine.query(QUESTION))
    with copy.deepcopy(index) as deep:
        assert deep.store is not index.store
        assert "7 a.m." in str(deep.as_query_engine().query(QUESTION))


def test_another_process_loads_it_when_this_one_has_closed_it(index, tmp_path):
    (tmp_path / "index.pickle").write_bytes(pickle.dumps(index))
    code = (
        "import pickle, sys; index = pickle.load(open(sys.argv[1], 'rb'));"
        f"print(index.as_query_engine().query({QUESTION!r})); index.close()"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "index.pickle")]
    locked = subprocess.run(run, capture_output=True, text=True, check=False)
    assert StoreLockedError.__name__ in locked.stderr
    assert "serve it to both" in locked.stderr
    index.close()
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert "7 a.m." in done.stdout
