"""Which files were moved."""

import os
from types import SimpleNamespace

import pytest

from llama_index_raganything.documents.packing import document_id
from llama_index_raganything.ingestion import discovery as module
from llama_index_raganything.ingestion.discovery import Job, find_moves
from llama_index_raganything.readers.sources.sources import Source
from llama_index_raganything.stores.ledger import LedgerEntry, this_machine


def job(path, content="c"):
    source = Source("file", str(path), path)
    return Job(document_id(str(path)), str(path), content, source)


def row(source, content="c", **values):
    values = {"doc_id": document_id(str(source)), "state": "ready", "content_hash": content} | values
    return LedgerEntry(source=str(source), **values)


def moves(jobs, rows, machine=None):
    known = {entry.doc_id: entry for entry in rows}
    found = find_moves(jobs, known, lambda: rows, machine)
    return {new: old.source for new, old in found.items()}


def test_what_is_gone_and_comes_elsewhere_has_moved(tmp_path):
    new, old = tmp_path / "new.md", tmp_path / "old.md"
    assert moves([job(new)], [row(old)]) == {document_id(str(new)): str(old)}
    assert moves([job(new, "other")], [row(old)]) == {}
    assert moves([job(new, "")], [row(old, "")]) == {}
    old.touch()
    assert moves([job(new)], [row(old)]) == {}


def test_each_goes_to_its_namesake_first_and_nowhere_twice(tmp_path):
    rows = [row(tmp_path / "a" / name) for name in ("1.md", "2.md", "3.md")]
    found = moves([job(tmp_path / "b" / "2.md"), job(tmp_path / "b" / "x.md")], rows)
    assert found == {
        document_id(str(tmp_path / "b" / "2.md")): str(tmp_path / "a" / "2.md"),
        document_id(str(tmp_path / "b" / "x.md")): str(tmp_path / "a" / "1.md"),
    }


@pytest.mark.parametrize(
    "values",
    [
        {"source": "https://example.com/a.md"},
        {"source": "relative.md"},
        {"source": "content_list:0123"},
        {"doc_id": "of another reader"},
        {"state": "failed"},
        {"state": "writing"},
    ],
)
def test_what_nobody_can_tell_to_be_gone_stays(tmp_path, values):
    source = values.pop("source", str(tmp_path / "old.md"))
    assert moves([job(tmp_path / "new.md")], [row(source, **values)]) == {}


def test_paths_of_another_machine_are_not_gone(tmp_path):
    new, old = job(tmp_path / "new.md"), tmp_path / "old.md"
    for machine, found in ((this_machine(), 1), ("another", 0), ("", 0)):
        assert len(moves([new], [row(old, machine=machine)], this_machine())) == found
        assert len(moves([new], [row(old, machine=machine)])) == 1


def with_stat(stat):
    """Return the module ``os`` with another ``stat``, for one module alone: pytest calls the real one."""
    return SimpleNamespace(stat=stat, path=os.path, listdir=os.listdir)


def test_a_place_that_cannot_be_entered_is_not_gone(tmp_path, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "os", with_stat(refuse))
    assert moves([job(tmp_path / "new.md")], [row(tmp_path / "old.md")]) == {}


def test_a_name_in_other_case_is_gone_where_the_system_tells_no_case(tmp_path, monkeypatch):
    (tmp_path / "report.md").touch()
    monkeypatch.setattr(module, "os", with_stat(lambda path: os.stat(str(path).replace("Report", "report"))))
    new, old = tmp_path / "report.md", tmp_path / "Report.md"
    assert moves([job(new)], [row(old)]) == {document_id(str(new)): str(old)}
