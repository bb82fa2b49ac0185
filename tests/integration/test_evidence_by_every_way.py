"""The cell that answers comes by every way in: retriever, engine, chat and tool, out of a mixed set of files."""

import pytest
from docx import Document as WordFile
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from openpyxl import Workbook
from pptx import Presentation
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from llama_index_raganything import (
    ConfigurationError,
    RAGAnythingChatEngine,
    RAGAnythingIndex,
    RAGAnythingQueryEngine,
    citations_of,
)
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.query_engine.context.page_context import PageContextPostprocessor
from llama_index_raganything.testing import ScriptedTextLLM

YEARS = ("2031", "2032", "2033")
INCOME = {
    "Arvika": ("61.7", "64.2", "70.9"),
    "Belmonte": ("18.3", "22.6", "25.1"),
    "Corvo": ("7.9", "8.8", "11.4"),
    "Dalarna": ("33.5", "31.2", "36.6"),
    "Elvas": ("12.1", "13.7", "16.8"),
    "Farsund": ("45.4", "48.3", "52.9"),
    "Gdynia": ("27.2", "29.9", "30.7"),
    "Horta": ("5.6", "6.3", "9.2"),
    "Imatra": ("38.8", "41.5", "43.1"),
}
QUESTIONS = [
    (form.format(region, year), INCOME[region][YEARS.index(year)])
    for number, region in enumerate(INCOME)
    for form, year in (
        ("What was the income of {} in {}?", YEARS[number % 3]),
        ("How much income did {} have in {}?", YEARS[(number + 1) % 3]),
    )
]


def write_pdf(path):
    styles = getSampleStyleSheet()
    rows = [["Plant", *YEARS], *([name, *values] for name, values in INCOME.items())]
    lines = TableStyle([("GRID", (0, 0), (-1, -1), 0.5, "black")])
    prose = "The plants of the group press oil from seeds. Income grew at most plants, as harvests were good. "
    story = [
        Paragraph("Sundby Oils: report of the plants", styles["Heading1"]),
        Paragraph(prose * 4, styles["BodyText"]),
        PageBreak(),
        Paragraph("Income of the plants", styles["Heading2"]),
        Paragraph("Table 1: Income by plant, in million crowns", styles["BodyText"]),
        Table(rows, style=lines),
        Spacer(1, 20),
        Paragraph(prose * 3, styles["BodyText"]),
        PageBreak(),
        Paragraph("Outlook", styles["Heading2"]),
        Paragraph("The income of all plants in 2034 is expected to be as in 2033. " * 6, styles["BodyText"]),
    ]
    SimpleDocTemplate(str(path), pagesize=A4).build(story)


