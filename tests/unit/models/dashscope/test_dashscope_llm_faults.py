"""What comes of a chat call that goes wrong, and how many requests it costs, over real HTTP on loopback."""

import asyncio
import json
import socket
import threading
import time
import traceback

import pytest

from llama_index_raganything import errors
from llama_index_raganything.models.dashscope.chat import DashScopeLLM
from llama_index_raganything.models.dashscope.models import dashscope_llm
from llama_index_raganything.testing import Fault

ANSWER = "The answer is 42, and it has been for a while."
HTML = b"<html><head><title>503 Service Temporarily Unavailable</title></head><body>nginx</body></html>"


@pytest.fixture
def server(server):
    server.replies = [ANSWER]
    return server


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Full jitter waits up to half a second; the length of the waits is tested with the retry layer."""
    monkeypatch.setattr("llama_index_raganything.models.dashscope.client.random.uniform", lambda low, high: low)


def made(server, **options):
    return DashScopeLLM(**{"api_key": server.api_key, "api_base": server.compatible_url, **options})


async def _astream(llm):
    return [part async for part in await llm.astream_complete("What?")][-1]


ONCE = {
    "chat": lambda llm: llm.complete("What?"),
    "achat": lambda llm: asyncio.run(llm.acomplete("What?")),
}
STREAMS = {
    "stream": lambda llm: list(llm.stream_complete("What?"))[-1],
    "astream": lambda llm: asyncio.run(_astream(llm)),
}
WAYS = ONCE | STREAMS


@pytest.fixture(params=list(WAYS))
def ask(request):
    return WAYS[request.param]


@pytest.fixture(params=list(STREAMS))
def ask_stream(request):
    return STREAMS[request.param]


@pytest.fixture(params=list(ONCE))
def ask_once(request):
    return ONCE[request.param]


# Errors with a status -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InvalidApiKey", errors.DashScopeAuthenticationError),
        ("AccessDenied", errors.DashScopePermissionError),
        ("Model.AccessDenied", errors.DashScopePermissionError),
        ("AllocationQuota.FreeTierOnly", errors.DashScopeQuotaError),
        ("Arrearage", errors.DashScopeQuotaError),
        ("ModelNotFound", errors.DashScopePermissionError),
        ("InvalidParameter", errors.DashScopeBadRequestError),
        ("DataInspectionFailed", errors.DashScopeContentError),
        ("RequestTimeOut", errors.DashScopeTimeoutError),
    ],
)
def test_final_errors_are_typed_and_cost_one_request(server, ask, code, kind):
    server.fail(Fault.documented(code), times=None)
    with pytest.raises(kind) as caught:
        ask(made(server))
    assert len(server.requests) == 1
    assert caught.value.status == Fault.documented(code).status
    assert caught.value.code
    assert caught.value.request_id
    assert caught.value.request_id in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("Throttling.RateQuota", errors.DashScopeRateLimitError),
        ("Throttling.BurstRate", errors.DashScopeRateLimitError),
        ("Throttling.AllocationQuota", errors.DashScopeRateLimitError),
        ("InternalError", errors.DashScopeServerError),
        ("ModelUnavailable", errors.DashScopeServerError),
    ],
)
@pytest.mark.parametrize("max_retries", [0, 2, 4])
def test_retries_are_not_multiplied(server, ask, code, kind, max_retries):
    server.fail(Fault.documented(code), times=None)
    with pytest.raises(kind):
        ask(made(server, max_retries=max_retries))
    assert len(server.requests) == 1 + max_retries


def test_a_retry_that_succeeds_is_an_answer(server, ask):
    server.fail(Fault.documented("Throttling.RateQuota"))
    server.fail(Fault(status=503, body=HTML))
    assert str(ask(made(server))) == ANSWER
    assert len(server.requests) == 3
    assert server.requests[0].body == server.requests[2].body


def test_retry_after_is_honoured(server, ask):
    server.fail(Fault.documented("Throttling.RateQuota", headers={"Retry-After": "0.2"}))
    assert str(ask(made(server))) == ANSWER
    first, second = server.requests
    assert second.started - first.started >= 0.2


def test_a_longer_wait_than_ours_is_the_callers(server, ask):
    server.fail(Fault.documented("Throttling.RateQuota", headers={"Retry-After": "120"}), times=None)
    with pytest.raises(errors.DashScopeRateLimitError) as caught:
        ask(made(server))
    assert caught.value.retry_after_s == 120
    assert len(server.requests) == 1


def test_quota_that_is_used_up_is_not_asked_again(server, ask):
    server.fail(Fault.documented("Throttling.AllocationQuota", message="Free allocated quota exceeded."), times=None)
    with pytest.raises(errors.DashScopeQuotaError):
        ask(made(server))
    assert len(server.requests) == 1


def test_a_gateways_page_is_shown_without_its_tags(server, ask):
    server.fail(Fault(status=502, body=HTML), times=None)
    with pytest.raises(errors.DashScopeServerError, match="503 Service Temporarily Unavailable") as caught:
        ask(made(server, max_retries=0))
    assert "<html>" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (Fault(body=HTML), "without JSON|not as documented"),
        (Fault(body=b"{broken", content_type="application/json"), "not as documented"),
        (Fault(body=b"[1, 2]", content_type="application/json"), "not as documented"),
        (Fault(body=b"null", content_type="application/json"), "not as documented"),
        (Fault(body=b"", content_type="application/json"), "not as documented"),
        (Fault(body=b"{}", content_type="application/json"), "no choices|stream was asked for"),
    ],
)
def test_good_looking_answers_that_are_none(server, ask, fault, problem):
    server.fail(fault, times=None)
    with pytest.raises(errors.DashScopeProtocolError, match=problem):
        ask(made(server))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "told",
    [
        {"code": "DataInspectionFailed", "message": "Inappropriate.", "request_id": "req-7"},
        {"error": {"code": "data_inspection_failed", "message": "Inappropriate."}, "request_id": "req-7"},
    ],
)
def test_errors_with_a_good_status_are_errors(server, ask, told):
    server.fail(Fault(body=json.dumps(told).encode(), content_type="application/json"))
    with pytest.raises(errors.DashScopeContentError) as caught:
        ask(made(server))
    assert caught.value.request_id == "req-7"


# Answers that lack a part ---------------------------------------------------------------------------------------


def changed(**fields):
    return lambda reply: {**reply, **fields}


@pytest.mark.parametrize(
    "change",
    [
        changed(choices=[]),
        changed(choices=None),
        changed(choices="x"),
        lambda reply: {key: value for key, value in reply.items() if key != "choices"},
        changed(choices=[{"index": 0, "finish_reason": "stop"}]),
        changed(choices=[{"index": 0, "finish_reason": "stop", "message": "words"}]),
    ],
)
def test_answers_without_a_message_are_errors(server, ask_once, change):
    server.fail(Fault(reply=change))
    with pytest.raises(errors.DashScopeProtocolError, match="choice") as caught:
        ask_once(made(server))
    assert caught.value.request_id
    assert len(server.requests) == 1


@pytest.mark.parametrize("change", [changed(choices=None), changed(choices="x")])
def test_events_without_choices_are_errors(server, ask_stream, change):
    server.fail(Fault(reply=change))
    with pytest.raises(errors.DashScopeProtocolError, match="choices"):
        ask_stream(made(server))


def test_a_stream_of_events_that_say_nothing_is_not_an_answer(server, ask_stream):
    server.fail(Fault(reply=changed(choices=[])))
    with pytest.raises(errors.DashScopeConnectionError, match="before its answer was complete"):
        ask_stream(made(server))


def answering(**message):
    return changed(choices=[{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}])


def test_an_answer_in_parts_is_a_text(server, ask_once):
    server.fail(Fault(reply=answering(content=[{"text": "Forty-"}, {"type": "text", "text": "two."}])))
    assert ask_once(made(server)).text == "Forty-two."


@pytest.mark.parametrize("content", [{"text": "x"}, 5, [{"image": "x"}], ["x"]])
def test_an_answer_without_texts_is_an_error(server, ask_once, content):
    server.fail(Fault(reply=answering(content=content)))
    with pytest.raises(errors.DashScopeProtocolError, match="holds no texts"):
        ask_once(made(server))


def test_an_answer_that_is_no_unicode_is_an_error(server, ask_once):
    server.fail(Fault(body=b'{"choices": [{"message": {"content": "\xff"}}]}', content_type="application/json"))
    with pytest.raises(errors.DashScopeProtocolError, match="cannot be read as JSON"):
        ask_once(made(server))


def filtered(content):
    def change(reply):
        (choice,) = reply["choices"]
        return {**reply, "choices": [{**choice, "message": {"content": content}, "finish_reason": "content_filter"}]}

    return change


def test_an_answer_that_was_filtered_away_is_no_empty_answer(server, ask_once):
    server.fail(Fault(reply=filtered("")))
    with pytest.raises(errors.DashScopeContentError) as caught:
        ask_once(made(server))
    assert caught.value.code == "content_filter"
    server.fail(Fault(reply=filtered("The beg")))
    assert ask_once(made(server)).text == "The beg"


def test_a_redirect_is_told_and_not_followed(server, ask):
    server.fail(Fault(status=302, body=b"", headers={"Location": "https://elsewhere.example/v1"}))
    with pytest.raises(errors.DashScopeProtocolError, match="302 and points to https://elsewhere") as caught:
        ask(made(server))
    assert caught.value.status == 302
    assert len(server.requests) == 1


# Connections ----------------------------------------------------------------------------------------------------


def test_a_dropped_connection_is_not_retried(server, ask):
    server.fail(Fault(drop=True), times=None)
    with pytest.raises(errors.DashScopeConnectionError):
        ask(made(server))
    assert len(server.requests) == 1


def test_an_answer_that_is_cut_is_not_retried(server, ask_once):
    server.fail(Fault(cut_after=40), times=None)
    with pytest.raises(errors.DashScopeConnectionError):
        ask_once(made(server))
    assert len(server.requests) == 1


def test_a_service_that_is_not_there(ask):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(errors.DashScopeConnectionError, match="check the network"):
        ask(dashscope_llm(api_key="sk-0123456789", api_base=f"http://127.0.0.1:{port}"))


def test_a_slow_service_is_a_time_out_and_is_not_retried(server, ask):
    server.fail(Fault(delay_s=2.0), times=None)
    with pytest.raises(errors.DashScopeTimeoutError):
        ask(made(server, timeout=0.4))
    assert len(server.requests) == 1


# The middle of a stream -----------------------------------------------------------------------------------------


def partial(llm):
    """Return what came of a stream, and the error that ended it."""
    came = []
    try:
        for part in llm.stream_complete("What?"):
            came.append(part)  # noqa: PERF402  # list() would lose what came
    except errors.DashScopeError as error:
        return came, error
    raise AssertionError("the stream ended as if it were complete")


def apartial(llm):
    async def collect():
        came = []
        try:
            async for part in await llm.astream_complete("What?"):
                came.append(part)  # noqa: PERF401  # list() would lose what came
        except errors.DashScopeError as error:
            return came, error
        raise AssertionError("the stream ended as if it were complete")

    return asyncio.run(collect())


@pytest.fixture(params=[partial, apartial])
def interrupted(request):
    return request.param


def test_what_came_before_a_cut_stays_with_the_caller(server, interrupted):
    server.fail(Fault(cut_after_events=4))
    came, error = interrupted(made(server))
    assert isinstance(error, errors.DashScopeConnectionError)
    assert came[-1].text
    assert ANSWER.startswith(came[-1].text)
    assert len(server.requests) == 1


def test_an_error_event_is_the_error_that_it_tells(server, interrupted):
    server.fail(Fault.documented("DataInspectionFailed", error_after_events=4))
    came, error = interrupted(made(server))
    assert isinstance(error, errors.DashScopeContentError)
    assert error.code == "data_inspection_failed"
    assert error.request_id
    assert ANSWER.startswith(came[-1].text)
    assert came[-1].text
    assert len(server.requests) == 1


def raw_server(body, content_type="text/event-stream", length=None, stall=0.0, request_id="req-9"):
    """Answer one request with given bytes and hang up as the protocol has it: an end that looks clean."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection:
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            head, _, rest = data.partition(b"\r\n\r\n")
            size = int(next(line.split(b":")[1] for line in head.split(b"\r\n") if b"content-length" in line.lower()))
            while len(rest) < size:
                rest += connection.recv(65536)
            size_line = f"Content-Length: {length}\r\n" if length is not None else ""
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nX-Request-Id: {request_id}\r\n{size_line}"
            connection.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
            time.sleep(stall)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


