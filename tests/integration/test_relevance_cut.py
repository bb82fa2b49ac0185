"""LlamaIndex's own cut by score drops what does not answer, and keeps what does."""

import docx
import pytest
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from reportlab.pdfgen import canvas

from benchmarks import _relevance
from llama_index_raganything import RAGAnythingIndex
from llama_index_raganything.query_engine.extractive.synthesizer import ExtractiveSynthesizer
from llama_index_raganything.query_engine.prompts import NOT_FOUND
from llama_index_raganything.testing import HashEmbedding

PAGES = [
    ["Kestrel 40 operating manual", "Centrifugal pumps move water by an impeller."],
    ["Maintenance", "Maintenance of the pump takes two hours.", "The gasket is replaced every 400 hours."],
    ["Electrical data", "The motor of the Kestrel 40 draws 11 kilowatts at 400 volts."],
    ["Warranty", "The warranty of the Kestrel series ends after 36 months."],
]
WORDS = ["The Amber Lantern is a drama of 1958.", "Its score was composed by Tomas Brenn.", "Oslet lies in a valley."]
GOOD = [
    ("How many kilowatts does the motor of the Kestrel 40 draw?", "11 kilowatts"),
    ("Who composed the score of The Amber Lantern?", "Tomas Brenn"),
]
FOREIGN = ["How to cook spaghetti carbonara?", "Who won the football championship in Bolivia?", "carbonara"]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    page = canvas.Canvas(str(folder / "pump.pdf"))
    for lines in PAGES:
        for place, line in enumerate(lines):
            page.drawString(70, 750 - 20 * place, line)
        page.showPage()
    page.save()
    document = docx.Document()
    for line in WORDS:
        document.add_paragraph(line)
    document.save(folder / "film.docx")
    root = tmp_path_factory.mktemp("kb")
    with RAGAnythingIndex(
        uri=str(root / "m.db"), working_dir=root / "storage", embed_model=HashEmbedding(dimension=64)
    ) as made:
        made.add([folder])
        yield made


def test_the_benchmark_tells_the_documents_apart(index):
    ids = {entry.file_name: entry.doc_id for entry in index.documents()}
    questions = [{"question": GOOD[0][0], "doc": "pump.pdf"}, {"question": GOOD[1][0], "doc": "film.docx"}]
    assert _relevance.auc(index, questions, ids) == 1
    assert _relevance.auc(index, [{**questions[0], "doc": "film.docx"}], ids) == 0
    with pytest.raises(ValueError, match="no question"):
        _relevance.auc(index, [{"question": "How many pages are there?", "doc": "pump.pdf"}], ids)
    assert _relevance.area([0.5, 0.2], [0.5, 0.1]) == 0.625


CUT = SimilarityPostprocessor(similarity_cutoff=0.5)


@pytest.fixture(params=["own", "plain"])
def engine(request, index):
    if request.param == "own":
        return index.as_query_engine(node_postprocessors=[CUT])
    return RetrieverQueryEngine(index.as_retriever(), ExtractiveSynthesizer(), node_postprocessors=[CUT])


@pytest.mark.parametrize("question", FOREIGN)
async def test_a_foreign_question_leaves_nothing(engine, question):
    for response in (engine.query(question), await engine.aquery(question)):
        assert response.source_nodes == []
        # LlamaIndex answers itself when nothing is left.
        assert str(response) in (NOT_FOUND, "Empty Response")


@pytest.mark.parametrize(("question", "answer"), GOOD)
async def test_a_good_question_keeps_its_source(engine, question, answer):
    for response in (engine.query(question), await engine.aquery(question)):
        assert answer in response.source_nodes[0].node.get_content()
        assert answer in str(response)


def test_scores_are_probabilities_and_fall(index):
    for question in (*(question for question, _ in GOOD), *FOREIGN):
        scores = [item.score for item in index.as_retriever(similarity_top_k=20).retrieve(question)]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)


def test_order_is_not_changed_by_the_number_of_results(index):
    few, many = (index.as_retriever(similarity_top_k=k).retrieve(GOOD[0][0]) for k in (2, 6))
    assert [(i.node.node_id, i.score) for i in few] == [(i.node.node_id, i.score) for i in many[:2]]
