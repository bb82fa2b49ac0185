"""The one HTTP layer: retries where DashScope asks for them, nowhere else, over real HTTP on loopback."""

import asyncio
import gc
import logging
import pickle
import socket
import threading
from types import SimpleNamespace

import httpx
import pytest
from pydantic import SecretStr

from llama_index_raganything import errors
from llama_index_raganything.models.dashscope import client as client_module
from llama_index_raganything.models.dashscope.client import TEXT_EMBEDDING_PATH, DashScopeClient, RetryPolicy
from llama_index_raganything.models.dashscope.endpoints import Endpoints
from llama_index_raganything.testing import Fault

pytestmark = pytest.mark.usefixtures("quick_retries")

ROUTE = "text-embedding"
BODY = {"model": "text-embedding-v4", "input": {"texts": ["a", "b"]}, "parameters": {"text_type": "document"}}


def client_of(server, **options):
    return DashScopeClient(
        SecretStr(options.pop("api_key", server.api_key)), Endpoints.resolve(server.native_url), **options
    )


async def both(client):
    """Post once blocking and once not, and return what came of each."""

    async def outcome(call):
        try:
            return await call
        except errors.DashScopeError as error:
            return error

    blocking = outcome(asyncio.to_thread(client.post, TEXT_EMBEDDING_PATH, BODY))
    return [await blocking, await outcome(client.apost(TEXT_EMBEDDING_PATH, BODY))]


async def test_answers_are_returned(server):
    for answer in await both(client_of(server)):
        assert [item["text_index"] for item in answer["output"]["embeddings"]] == [0, 1]
    first = server.requests_to(ROUTE)[0]
    assert first.body == BODY
    assert first.method == "POST"
    assert first.headers["authorization"] == f"Bearer {server.api_key}"
    assert first.headers["content-type"] == "application/json"


async def test_a_redirect_is_told_and_not_followed(server):
    server.fail(Fault(status=307, body=b"", headers={"Location": "https://elsewhere.example/"}), times=None)
    for error in await both(client_of(server)):
        assert isinstance(error, errors.DashScopeProtocolError)
        assert "307 and points to https://elsewhere.example/" in str(error)
        assert error.status == 307
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "kind", "requests"),
    [
        (Fault(status=401, code="InvalidApiKey"), errors.DashScopeAuthenticationError, 1),
        (Fault(status=403, code="AccessDenied"), errors.DashScopePermissionError, 1),
        (Fault(status=403, code="AllocationQuota.FreeTierOnly"), errors.DashScopeQuotaError, 1),
        (Fault(status=400, code="Arrearage"), errors.DashScopeQuotaError, 1),
        (Fault(status=400, code="InvalidParameter"), errors.DashScopeBadRequestError, 1),
        (Fault(status=400, code="DataInspectionFailed"), errors.DashScopeContentError, 1),
        (Fault(status=429, code="Throttling.RateQuota"), errors.DashScopeRateLimitError, 3),
        (
            Fault(status=429, code="Throttling.AllocationQuota", message="Free allocated quota exceeded."),
            errors.DashScopeQuotaError,
            1,
        ),
        (Fault(status=429, code="Throttling", headers={"Retry-After": "600"}), errors.DashScopeRateLimitError, 1),
        (Fault(status=500, code="InternalError"), errors.DashScopeServerError, 3),
        (
            Fault(status=503, body=b"<html><h1>503 Service Unavailable</h1></html>", content_type="text/html"),
            errors.DashScopeServerError,
            3,
        ),
        (Fault(status=200, body=b"<html>login</html>", content_type="text/html"), errors.DashScopeProtocolError, 1),
        (Fault(status=200, body=b"[]", content_type="application/json"), errors.DashScopeProtocolError, 1),
        (Fault(drop=True), errors.DashScopeConnectionError, 1),
        (Fault(cut_after=20), errors.DashScopeConnectionError, 1),
    ],
    ids=lambda value: getattr(value, "code", None) or getattr(value, "__name__", None) or str(value),
)
async def test_faults_become_typed_errors_after_the_right_number_of_requests(server, fault, kind, requests):
    server.fail(fault, times=100, route=ROUTE)
    for outcome in await both(client_of(server, max_retries=2)):
        assert type(outcome) is kind
        assert server.api_key not in str(outcome)
    assert len(server.requests_to(ROUTE)) == 2 * requests


async def test_a_retry_that_succeeds(server):
    for blocking in (True, False):
        server.clear()
        server.fail(Fault(status=429, code="Throttling.RateQuota", headers={"Retry-After": "1"}), times=1, route=ROUTE)
        server.fail(Fault(status=500, code="InternalError"), times=1, route=ROUTE)
        client = client_of(server)
        answer = client.post(TEXT_EMBEDDING_PATH, BODY) if blocking else await client.apost(TEXT_EMBEDDING_PATH, BODY)
        assert len(answer["output"]["embeddings"]) == 2
        assert len(server.requests_to(ROUTE)) == 3


async def test_no_retries_when_none_are_wanted(server):
    server.fail(Fault(status=500, code="InternalError"), times=10, route=ROUTE)
    await both(client_of(server, max_retries=0))
    assert len(server.requests_to(ROUTE)) == 2


