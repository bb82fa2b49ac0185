"""Lines of a page that caption or head something."""

import pytest

from llama_index_raganything.retrievers.inventory.items import best_lines, caption_lines, numbered_in_order


@pytest.mark.parametrize(
    ("line", "label", "title"),
    [
        ("Table 1: Revenue by region", "Table 1", "Revenue by region"),
        ("TABLE 2. Costs", "Table 2", "Costs"),
        ("Table 2-1 Inaccurate results", "Table 2-1", "Inaccurate results"),
        ("Fig. 3 - The pump", "Figure 3", "The pump"),
        ("Appendix B", "Appendix B", ""),
        ("APPENDIX C: SWOT Analysis", "Appendix C", "SWOT Analysis"),
        ("表 3 收入", "表 3", "收入"),
    ],
)
def test_captions_and_headings(line, label, title):
    (found,) = caption_lines(f"Some words.\n{line}\nMore words.", ["table", "figure", "appendix", "表"])
    assert (found.label, found.title, found.weight) == (label, title, 2)


@pytest.mark.parametrize(
    "line",
    [
        "Table 2 shows that costs fell",
        "Table 2) and costs",
        "Figure 7 of Appendix B",
        "Appendix C.",
        "(Table 1). As the population",
        "Tables of weights",
        "Table of contents",
        "The appendix",
        "Appendix ABC",
    ],
)
def test_sentences_are_no_captions(line):
    assert caption_lines(line, ["table", "figure", "appendix"]) == []


def test_the_page_itself_goes_before_the_list_of_contents():
    pages = [
        (1, "contents", "Appendix A: People ........ 4\nAppendix B: Money 12"),
        (4, "people", "Appendix A\nPeople who helped"),
    ]
    found = best_lines(pages, ["appendix"])
    assert {label: node_id for label, (_, node_id) in found.items()} == {
        "Appendix A": "people",
        "Appendix B": "contents",
    }
    assert found["Appendix B"][0].title == "Money"


def test_a_numbering_has_most_of_its_numbers():
    assert numbered_in_order(["Table 1", "Table 2", "Table 3"])
    assert numbered_in_order(["Table 1", "Table 3"])
    assert not numbered_in_order(["Table 1"])
    assert not numbered_in_order(["Table 3", "Table 40"])
