"""What a first sentence says its text is about."""

import pytest

from llama_index_raganything.graph.extraction.subjects import FirstSentence, heading_name, subjects_of, title_forms
from llama_index_raganything.graph.names import candidates_of, words_of


def read(text):
    words = words_of(text)
    return subjects_of(FirstSentence(text, 0, len(text), words, candidates_of(text, words)))


@pytest.mark.parametrize(
    ("sentence", "subject"),
    [
        ("Port Blair is the capital of the Andaman and Nicobar Islands.", "Port Blair"),
        ("Hollowick is a Canadian rock band from Oshawa.", "Hollowick"),
        ("On Broadway is an independent film shot in Boston.", "On Broadway"),
        ("Die Alpen sind das höchste Gebirge in Europa.", "Alpen"),
        ("Le Mont Blanc est le plus haut sommet des Alpes.", "Mont Blanc"),
        ("Machu Picchu es una antigua ciudad inca.", "Machu Picchu"),
        ("北京大学是中国的一所综合性大学。", "北京大学"),
        ("東京は日本の首都である。", "東京"),
    ],
)
def test_a_definition_names_its_subject(sentence, subject):
    subjects, defines = read(sentence)
    assert defines
    assert subject in {item.name for item in subjects if item.weight == 1.0}


@pytest.mark.parametrize(
    "sentence",
    [
        "Revenue was $5 million in the year.",
        "Interest is paid monthly to all holders.",
        "The increase is due to higher sales.",
        "The following table is part of the notes.",
        "Our effective tax rate was 21%.",
        "Please send the minutes to all members by Friday.",
        "",
        "1234 5678",
        "\x00\x01 [(*+?",
    ],
)
def test_an_ordinary_sentence_defines_nothing(sentence):
    assert not read(sentence)[1]


@pytest.mark.parametrize(
    ("sentence", "form", "weight"),
    [
        ("John Edward Walsh Jr. (born December 26, 1945) is an American host.", "John Walsh", 0.8),
        ("Sir Ernest Henry Shackleton was an explorer.", "Ernest Henry Shackleton", 0.9),
        ("Sir Ernest Henry Shackleton was an explorer.", "Shackleton", 0.5),
        ("East African Breweries Limited, also known as EABL, is a holding company.", "EABL", 0.8),
        ("The Battle of the Tanais River in 373 was fought on the border.", "Battle of the Tanais River", 0.9),
    ],
)
def test_other_forms_of_a_name_weigh_less(sentence, form, weight):
    assert {item.name: item.weight for item in read(sentence)[0]}[form] == weight


def test_titles_have_short_forms():
    assert dict(title_forms("Springfield (Illinois)")) == {"Springfield (Illinois)": 1.0, "Springfield": 1.0}
    assert dict(title_forms("Boston, Massachusetts"))["Boston"] == 0.9
    assert dict(title_forms("Atlantis: The Lost Empire"))["The Lost Empire"] == 0.6
    assert list(title_forms("  ")) == []


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("3.1 Revenue by region", "Revenue by region"),
        ("Introduction", ""),
        ("第二章 方法论", "方法论"),
        ("7", ""),
        ("", ""),
    ],
)
def test_a_heading_names_something_unless_every_document_has_it(heading, name):
    assert heading_name(heading) == name
