"""Recognisers: spans point at the names they mean, whatever the text, and missing packages say what to do."""

import json
import pickle
import re
import sys
from types import SimpleNamespace

import pytest
from llama_index.core.schema import TextNode

from llama_index_raganything.errors import MissingDependencyError
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.extraction.recognizers import (
    EntityRecognizer,
    EntitySpan,
    GLiNERRecognizer,
    LLMRecognizer,
    SpacyRecognizer,
)
from llama_index_raganything.testing import ScriptedTextLLM

NAMES = ("Ada Lovelace", "北京大学", "ACME", "Zoë")


class Pipeline:
    """Speaks spaCy's interface; module level, as pipelines can be pickled."""

    def __init__(self):
        self.meta = {"lang": "xx", "name": "names", "version": "1.0"}

    def pipe(self, texts, batch_size=None):
        for text in texts:
            found = [
                SimpleNamespace(start_char=match.start(), end_char=match.end(), label_="NAME")
                for match in re.finditer("|".join(NAMES), text)
            ]
            numbers = re.finditer(r"\d+", text)
            found += [SimpleNamespace(start_char=m.start(), end_char=m.end(), label_="CARDINAL") for m in numbers]
            yield SimpleNamespace(ents=found)


class Model:
    """Speaks GLiNER's interface, its limit of words included."""

    def __init__(self):
        self.batches = []

    def inference(self, texts, labels, threshold=0.5):
        self.batches.append(len(texts))
        answers = []
        for text in texts:
            words = list(re.finditer(r"\w+|[^\w\s]", text))
            seen = text[: words[383].end()] if len(words) > 383 else text
            answers.append(
                [
                    {"start": m.start(), "end": m.end(), "text": m.group(), "label": labels[0], "score": threshold}
                    for m in re.finditer("|".join(NAMES), seen)
                ]
            )
        return answers


class OldModel(Model):
    inference = None

    def batch_predict_entities(self, texts, labels, threshold=0.5):
        return Model.inference(self, texts, labels, threshold)


def answering(messages):
    text = messages[-1].content.split("Text: ")[1].split("\n-----")[0]
    return json.dumps([{"name": name, "type": "NAME"} for name in NAMES if name in text] + [{"name": "Nobody"}])


def spacy_recognizer():
    return SpacyRecognizer(model=Pipeline())


def gliner_recognizer():
    return GLiNERRecognizer(model=Model(), labels=("NAME",), batch_size=3)


def llm_recognizer():
    return LLMRecognizer(llm=ScriptedTextLLM(replies=[answering]), retry_s=0.0)


@pytest.fixture(params=[spacy_recognizer, gliner_recognizer, llm_recognizer])
def recognizer(request):
    return request.param()


def names_in(recognizer, text):
    return [text[span.start : span.end] for span in recognizer.recognize([text])[0]]


def test_spans_point_at_the_names(recognizer):
    assert isinstance(recognizer, EntityRecognizer)
    text = "\n Zoë met Ada Lovelace at ACME; Ada Lovelace left. 她在北京大学学习。😀 ACME"
    assert names_in(recognizer, text) == [
        "Zoë", "Ada Lovelace", "ACME", "Ada Lovelace", "北京大学", "ACME",
    ]  # fmt: skip
    assert {span.label for span in recognizer.recognize([text])[0]} == {"NAME"}


def test_each_text_gets_its_own_names_and_empty_ones_none(recognizer):
    texts = ["", "ACME", " \n\t", "x" * 50, "Zoë", "\x00"]
    assert [len(spans) for spans in recognizer.recognize(texts)] == [0, 1, 0, 0, 1, 0]
    assert recognizer.recognize([]) == []


def test_names_beyond_a_models_limit_are_found(recognizer):
    text = "| 1 | 2 | 3 | ACME |\n" * 3_000 + "Words. " * 20_000 + "At last Ada Lovelace came."
    spans = recognizer.recognize([text])[0]
    assert text[spans[-1].start : spans[-1].end] == "Ada Lovelace"
    assert len(spans) == 3_001


def test_one_endless_word_is_cut_not_refused(recognizer):
    assert recognizer.recognize(["x" * 1_000_000]) == [[]]


def test_it_can_be_pickled_and_written_down(recognizer):
    assert pickle.loads(pickle.dumps(recognizer)).recognize(["by ACME"]) == [[EntitySpan(3, 7, "NAME")]]
    assert recognizer.class_name() in json.dumps(recognizer.to_dict())
    assert " at 0x" not in json.dumps(recognizer.to_dict())


def test_the_linker_takes_it(recognizer):
    node = TextNode(id_="n", text="she studied at 北京大学 with zoë and Zoë.", metadata={"doc_id": "d"})
    facts = EntityLinker(recognizer=recognizer).extract([node])[0]
    assert "北京大学" in facts.entities


# spaCy


def test_counts_and_ranks_are_left_out_unless_asked_for():
    assert spacy_recognizer().recognize(["ACME 5"]) == [[EntitySpan(0, 4, "NAME")]]
    assert names_in(SpacyRecognizer(model=Pipeline(), ignored_labels=()), "ACME 5 Zoë") == ["ACME", "5", "Zoë"]


def test_a_loaded_pipeline_is_written_down_by_its_name():
    assert spacy_recognizer().to_dict()["model"] == "xx_names_1.0"
    assert SpacyRecognizer(model="de_core_news_sm").to_dict()["model"] == "de_core_news_sm"