def event(delta=None, finish_reason=None, **fields):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "qwen-max"}
    chunk = {**head, "choices": [choice], **fields}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def of_raw(body, interrupted, timeout=60.0, **options):
    listener, url = raw_server(body, **options)
    with listener:
        return interrupted(dashscope_llm(api_key="sk-0123456789", api_base=url, timeout=timeout))


@pytest.mark.parametrize("tail", [b"", b"data: [DONE]\n\n", b"data: "])
def test_a_stream_that_ends_cleanly_without_saying_so_is_incomplete(interrupted, tail):
    came, error = of_raw(event({"content": "The an"}) + tail, interrupted)
    assert isinstance(error, errors.DashScopeConnectionError)
    assert error.request_id == "req-9"
    assert [part.text for part in came] == ["The an"]


def test_a_stream_shorter_than_its_length_is_cut(interrupted):
    came, error = of_raw(event({"content": "The an"}), interrupted, length=5000)
    assert isinstance(error, errors.DashScopeConnectionError)
    assert [part.text for part in came] == ["The an"]


def test_a_stream_that_stands_still_is_a_time_out(interrupted):
    came, error = of_raw(event({"content": "The an"}), interrupted, timeout=0.4, stall=1.0)
    assert isinstance(error, errors.DashScopeTimeoutError)
    assert [part.text for part in came] == ["The an"]


