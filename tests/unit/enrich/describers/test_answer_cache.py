"""Answers of models that are kept."""

import multiprocessing
import os
import pickle

import pytest

from llama_index_raganything.enrich.describers.base import AnswerCache

KEY = "0f" * 16


def test_a_folder_keeps_answers_for_the_next_process(tmp_path):
    AnswerCache(tmp_path).put(KEY, 'Ein Maß, 一个, \ud800 and "quotes"', "m")
    assert AnswerCache(tmp_path).get(KEY) == 'Ein Maß, 一个, ? and "quotes"'
    assert AnswerCache(str(tmp_path)).get("1f" * 16) is None


def test_without_a_folder_answers_live_in_memory():
    cache = AnswerCache()
    cache.put(KEY, "yes")
    assert cache.get(KEY) == "yes"
    assert AnswerCache().get(KEY) is None


def test_memory_is_bounded():
    cache = AnswerCache()
    for number in range(1500):
        cache.put(str(number), "x")
    assert cache.get("0") is None
    assert cache.get("1499") == "x"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"version": 0, "answer": "old"}', '{"version": 1, "answer": 3}', '{"version": 1}'],
)
def test_a_damaged_file_is_no_answer(tmp_path, content):
    cache = AnswerCache(tmp_path)
    cache.put(KEY, "yes")
    next(tmp_path.rglob("*.json")).write_text(content)
    assert cache.get(KEY) is None
    cache.put(KEY, "again")
    assert cache.get(KEY) == "again"


def test_a_folder_that_cannot_be_written_costs_no_run(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = AnswerCache(tmp_path / "file")
    cache.put(KEY, "yes", "m")
    assert cache.get(KEY) is None
    assert "could not be kept" in caplog.text


def test_pickled_it_is_the_same_folder(tmp_path):
    AnswerCache(tmp_path).put(KEY, "yes")
    assert pickle.loads(pickle.dumps(AnswerCache(tmp_path))).get(KEY) == "yes"


def write_many(folder, text):
    cache = AnswerCache(folder)
    for _ in range(100):
        cache.put(KEY, text * 2000)


def test_several_processes_share_a_folder(tmp_path):
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    writers = [context.Process(target=write_many, args=(tmp_path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    cache = AnswerCache(tmp_path)
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(cache.get(KEY))
    for writer in writers:
        writer.join()
    assert seen <= {None, "a" * 2000, "b" * 2000}
    assert cache.get(KEY) in {"a" * 2000, "b" * 2000}
