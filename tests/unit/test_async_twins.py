import asyncio
import threading

import pytest

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._async import in_thread
from llama_index_raganything.errors import UnknownArgumentError


@strict_arguments
class Store:
    def thread(self, name: str = "store") -> tuple[str, int]:
        return name, threading.get_ident()

    athread = in_thread(thread)


class Other(Store):
    def thread(self, name: str = "other") -> tuple[str, int]:
        return super().thread(name)


def test_a_twin_runs_what_the_object_has_in_another_thread():
    assert asyncio.run(Store().athread())[0] == "store"
    name, thread = asyncio.run(Other().athread())
    assert name == "other"
    assert thread != threading.get_ident()
    assert asyncio.run(Other().athread(name="given"))[0] == "given"


def test_a_twin_has_its_own_name_and_refuses_unknown_arguments():
    assert Store.athread.__qualname__ == "Store.athread"
    with pytest.raises(UnknownArgumentError, match=r"Store.athread\(\) does not know nam: did you mean name\?"):
        asyncio.run(Store().athread(nam="x"))
