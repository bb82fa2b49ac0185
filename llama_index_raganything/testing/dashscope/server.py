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

Formats, limits and errors follow the public documentation and public bug reports. It needs only the standard library
and Pillow, for images. It is meant for tests: it listens on 127.0.0.1 only and keeps everything it receives in memory.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import socketserver
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from llama_index_raganything.testing.dashscope import errors, service
from llama_index_raganything.testing.dashscope.replies import Reply
from llama_index_raganything.testing.dashscope.vectors import encode

_BACKLOG: Final = 256
_BUFFER: Final = 1 << 16
_SSE: Final = "text/event-stream;charset=UTF-8"
_JSON: Final = "application/json"


class LoopbackHTTPServer(ThreadingHTTPServer):
    """HTTP on 127.0.0.1, with threads that end with the process and connections that end with the server."""

    daemon_threads = True
    request_queue_size = _BACKLOG

    def __init__(self, dashscope: DashScopeServer) -> None:
        self.dashscope = dashscope
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which can wait for a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # str by AF_INET

    def process_request(self, request: Any, client_address: Any) -> None:
        """Track the open connection."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Stop tracking the connection."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnected."""

    def close(self) -> None:
        """Close the listening socket and all connections."""
        self.server_close()
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Cut(Exception):  # noqa: N818  # ends an answer early, on purpose
    """Cuts the connection."""


