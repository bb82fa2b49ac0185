"""The processes that run SQL: kept for the next statement, not shared across a fork, ended with the store."""

import os
import sys

import pytest

from llama_index_raganything.errors import StoreError
from llama_index_raganything.stores.tables import sql_process
from llama_index_raganything.stores.tables.sql_process import SQLSession
from llama_index_raganything.stores.tables.store import TableStore

MEMORY_MB = 128


@pytest.fixture(autouse=True)
def none_left():
    sql_process.close_idle()
    yield
    sql_process.close_idle()


def answered(memory_mb=MEMORY_MB):
    """Run a statement and return the process that ran it."""
    with SQLSession(memory_mb, timeout_s=60.0) as session:
        assert session.run("SELECT 1 AS one", [], 10)["rows"] == [[1]]
        return session._process


def test_a_process_serves_the_next_statement_and_ends_with_the_store(tmp_path):
    first = answered()
    assert answered() is first
    TableStore(tmp_path).close()
    assert not first.alive
    assert answered() is not first


def test_a_forked_process_leaves_its_parents_alone():
    parents = answered()
    parents.owner = os.getpid() + 1
    try:
        own = answered()
        assert own is not parents
        assert parents.alive
        # It takes no place of those that may wait.
        assert answered() is own
    finally:
        parents.close()


def test_processes_of_another_limit_make_room():
    others = [answered(96), answered(112)]
    newest = answered()
    assert answered() is newest
    assert [process.alive for process in others] == [False, True]


def test_python_that_cannot_start_is_no_fault_of_the_statement(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StoreError, match=r"did not start.*memory_limit_mb"):
        answered()
