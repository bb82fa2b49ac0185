"""Descriptions of tables, equations and other elements: one call each, nothing lost, failures reported."""

import asyncio
import json
import pickle
import re
import threading
import time

import pytest
from llama_index.core import Settings
from llama_index.core.schema import ImageNode, MetadataMode, TextNode

from llama_index_raganything.enrich.describers.base import ElementDescriber
from llama_index_raganything.enrich.describers.equation import EquationDescriber
from llama_index_raganything.enrich.describers.table import TableDescriber
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.testing import ScriptedChatLLM, ScriptedTextLLM

TABLE = "| Region | 2023 |\n| --- | --- |\n| North | 4.2 |"


def answer(description="It compares regions.", name="Regional sales", kind="table", summary="North leads."):
    entity = {"entity_name": name, "entity_type": kind, "summary": summary}
    return json.dumps({"detailed_description": description, "entity_info": entity}, ensure_ascii=False)


def table(text=f"Table 1: Sales\n\n{TABLE}\n\nIn million USD.", **metadata):
    known = {"doc_id": "d", "content_type": "table", "page": 1, "caption": "Table 1: Sales", "element_id": "t"}
    return TextNode(text=text, metadata=known | metadata)


def text(words, page=1, **metadata):
    return TextNode(text=words, metadata={"doc_id": "d", "content_type": "text", "page": page, **metadata})


def equation(words="$$\nE = mc^2\n$$\n\nEnergy is mass:", **metadata):
    return TextNode(text=words, metadata={"doc_id": "d", "content_type": "equation", "page": 1, **metadata})


def prompt_of(llm, call=0):
    return llm.requests[call][-1].blocks[0].text


@pytest.fixture(params=["sync", "async"])
def run(request):
    def call(describer, nodes):
        if request.param == "sync":
            return describer.process(nodes)
        return asyncio.run(describer.aprocess(nodes))

    return call


def test_a_table_costs_one_call_and_gets_description_and_entity(run):
    llm = ScriptedChatLLM(replies=[answer()])
    nodes = [text("Sales grew."), table(), text("The end.")]
    processed = run(TableDescriber(llm=llm, workers=2), nodes)
    assert processed.failures == []
    assert len(llm.requests) == 1
    assert processed.nodes[0] is nodes[0]
    described = processed.nodes[1]
    assert described.text == f"Table 1: Sales\n\nIt compares regions.\n\n{TABLE}\n\nIn million USD."
    assert described.node_id == nodes[1].node_id
    assert described.metadata["entity_name"] == "Regional sales (table)"
    assert described.metadata["entity_type"] == "table"
    assert described.metadata["entity_summary"] == "North leads."
    assert "entity" not in nodes[1].metadata
    assert nodes[1].text.startswith("Table 1: Sales\n\n|")


def test_what_models_see_of_a_described_node_has_no_entity_metadata():
    made = TableDescriber(llm=ScriptedChatLLM(replies=[answer()])).process([table()]).nodes[0]
    assert "North leads" not in made.get_content(MetadataMode.EMBED)
    assert "North leads" not in made.get_content(MetadataMode.LLM)
    assert "It compares regions." in made.get_content(MetadataMode.EMBED)


@pytest.mark.parametrize("description", ["It compares regions.", "比较。\n\nTwo paragraphs \U0001f600"])
@pytest.mark.parametrize(
    "node", [table(), equation(), table("| 1 |"), equation("$$ x $$", section="A"), text("x", content_type="table")]
)
def test_the_words_of_the_model_can_be_told_from_those_of_the_document(node, description):
    from llama_index_raganything.elements import without_description

    kinds = ("table", "equation")
    llm = ScriptedChatLLM(replies=[answer(description)])
    made = ElementDescriber(llm=llm, content_types=kinds).process([node]).nodes[0]
    start, end = map(int, made.metadata["description_span"].split(":"))
    assert made.text[start:end] == description
    assert without_description(made.text, made.metadata) == node.text
    assert without_description(node.text, node.metadata) == node.text
    assert "description_span" not in made.get_content(MetadataMode.EMBED) + made.get_content(MetadataMode.LLM)


