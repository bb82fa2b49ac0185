"""The bound on requests at the same time: over threads and tasks, and of event loops that have ended."""

import asyncio
import pickle
import threading
import time
import weakref

from llama_index_raganything.models.dashscope.client import ConcurrencyLimit


class Crowd:
    """Counts who is inside together."""

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0
        self.most = 0

    def __enter__(self):
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)

    def __exit__(self, *_):
        with self._lock:
            self._inside -= 1


def most_threads(limit):
    crowd = Crowd()

    def work():
        with limit.threads, crowd:
            time.sleep(0.02)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return crowd.most


async def most_tasks(limit):
    crowd = Crowd()

    async def work():
        async with limit.tasks:
            with crowd:
                await asyncio.sleep(0.01)

    await asyncio.gather(*(work() for _ in range(6)))
    return crowd.most


def test_threads_and_tasks_are_bounded_also_in_a_pickled_copy():
    limit = ConcurrencyLimit(2)
    for each in (limit, pickle.loads(pickle.dumps(limit))):  # our own bytes
        assert most_threads(each) == 2
        assert asyncio.run(most_tasks(each)) == 2


def test_event_loops_that_have_ended_are_not_held():
    limit = ConcurrencyLimit(1)
    ended = []

    async def wait_in_line():
        ended.append(weakref.ref(asyncio.get_running_loop()))
        await most_tasks(limit)

    for _ in range(3):
        asyncio.run(wait_in_line())
    asyncio.run(most_tasks(limit))
    assert [reference() for reference in ended] == [None, None, None]
