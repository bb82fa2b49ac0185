"""The text of a page as an LLM reads it: each thing once, and the table that is asked for as a table."""

from llama_index_raganything.query_engine.context.page_context import page_text, with_table

TABLE = (
    "Table 1: Income\n\n| Plant | 2031 | 2032 |\n| --- | --- | --- |\n| Arvika | 61.7 | 64.2 |\n| Corvo | 7.9 | 8.8 |"
)
PAGE = "Income of the plants\nTable 1: Income\nPlant 2031 2032\nArvika 61.7 64.2\nCorvo 7.9 8.8\nArvika grew most."


def test_what_the_page_has_is_not_repeated():
    assert page_text(PAGE, ["Arvika grew most.", "Income of the plants"]) == PAGE


def test_what_only_an_element_says_is_added():
    words = "Recognised words: boiler, valve, chimney, furnace and gate"
    assert page_text(PAGE, [words]) == f"{PAGE}\n\n{words}"


def test_a_page_without_text_is_made_of_its_elements():
    assert page_text("", ["boiler valve chimney furnace"]) == "boiler valve chimney furnace"


def test_a_table_stands_in_place_of_the_lines_that_flatten_it():
    text = page_text(PAGE, [TABLE], [TABLE])
    assert text.count("61.7") == text.count("8.8") == 1
    assert "| Arvika | 61.7 | 64.2 |" in text
    assert text.startswith("Income of the plants")
    assert text.endswith("Arvika grew most.")


def test_a_line_with_a_number_that_the_table_lacks_stays():
    page = PAGE.replace("Corvo 7.9 8.8", "Corvo 7.9 8.8 12.5")
    assert "Corvo 7.9 8.8 12.5" in with_table(page, TABLE)


def test_a_line_with_a_word_that_the_table_lacks_stays():
    page = PAGE.replace("Corvo 7.9 8.8", "Corvo 7.9 8.8 closed")
    assert "Corvo 7.9 8.8 closed" in with_table(page, TABLE)


def test_a_table_whose_lines_cannot_be_told_comes_after_the_page():
    assert with_table("Another text.", TABLE) == f"Another text.\n\n{TABLE}"


def test_a_mention_far_away_stays():
    page = "Corvo 7.9\n" + "Something else entirely.\n" * 8 + PAGE
    assert with_table(page, TABLE).startswith("Corvo 7.9\n")
