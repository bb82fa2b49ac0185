"""What the tests of DashScope's models share: one loopback server, and retries that wait next to nothing."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from llama_index_raganything.models.dashscope import client
from llama_index_raganything.testing import DashScopeServer


@pytest.fixture(scope="session")
def running_dashscope():
    with DashScopeServer() as server:
        yield server


@pytest.fixture
def server(running_dashscope):
    running_dashscope.clear()
    running_dashscope.replies = []
    return running_dashscope


@pytest.fixture
def quick_retries(monkeypatch):
    """Wait a hundredth of what the policy says."""
    # The module's names, not the functions: the server sleeps too.
    sleep, asleep = time.sleep, asyncio.sleep
    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=lambda seconds: sleep(seconds / 100)))
    monkeypatch.setattr(
        client, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": lambda seconds: asleep(seconds / 100)})
    )
