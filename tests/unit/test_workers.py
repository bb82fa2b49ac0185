"""Worker processes: order, failures, and a process that dies."""

import os

from llama_index_raganything.errors import ParseError
from llama_index_raganything.workers import Failure, map_in_processes


def work(item: int) -> int:
    if item == 2:
        raise ParseError("bad\nfile", "x.pdf")
    if item == 3:
        os._exit(9)
    return item * 10


def test_order_is_kept_and_one_bad_item_does_not_stop_the_others():
    outcomes = list(map_in_processes(work, [1, 2, 3, 4, 5], num_workers=2))
    assert outcomes[0] == 10
    assert outcomes[1] == Failure("bad file")
    assert isinstance(outcomes[2], Failure)
    assert "died" in outcomes[2].reason
    assert outcomes[3:] == [40, 50]


def test_no_items():
    assert list(map_in_processes(work, [], num_workers=2)) == []