async def test_slow_answers_time_out(server):
    server.fail(Fault(delay_s=1.0), times=2, route=ROUTE)
    for outcome in await both(client_of(server, timeout_s=0.1)):
        assert type(outcome) is errors.DashScopeTimeoutError
    assert len(server.requests_to(ROUTE)) == 2


async def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = DashScopeClient(SecretStr("sk-test-key-0000"), Endpoints.resolve(url))
    for outcome in await both(client):
        assert type(outcome) is errors.DashScopeConnectionError
        assert "127.0.0.1" in str(outcome)
        assert "sk-" not in str(outcome)


def test_a_wrong_key_is_an_authentication_error(server):
    with pytest.raises(errors.DashScopeAuthenticationError) as caught:
        client_of(server, api_key="sk-wrong-key").post(TEXT_EMBEDDING_PATH, BODY)
    assert caught.value.status == 401
    assert caught.value.request_id
    assert "sk-wrong-key" not in str(caught.value)


def test_waits_grow_are_spread_and_obey_the_service(server, monkeypatch):
    waits = []
    monkeypatch.setattr(client_module, "time", SimpleNamespace(sleep=waits.append))
    for _ in range(20):
        server.fail(Fault(status=503, code="ModelUnavailable"), times=4, route=ROUTE)
        client_of(server, max_retries=4).post(TEXT_EMBEDDING_PATH, BODY)
    rounds = [waits[start : start + 4] for start in range(0, len(waits), 4)]
    for place, longest in enumerate((0.5, 1.0, 2.0, 4.0)):
        column = [each[place] for each in rounds]
        assert max(column) <= longest
        assert len({round(value, 6) for value in column}) > 10
    waits.clear()
    server.fail(Fault(status=429, code="Throttling", headers={"Retry-After": "3"}), times=1, route=ROUTE)
    client_of(server).post(TEXT_EMBEDDING_PATH, BODY)
    assert 3.0 <= waits[0] <= 3.3
    waits.clear()
    server.fail(Fault(status=429, code="Throttling"), times=None, route=ROUTE)
    for _ in range(20):
        with pytest.raises(errors.DashScopeRateLimitError):
            client_of(server).post(TEXT_EMBEDDING_PATH, BODY)
    assert 0.5 < max(waits[::2]) <= 2.0
    assert 1.0 < max(waits[1::2]) <= 4.0


def test_waiting_has_a_limit():
    assert RetryPolicy(max_s=5.0).max_s == 5.0
    asks = httpx.Response(429, headers={"retry-after": "6"}, content=b"{}")
    assert RetryPolicy(max_s=5.0).seconds_before_retry(0, asks) is None
    assert 6.0 <= RetryPolicy(max_s=6.0).seconds_before_retry(0, asks) <= 6.6
    assert RetryPolicy(max_retries=1).seconds_before_retry(1, asks) is None
    assert RetryPolicy().seconds_before_retry(0, httpx.Response(200, content=b"{}")) is None


def test_one_client_serves_several_event_loops_and_threads(server):
    client = client_of(server)

    async def ask():
        return await asyncio.gather(*(client.apost(TEXT_EMBEDDING_PATH, BODY) for _ in range(5)))

    for _ in range(3):
        assert len(asyncio.run(ask())) == 5
        gc.collect()
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.post(TEXT_EMBEDDING_PATH, BODY))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    client.close()
    assert client.post(TEXT_EMBEDDING_PATH, BODY)["output"]


def test_connections_are_kept(server, monkeypatch):
    opened = []
    connect = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda *args, **kwargs: opened.append(1) or connect(*args, **kwargs)
    )
    client = client_of(server)
    for _ in range(5):
        client.post(TEXT_EMBEDDING_PATH, BODY)
    assert len(opened) == 1


@pytest.mark.parametrize("text", ["\ud800", "\x00", '"}], "x": [{"', "表格 🙂", "a\r\nX-Evil: 1"])
def test_hostile_texts_are_sent_as_they_are(server, text):
    client_of(server).post(TEXT_EMBEDDING_PATH, BODY | {"input": {"texts": [text]}})
    sent = server.requests_to(ROUTE)[-1].body["input"]["texts"]
    assert sent == [text.encode("utf-8", "replace").decode()]


def test_the_key_is_not_shown(server, caplog):
    client = client_of(server)
    with caplog.at_level(logging.DEBUG):
        client.post(TEXT_EMBEDDING_PATH, BODY)
    assert server.api_key not in caplog.text
    assert server.api_key not in repr(client) + str(vars(client))


async def test_no_request_that_an_error_or_an_answer_holds_has_the_key(server):
    server.fail(Fault(drop=True), times=2)
    client = client_of(server)
    for error in await both(client):
        assert "authorization" not in error.__cause__.request.headers
    answer = client._clients.sync().post(client.url(TEXT_EMBEDDING_PATH), json=BODY, headers=client._headers())
    assert answer.status_code == 200
    assert "authorization" not in answer.request.headers


def test_clients_are_opened_again_after_pickling(server):
    clients = client_of(server)._clients
    again = pickle.loads(pickle.dumps(clients))
    assert (again.timeout_s, again.max_retries, again.workers) == (60.0, 2, 8)
    assert again.sync() is again.sync()


def test_the_environments_proxy_is_used(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(errors.DashScopeConnectionError):
        client_of(server).post(TEXT_EMBEDDING_PATH, BODY)
    assert not server.requests_to(ROUTE)
