"""What DashScope's answers and broken connections become."""

import json
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from llama_index_raganything import errors
from llama_index_raganything.models.dashscope.failures import (
    error_from_exception,
    error_from_response,
    is_transient,
    retry_after_seconds,
    shown,
)


def native(code, message="what happened", request_id="req-1"):
    return json.dumps({"code": code, "message": message, "request_id": request_id}).encode()


def compatible(code, message="what happened", kind="invalid_request_error"):
    return json.dumps(
        {"error": {"message": message, "type": kind, "param": None, "code": code}, "request_id": "req-1"}
    ).encode()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "InvalidApiKey", errors.DashScopeAuthenticationError),
        (401, "invalid_api_key", errors.DashScopeAuthenticationError),
        (400, "InvalidApiKey", errors.DashScopeAuthenticationError),
        (403, "AccessDenied", errors.DashScopePermissionError),
        (403, "Model.AccessDenied", errors.DashScopePermissionError),
        (403, "AllocationQuota.FreeTierOnly", errors.DashScopeQuotaError),
        (400, "Arrearage", errors.DashScopeQuotaError),
        (429, "insufficient_quota", errors.DashScopeRateLimitError),
        (404, "ModelNotFound", errors.DashScopePermissionError),
        (404, "model_not_found", errors.DashScopePermissionError),
        (404, "WorkSpaceNotFound", errors.DashScopePermissionError),
        (429, "Throttling", errors.DashScopeRateLimitError),
        (429, "Throttling.RateQuota", errors.DashScopeRateLimitError),
        (429, "Throttling.AllocationQuota", errors.DashScopeRateLimitError),
        (429, "limit_requests", errors.DashScopeRateLimitError),
        (429, "", errors.DashScopeRateLimitError),
        (400, "InvalidParameter", errors.DashScopeBadRequestError),
        (400, "invalid_parameter_error", errors.DashScopeBadRequestError),
        (400, "BadRequest.EmptyInput", errors.DashScopeBadRequestError),
        (400, "InvalidParameter.DataInspection", errors.DashScopeBadRequestError),
        (413, "", errors.DashScopeBadRequestError),
        (400, "DataInspectionFailed", errors.DashScopeContentError),
        (400, "data_inspection_failed", errors.DashScopeContentError),
        (408, "RequestTimeOut", errors.DashScopeTimeoutError),
        (500, "RequestTimeOut", errors.DashScopeTimeoutError),
        (500, "InternalError", errors.DashScopeServerError),
        (500, "InternalError.Timeout", errors.DashScopeServerError),
        (503, "ModelUnavailable", errors.DashScopeServerError),
        (504, "", errors.DashScopeServerError),
        (200, "InvalidParameter", errors.DashScopeBadRequestError),
        (200, "InternalError", errors.DashScopeServerError),
    ],
)
@pytest.mark.parametrize("body", [native, compatible])
def test_codes_and_statuses(status, code, kind, body):
    error = error_from_response(status, body(code), {})
    assert type(error) is kind
    assert isinstance(error, errors.DashScopeError)
    assert isinstance(error, errors.RAGAnythingError)
    assert (error.status, error.request_id) == (status, "req-1")
    assert error.code == (code or ("" if body is native else "invalid_request_error"))
    assert "what happened" in str(error)
    assert "What to do: " in str(error)
    assert "req-1" in str(error)


def test_too_many_tokens_a_minute_on_the_compatible_route_are_no_empty_account():
    body = compatible("insufficient_quota", "You exceeded your current quota, please check your plan.")
    assert is_transient(error_from_response(429, body, {}))
    used_up = compatible("insufficient_quota", "Free allocated quota exceeded.")
    assert type(error_from_response(429, used_up, {})) is errors.DashScopeQuotaError


def test_only_the_time_outs_of_the_service_are_repeated():
    assert is_transient(error_from_response(500, native("RequestTimeOut"), {}))
    assert not is_transient(error_from_response(408, native("RequestTimeOut"), {}))


def test_a_used_up_free_quota_is_final_though_its_code_is_throttling():
    body = native("Throttling.AllocationQuota", "Free allocated quota exceeded.")
    error = error_from_response(429, body, {})
    assert type(error) is errors.DashScopeQuotaError
    assert not is_transient(error)
    assert is_transient(error_from_response(429, native("Throttling.AllocationQuota", "Allocated quota exceeded"), {}))


def test_a_gateways_html_is_read_as_text():
    error = error_from_response(503, b"<html><body><h1>503</h1>\n<p>Service &amp; so on</body></html>", {})
    assert type(error) is errors.DashScopeServerError
    assert "<" not in str(error)
    assert "Service" in str(error)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"null", b"[1]", b'"text"', b'{"error": "words"}', b"{}" * 9000])
def test_any_body_makes_an_error(body):
    error = error_from_response(500, body, {"x-request-id": "abc"})
    assert type(error) is errors.DashScopeServerError
    assert error.request_id == "abc"
    assert len(str(error)) < 1500


def test_no_key_is_repeated():
    body = native("InvalidApiKey", "Incorrect API key provided: sk-0123456789abcdef.")
    assert "0123456789" not in str(error_from_response(401, body, {}))
    assert shown("Bearer sk-abcdefghijkl\nrest") == "Bearer sk-*** rest"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ReadTimeout(""), errors.DashScopeTimeoutError),
        (httpx.ConnectTimeout("slow"), errors.DashScopeTimeoutError),
        (httpx.ConnectError("refused"), errors.DashScopeConnectionError),
        (httpx.RemoteProtocolError("peer closed"), errors.DashScopeConnectionError),
        (httpx.UnsupportedProtocol("ftp"), errors.DashScopeConnectionError),
        (httpx.DecodingError("gzip"), errors.DashScopeProtocolError),
    ],
)
def test_broken_connections(error, kind):
    made = error_from_exception(error, "https://dashscope.aliyuncs.com/api/v1")
    assert type(made) is kind
    assert "dashscope.aliyuncs.com" in str(made)
    assert error_from_exception(made, "again") is made


def test_retry_after_is_read_as_seconds_or_as_a_date():
    assert retry_after_seconds({"retry-after": "1.5"}) == 1.5
    assert retry_after_seconds({"retry-after": "-3"}) == 0.0
    assert retry_after_seconds({}) is None
    assert retry_after_seconds({"retry-after": "soon"}) is None
    assert retry_after_seconds({"retry-after": "nan"}) is None
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < retry_after_seconds({"retry-after": moment}) <= 30
    error = error_from_response(429, native("Throttling"), {"retry-after": "7"})
    assert error.retry_after_s == 7.0


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(error_from_response(429, native("Throttling"), {"retry-after": "7"})))
    assert (error.code, error.request_id, error.status, error.retry_after_s) == ("Throttling", "req-1", 429, 7.0)
    partial = errors.PartialEmbeddingError("one failed", [[1.0], None], {1: error})
    again = pickle.loads(pickle.dumps(partial))
    assert (str(again), again.embeddings, list(again.failures)) == ("one failed", [[1.0], None], [1])


def test_a_message_that_ends_with_a_full_stop_has_one():
    error = error_from_response(401, b'{"code":"InvalidApiKey","message":"Invalid API-key provided."}', {})
    assert "Invalid API-key provided. What to do" in str(error)
