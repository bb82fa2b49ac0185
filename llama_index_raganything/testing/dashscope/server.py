"""A DashScope on loopback: real HTTP in the documented wire format, with faults on demand and a log.

>>> import httpx
>>> from llama_index_raganything.testing import DashScopeServer, Fault
>>> with DashScopeServer() as server:
...     server.replies = ["Hello."]
...     body = {"model": "qwen-max", "messages": [{"role": "user", "content": "Hi"}]}
...     headers = {"Authorization": f"Bearer {server.api_key}"}
...     answer = httpx.post(f"{server.compatible_url}/chat/completions", json=body, headers=headers).json()
...     answer["choices"][0]["message"]["content"], server.requests[0].route
('Hello.', 'chat')

Formats, limits and errors are those of the public documentation and of public bug reports; nobody else's words are
served. Everything is the standard library's; images are read by Pillow. It is made for tests: it listens on 127.0.0.1
only and keeps everything it was sent in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

from llama_index_raganything.testing.dashscope.faults import Fault, LoggedRequest, ScriptedFault
from llama_index_raganything.testing.dashscope.http import LoopbackHTTPServer
from llama_index_raganything.testing.dashscope.replies import Reply
from llama_index_raganything.testing.dashscope.service import (
    COMPATIBLE_BASE,
    NATIVE_BASE,
    ROUTE_GROUPS,
    Request,
    Script,
    ScriptedReply,
    respond,
)

_POLL_SECONDS: Final = 0.02


class DashScopeServer:
    """A DashScope service on 127.0.0.1, in threads of this process.

    Args:
        latency: Seconds from a request to its answer, or to the first event of a stream, at least.
        event_delay: Seconds between the events of a stream.
        api_key: The one key that it takes.
    """

    def __init__(
        self, latency: float = 0.0, event_delay: float = 0.0, api_key: str = "sk-loopback-0123456789abcdef"
    ) -> None:
        self.latency = latency
        self.event_delay = event_delay
        self.api_key = api_key
        self._requests: list[LoggedRequest] = []
        self._faults: list[ScriptedFault] = []
        self._script = Script()
        self._lock = threading.Lock()
        self._http = LoopbackHTTPServer(self)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def native_url(self) -> str:
        """Base URL of the native protocol."""
        return self.url + NATIVE_BASE

    @property
    def compatible_url(self) -> str:
        """Base URL of the OpenAI-compatible protocol."""
        return self.url + COMPATIBLE_BASE

    @property
    def replies(self) -> Sequence[ScriptedReply]:
        """What the chat models say, in order, the last one for ever; empty to let the server answer of itself."""
        return self._script.replies

    @replies.setter
    def replies(self, replies: Sequence[ScriptedReply]) -> None:
        self._script = Script(tuple(replies))

    @property
    def requests(self) -> list[LoggedRequest]:
        """The requests so far, in the order in which they came."""
        with self._lock:
            return list(self._requests)

    def requests_to(self, route: str) -> list[LoggedRequest]:
        """Return the requests to a route, in the order in which they came.

        Args:
            route: Its name, or "embeddings" for all three embedding routes.
        """
        routes = _routes(route)
        return [request for request in self.requests if request.route in routes]

    def most_at_once(self, route: str | None = None) -> int:
        """Return how many requests were open at the same time, at most.

        Args:
            route: Name of a route; None for all.
        """
        chosen = self.requests if route is None else self.requests_to(route)
        edges = [(request.started, 1) for request in chosen]
        edges += [(request.ended, -1) for request in chosen if request.ended is not None]
        most = now = 0
        for _, change in sorted(edges):
            now += change
            most = max(most, now)
        return most

    def clear(self) -> None:
        """Forget the requests and the faults that have not happened yet."""
        with self._lock:
            self._requests.clear()
            self._faults.clear()

    def fail(
        self,
        fault: Fault,
        times: int | None = 1,
        route: str | None = None,
        when: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        """Let the next requests fail; faults happen in the order in which they were given.

        Args:
            fault: What goes wrong.
            times: For how many requests; None for all to come.
            route: Name of the route, or "embeddings"; None for any.
            when: Tells from a body whether the request shall fail; None for any.
        """
        routes = None if route is None else _routes(route)
        with self._lock:
            self._faults.append(ScriptedFault(fault, times, routes, when))

    def start(self) -> Self:
        """Begin to answer.

        Returns:
            The server.
        """
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._http.serve_forever, args=(_POLL_SECONDS,), name="loopback-dashscope", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Cut all connections and listen no more. It cannot be started again."""
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def log(self, request: LoggedRequest) -> None:
        """Note a request; called by the handlers.

        Args:
            request: The request.
        """
        with self._lock:
            self._requests.append(request)

    def next_fault(self, route: str, body: dict[str, Any]) -> Fault | None:
        """Return what shall go wrong with a request, and count it; called by the handlers.

        Args:
            route: Its route.
            body: What it sent.
        """
        with self._lock:
            for scripted in self._faults:
                if scripted.takes(route, body):
                    scripted.left = None if scripted.left is None else scripted.left - 1
                    return scripted.fault
        return None

    def respond(self, request: Request) -> Reply | Iterator[Reply]:
        """Return the answer to a request; called by the handlers.

        Args:
            request: The request.
        """
        return respond(request, self._script)


def _routes(route: str) -> frozenset[str]:
    if route not in ROUTE_GROUPS:
        message = f"{route!r} is no route; take one of {', '.join(sorted(ROUTE_GROUPS))}"
        raise ValueError(message)
    return ROUTE_GROUPS[route]
