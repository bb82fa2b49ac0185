"""The parts of the LightRAG retriever that need no LightRAG."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from llama_index.core.llms import MessageRole

from llama_index_raganything.errors import ConfigurationError, SchemaMismatchError
from llama_index_raganything.retrievers.lightrag.opening import ReversibleTokenizer, language_function
from llama_index_raganything.retrievers.lightrag.results import query_arguments, read_hits
from llama_index_raganything.retrievers.lightrag.runner import LoopThread
from llama_index_raganything.retrievers.lightrag.workspace import FILE_NAME, ChunkTable, Entry, document_id, text_key
from llama_index_raganything.testing import ScriptedChatLLM

TEXTS = [
    "",
    " \n\t leading and trailing \n",
    "Donaudampfschifffahrtsgesellschaft, naïve café.",
    "水泵每分钟输送四升水。",
    "\x00\x01<SEP>\ud800 👩‍👩‍👧‍👦",
    " " * 100 + "x",
    "a" * 10_000,
]
HOSTILE_IDS = ["", "../../etc/passwd", "a<SEP>b", "\x00", "é" * 200, "x.[native].pdf", "\ud800", 'a" or 1==1 --']


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back_from_its_tokens(text):
    tokenizer = ReversibleTokenizer()
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.decode(tokens[:3]) + tokenizer.decode(tokens[3:]) == text
    assert len(tokens) >= len(text) / 24


@pytest.mark.parametrize("node_id", HOSTILE_IDS)
def test_hostile_node_ids_become_plain_document_ids(node_id):
    name = document_id(node_id)
    assert name.replace("-", "").isalnum()
    assert name.isascii()
    assert len(name) < 64


def test_document_ids_are_stable_and_distinct():
    plain = "0123456789abcdef-_"
    assert document_id(plain) == plain
    assert len({document_id(node_id) for node_id in HOSTILE_IDS}) == len(HOSTILE_IDS)


def test_the_table_survives_a_round_trip_and_expands_equal_texts(tmp_path):
    table = ChunkTable.load(tmp_path)
    table.entries = {"d1": Entry(text_key("a"), ["n1", "\ud800\x00"], ["chunk-1"]), "d2": Entry(text_key("b"), ["n2"])}
    table.save()
    again = ChunkTable.load(tmp_path)
    assert again.nodes_of("chunk-1", "elsewhere") == ["n1", "\ud800\x00"]
    assert again.nodes_of("chunk-9", "d2") == ["n2"]
    assert again.nodes_of("chunk-9", "elsewhere") is None
    assert again.drop_nodes(["n1", "nobody"]) == []
    assert again.drop_nodes(["\ud800\x00"]) == ["d1"]
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("stored", ["", "[]", "{}", '{"version": 2, "documents": {}}', '{"version": 1}'])
def test_a_table_that_cannot_be_read_says_so(tmp_path, stored):
    (tmp_path / FILE_NAME).write_text(stored)
    with pytest.raises(SchemaMismatchError, match=FILE_NAME):
        ChunkTable.load(tmp_path)


def test_an_answer_is_read_in_order_with_what_led_to_each_chunk():
    answer = {
        "data": {
            "chunks": [
                {"chunk_id": "c2", "content": "two", "file_path": "f"},
                {"chunk_id": "c1", "content": "one", "file_path": "f"},
                {"chunk_id": "c2", "content": "two", "file_path": "f"},
            ],
            "entities": [{"entity_name": "E", "entity_type": "t", "description": "x" * 900, "source_id": "c1<SEP>c9"}],
            "relationships": [{"src_id": "E", "tgt_id": "F", "keywords": "k", "description": "d", "source_id": "c1"}],
        }
    }
    first, second = read_hits(answer, "local")
    assert (first.chunk_id, first.rank, first.path) == ("c2", 1, {})
    assert (second.chunk_id, second.score) == ("c1", 1 / 62)
    assert second.path["entities"][0]["name"] == "E"
    assert second.path["relations"] == [{"source": "E", "target": "F", "keywords": "k", "description": "d"}]
    assert len(json.dumps(second.path)) < 600


@pytest.mark.parametrize("answer", [{}, {"data": {}}, {"data": None}, {"status": "failure", "data": {"chunks": None}}])
def test_an_answer_without_chunks(answer):
    assert read_hits(answer, "mix") == []


def test_questions_carry_their_own_keywords():
    ((text, arguments),) = query_arguments("Which pump delivers water?", "mix", 20, own_keywords=True)
    assert text == "Which pump delivers water?"
    assert arguments["ll_keywords"] == arguments["hl_keywords"] == ["pump", "delivers", "water"]
    assert "ll_keywords" not in query_arguments("Which pump?", "mix", 20, own_keywords=False)[0][1]
    assert "ll_keywords" not in query_arguments("Which pump?", "naive", 20, own_keywords=True)[0][1]


@pytest.mark.parametrize("query", ["", " \n", "\ud800"])
def test_nothing_is_asked_when_nothing_is_said(query):
    assert query_arguments(query, "mix", 20, own_keywords=True) == []


@pytest.mark.parametrize("query", ["a", "泵", "??"])
def test_short_questions_are_long_enough_for_lightrag(query):
    assert len(query_arguments(query, "mix", 20, own_keywords=True)[0][0]) >= 3


async def test_the_llm_gets_system_prompt_history_and_prompt_and_runs_outside_the_loop():
    threads = []

    def reply(messages):
        threads.append(threading.current_thread())
        return f"{len(messages)}"

    llm = ScriptedChatLLM(replies=[reply])
    answer = await language_function(llm)(
        "prompt", "system", [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], hashing_kv=1
    )
    assert answer == "4"
    assert threads != [threading.current_thread()]
    roles = [message.role for message in llm.requests[0]]
    assert roles == [MessageRole.SYSTEM, MessageRole.USER, MessageRole.ASSISTANT, MessageRole.USER]


async def test_without_an_llm_only_a_build_of_vectors_is_answered():
    with pytest.raises(ConfigurationError, match="llm="):
        await language_function(None)("prompt", "system")
    assert await language_function(None, vectors_only=True)("extract", "system") == "<|COMPLETE|>"
    with pytest.raises(ConfigurationError):
        await language_function(None, vectors_only=True)("summarise")


class TestLoopThread:
    def test_it_runs_while_it_has_users(self):
        runner = LoopThread()
        runner.acquire()
        runner.acquire()
        loops = [runner.run(_loop()), asyncio.run(runner.arun(_loop()))]
        runner.release()
        assert runner.is_running
        runner.release()
        assert not runner.is_running
        runner.release()
        runner.acquire()
        assert {id(loop) for loop in [*loops, runner.run(_loop())]} == {id(loops[0])}
        runner.release()

    def test_it_refuses_to_wait_for_itself_and_to_work_without_users(self):
        runner = LoopThread()
        with pytest.raises(RuntimeError):
            runner.run(_loop())
        runner.acquire()

        async def inside():
            return runner.run(_loop())

        with pytest.raises(RuntimeError, match="own thread"):
            runner.run(inside())
        runner.release()

    async def test_cancelling_the_caller_cancels_the_work(self):
        runner, cancelled = LoopThread(), threading.Event()
        runner.acquire()

        async def long():
            try:
                await asyncio.sleep(30)
            finally:
                cancelled.set()

        task = asyncio.create_task(runner.arun(long()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(cancelled.wait, 5)
        runner.release()


async def _loop():
    return asyncio.get_running_loop()