@pytest.mark.parametrize("span", ["", "5", "a:b", "9:3", "0:10000", "-1:4", None, 7, "0:²"])
def test_a_span_that_does_not_fit_changes_nothing(span):
    from llama_index_raganything.elements import without_description

    assert without_description("some text", {"description_span": span}) == "some text"


def test_the_prompt_is_raganythings_with_table_caption_notes_and_context(run):
    llm = ScriptedChatLLM(replies=[answer()])
    nodes = [text("Results\n\nSales grew by 12 %.", section="Report > Results"), table(section="Report > Results")]
    run(TableDescriber(llm=llm), nodes)
    prompt = prompt_of(llm)
    assert prompt.startswith("Please analyze this table content considering the surrounding context")
    assert TABLE in prompt
    assert "Table 1: Sales" in prompt
    assert "In million USD." in prompt
    assert "## Results\n\nSales grew by 12 %." in prompt
    assert llm.requests[0][0].content.startswith("You are an expert data analyst")


def test_an_llm_without_chat_serves_too(run):
    llm = ScriptedTextLLM(replies=[answer()])
    assert run(TableDescriber(llm=llm), [table()]).failures == []
    assert len(llm.requests) == 1


def test_a_table_of_several_nodes_is_one_call(run):
    llm = ScriptedChatLLM(replies=[answer()])
    head = "Table 1: Sales\n\n| Region | 2023 |\n| --- | --- |\n"
    nodes = [table(head + "| North | 4.2 |\n\nNote."), table(head + "| South | 3.1 |\n\nNote."), table(element_id="u")]
    made = run(TableDescriber(llm=llm, workers=1), nodes).nodes
    assert len(llm.requests) == 2
    assert "| Region | 2023 |\n| --- | --- |\n| North | 4.2 |\n| South | 3.1 |\n" in prompt_of(llm)
    assert ["It compares regions." in node.text for node in made] == [True, False, True]
    assert {node.metadata["entity_name"] for node in made} == {"Regional sales (table)"}
    assert made[1].text == nodes[1].text


def test_an_equation_keeps_its_latex(run):
    llm = ScriptedChatLLM(replies=[answer("Mass is energy.", "Mass-energy equivalence", "equation")])
    made = run(EquationDescriber(llm=llm), [text("Before."), equation()]).nodes[1]
    assert made.text == "Mass is energy.\n\n$$\nE = mc^2\n$$\n\nEnergy is mass:"
    assert "Equation: E = mc^2\nFormat: latex" in prompt_of(llm)
    assert made.metadata["entity_type"] == "equation"


@pytest.mark.parametrize("latex", ["\\frac{", "{{{", "}}}} \\\\", "%s %d {0} {context}", "∑ 求和 {a}"])
def test_latex_that_does_not_parse_goes_through_as_it_is(latex):
    llm = ScriptedChatLLM(replies=[answer()])
    processed = EquationDescriber(llm=llm).process([equation(f"$$\n{latex}\n$$")])
    assert processed.failures == []
    assert latex in prompt_of(llm)


def test_other_content_types_are_described_by_their_text(run):
    llm = ScriptedChatLLM(replies=[answer(kind="code")])
    code = TextNode(text="```python\nx = 1\n```", metadata={"doc_id": "d", "content_type": "code"})
    series = TextNode(text="t,v\n0,1", metadata={"doc_id": "d", "content_type": "series"})
    made = run(ElementDescriber(llm=llm, content_types=("code", "series"), workers=1), [code, series, table()])
    assert len(llm.requests) == 2
    assert "Please analyze this code content" in prompt_of(llm)
    assert "Content: ```python\nx = 1\n```" in prompt_of(llm)
    assert "expert content analyst specializing in series content" in llm.requests[1][0].content
    assert made.nodes[0].text == "It compares regions.\n\n```python\nx = 1\n```"


def test_equal_content_in_two_documents_is_asked_for_twice_only_where_the_surroundings_differ():
    llm = ScriptedChatLLM(replies=[answer()])
    describer = TableDescriber(llm=llm, workers=1)
    describer.process([table(), table(doc_id="e"), text("Other words.", doc_id="f"), table(doc_id="f")])
    assert len(llm.requests) == 2


# Answers