def test_a_real_pipeline_of_spacy():
    spacy = pytest.importorskip("spacy", reason="spaCy is an optional extra")
    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "ORG", "pattern": "ACME Corp"}, {"label": "CARDINAL", "pattern": "five"}])
    recognizer = SpacyRecognizer(model=pipeline)
    text = "It was, they say, ACME Corp that sold five anvils to Zoë."
    assert recognizer.recognize([text, ""]) == [[EntitySpan(18, 27, "ORG")], []]
    again = pickle.loads(pickle.dumps(recognizer))
    assert again.recognize([text]) == recognizer.recognize([text])
    pipeline.max_length = 10_000
    assert names_in(recognizer, "Words. " * 2_000 + "ACME Corp") == ["ACME Corp"], "over spaCy's own limit"


def test_a_missing_pipeline_says_what_to_install():
    pytest.importorskip("spacy", reason="spaCy is an optional extra")
    with pytest.raises(MissingDependencyError, match="spacy download no_such_pipeline"):
        SpacyRecognizer(model="no_such_pipeline").recognize(["x"])


@pytest.mark.parametrize(("make", "package"), [(SpacyRecognizer, "spacy"), (GLiNERRecognizer, "gliner")])
def test_a_missing_package_says_what_to_install_and_only_at_the_first_text(monkeypatch, make, package):
    monkeypatch.setitem(sys.modules, package, None)
    recognizer = make(model="not loaded yet")
    with pytest.raises(MissingDependencyError, match="pip install"):
        recognizer.recognize(["x"])


# GLiNER


def test_batches_are_no_larger_than_asked_and_earlier_versions_serve():
    model = Model()
    GLiNERRecognizer(model=model, batch_size=2).recognize(["ACME"] * 5)
    assert model.batches == [2, 2, 1]
    assert names_in(GLiNERRecognizer(model=OldModel()), "by ACME") == ["ACME"]


def test_spans_are_trimmed_sorted_and_kept_inside_the_text():
    class Sloppy:
        def inference(self, texts, labels, threshold):
            places = [(7, 99), (0, 3), (1, 5), (3, 3), (5, 6), (1, 5), (-4, 2)]
            return [[{"start": start, "end": end, "label": "x"} for start, end in places] for _ in texts]

    assert GLiNERRecognizer(model=Sloppy()).recognize([" ab c  def "]) == [
        [EntitySpan(1, 2, "x"), EntitySpan(1, 3, "x"), EntitySpan(1, 5, "x"), EntitySpan(7, 10, "x")]
    ]


def test_weights_that_cannot_be_had_say_what_to_do(monkeypatch):
    class GLiNER:
        @classmethod
        def from_pretrained(cls, name):
            raise OSError("no network")

    monkeypatch.setitem(sys.modules, "gliner", SimpleNamespace(GLiNER=GLiNER))
    with pytest.raises(MissingDependencyError, match="no network"):
        GLiNERRecognizer(model="far/away").recognize(["x"])


# LLM


def recognized(answer, text, **settings):
    recognizer = LLMRecognizer(llm=ScriptedTextLLM(replies=[answer]), **{"retry_s": 0.0, **settings})
    return [text[span.start : span.end] for span in recognizer.recognize([text])[0]], recognizer


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ('["ACME"]', ["ACME"]),
        ('```json\n[{"name": "ACME", "type": "ORG"}]\n```', ["ACME"]),
        ('Here it is: [{"name": "acme"}] as asked.', ["ACME"]),
        ('[{"name": "ACME [old]"}]', ["ACME [old]"]),
        ('[{"name": 5}, {"type": "x"}, null, "", " ", {"name": "Old"}]', ["old"]),
        ('["ACME", "ACME [old]", "ME"]', ["ACME [old]"]),
        ('["AC", "CME", "by AC"]', []),
        ("[]", []),
        ('["Nobody", "(", "[a-", "\\\\"]', []),
    ],
)
def test_answers_of_many_forms(answer, found):
    names, recognizer = recognized(answer, "by ACME [old].")
    assert names == found
    assert recognizer.failures == []


@pytest.mark.parametrize("answer", ["", "I cannot.", '{"name": "ACME"}', "[unclosed", '[{"name": ]'])
def test_an_answer_that_is_no_list_is_reported(answer, caplog):
    names, recognizer = recognized(answer, "by ACME", max_retries=1)
    assert names == []
    assert recognizer.failures[0][0] == 0
    assert len(recognizer.llm.requests) == 2
    assert "No names" in caplog.text


def test_one_text_that_fails_costs_no_other():
    def reply(messages):
        if "bad" in messages[-1].content:
            raise RuntimeError("busy")
        return '["ACME"]'

    recognizer = LLMRecognizer(llm=ScriptedTextLLM(replies=[reply]), max_retries=0)
    assert [len(spans) for spans in recognizer.recognize(["ACME", "bad ACME", "ACME"])] == [1, 0, 1]
    assert recognizer.failures == [(1, "RuntimeError: busy")]


def test_braces_in_a_text_reach_the_llm_as_they_are():
    _, recognizer = recognized("[]", "{text} {0} {{x}} {")
    assert "{text} {0} {{x}} {" in recognizer.llm.requests[0][-1].content


async def test_an_llm_is_asked_inside_a_running_loop_and_empty_texts_cost_nothing():
    recognizer = llm_recognizer()
    assert len(recognizer.recognize(["ACME", " "])[0]) == 1
    assert len(recognizer.llm.requests) == 1


class Keyed(ScriptedTextLLM):
    api_key: str = "sk-secret"


def test_no_secret_is_shown():
    recognizer = LLMRecognizer(llm=Keyed())
    assert "sk-secret" not in repr(recognizer) + json.dumps(recognizer.to_dict())
