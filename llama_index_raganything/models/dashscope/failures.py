"""DashScope's error answers and broken connections as typed errors.

The native protocol answers ``{"code", "message", "request_id"}``, the OpenAI-compatible one ``{"error": {"code",
"message", "type"}, "request_id"}``, a gateway HTML. Codes: https://www.alibabacloud.com/help/en/model-studio/error-code
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from llama_index_raganything import errors

_MAX_TEXT: Final = 500
_HTML_TAG: Final = re.compile(r"<[^>]{0,1000}>")
_KEY: Final = re.compile(r"sk-[A-Za-z0-9_-]{6,}")

_CONTENT: Final = re.compile(r"data_?inspection_?failed", re.IGNORECASE)
_QUOTA: Final = re.compile(r"arrearage|free_?tier_?only|quota_?exhausted", re.IGNORECASE)
_QUOTA_MESSAGE: Final = re.compile(r"free (?:allocated )?quota exceeded|free tier .{0,40}exhausted", re.IGNORECASE)
_AUTHENTICATION: Final = re.compile(r"invalid_?api_?key|invalid_?token|unauthorized", re.IGNORECASE)
_PERMISSION: Final = re.compile(
    r"access_?denied|model_?not_?found|workspace_?not_?found|model_not_supported", re.IGNORECASE
)
# OpenAI's code for an exhausted balance is, on DashScope's compatible route, that for too many tokens a minute
# (https://www.alibabacloud.com/help/en/model-studio/rate-limit: "You exceeded your current quota").
_RATE: Final = re.compile(r"throttling|insufficient_?quota|limit_requests|rate_?limit|limit_burst_rate", re.IGNORECASE)
_BAD_REQUEST: Final = re.compile(r"invalid_?(?:parameter|request|url)|bad_?request", re.IGNORECASE)
_TIMEOUT: Final = re.compile(r"request_?time_?out|response_?time_?out", re.IGNORECASE)

_REMEDIES: Final[Mapping[type[errors.DashScopeError], str]] = {
    errors.DashScopeAuthenticationError: (
        "check DASHSCOPE_API_KEY; a key works in its own region only, so the base URL or the region must be of the same"
    ),
    errors.DashScopePermissionError: (
        "check the model's name and the base URL, and in Alibaba Cloud's console that the key may use the model"
    ),
    errors.DashScopeQuotaError: "top up the account, or end the free-quota-only mode in Alibaba Cloud's console",
    errors.DashScopeRateLimitError: "wait, lower workers, or ask Alibaba Cloud for a higher limit",
    errors.DashScopeBadRequestError: "check the arguments that the message names",
    errors.DashScopeContentError: "change or leave out the text or image",
    errors.DashScopeServerError: "try again later",
    errors.DashScopeTimeoutError: "raise timeout, or send less at once",
}


@dataclass(frozen=True, slots=True)
class _Reply:
    """The content of an error body."""

    code: str
    message: str
    request_id: str


def error_from_response(status: int, body: bytes, headers: Mapping[str, str]) -> errors.DashScopeError:
    """Return the error for an answer.

    Args:
        status: HTTP status, at least 400; 200 for an error event in a stream.
        headers: A mapping with names in lower case, or a case-insensitive one.

    Returns:
        The error, with code, message and request id if the service sent them.
    """
    reply = _read(body, headers)
    kind = _kind(status, reply)
    what = " ".join(part for part in (str(status), reply.code) if part)
    said = f": {reply.message.rstrip('.')}" if reply.message else ""
    message = f"DashScope answered {what}{said}. What to do: {_REMEDIES[kind]}."
    fields: dict[str, Any] = {"code": reply.code, "request_id": reply.request_id, "status": status}
    if kind is errors.DashScopeRateLimitError:
        fields["retry_after_s"] = retry_after_seconds(headers)
    return kind(message, **fields)


def error_from_exception(error: Exception, what: str) -> errors.DashScopeError:
    """Return the error for a failed connection.

    Args:
        error: An exception of httpx; a ``DashScopeError`` is returned as it is.
        what: The URL that was called, without secrets.

    Returns:
        The typed error, to be raised ``from error``.
    """
    if isinstance(error, errors.DashScopeError):
        return error
    reason = shown(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    if isinstance(error, httpx.TimeoutException):
        remedy = _REMEDIES[errors.DashScopeTimeoutError]
        return errors.DashScopeTimeoutError(f"No answer from {what} in time ({reason}). What to do: {remedy}.")
    if isinstance(error, httpx.DecodingError):
        return errors.DashScopeProtocolError(f"The answer of {what} cannot be decoded ({reason}); try again later.")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return errors.DashScopeConnectionError(f"{what!r} is no URL that can be called ({reason}); check the base URL.")
    return errors.DashScopeConnectionError(
        f"The connection to {what} failed ({reason}). What to do: check the network and the base URL, then try again."
    )


def redirect_error(status: int, headers: Mapping[str, str], what: str) -> errors.DashScopeProtocolError:
    """Return the error for a redirect, which is not followed: keys are not sent to other addresses.

    Args:
        status: HTTP status, 300 to 399.
        headers: A case-insensitive mapping.
        what: The URL that was called.
    """
    target = shown(headers.get("location") or "an address that it does not name")
    message = (
        f"{what} answered {status} and points to {target}, which is not followed. What to do: check the base URL; it "
        "may lack https:// or a part of its path."
    )
    return errors.DashScopeProtocolError(message, status=status)


def protocol_error(what: str, request_id: str = "") -> errors.DashScopeProtocolError:
    """Return the error for an answer that does not follow the documentation.

    Args:
        what: What is wrong, as a clause.
    """
    message = (
        f"DashScope's answer is not as documented: {what}. What to do: try again; if it stays so, check that the model "
        "belongs to this call."
    )
    return errors.DashScopeProtocolError(message, request_id=request_id)


def is_transient(error: errors.DashScopeError) -> bool:
    """Return whether a retry may succeed at once: after rate limits and failures of the service (5xx)."""
    if isinstance(error, errors.DashScopeTimeoutError):
        return (error.status or 0) >= 500
    return isinstance(error, errors.DashScopeRateLimitError | errors.DashScopeServerError)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the service asks to wait (RFC 9110, 10.2.3).

    Returns:
        Seconds, not negative; None if the header is absent or unreadable.
    """
    value = (headers.get("retry-after") or "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def shown(text: str) -> str:
    """Return a text from outside for a message: on one line, shortened, without anything that looks like a key."""
    flat = " ".join(_KEY.sub("sk-***", text).split())
    return flat if len(flat) <= _MAX_TEXT else flat[: _MAX_TEXT - 1] + "…"


def _kind(status: int, reply: _Reply) -> type[errors.DashScopeError]:
    """Return the class of an error, by its code if that is known, else by the status."""
    by_code: tuple[tuple[re.Pattern[str], type[errors.DashScopeError]], ...] = (
        (_CONTENT, errors.DashScopeContentError),
        (_QUOTA, errors.DashScopeQuotaError),
        (_AUTHENTICATION, errors.DashScopeAuthenticationError),
        (_PERMISSION, errors.DashScopePermissionError),
        (_TIMEOUT, errors.DashScopeTimeoutError),
    )
    for pattern, kind in by_code:
        if pattern.search(reply.code):
            return kind
    if _RATE.search(reply.code) or status == 429:
        return errors.DashScopeQuotaError if _QUOTA_MESSAGE.search(reply.message) else errors.DashScopeRateLimitError
    if status < 500 and _BAD_REQUEST.search(reply.code):
        return errors.DashScopeBadRequestError
    return _kind_by_status(status)


def _kind_by_status(status: int) -> type[errors.DashScopeError]:
    if status == 401:
        return errors.DashScopeAuthenticationError
    if status in {403, 404}:
        return errors.DashScopePermissionError
    if status == 408:
        return errors.DashScopeTimeoutError
    # An error event in a stream comes with 200: the service began and then failed.
    return errors.DashScopeServerError if status >= 500 or status < 400 else errors.DashScopeBadRequestError


def request_id_in(headers: Mapping[str, str] | None) -> str:
    """Return the request id that the service sent; empty where there is none."""
    given = headers or {}
    return given.get("x-request-id") or given.get("x-dashscope-request-id") or ""


def _read(body: bytes, headers: Mapping[str, str]) -> _Reply:
    request_id = request_id_in(headers)
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except ValueError:
        return _Reply("", shown(_HTML_TAG.sub(" ", text)), shown(request_id))
    if not isinstance(value, dict):
        return _Reply("", shown(text), shown(request_id))
    inner = value.get("error")
    source = inner if isinstance(inner, dict) else value
    code = source.get("code") or source.get("type") or ""
    message = source.get("message") or (inner if isinstance(inner, str) else "")
    request_id = value.get("request_id") or value.get("id") or request_id
    return _Reply(shown(str(code)), shown(str(message)), shown(str(request_id)))