@pytest.mark.parametrize(
    ("reply", "description"),
    [
        (f"Here it is:\n```json\n{answer()}\n```\nHope this helps!", "It compares regions."),
        (f"<think>{{maybe}} hm</think>{answer()}", "It compares regions."),
        (answer().replace('"}', '",}'), "It compares regions."),
        (answer("First line\nsecond").replace("\\n", "\n"), "First line\nsecond"),
        (
            answer().replace("compares", 'calls it \\"north\\" and compares'),
            'It calls it "north" and compares regions.',
        ),
        (answer(["One.", {"Two": "three"}]), "One.\nTwo: three"),
        (answer("包含\\frac{a}{b}的表格。"), "包含\\frac{a}{b}的表格。"),
        ('{"detailed_description": "It says so."}', "It says so."),
        ('{"detailed_description": "It says so.", "entity_info": null}', "It says so."),
        ('{"detailed_description": "It says so.", "entity_info": {"entity_name": 7}}', "It says so."),
        (
            '{"detailed_description": "It says so.", "entity_info": {"entity_name": {"a": 1}, "entity_type": 3}',
            "It says so.",
        ),
    ],
)
def test_broken_json_is_repaired(run, reply, description):
    llm = ScriptedChatLLM(replies=[reply])
    processed = run(TableDescriber(llm=llm), [table()])
    assert processed.failures == []
    assert f"\n\n{description}\n\n|" in processed.nodes[0].text
    assert len(llm.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        "A table of the regions, with their revenue by year.",
        "这张表比较了三个地区的收入。",
        "<think>JSON? No.</think>\nThe table compares regions:\n- north\n- south [1].",
    ],
)
def test_an_answer_in_plain_words_is_the_description(run, reply):
    processed = run(TableDescriber(llm=ScriptedChatLLM(replies=[reply])), [table()])
    assert processed.failures == []
    assert f"\n\n{reply.rpartition('</think>')[2].strip()}\n\n|" in processed.nodes[0].text
    assert "entity_name" not in processed.nodes[0].metadata


@pytest.mark.parametrize(
    "reply",
    ["", "   ", "I cannot see any table.", "I'm sorry, but there is no table in what you sent. Send it again.",
     "抱歉，我看不到任何表格，请重新发送。", "A table.", "The answer is {not JSON} at all, it seems.",
     "{}", "[]", "null", "{", '{"detailed_description": ""}', "\ud800", "\x00",
     '{"detailed_description": null, "entity_info": {}}', "```json\n```", '{"entity_info": {"entity_name": "x"}}'],
)  # fmt: skip
def test_an_unusable_answer_is_reported_and_costs_no_second_call(run, reply):
    llm = ScriptedChatLLM(replies=[reply])
    node = table()
    processed = run(TableDescriber(llm=llm), [node])
    assert processed.nodes == [node]
    assert [node_id for node_id, _ in processed.failures] == [node.node_id]
    assert "no description" in processed.failures[0][1]
    assert len(llm.requests) == 1


def test_an_answer_cut_off_among_backslashes_takes_no_time(run, tmp_path):
    reply = '{"detailed_description": "The ratio ' + "\\frac{a}{b} " * 400
    llm = ScriptedChatLLM(replies=[reply])
    describer = EquationDescriber(llm=llm, cache_folder=tmp_path)
    started = time.process_time()
    processed = run(describer, [equation()])
    assert time.process_time() - started < 5
    assert processed.failures == []
    assert processed.nodes[0].text.startswith("The ratio \\frac{a}{b}")
    assert "entity_name" not in processed.nodes[0].metadata
    # Half an answer is better than none today, and worse than a whole one tomorrow.
    run(describer, [equation()])
    assert len(llm.requests) == 2


def test_names_that_only_repeat_the_prompt_are_no_entities():
    llm = ScriptedChatLLM(replies=[answer(name="descriptive name for this table")])
    assert "entity_name" not in TableDescriber(llm=llm).process([table()]).nodes[0].metadata


def test_a_table_in_the_description_becomes_no_table_of_the_node():
    llm = ScriptedChatLLM(replies=[answer("It shows:\n| a | b |\n|---|---|\n| 1 | 2 |")])
    made = TableDescriber(llm=llm).process([table()]).nodes[0]
    assert [line for line in made.text.splitlines() if line.startswith("|")] == TABLE.splitlines()
    assert "It shows:\na, b\n1, 2" in made.text


