"""Options of an index's engines and tools reach whom they are for."""

import pytest
from llama_index.core.callbacks import CallbackManager

from llama_index_raganything import RAGAnythingIndex, UnknownArgumentError


@pytest.fixture
def index(tmp_path):
    with RAGAnythingIndex(uri=str(tmp_path / "a.db"), working_dir=tmp_path / "work", models="embedded") as made:
        yield made


def test_what_engine_and_retriever_share_reaches_both(index):
    manager = CallbackManager([])
    engine = index.as_query_engine(callback_manager=manager, inventory=False, candidates=7)
    assert engine.callback_manager is manager
    assert engine.retriever.callback_manager is manager
    assert engine.retriever.candidates == 7
    ask, search = index.as_tools(callback_manager=manager, inventory=False, candidates=7)
    assert ask.query_engine.callback_manager is manager
    assert [ask.query_engine.retriever.candidates, search.retriever.candidates] == [7, 7]


@pytest.mark.parametrize("method", ["as_query_engine", "as_chat_engine", "as_tools"])
def test_a_misspelt_argument_of_the_retriever_is_refused_by_what_stands_on_it(index, method):
    with pytest.raises(UnknownArgumentError, match=rf"{method}\(\) does not know candidats: did you mean candidates\?"):
        getattr(index, method)(candidats=7)
    with pytest.raises(UnknownArgumentError, match="vector_store"):
        getattr(index, method)(vector_store=index.store)