def write_others(folder):
    word = WordFile()
    word.add_heading("Plants", 1)
    word.add_paragraph("Arvika, Corvo and Gdynia were visited in 2032. Their income is told in the yearly report.")
    word.save(folder / "visits.docx")
    book = Workbook()
    book.active.append(["Plant", "Presses", "Staff"])
    for number, name in enumerate(INCOME):
        book.active.append([name, number + 2, 30 + number])
    book.save(folder / "staff.xlsx")
    slides = Presentation()
    slide = slides.slides.add_slide(slides.slide_layouts[1])
    slide.shapes.title.text = "Income of the group"
    slide.placeholders[1].text = "Income grew in 2032 and in 2033\nElvas and Farsund lead"
    slides.save(folder / "talk.pptx")
    (folder / "news.html").write_text("<h1>News</h1><p>Horta had a record harvest in 2033; income rose.</p>")
    (folder / "notes.md").write_text("# Notes\n\nAsk Imatra and Dalarna for their income of 2031.\n")
    (folder / "mail.eml").write_text(
        "From: a@example.org\nTo: b@example.org\nSubject: Income\n\nWhat was the income of Belmonte in 2032?\n"
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_pdf(folder / "report.pdf")
    write_others(folder)
    work = tmp_path_factory.mktemp("work")
    with RAGAnythingIndex.from_paths(
        folder, uri=str(work / "a.db"), working_dir=work, models="embedded", strict=True
    ) as made:
        yield made


def sent(llm):
    return "\n".join(message.content or "" for request in llm.requests for message in request)


@pytest.mark.parametrize(("question", "cell"), QUESTIONS)
def test_the_cell_is_among_the_results(index, question, cell):
    results = index.as_retriever(similarity_top_k=5).retrieve(question)
    assert any(cell in item.node.get_content() for item in results)


@pytest.mark.parametrize(("question", "cell"), QUESTIONS)
def test_the_cell_is_in_the_prompts_of_engine_and_chat_and_in_the_text_of_the_tool(index, question, cell):
    for ask in (
        lambda llm: index.as_query_engine(llm=llm).query(question),
        lambda llm: index.as_chat_engine(llm=llm).chat(question),
    ):
        llm = ScriptedTextLLM(replies=["So it is. [1]"])
        ask(llm)
        assert cell in sent(llm)
    (search,) = [tool for tool in index.as_tools() if tool.metadata.name == "search"]
    assert cell in search(question).content


ELVAS = "What was the income of Elvas in 2033?"


def page_with_the_table(results):
    (found,) = [item.node for item in results if "16.8" in item.node.get_content()]
    return found


def test_a_page_tells_its_best_elements_with_their_boxes(index):
    page = page_with_the_table(index.as_retriever().retrieve(ELVAS))
    assert (page.metadata["content_type"], page.metadata["page"]) == ("page", 2)
    first = NodeView(page).best_elements[0]
    assert (first["content_type"], first["label"]) == ("table", "Table 1")
    element = page_with_the_table(index.as_retriever(returns="elements").retrieve(ELVAS))
    assert (element.node_id, element.metadata["bbox"]) == (first["node_id"], first["bbox"])


def test_the_citation_of_a_page_leads_to_the_box_of_its_table(index):
    results = index.as_retriever().retrieve(ELVAS)
    number = [item.node.node_id for item in results].index(page_with_the_table(results).node_id) + 1
    llm = ScriptedTextLLM(replies=[f"The income of Elvas was 16.8 million crowns in 2033 [{number}]."])
    (citation,) = index.as_query_engine(llm=llm).query(ELVAS).metadata["citations"]
    assert (citation["page"], citation["label"], citation["content_type"]) == (2, "Table 1", "table")
    assert citation["bbox"] is not None
    # The table is given as a table, and once.
    assert "| Elvas | 12.1 | 13.7 | 16.8 |" in sent(llm)
    assert sent(llm).count("16.8") == 1


@pytest.mark.parametrize("claim", ["Elvas earned 16.8 million crowns [{}].", "16.8 [{}]"])
@pytest.mark.parametrize("make", [RAGAnythingQueryEngine.from_args, RAGAnythingChatEngine.from_defaults])
def test_engines_over_the_bare_retriever_find_pages_and_boxes_in_its_store(index, claim, make):
    results = index.as_retriever().retrieve(ELVAS)
    number = [item.node.node_id for item in results].index(page_with_the_table(results).node_id) + 1
    engine = make(index.as_retriever(), ScriptedTextLLM(replies=[claim.format(number)]))
    ask = engine.query if isinstance(engine, RAGAnythingQueryEngine) else engine.chat
    (citation,) = citations_of(ask(ELVAS))
    assert (citation.label, citation.page, citation.content_type) == ("Table 1", 2, "table")
    assert citation.bbox is not None
    assert "16.8" in citation.quote


def test_names_in_place_of_models_are_refused(index):
    for make in (index.as_query_engine, index.as_chat_engine):
        with pytest.raises(ConfigurationError, match="llm must be an LLM of LlamaIndex, not a str"):
            make(llm="gpt-4")
    with pytest.raises(ConfigurationError, match="embed_model must be a BaseEmbedding"):
        RAGAnythingIndex(embed_model="text-embedding-3-small")


def test_llama_index_fuses_the_same_page_of_several_questions_into_one_result(index):
    llm = ScriptedTextLLM(replies=["income of Elvas 2033\nElvas plant income in the year 2033"])
    fused = QueryFusionRetriever(
        [index.as_retriever(similarity_top_k=5)], llm=llm, num_queries=3, similarity_top_k=5, use_async=False
    )
    ids = [item.node.node_id for item in fused.retrieve(ELVAS)]
    assert len(ids) == len(set(ids))


async def test_llama_index_evaluates_pages(index):
    page = page_with_the_table(index.as_retriever().retrieve(ELVAS))
    evaluator = RetrieverEvaluator.from_metric_names(["hit_rate"], retriever=index.as_retriever(similarity_top_k=5))
    measured = await evaluator.aevaluate(ELVAS, [page.node_id])
    assert measured.metric_vals_dict["hit_rate"] == 1.0


def test_a_plain_engine_gets_the_same_context_with_our_postprocessor(index):
    llm = ScriptedTextLLM(replies=["16.8"])
    engine = RetrieverQueryEngine.from_args(
        index.as_retriever(),
        llm=llm,
        node_postprocessors=[
            SimilarityPostprocessor(similarity_cutoff=0.0),
            PageContextPostprocessor(store=index.store, max_tokens=500),
        ],
    )
    response = engine.query(ELVAS)
    assert "| Elvas | 12.1 | 13.7 | 16.8 |" in sent(llm)
    assert 2 in [scored.node.metadata.get("page") for scored in response.source_nodes]


@pytest.mark.parametrize("make", ["as_retriever", "as_query_engine", "as_chat_engine", "as_tools"])
def test_options_of_the_retriever_reach_all_four(index, make):
    options = {} if make in ("as_retriever", "as_tools") else {"llm": ScriptedTextLLM()}
    made = getattr(index, make)(similarity_top_k=2, returns="elements", inventory=False, **options)
    retriever = made[1].retriever if make == "as_tools" else getattr(made, "_retriever", made)
    assert (retriever.similarity_top_k, retriever.returns) == (2, "elements")


@pytest.mark.parametrize(("tokens", "results"), [(None, 20), (3000, 10), (9000, 30), (60_000, 50)])
def test_as_many_results_are_read_as_fill_what_the_llm_is_given(index, tokens, results):
    llm = ScriptedTextLLM(context_window=200_000)
    options = {} if tokens is None else {"context_tokens": tokens}
    engine, chat = index.as_query_engine(llm=llm, **options), index.as_chat_engine(llm=llm, **options)
    assert engine.retriever.similarity_top_k == chat._retriever.similarity_top_k == results
    assert index.as_tools(llm=llm, **options)[1].retriever.similarity_top_k == results


def test_without_an_llm_few_results_are_quoted(index):
    assert index.as_query_engine().retriever.similarity_top_k == 5
    assert index.as_retriever().similarity_top_k == 10


@pytest.mark.parametrize("make", ["as_retriever", "as_query_engine", "as_chat_engine", "as_tools"])
def test_no_results_at_all_cannot_be_asked_for(index, make):
    options = {} if make in ("as_retriever", "as_tools") else {"llm": ScriptedTextLLM()}
    with pytest.raises(ConfigurationError, match="similarity_top_k must be 1 or more"):
        getattr(index, make)(similarity_top_k=0, **options)