def test_the_request_id_is_that_of_the_events_where_no_header_has_it(interrupted):
    told = b'data: {"error":{"code":"limit_requests","message":"Too many."}}\n\n'
    _, error = of_raw(event({"content": "x"}, id="chatcmpl-req-3") + told, interrupted, request_id="")
    assert error.request_id == "req-3"


def test_an_event_that_is_no_json_is_an_error_of_the_protocol(interrupted):
    came, error = of_raw(event({"content": "The an"}) + b"data: {broken\n\n", interrupted)
    assert isinstance(error, errors.DashScopeProtocolError)
    assert error.request_id == "req-9"
    assert [part.text for part in came] == ["The an"]


@pytest.mark.parametrize(
    "told",
    [
        b'event:error\ndata:{"code":"Throttling.RateQuota","message":"Too many.","request_id":"req-5"}\n\n',
        b'data: {"error":{"code":"limit_requests","message":"Too many."},"request_id":"req-5"}\n\n',
    ],
)
def test_error_events_of_both_protocols(interrupted, told):
    came, error = of_raw(event({"content": "The an"}) + told, interrupted)
    assert isinstance(error, errors.DashScopeRateLimitError)
    assert error.request_id in {"req-5", "req-9"}
    assert len(came) == 1


@pytest.mark.parametrize(
    "tail",
    [
        'data: {"id": "x", "choices": [{"delta": {"content": "字'.encode()[:-1],
        b"data: [1]\n\n",
        b'data: {"choices": [null]}\n\n',
        b'data: {"choices": [{"delta": "x"}]}\n\n',
        b'data: {"choices": [{"delta": {"content": {"text": "x"}}}]}\n\n',
    ],
)
def test_an_event_that_is_not_as_documented_is_an_error_of_the_protocol(interrupted, tail):
    came, error = of_raw(event({"content": "The an"}) + tail, interrupted)
    assert isinstance(error, errors.DashScopeProtocolError)
    assert error.request_id == "req-9"
    assert [part.text for part in came] == ["The an"]