def test_hostile_and_endless_answers_stay_within_the_bounds_of_a_node():
    reply = answer("長い\x00\u202e " * 60_000, "x\n" * 5000, "y" * 5000, "z " * 50_000)
    node = table("Table 1: Sales\n\n" + "| a | b |\n" * 4000)
    made = TableDescriber(llm=ScriptedChatLLM(replies=[reply])).process([node]).nodes[0]
    assert len(made.text.encode()) <= 65_535
    assert "| a | b |\n" * 3999 in made.text
    assert "\x00" not in made.text
    assert len(json.dumps(made.metadata)) < 8000


def test_a_full_node_keeps_its_text_and_gets_the_entity():
    full = "字" * 21_845
    made = TableDescriber(llm=ScriptedChatLLM(replies=[answer()])).process([table(full)]).nodes[0]
    assert made.text == full
    assert made.metadata["entity_name"] == "Regional sales (table)"


# Failures of the model


class FailingLLM(ScriptedChatLLM):
    """Raises the first so many times."""

    failures: int = 10**9

    def _reply(self, messages):
        reply = super()._reply(messages)
        if len(self.requests) <= self.failures:
            message = "503: overloaded"
            raise ConnectionError(message)
        return reply


def test_a_call_that_fails_is_repeated(run):
    llm = FailingLLM(failures=2, replies=[answer()])
    assert run(TableDescriber(llm=llm, retry_s=0), [table()]).failures == []
    assert len(llm.requests) == 3


def test_a_model_that_always_fails_leaves_everything_as_it_was(run):
    nodes = [text("a"), *(table(element_id=str(number)) for number in range(5)), text("b")]
    llm = FailingLLM()
    processed = run(TableDescriber(llm=llm, max_retries=1, retry_s=0), nodes)
    assert processed.nodes == nodes
    assert len(processed.failures) == 5
    assert all("503: overloaded" in reason for _, reason in processed.failures)
    assert len(llm.requests) == 10


def test_of_a_model_that_is_down_only_the_first_calls_are_repeated(run):
    nodes = [table(element_id=str(number)) for number in range(20)]
    llm = FailingLLM()
    processed = run(TableDescriber(llm=llm, max_retries=1, retry_s=0, workers=1), nodes)
    assert len(processed.failures) == 20
    assert len(llm.requests) == 8 * 2 + 12


def test_failures_of_elements_that_are_asked_at_the_same_time_all_count(run):
    nodes = [table(element_id=str(number)) for number in range(40)]
    llm = FailingLLM()
    processed = run(TableDescriber(llm=llm, max_retries=1, retry_s=0.01, workers=4), nodes)
    assert len(processed.failures) == 40
    # Three more may have been asked when the eighth failed.
    assert len(llm.requests) <= 11 * 2 + 29


def test_failures_are_not_cached(tmp_path, run):
    down = FailingLLM()
    run(TableDescriber(llm=down, cache_folder=tmp_path, max_retries=0), [table()])
    run(TableDescriber(llm=ScriptedChatLLM(replies=["no"]), cache_folder=tmp_path), [table()])
    llm = ScriptedChatLLM(replies=[answer()])
    assert run(TableDescriber(llm=llm, cache_folder=tmp_path), [table()]).failures == []
    assert len(llm.requests) == 1


# Calls


def test_a_second_run_makes_no_call(tmp_path, run):
    nodes = [text("Sales grew."), table(), table(element_id="u", page=2), equation()]
    first = ScriptedChatLLM(replies=[answer()])
    for describer in (TableDescriber, EquationDescriber):
        nodes_after = run(describer(llm=first, cache_folder=tmp_path), nodes).nodes
    assert len(first.requests) == 3
    second = ScriptedChatLLM(replies=["never asked"])
    for describer in (TableDescriber, EquationDescriber):
        again = run(describer(llm=second, cache_folder=tmp_path), nodes)
        assert again.failures == []
    assert second.requests == []
    assert [node.text for node in again.nodes] == [node.text for node in nodes_after]


def test_in_memory_too():
    llm = ScriptedChatLLM(replies=[answer()])
    describer = TableDescriber(llm=llm)
    describer.process([table()])
    describer.process([table()])
    assert len(llm.requests) == 1


class OtherLLM(ScriptedChatLLM):
    """Another model."""

    @classmethod
    def class_name(cls):
        return "OtherLLM"