class _Handler(BaseHTTPRequestHandler):
    """One connection; answers are sent immediately and in as few packets as possible."""

    protocol_version = "HTTP/1.1"
    server_version = "LoopbackDashScope"
    sys_version = ""
    disable_nagle_algorithm = True  # Nagle's algorithm would hold the end of an answer back for 40 ms.
    wbufsize = _BUFFER
    server: LoopbackHTTPServer

    def do_POST(self) -> None:  # the name that http.server calls
        """Answer a request."""
        length = self.headers.get("Content-Length") or "0"
        if not length.isdecimal() or "Transfer-Encoding" in self.headers:
            # What follows cannot be told from a next request.
            self.send_error(411)
            self.close_connection = True
            return
        content = self.rfile.read(int(length))
        self._arrived = time.perf_counter()
        path = self.path.partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = _json_object(content)
        route = service.PATHS.get(path, "unknown")
        self._logged = errors.LoggedRequest(route, path, self.command, headers, body or {}, self._arrived)
        self._request = service.Request(route, path, headers, body or {}, str(uuid.uuid4()))
        dashscope = self.server.dashscope
        dashscope.log(self._logged)
        fault = dashscope.next_fault(route, body or {})
        try:
            self._answer(fault or errors.Fault(), body is not None)
        except (_Cut, OSError):
            self.close_connection = True
        finally:
            self._logged.ended = self._logged.ended or time.perf_counter()

    do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815  # the names that http.server calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's name
        """Write no log to the error stream."""

    def _answer(self, fault: errors.Fault, readable: bool) -> None:
        if fault.delay_s:
            time.sleep(fault.delay_s)
        if fault.drop:
            raise _Cut
        if fault.is_error:
            self._send_fault(fault)
            return
        try:
            reply = self._reply(readable)
        except errors.Refusal as refusal:
            self._send_fault(refusal.fault)
            return
        if isinstance(reply, dict):
            # A function of the test gets plain lists.
            reply = fault.reply(json.loads(encode(reply))) if fault.reply else reply
            self._send(200, encode(reply), _JSON, fault)
        else:
            events = (fault.reply(event) for event in reply) if fault.reply else reply
            self._send_events(events, fault)

    def _reply(self, readable: bool) -> Reply | Iterator[Reply]:
        """Return the good answer to the request, or raise the rejection, in the order of the service's checks."""
        request, dashscope = self._request, self.server.dashscope
        if request.route == "unknown":
            raise errors.Refusal("Not Found", "ModelNotFound") if request.compatible else errors.wrong_route()
        if self.command != "POST":
            message = f"Request method '{self.command}' is not supported."
            raise errors.Refusal(message, status=405)
        given = request.headers.get("authorization", "")
        if not given.startswith("Bearer "):
            raise errors.Refusal("No API-key provided.", "InvalidApiKey")
        if given != f"Bearer {dashscope.api_key}":
            message = "Incorrect API key provided. " if request.compatible else "Invalid API-key provided."
            raise errors.Refusal(message.strip(), "InvalidApiKey")
        if not readable or _JSON not in request.headers.get("content-type", ""):
            raise errors.Refusal("Required body invalid, please check the request body format.")
        return service.respond(request, dashscope.script)

    def _send_fault(self, fault: errors.Fault) -> None:
        """Send an error, as an event if a native request asks for a stream."""
        status = fault.status
        if fault.body is not None:
            self._send(status, fault.body, fault.content_type, fault)
        elif self._request.streams and not self._request.compatible:
            self._send(status, _native_event(1, self._error_body(fault), status, "error"), _SSE, fault)
        else:
            self._send(status, encode(self._error_body(fault)), _JSON, fault)

    def _error_body(self, fault: errors.Fault) -> Reply:
        return fault.error_body(self._request.compatible, self._request.request_id)

    def _send(self, status: int, content: bytes, content_type: str, fault: errors.Fault) -> None:
        self._wait_for_latency()
        self._begin(status, content_type, fault)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self._logged.ended = time.perf_counter()
        self._write(content, fault, 0)
        self.wfile.flush()

    def _send_events(self, events: Iterator[Any], fault: errors.Fault) -> None:
        """Send the events of a stream in chunks (RFC 9112, 7.1)."""
        self._wait_for_latency()
        self._begin(200, _SSE, fault)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        written = 0
        for content in self._framed(events, fault):
            self.wfile.write(f"{len(content):x}\r\n".encode("ascii"))
            self._write(content, fault, written)
            self.wfile.write(b"\r\n")
            self.wfile.flush()
            written += len(content)
        self._logged.ended = time.perf_counter()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _framed(self, events: Iterator[Any], fault: errors.Fault) -> Iterator[bytes]:
        """Yield the events as sent, at their pace, until the fault ends them."""
        compatible = self._request.compatible
        for number, event in enumerate(events, 1):
            if number > 1 and self.server.dashscope.event_delay_s:
                time.sleep(self.server.dashscope.event_delay_s)
            if fault.error_after_events is not None and number > fault.error_after_events:
                body = self._error_body(fault)
                yield _compatible_event(body) if compatible else _native_event(number, body, 500, "error")
                return
            if fault.cut_after_events is not None and number > fault.cut_after_events:
                raise _Cut
            yield _compatible_event(event) if compatible else _native_event(number, event, 200, "result")
        if compatible:
            yield b"data: [DONE]\n\n"

    def _begin(self, status: int, content_type: str, fault: errors.Fault) -> None:
        self._logged.status = status
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("X-Request-Id", self._request.request_id)
        for name, value in fault.headers.items():
            self.send_header(name, value)

    def _write(self, content: bytes, fault: errors.Fault, written: int) -> None:
        """Write as much of the body as the fault allows, then cut."""
        if fault.cut_after is None or written + len(content) <= fault.cut_after:
            self.wfile.write(content)
            return
        self.wfile.write(content[: fault.cut_after - written])
        self.wfile.flush()
        raise _Cut

    def _wait_for_latency(self) -> None:
        left = self._arrived + self.server.dashscope.latency_s - time.perf_counter()
        if left > 0:
            time.sleep(left)


def _json_object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body; None for anything else."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _compatible_event(body: Any) -> bytes:
    return b"data: " + encode(body) + b"\n\n"


