"""Worker processes: order, failures, and a process that dies."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llama_index_raganything.errors import ConfigurationError, Failure, ParseError
from llama_index_raganything.workers import TimedOut, map_in_processes, run_batch


def work(item: int) -> int:
    if item == 2:
        raise ParseError("bad\nfile", "x.pdf")
    if item == 3:
        os._exit(9)
    return item * 10


def test_order_is_kept_and_one_bad_item_does_not_stop_the_others():
    outcomes = list(map_in_processes(work, [1, 2, 3, 4, 5], workers=2))
    assert outcomes[0] == 10
    assert outcomes[1] == Failure("bad file")
    assert isinstance(outcomes[2], Failure)
    assert "died" in outcomes[2].reason
    assert outcomes[3:] == [40, 50]


def test_no_items():
    assert list(map_in_processes(work, [], workers=2)) == []


def sleep(item: float) -> float:
    time.sleep(item)
    return item


def test_an_item_that_takes_too_long_costs_its_time_once_and_nothing_else():
    started = time.monotonic()
    outcomes = list(map_in_processes(sleep, [0, 60, 0.1], workers=1, timeout_s=1))
    assert (outcomes[0], outcomes[2]) == (0, 0.1)
    assert outcomes[1] == TimedOut("It took longer than 1 s and was stopped.")
    assert time.monotonic() - started < 20


def start_a_child(path: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(child.pid))
        child.wait()


def test_what_a_worker_has_started_ends_with_it(tmp_path):
    path = tmp_path / "pid"
    (outcome,) = map_in_processes(start_a_child, [str(path)], workers=1, timeout_s=3)
    assert isinstance(outcome, TimedOut)
    pid = int(path.read_text())
    for _ in range(50):
        if not _is_running(pid):
            break
        time.sleep(0.1)
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    status = f"/proc/{pid}/stat"
    if os.path.exists("/proc/self/stat"):
        # A zombie that nobody has waited for does not run any more.
        return os.path.exists(status) and open(status, encoding="utf-8").read().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_no_process_is_left_when_the_caller_stops_early():
    before = set(multiprocessing.active_children())
    outcomes = map_in_processes(sleep, [0, 60, 60], workers=2)
    assert next(outcomes) == 0
    outcomes.close()
    assert set(multiprocessing.active_children()) <= before


def write_pid_and_sleep(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


def read_until_killed(path: str) -> None:
    list(map_in_processes(write_pid_and_sleep, [path], workers=1))


@pytest.mark.skipif(not hasattr(os, "setsid"), reason="no sessions here")
def test_no_worker_outlives_a_caller_that_is_killed(tmp_path):
    path = tmp_path / "pid"
    caller = multiprocessing.get_context("spawn").Process(target=read_until_killed, args=(str(path),))
    caller.start()
    until = time.monotonic() + 60
    while not (path.exists() and path.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    pid = int(path.read_text())
    caller.kill()
    caller.join()
    try:
        until = time.monotonic() + 10
        while _is_running(pid) and time.monotonic() < until:
            time.sleep(0.1)
        assert not _is_running(pid)
    finally:
        if _is_running(pid):
            os.kill(pid, signal.SIGKILL)


def unpicklable(item: int) -> object:
    return lambda: item


def test_a_result_that_cannot_be_handed_back_is_a_failure():
    (outcome,) = map_in_processes(unpicklable, [1], workers=1)
    assert isinstance(outcome, Failure)
    assert "pickle" in outcome.reason


class OddError(ParseError):
    def __init__(self, size: int) -> None:
        super().__init__("odd", f"{size}.pdf")


def odd(item: int) -> int:
    if item == 2:
        raise OddError(item)
    return item


def test_an_error_that_does_not_survive_pickling_costs_its_item():
    first, second, third = map_in_processes(odd, [1, 2, 3], workers=2)
    assert (first, third) == (1, 3)
    assert isinstance(second, Failure)
    assert "odd" in second.reason


def test_a_worker_of_a_pool_may_have_none_of_its_own(monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(ConfigurationError, match="parse_timeout_s"):
        list(map_in_processes(work, [1], workers=1))


def touch(item: tuple[str, int]) -> int:
    Path(item[0], str(item[1])).touch()
    return item[1]


def test_workers_do_not_run_far_ahead_of_the_caller(tmp_path):
    outcomes = map_in_processes(touch, [(str(tmp_path), number) for number in range(100)], workers=1)
    assert next(outcomes) == 0
    time.sleep(2)
    begun = len(list(tmp_path.iterdir()))
    outcomes.close()
    assert 1 <= begun <= 16
    assert len(list(tmp_path.iterdir())) == begun


@pytest.mark.parametrize("timeout_s", [None, 30])
def test_a_batch_keeps_order_and_goes_on_after_a_failure(timeout_s):
    outcomes = list(run_batch(work, [1, 2, 4, 5], timeout_s=timeout_s, for_worker=lambda item: item != 4))
    assert [outcome.item for outcome in outcomes] == [1, 2, 4, 5]
    assert [outcome.result for outcome in outcomes] == [10, Failure("bad file"), 40, 50]
    assert isinstance(outcomes[1].result.error, ParseError)
    assert [outcome.in_worker for outcome in outcomes] == [timeout_s is not None and item != 4 for item in (1, 2, 4, 5)]


def test_a_batch_says_how_to_wait_longer():
    (outcome,) = run_batch(sleep, [60], timeout_s=1)
    assert outcome.result == TimedOut(
        "It took longer than 1 s and was stopped. Raise the reader's parse_timeout_s to wait longer."
    )


def test_what_cannot_be_sent_to_a_worker_fails_alone():
    def prepare(item: int) -> int:
        if item == 1:
            raise ParseError("unreadable stream", "x")
        return item

    outcomes = run_batch(work, [1, 4], workers=2, prepare=prepare)
    assert [outcome.result for outcome in outcomes] == [Failure("unreadable stream"), 40]
