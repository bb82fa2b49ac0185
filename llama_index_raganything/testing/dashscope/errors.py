"""DashScope's documented errors, their bodies in both protocols, and faults on demand.

The native protocol answers ``{"code", "message", "request_id"}``, the OpenAI-compatible one ``{"error": {"code",
"message", "param", "type"}, "request_id"}``. Codes: https://www.alibabacloud.com/help/en/model-studio/error-code; the
messages are those of public bug reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llama_index_raganything.testing.dashscope.replies import Reply

_ALGORITHM: Final = "<400> InternalError.Algo.InvalidParameter: "


@dataclass(frozen=True, slots=True)
class DocumentedError:
    """A documented error of the service.

    Attributes:
        status: HTTP status.
        code: Code of the native protocol.
        compatible_code: Code of the OpenAI-compatible protocol.
        compatible_type: Type of the OpenAI-compatible protocol.
        message: The message.
    """

    status: int
    code: str
    compatible_code: str
    compatible_type: str
    message: str


_INVALID: Final = "invalid_request_error"


def _error(status: int, code: str, message: str, compatible_code: str = "", kind: str = "") -> DocumentedError:
    """Return an error; by default an invalid parameter in the compatible protocol, else of a type equal to its code."""
    if not compatible_code:
        return DocumentedError(status, code, "invalid_parameter_error", _INVALID, message)
    return DocumentedError(status, code, compatible_code, kind or compatible_code, message)


_ERRORS: Final = (
    _error(400, "InvalidParameter", "A parameter is invalid."),
    _error(400, "BadRequest.EmptyInput", "Required input parameter missing from request."),
    _error(
        400,
        "BadRequest.EmptyModel",
        'Required parameter "model" missing or invalid, please check the request parameters.',
    ),
    _error(
        400,
        "BadRequest.EmptyParameters",
        'Required parameter "parameters" missing or invalid, please check the request parameters.',
    ),
    _error(400, "InvalidURL", "The provided URL does not appear to be valid. Ensure it is correctly formatted."),
    _error(400, "DataInspectionFailed", "Input data may contain inappropriate content.", "data_inspection_failed"),
    _error(400, "Arrearage", "Access denied, please make sure your account is in good standing.", "Arrearage"),
    _error(
        400, "UnsupportedOperation", "The operation is unsupported on the object.", "unsupported_operation", _INVALID
    ),
    _error(401, "InvalidApiKey", "Invalid API-key provided.", "invalid_api_key", _INVALID),
    _error(403, "AccessDenied", "Access denied.", "access_denied"),
    _error(403, "Model.AccessDenied", "Model access denied.", "model_access_denied", _INVALID),
    _error(
        403,
        "AllocationQuota.FreeTierOnly",
        "The free tier of the model has been exhausted. If you wish to continue access the model on a "
        'paid basis, please disable the "use free tier only" mode in the management console.',
        "AllocationQuota.FreeTierOnly",
    ),
    _error(404, "ModelNotFound", "Model can not be found.", "model_not_found", _INVALID),
    _error(404, "WorkSpaceNotFound", "WorkSpace can not be found.", "workspace_not_found", _INVALID),
    _error(408, "RequestTimeOut", "Request timed out, please try again later.", "request_timeout"),
    _error(429, "Throttling", "Requests throttling triggered.", "limit_requests"),
    _error(429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later.", "limit_requests"),
    _error(
        429,
        "Throttling.BurstRate",
        "Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale "
        "requests more smoothly over time.",
        "limit_burst_rate",
    ),
    _error(
        429,
        "Throttling.AllocationQuota",
        "Allocated quota exceeded, please increase your quota limit.",
        "insufficient_quota",
    ),
    _error(
        500,
        "InternalError",
        "An internal error has occured, please try again later or contact service support.",
        "internal_error",
    ),
    _error(
        500,
        "InternalError.Timeout",
        "An internal timeout error has occured during execution, please try again later or contact service support.",
        "internal_error",
    ),
    _error(500, "SystemError", "An system error has occured, please try again later.", "internal_error"),
    _error(500, "ModelServiceFailed", "Failed to request model service.", "internal_error"),
    _error(503, "ModelUnavailable", "Model is unavailable, please try again later.", "service_unavailable"),
)

DOCUMENTED_ERRORS: Final[Mapping[str, DocumentedError]] = {error.code: error for error in _ERRORS}
"""The documented errors by their native code."""


class Refusal(Exception):  # noqa: N818  # not a failure of the program: the service's answer to a request
    """The service's answer to a request that it rejects.

    Args:
        message: What is wrong; by default the documented message.
        code: Native code, one of ``DOCUMENTED_ERRORS``.
        **changes: Fields of the fault that differ from the documented ones.

    Attributes:
        fault: The answer.
    """

    def __init__(self, message: str = "", code: str = "InvalidParameter", **changes: Any) -> None:
        super().__init__(message)
        self.fault = Fault.documented(code, **({"message": message} if message else {}), **changes)


def algorithm_refusal(message: str) -> Refusal:
    """Return the rejection by a model, rather than by the gateway."""
    return Refusal(_ALGORITHM + message)


def wrong_route() -> Refusal:
    """Return the rejection of a model or path that the native route does not know."""
    page = "https://help.aliyun.com/zh/model-studio/error-code"
    return Refusal(f"url error, please check url！ For details, see: {page}#error-url")


_TYPES: Final = {error.compatible_code: error.compatible_type for error in DOCUMENTED_ERRORS.values()}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with an answer.

    Without status, code or body the answer itself is good but late, cut or changed.

    Attributes:
        status: HTTP status of an error; 200 with a code reports the error in a good-looking answer.
        code: The error's code.
        compatible_code: The code in the OpenAI-compatible protocol, if it differs.
        message: The error's message.
        body: Bytes to answer instead, such as a gateway's HTML.
        content_type: Type of the body.
        headers: Additional headers.
        delay_s: Seconds before the answer.
        cut_after: Bytes of the body, also of a stream, after which the connection is cut.
        cut_after_events: Events of a stream after which the connection is cut.
        error_after_events: Events of a stream after which the error follows as an event with status 200.
        drop: Close the connection without an answer.
        reply: Takes the body of a good answer and returns another.
    """

    status: int = 200
    code: str = ""
    compatible_code: str = ""
    message: str = ""
    body: bytes | None = None
    content_type: str = "text/html"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut_after: int | None = None
    cut_after_events: int | None = None
    error_after_events: int | None = None
    drop: bool = False
    reply: Callable[[Reply], Any] | None = None

    @classmethod
    def documented(cls, code: str, **changes: Any) -> Fault:
        """Return a documented error, reported in the protocol of the request.

        Args:
            code: Its native code, one of ``DOCUMENTED_ERRORS``.
            changes: Fields that differ.

        Raises:
            KeyError: No such error is documented.
        """
        known = DOCUMENTED_ERRORS[code]
        names = ("status", "code", "compatible_code", "message")
        return cls(**({name: getattr(known, name) for name in names} | changes))

    @property
    def is_error(self) -> bool:
        """Whether it replaces the whole answer."""
        return self.error_after_events is None and (self.status != 200 or bool(self.code) or self.body is not None)

    def error_body(self, compatible: bool, request_id: str) -> Reply:
        """Return the body of the error in one of the protocols."""
        if not compatible:
            return {"code": self.code, "message": self.message, "request_id": request_id}
        code = self.compatible_code or self.code
        error = {"message": self.message, "type": _TYPES.get(code, _INVALID), "param": None, "code": code}
        return {"error": error, "id": f"chatcmpl-{request_id}", "request_id": request_id}


@dataclass(slots=True)
class LoggedRequest:
    """A request received by the server.

    Attributes:
        route: Name of the route; "unknown" for other paths.
        path: Path of the URL.
        method: HTTP method.
        headers: Headers, with names in lower case.
        body: The JSON object sent; empty for anything else.
        started: When it had been read, in seconds of ``time.perf_counter``.
        ended: When its answer was nearly complete; None before.
        status: HTTP status of the answer; None before, and for a dropped connection.
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
    """A fault and the requests it applies to.

    Attributes:
        left: Number of further requests; None for all.
        routes: Names of the routes; None for any.
        when: Decides by the body; None for any.
    """

    fault: Fault
    left: int | None
    routes: frozenset[str] | None
    when: Callable[[dict[str, Any]], bool] | None

    def takes(self, route: str, body: dict[str, Any]) -> bool:
        """Return whether the fault applies to a request."""
        on_route = self.routes is None or route in self.routes
        return on_route and self.left != 0 and (self.when is None or self.when(body))