@pytest.mark.parametrize(
    ("changes", "nodes"),
    [
        ({"language": "zh"}, [text("Sales grew."), table()]),
        ({"prompts": {"TABLE_ANALYSIS_SYSTEM": "Be brief."}}, [text("Sales grew."), table()]),
        ({"llm": OtherLLM(replies=[answer()])}, [text("Sales grew."), table()]),
        ({}, [text("Sales fell."), table()]),
        ({}, [text("Sales grew."), table(f"{TABLE}\n| South | 3.1 |")]),
        ({"context_window": 0, "context_mode": "chunk"}, [text("Sales grew."), table()]),
    ],
)
def test_what_was_asked_otherwise_is_asked_again(tmp_path, changes, nodes):
    llm = ScriptedChatLLM(replies=[answer()])
    TableDescriber(llm=llm, cache_folder=tmp_path).process([text("Sales grew."), table()])
    settings = {"llm": llm, "cache_folder": tmp_path} | changes
    TableDescriber(**settings).process(nodes)
    other = settings["llm"]
    assert len(llm.requests) + (len(other.requests) if other is not llm else 0) == 2


def test_what_is_described_already_is_left_alone():
    llm = ScriptedChatLLM(replies=[answer()])
    described = TableDescriber(llm=llm).process([table()]).nodes
    again = TableDescriber(llm=llm).process(described)
    assert again.nodes == described
    assert len(llm.requests) == 1


def test_embeddings_of_changed_text_go():
    node = table()
    node.embedding = [1.0]
    assert TableDescriber(llm=ScriptedChatLLM(replies=[answer()])).process([node]).nodes[0].embedding is None


def test_a_table_with_a_crop_is_described_by_its_cells(tmp_path):
    llm = ScriptedTextLLM(replies=[answer()])
    node = ImageNode(text=table().text, image_path=str(tmp_path / "gone.png"), metadata=table().metadata)
    made = TableDescriber(llm=llm).process([node])
    assert made.failures == []
    assert isinstance(made.nodes[0], ImageNode)
    assert made.nodes[0].image_path == node.image_path


# Tables of all sizes


def test_a_table_of_one_cell():
    llm = ScriptedChatLLM(replies=[answer()])
    assert TableDescriber(llm=llm).process([table("| 42 |")]).failures == []
    assert "Body: | 42 |" in prompt_of(llm)


def test_a_table_of_300_columns_and_thousands_of_rows_is_cut_with_a_note():
    wide = "| " + " | ".join(f"c{number}" for number in range(300)) + " |"
    llm = ScriptedChatLLM(replies=[answer()])
    node = table("\n".join([wide, "|" + " --- |" * 300, *[wide] * 3]))
    TableDescriber(llm=llm, max_table_tokens=2000).process([node])
    assert "further rows)" in prompt_of(llm)
    assert len(prompt_of(llm)) < 12_000
    assert node.text.count("c299") == 4


def test_a_table_without_cells_is_reported():
    llm = ScriptedChatLLM(replies=[answer()])
    processed = TableDescriber(llm=llm).process([table("Table 1: Sales"), equation("", element_id="e")])
    assert "no cells" in processed.failures[0][1]
    assert llm.requests == []
    assert "no LaTeX" in EquationDescriber(llm=llm).process([equation(" ")]).failures[0][1]
    code = TextNode(text=" ", metadata={"content_type": "code"})
    assert "no text" in ElementDescriber(llm=llm).process([code]).failures[0][1]


# Languages and prompts


