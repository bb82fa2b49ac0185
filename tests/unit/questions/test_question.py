import pytest

from llama_index_raganything.questions.question import understand


@pytest.mark.parametrize(
    ("question", "pages"),
    [
        ("What is on page 14?", (14,)),
        ("What is on page fourteen?", (14,)),
        ("What is on the 14th page?", (14,)),
        ("What is on the fourteenth page?", (14,)),
        ("Compare pages 3 to 5 and page 7", (3, 4, 5, 7)),
        ("Compare pages 3-5", (3, 4, 5)),
        ("See pp. 3, 4 and 9", (3, 4, 9)),
        ("Summarise slide #7", (7,)),
        ("the figure on page 6985", (6985,)),
        ("第3页讲了什么?", (3,)),
        ("第三页讲了什么?", (3,)),
        ("第十二页", (12,)),
        ("第3-5页", (3, 4, 5)),
        ("page the doctor", ()),
        ("a homepage with 5 links", ()),
    ],
)
def test_pages_named_by_number(question, pages):
    assert understand(question).pages == pages


@pytest.mark.parametrize(
    ("question", "positions", "last"),
    [
        ("What is on the cover?", (1,), 0),
        ("What is on the first page?", (1,), 0),
        ("the email on the second cover page", (2,), 0),
        ("Summarise the first three pages", (1, 2, 3), 0),
        ("Summarise the first 2 slides", (1, 2), 0),
        ("What does the last page say?", (), 1),
        ("What do the last two slides say?", (), 2),
        ("What is on the back cover?", (), 1),
        ("前三页", (1, 2, 3), 0),
        ("封面上是什么?", (1,), 0),
        ("最后一页", (), 1),
        ("最后两页", (), 2),
        ("what does the policy cover letter say", (), 0),
    ],
)
def test_pages_named_by_place(question, positions, last):
    found = understand(question)
    assert (found.positions, found.last_pages) == (positions, last)


@pytest.mark.parametrize(
    ("question", "labels"),
    [
        ("What does Figure 4 show?", (("figure", "4"),)),
        ("What does fig. 4a show?", (("figure", "4A"),)),
        ("Compare Figures 5 and 6", (("figure", "5"), ("figure", "6"))),
        ("the total in Table A.2", (("table", "A.2"),)),
        ("weaknesses in Appendix C?", (("appendix", "C"),)),
        ("weaknesses in appendix c?", (("appendix", "C"),)),
        ("Exhibit P-10", (("exhibit", "P-10"),)),
        ("what does Section 3.2 say", (("section", "3.2"),)),
        ("quizzes in units 4, 5, and 6", (("unit", "4"), ("unit", "5"), ("unit", "6"))),
        ("case study under unit-8", (("unit", "8"),)),
        ("图2是什么?", (("figure", "2"),)),
        ("附录B与表 1", (("appendix", "B"), ("table", "1"))),
        ("第3.2节", (("section", "3.2"),)),
        ("第三章", (("chapter", "3"),)),
        ("Is the table important?", ()),
    ],
)
def test_labelled_parts(question, labels):
    assert set(understand(question).labels) == set(labels)


def test_words_that_only_ask_are_no_terms():
    found = understand("How many tables are listed in the document? Give your answer as an integer.")
    assert found.terms == ("tabl",)
    assert found.counted == "table"


def test_a_request_for_a_format_is_left_out_but_the_question_is_not():
    assert "yyyi" not in understand("When was the merger? Format the date as YYYY-MM-DD.").terms
    assert "score" in understand("Please list the F1 scores in descending order.").terms


def test_a_question_of_nothing_but_asking_words_keeps_them():
    assert understand("How many?").terms


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ("What is the email of the lawyer?", {"email"}),
        ("Which website is named?", {"url"}),
        ("What is the fax number?", {"phone"}),
        ("联系电话是多少?", {"phone"}),
        ("Who won?", set()),
    ],
)
def test_kinds_of_answer(question, answers):
    assert understand(question).answers == answers


def test_kinds_of_element_and_questions_about_the_document():
    assert understand("Which chart shows sales?").kinds == {"image"}
    assert understand("Which row of the table is largest?").kinds == {"table"}
    assert understand("Who are the authors?").about_document
    assert not understand("How do pumps work?").about_document


@pytest.mark.parametrize(
    "text", ["", "   ", "\x00", "(" * 5000, "page " * 3000, "第" * 3000, "pages 1-9999", "𝔘 ﷽ 👩‍👩‍👧", "a" * 100_000]
)
def test_hostile_questions_are_read_quickly(text):
    found = understand(text)
    assert len(found.pages) <= 60
