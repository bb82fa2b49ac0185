"""What the loopback server was sent, and what it shall do wrong. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llama_index_raganything.testing.dashscope.errors import DOCUMENTED_ERRORS, compatible_error, native_error
from llama_index_raganything.testing.dashscope.replies import Reply

_TYPES: Final = {error.compatible_code: error.compatible_type for error in DOCUMENTED_ERRORS.values()}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with an answer.

    Without status, code or body the answer itself is good, and only late, cut or changed.

    Attributes:
        status: HTTP status of an error; 200 with a code tells the error in a good-looking answer.
        code: The error's code.
        compatible_code: The code in the OpenAI-compatible protocol, where it differs.
        message: What the error says.
        body: Bytes to answer instead, such as a gateway's HTML.
        content_type: Type of the body.
        headers: Headers to add.
        delay: Seconds before the answer.
        cut_after: Bytes of the body after which the connection is cut, in a stream too.
        cut_after_events: Events of a stream after which the connection is cut.
        error_after_events: Events of a stream after which the error comes, as an event with status 200.
        drop: Close the connection without an answer.
        reply: Changes a good answer: takes its body and returns another.
    """

    status: int = 200
    code: str = ""
    compatible_code: str = ""
    message: str = ""
    body: bytes | None = None
    content_type: str = "text/html"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut_after: int | None = None
    cut_after_events: int | None = None
    error_after_events: int | None = None
    drop: bool = False
    reply: Callable[[Reply], Any] | None = None

    @classmethod
    def documented(cls, code: str, **changes: Any) -> Fault:
        """Return one of the documented errors, which is told in the protocol of the request.

        Args:
            code: Its native code, one of ``DOCUMENTED_ERRORS``.
            changes: Fields that differ.

        Raises:
            KeyError: No such error is documented.
        """
        known = DOCUMENTED_ERRORS[code]
        fields: dict[str, Any] = {
            "status": known.status,
            "code": known.code,
            "compatible_code": known.compatible_code,
            "message": known.message,
        }
        return cls(**(fields | changes))

    @property
    def is_error(self) -> bool:
        """Whether it replaces the answer as a whole."""
        return self.error_after_events is None and (self.status != 200 or bool(self.code) or self.body is not None)

    def error_body(self, compatible: bool, request_id: str) -> Reply:
        """Return the body of the error.

        Args:
            compatible: Whether the request speaks the OpenAI-compatible protocol.
            request_id: The request's id.
        """
        if not compatible:
            return native_error(self.code, self.message, request_id)
        code = self.compatible_code or self.code
        return compatible_error(code, _TYPES.get(code, "invalid_request_error"), self.message, request_id)


@dataclass(slots=True)
class LoggedRequest:
    """A request that the server got.

    Attributes:
        route: Name of the route; "unknown" for a path that is none.
        path: Path of the URL.
        method: HTTP method.
        headers: Headers, by names in lower case.
        body: The JSON object that was sent; empty where it was none.
        started: When it was read, in seconds of ``time.perf_counter``.
        ended: When its answer was about to be complete; None before.
        status: HTTP status of its answer; None before, and for a connection that was dropped.
    """

    route: str
    path: str
    method: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    started: float
    ended: float | None = None
    status: int | None = None


@dataclass
class ScriptedFault:
    """A fault and the requests that it shall happen to.

    Attributes:
        fault: What goes wrong.
        left: For how many more requests; None for all.
        routes: Names of the routes; None for any.
        when: Tells from a body whether the request shall fail; None for any.
    """

    fault: Fault
    left: int | None
    routes: frozenset[str] | None
    when: Callable[[dict[str, Any]], bool] | None

    def takes(self, route: str, body: dict[str, Any]) -> bool:
        """Return whether the fault shall happen to a request.

        Args:
            route: Name of its route.
            body: What it sent.
        """
        on_route = self.routes is None or route in self.routes
        return on_route and self.left != 0 and (self.when is None or self.when(body))