def test_two_languages_in_one_process_do_not_disturb_each_other():
    from raganything.prompt_manager import get_prompt_language

    seen = {"en": [], "zh": []}
    barrier = threading.Barrier(2, timeout=10)

    def slow(language):
        def reply(messages):
            seen[language].append(messages[0].content)
            barrier.wait()
            return answer()

        return ScriptedChatLLM(replies=[reply])

    def describe(language):
        nodes = [table(f"| {number} |", element_id=str(number)) for number in range(4)]
        describer = TableDescriber(llm=slow(language), language=language, workers=1)
        assert describer.process(nodes).failures == []

    threads = [threading.Thread(target=describe, args=(language,)) for language in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(system.startswith("You are") for system in seen["en"])
    assert all("数据分析师" in system for system in seen["zh"])
    assert [len(systems) for systems in seen.values()] == [4, 4]
    assert get_prompt_language() == "en"


def test_a_users_own_language_of_raganything_stays_theirs():
    from raganything import modalprocessors
    from raganything.prompt_manager import reset_prompts, set_prompt_language

    llm = ScriptedChatLLM(replies=[answer()])
    set_prompt_language("zh")
    try:
        TableDescriber(llm=llm).process([table()])
        assert llm.requests[0][0].content.startswith("You are an expert data analyst")
        assert "数据分析师" in modalprocessors.PROMPTS["TABLE_ANALYSIS_SYSTEM"]
    finally:
        reset_prompts()
    assert modalprocessors.PROMPTS["TABLE_ANALYSIS_SYSTEM"].startswith("You are an expert data analyst")
    assert len(modalprocessors.PROMPTS) == len(modalprocessors.PROMPTS.snapshot())


def test_prompts_of_ones_own(run):
    llm = ScriptedChatLLM(replies=[answer()])
    own = {"table_prompt": "Say JSON {{}} about {table_body}!", "TABLE_ANALYSIS_SYSTEM": "You are terse."}
    run(TableDescriber(llm=llm, prompts=own), [text("Sales grew."), table()])
    assert prompt_of(llm) == f"Say JSON {{}} about {TABLE}!\n\nSales grew."
    assert llm.requests[0][0].content == "You are terse."


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"language": "xx"}, "xx"),
        ({"prompts": {"tabel_prompt": "x"}}, "tabel_prompt"),
        ({"prompts": {"table_prompt": 'Answer {"a": 1}'}}, "cannot be filled in"),
        ({"prompts": {"table_prompt": "Table: {body}"}}, "body"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings, words):
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        TableDescriber(llm=ScriptedChatLLM(), **settings)


def test_without_an_llm_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(Settings, "_llm", None)
    processed = TableDescriber().process([table()])
    assert "Settings.llm" in processed.failures[0][1]
    monkeypatch.setattr(Settings, "_llm", ScriptedChatLLM(replies=[answer()]))
    assert TableDescriber().process([table()]).failures == []


# LlamaIndex


def test_a_processor_of_raganything_of_ones_own():
    from raganything.modalprocessors import GenericModalProcessor

    class Series(GenericModalProcessor):
        async def generate_description_only(self, modal_content, content_type, item_info=None, entity_name=None):
            reply = await self.modal_caption_func(f"Series: {modal_content['text']}", system_prompt="S")
            return self._parse_generic_response(reply, entity_name, content_type)

    llm = ScriptedChatLLM(replies=[answer()])
    node = TextNode(text="1,2,3", metadata={"content_type": "series"})
    describer = ElementDescriber(llm=llm, content_types=("series",), processor_class=Series)
    assert describer.process([node]).nodes[0].text == "It compares regions.\n\n1,2,3"
    assert prompt_of(llm) == "Series: 1,2,3"


def test_one_that_asks_nothing_is_reported():
    from raganything.modalprocessors import GenericModalProcessor

    class Broken(GenericModalProcessor):
        async def generate_description_only(self, *args, **kwargs):  # upstream's signature
            return "text", {}

    describer = ElementDescriber(llm=ScriptedChatLLM(), content_types=("table",), processor_class=Broken)
    assert "asked no model" in describer.process([table()]).failures[0][1]


def test_it_survives_pickling_and_dictionaries(tmp_path):
    describer = TableDescriber(llm=ScriptedChatLLM(replies=[answer()]), language="zh", cache_folder=tmp_path)
    copy = pickle.loads(pickle.dumps(describer))
    assert copy.language == "zh"
    assert copy.process([table()]).failures == []
    data = describer.to_dict()
    assert json.loads(json.dumps(data))["model"] == "ScriptedChatLLM/ScriptedChatLLM"
    assert TableDescriber.from_dict(data, llm=ScriptedChatLLM()).cache_folder == str(tmp_path)


def test_in_an_ingestion_pipeline():
    from llama_index.core.ingestion import IngestionPipeline

    llm = ScriptedChatLLM(replies=[answer()])
    made = IngestionPipeline(transformations=[TableDescriber(llm=llm)]).run(nodes=[text("a"), table()])
    assert "It compares regions." in made[1].text
