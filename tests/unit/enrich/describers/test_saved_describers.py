"""Describers that were saved and come back: the same settings, and the same model or none."""

import json
import pickle

import pytest
from llama_index.core import Settings
from llama_index.core.schema import TextNode

from llama_index_raganything import ConfigurationError
from llama_index_raganything.enrich.describers.base import ElementDescriber
from llama_index_raganything.enrich.describers.equation import EquationDescriber
from llama_index_raganything.enrich.describers.image import ImageDescriber
from llama_index_raganything.enrich.describers.media import MediaDescriber
from llama_index_raganything.enrich.describers.table import TableDescriber
from llama_index_raganything.enrich.equation_words import EquationWords
from llama_index_raganything.enrich.image_ocr import ImageOCR
from llama_index_raganything.testing import ScriptedChatLLM

LLM = ScriptedChatLLM()
TABLE = TextNode(text="| a | b |\n| - | - |\n| 1 | 2 |", metadata={"content_type": "table", "doc_id": "d"})


def listen(path):
    return [{"start": 0.0, "end": 1.0, "text": "Hello."}]


MADE = [
    (ImageDescriber, {"llm": LLM, "language": "zh", "min_side": 9}),
    (TableDescriber, {"llm": LLM, "workers": 2, "context_filter_content_types": ("text", "table")}),
    (EquationDescriber, {"llm": LLM}),
    (ElementDescriber, {"llm": LLM, "content_types": ("code", "sensor_series")}),
    (MediaDescriber, {"llm": LLM, "transcriber": listen, "asset_root": "/assets"}),
    (MediaDescriber, {}),
    (ImageOCR, {"min_side": 40}),
    (EquationWords, {}),
]


@pytest.fixture(autouse=True)
def no_global_llm():
    before, Settings._llm = Settings._llm, None
    yield
    Settings._llm = before


@pytest.mark.parametrize(("kind", "values"), MADE)
def test_a_describer_is_the_same_after_from_dict(kind, values):
    made = kind(**values)
    parts = {name: values[name] for name in ("llm", "transcriber") if name in values}
    again = kind.from_dict(json.loads(json.dumps(made.to_dict())), **parts)
    assert again == made == kind(**values)
    assert again.to_dict() == made.to_dict() == pickle.loads(pickle.dumps(made)).to_dict()
    assert again != kind(**values | {"workers": 7})


def test_what_was_asked_before_makes_no_difference():
    made = TableDescriber(llm=LLM)
    made._prompts()
    made._answers()
    assert made == TableDescriber(llm=LLM)


def test_a_describer_without_its_model_says_which_it_was():
    saved = TableDescriber(llm=LLM).to_dict()
    again = TableDescriber.from_dict(dict(saved))
    assert again.to_dict() == saved
    ((_, reason),) = again.process([TABLE]).failures
    assert "ScriptedChatLLM" in reason
    assert "from_dict(..., llm=...)" in reason


def test_it_never_describes_with_another_model_unasked():
    saved = TableDescriber(llm=LLM).to_dict() | {"model": "OpenAI/gpt-4o"}
    Settings.llm = LLM
    ((_, reason),) = TableDescriber.from_dict(dict(saved)).process([TABLE]).failures
    assert "OpenAI/gpt-4o" in reason
    Settings.llm = ScriptedChatLLM()
    same = TableDescriber.from_dict(TableDescriber(llm=LLM).to_dict())
    assert same._chosen_llm() is Settings.llm


def test_parts_that_are_not_saved_must_be_given_again():
    class Own:
        """Stands for a processor of the user's."""

    saved = TableDescriber(llm=LLM, processor_class=Own).to_dict()
    with pytest.raises(ConfigurationError, match="processor_class"):
        TableDescriber.from_dict(dict(saved), llm=LLM)
    assert TableDescriber.from_dict(dict(saved), llm=LLM, processor_class=Own).processor_class is Own
    with pytest.raises(ConfigurationError, match=r"transcriber=\.\.\."):
        MediaDescriber.from_dict(MediaDescriber(transcriber=listen).to_dict())
    with pytest.raises(ConfigurationError, match=r"llm=\.\.\."):
        MediaDescriber.from_dict(MediaDescriber(llm=LLM).to_dict())
