"""What happens to documents when the embedding model refuses a text, or refuses to serve at all."""

import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import Document
from pydantic import Field, PrivateAttr

from llama_index_raganything import RAGAnythingIndex
from llama_index_raganything.errors import (
    ConfigurationError,
    DashScopeAuthenticationError,
    DashScopeBadRequestError,
    DashScopeContentError,
    DashScopeServerError,
    PartialEmbeddingError,
)
from llama_index_raganything.ingestion.report import NOT_TRIED
from llama_index_raganything.testing import HashEmbedding


class Inspected(HashEmbedding):
    """Embeds as the DashScope models do: texts with a bad word fail alone, the others are embedded."""

    error: type[Exception] = Field(default=DashScopeContentError)
    _calls: list[int] = PrivateAttr(default_factory=list)

    def _get_text_embeddings(self, texts):
        self._calls.append(len(texts))
        vectors = [None if "forbidden" in text else self._get_text_embedding(text) for text in texts]
        failures = {place: self.error(f"no: {place}") for place, vector in enumerate(vectors) if vector is None}
        if failures and len(failures) == len(texts):
            raise failures[0]
        if failures:
            message = "Some failed."
            raise PartialEmbeddingError(message, vectors, failures)
        return vectors


def index_with(tmp_path, **options):
    return RAGAnythingIndex(uri=str(tmp_path / "m.db"), working_dir=tmp_path / "w", **options)


GOOD = "The harbour of Bergen was widened in 1998. " * 30
BAD = "This forbidden passage is about something else. " * 30


@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_a_refused_node_is_left_out_and_reported(tmp_path, batch_size):
    document = Document(text=f"# One\n\n{GOOD}\n\n# Two\n\n{BAD}\n\n# Three\n\n{GOOD}", id_="d")
    with index_with(tmp_path, embed_model=Inspected(embed_batch_size=batch_size)) as index:
        report = index.add_documents([document])
        assert not report.failures
        assert report.warnings
        assert all("was left out: no: " in reason for _, reason in report.warnings)
        texts = [node.get_content() for node in index.store.get_nodes()]
        assert any("Bergen" in text for text in texts)
        assert not any("forbidden" in text for text in texts)
        assert sum(index.documents()[0].node_counts.values()) == len(texts)
        # It would be refused again: what is in counts as complete.
        assert index.add_documents([document]).unchanged == ["d"]


def test_a_document_of_refused_texts_fails_alone(tmp_path):
    with index_with(tmp_path, embed_model=Inspected()) as index:
        report = index.add_documents([Document(text=BAD, id_="bad"), Document(text=GOOD, id_="good")])
        assert [source for source, _ in report.failures] == ["bad"]
        assert report.added == ["good"]


def test_what_fails_for_a_moment_is_asked_once_more_alone(tmp_path):
    class Recovering(Inspected):
        def _get_text_embeddings(self, texts):
            if self._calls:
                self._calls.append(len(texts))
                return [self._get_text_embedding(text) for text in texts]
            return super()._get_text_embeddings(texts)

    document = Document(text=f"# One\n\n{GOOD}\n\n# Two\n\n{BAD}", id_="d")
    model = Recovering(error=DashScopeServerError)
    with index_with(tmp_path, embed_model=model) as index:
        report = index.add_documents([document])
        assert report.added == ["d"]
        assert not report.warnings
        first, second = model._calls
        assert 0 < second < first
        assert index.store.count() == first


@pytest.mark.parametrize("error", [DashScopeServerError, DashScopeBadRequestError])
@pytest.mark.parametrize("batch_size", [1, 256])
def test_another_reason_fails_the_document_which_is_tried_again(tmp_path, error, batch_size):
    document = Document(text=f"# One\n\n{GOOD}\n\n# Two\n\n{BAD}", id_="d")
    with index_with(tmp_path, embed_model=Inspected(error=error, embed_batch_size=batch_size)) as index:
        assert index.add_documents([document]).failures[0][0] == "d"
        assert index.store.count() == 0
    with index_with(tmp_path, embed_model=Inspected()) as index:
        assert index.add_documents([document]).added == ["d"]


def test_a_refused_key_ends_the_run_and_keeps_what_is_in(tmp_path):
    model = Inspected(error=DashScopeAuthenticationError)
    documents = [Document(text=text, id_=name) for name, text in [("a", GOOD), ("b", BAD), ("c", GOOD), ("d", BAD)]]
    with index_with(tmp_path, embed_model=model) as index:
        report = index.add_documents(documents)
        assert report.added == ["a"]
        assert [source for source, _ in report.failures] == ["b", "c", "d"]
        assert [reason for _, reason in report.failures[1:]] == [NOT_TRIED] * 2
        assert report.ended_early == "no: 0"
        assert str(report).count("Not tried") == 0
        assert "Ended early, 2 not tried: no: 0" in str(report)
        assert len(model._calls) == 2
        assert [entry.doc_id for entry in index.documents() if entry.state == "ready"] == ["a"]
        model.error = DashScopeContentError
        assert index.add_documents(documents).added == ["c"]


def test_any_embedding_model_still_works(tmp_path):
    assert issubclass(Inspected, BaseEmbedding)
    with index_with(tmp_path, embed_model=HashEmbedding()) as index:
        assert index.add_documents([Document(text=BAD, id_="d")]).added == ["d"]


class ForbiddenError(Exception):
    status_code = 403


@pytest.mark.parametrize("error", [ForbiddenError, ConfigurationError])
def test_what_may_be_the_fault_of_one_document_does_not_end_the_run(tmp_path, error):
    documents = [Document(text=text, id_=name) for name, text in [("a", GOOD), ("b", BAD), ("c", GOOD)]]
    with index_with(tmp_path, embed_model=Inspected(error=error)) as index:
        report = index.add_documents(documents)
        assert report.added == ["a", "c"]
        assert [source for source, _ in report.failures] == ["b"]
        assert not report.ended_early