def test_a_stream_whose_reason_to_finish_is_the_word_null_goes_on(interrupted):
    came, error = of_raw(event({"content": "The an"}, "null"), interrupted)
    assert isinstance(error, errors.DashScopeConnectionError)
    assert [part.text for part in came] == ["The an"]


def test_a_stream_that_was_filtered_away_is_no_empty_answer(interrupted):
    came, error = of_raw(event({"content": ""}) + event({"content": ""}, "content_filter"), interrupted)
    assert isinstance(error, errors.DashScopeContentError)
    assert not any(part.text for part in came)


@pytest.mark.parametrize("nothing", [b": ping\n\n", b"event: ping\n\n", b"retry: 3000\n\n", b"id: 7\n\n: ping\n\n"])
def test_events_without_data_mean_nothing(ask_stream, nothing):
    body = nothing + event({"content": "Do"}) + nothing + event({"content": [{"text": "ne."}]}) + nothing
    listener, url = raw_server(body + event({"content": []}, "stop") + nothing + b"data: [DONE]\n\n")
    with listener:
        assert ask_stream(dashscope_llm(api_key="sk-0123456789", api_base=url)).text == "Done."


@pytest.mark.parametrize("body", [b"", b"\n\n", b"data: [DONE]\n\n"])
def test_a_stream_without_an_event_is_not_an_empty_answer(interrupted, body):
    came, error = of_raw(body, interrupted)
    assert isinstance(error, errors.DashScopeConnectionError)
    assert came == []


def test_a_last_event_without_a_delta_is_read(ask_stream):
    body = event({"content": "Done."}) + event(None, "stream").replace(b'"delta": {}', b'"delta": null')
    listener, url = raw_server(body + b"data: [DONE]\n\n")
    with listener:
        assert ask_stream(dashscope_llm(api_key="sk-0123456789", api_base=url)).text == "Done."


# Secrets in errors ----------------------------------------------------------------------------------------------


def test_no_error_repeats_the_key(server, ask):
    key = "sk-secret-0123456789abcdef"
    server.fail(Fault(status=401, code="invalid_api_key", message=f"Incorrect API key provided: {key}."))
    with pytest.raises(errors.DashScopeAuthenticationError) as caught:
        ask(made(server, api_key=key))
    assert key not in "".join(traceback.format_exception(caught.value))
    # The OpenAI client's own error holds the request and the service's words; trackers of errors look into it.
    assert caught.value.__context__ is None


def test_no_log_repeats_the_key(server, ask, caplog):
    caplog.set_level("DEBUG")
    server.fail(Fault(status=500, code="InternalError", message="x"))
    ask(made(server))
    assert server.api_key not in caplog.text
