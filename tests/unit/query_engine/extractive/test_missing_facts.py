"""Numbers, years, codes and acronyms of a question that stand nowhere."""

import pytest
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from llama_index_raganything.query_engine.extractive.missing_facts import missing_facts
from llama_index_raganything.query_engine.extractive.synthesizer import ExtractiveSynthesizer
from llama_index_raganything.query_engine.prompts import NOT_FOUND
from llama_index_raganything.questions.question import may_name_facts

TEXT = "Revenue of the unit was 1,250 million euros in 2021. Staff: twelve people."


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("What was the revenue in 2017?", ["2017"]),
        ("What was the revenue in FY2017 and in FY2021?", ["FY2017"]),
        ("What was the revenue in FY17?", ["FY17"]),
        ("Which unit had 4,300 people?", ["4,300"]),
        ("How does the GPT-4 model do on 50-shot?", ["GPT-4", "50"]),
        ("What does rule P-10 say of case 21-13199?", ["P-10", "21-13199"]),
        ("What did NATO decide?", ["NATO"]),
        ("What did the U.N.E.S.C. decide?", ["U.N.E.S.C."]),
        ("2017年的收入是多少?", ["2017"]),
        ("Wie hoch war der Umsatz 2017?", ["2017"]),
        ("What was the revenue from 2017 to 2021?", ["2017"]),
        ("What happened on 2017-03-24?", ["2017"]),
    ],
)
def test_what_stands_nowhere(question, missing):
    assert missing_facts(question, [TEXT]) == missing
    assert may_name_facts(question)


@pytest.mark.parametrize(
    "question",
    [
        "What was the revenue? Round to 25 decimals.",
        "What was the revenue, rounded to 25 decimal places?",
        "Sum it up in 300 words.",
        "Answer in 45 words or in CSV.",
        "Fasse es in 30 Wörtern zusammen.",
        "Résume en 40 mots.",
        "收入是多少？保留12位小数",
        "用50个字概括",
        "When was it? Give the time like '17:05 CET'.",
        "Which units, e.g. X-99 or 1974?",
        "What date is it? Format it as YYYY-MM-DD.",
        'List the pages as JSON, for example ["16","17"].',
        "What is on page 14 and on pages 21-23?",
        "What does Figure 33 show, and Table 12?",
        "第14页讲了什么？",
        "1. What is it?\n12. Who made it?",
        "Name the 3 largest units.",
        "WHAT IS THE REVENUE OF THE NEW UNIT?",
        "How much was it in Q3?",
        "Who leads the unit?",
        "",
    ],
)
def test_what_is_no_fact(question):
    assert missing_facts(question, [TEXT]) == []


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Which unit had 1250 people?", "1,250 people"),
        ("Which unit had 1,250 people?", "1.250 Mitarbeiter"),
        ("Which unit had 1,250,000 people?", "1.25 million people"),
        ("Which unit had 200,000 people?", "200 thousand people"),
        ("Which unit had 1 250 people?", "1\u00a0250 people"),
        ("Who are the 12 people?", "Twelve people"),
        ("Who are the 25 people?", "twenty-five people"),
        ("Which rate is 2.50 %?", "a rate of 2.5 %"),
        ("What was it in 2020?", "from 2019-2021"),
        ("What was it in 2020?", "in the year 2019/20"),
        ("What was it in 2020?", "in FY20"),
        ("What was it in FY2020?", "in fiscal 2020"),
        ("What was it in 2019/20?", "in 2019 and 2020"),
        ("What was it in 1998?", "since Dec '98"),
        ("Where are 1862 people?", "1,862 people"),
        ("What happened on 2015-03-24?", "24 March 2015"),
        ("What is the GDP of it?", "the gross domestic product"),
        ("What is the DOJ?", "the Department of Justice"),
        ("What is nasa's NASA budget?", "the budget of Nasa"),
        ("What are the APIs?", "one API"),
        ("What is the U.S. view?", "views in the US"),
        ("What is the GDP是多少", "GDP的数字"),
        ("How does GPT-4 do?", "GPT 4 does well"),
        ("How many met Covid-19?", "COVID\u201119"),
    ],
)
def test_what_stands_there_written_otherwise(question, text):
    assert missing_facts(question, ["nothing", text]) == []


def ask(question, metadata=None):
    node = TextNode(text="The revenue of the pump unit was 40 million euros.", metadata=metadata or {})
    return ExtractiveSynthesizer().synthesize(QueryBundle(question), [NodeWithScore(node=node, score=1.0)])


def test_an_answer_without_a_model_is_refused():
    assert "40 million" in str(ask("What was the revenue of the pump unit?"))
    refused = ask("What was the revenue of the pump unit in 2017?")
    assert (str(refused), refused.metadata["answered"]) == (NOT_FOUND, False)
    assert str(ExtractiveSynthesizer().get_response("Revenue of the pump unit in 2017?", ["Pump unit: revenue"])) == (
        NOT_FOUND
    )


def test_the_name_of_the_file_and_the_caption_count():
    for metadata in ({"file_name": "annual_2017.pdf"}, {"caption": "Table 2: figures of 2016-2018"}):
        assert "40 million" in str(ask("What was the revenue of the pump unit in 2017?", metadata))