def _native_event(number: int, body: Any, status: int, name: str) -> bytes:
    return f"id:{number}\nevent:{name}\n:HTTP_STATUS/{status}\ndata:".encode() + encode(body) + b"\n\n"


_POLL_SECONDS: Final = 0.02


class DashScopeServer:
    """A DashScope service on 127.0.0.1, in threads of this process.

    Args:
        latency_s: Minimum seconds from a request to its answer or the first event of a stream.
        event_delay_s: Seconds between the events of a stream.
        api_key: The only key it accepts.
    """

    def __init__(
        self, latency_s: float = 0.0, event_delay_s: float = 0.0, api_key: str = "sk-loopback-0123456789abcdef"
    ) -> None:
        self.latency_s = latency_s
        self.event_delay_s = event_delay_s
        self.api_key = api_key
        self._requests: list[errors.LoggedRequest] = []
        self._faults: list[errors.ScriptedFault] = []
        self.script = service.Script()
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
        return self.url + service.NATIVE_BASE

    @property
    def compatible_url(self) -> str:
        """Base URL of the OpenAI-compatible protocol."""
        return self.url + service.COMPATIBLE_BASE

    @property
    def replies(self) -> Sequence[service.ScriptedReply]:
        """Scripted replies of the chat models in order, the last repeated; empty for the server's own."""
        return self.script.replies

    @replies.setter
    def replies(self, replies: Sequence[service.ScriptedReply]) -> None:
        self.script = service.Script(tuple(replies))

    @property
    def requests(self) -> list[errors.LoggedRequest]:
        """The requests so far, in order of arrival."""
        with self._lock:
            return list(self._requests)

    def requests_to(self, route: str) -> list[errors.LoggedRequest]:
        """Return the requests to a route, in order of arrival.

        Args:
            route: Its name, or "embeddings" for all three embedding routes.
        """
        routes = _routes(route)
        return [request for request in self.requests if request.route in routes]

    def most_at_once(self, route: str | None = None) -> int:
        """Return the maximum number of concurrent requests.

        Args:
            route: Name of a route; None for all.
        """
        chosen = self.requests if route is None else self.requests_to(route)
        edges = [(request.started, 1) for request in chosen]
        edges += [(request.ended, -1) for request in chosen if request.ended is not None]
        return max(itertools.accumulate(change for _, change in sorted(edges)), default=0)

    def clear(self) -> None:
        """Forget the requests and the pending faults."""
        with self._lock:
            self._requests.clear()
            self._faults.clear()

    def fail(
        self,
        fault: errors.Fault,
        times: int | None = 1,
        route: str | None = None,
        when: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        """Let the next requests fail, in the order in which faults are given.

        Args:
            fault: What goes wrong.
            times: Number of requests; None for all.
            route: Name of the route, or "embeddings"; None for any.
            when: Decides by the body; None for any.
        """
        routes = None if route is None else _routes(route)
        with self._lock:
            self._faults.append(errors.ScriptedFault(fault, times, routes, when))

    def start(self) -> Self:
        """Start the server and return it."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._http.serve_forever, args=(_POLL_SECONDS,), name="loopback-dashscope", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Cut all connections and stop listening. The server cannot be restarted."""
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log(self, request: errors.LoggedRequest) -> None:
        """Record a request; called by the handlers."""
        with self._lock:
            self._requests.append(request)

    def next_fault(self, route: str, body: dict[str, Any]) -> errors.Fault | None:
        """Return and count the fault of a request; called by the handlers."""
        with self._lock:
            for scripted in self._faults:
                if scripted.takes(route, body):
                    scripted.left = None if scripted.left is None else scripted.left - 1
                    return scripted.fault
        return None


def _routes(route: str) -> frozenset[str]:
    if route not in service.ROUTE_GROUPS:
        message = f"{route!r} is no route; take one of {', '.join(sorted(service.ROUTE_GROUPS))}"
        raise ValueError(message)
    return service.ROUTE_GROUPS[route]
