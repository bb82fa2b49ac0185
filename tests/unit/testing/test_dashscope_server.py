"""The loopback server as a server: connections, script, faults, log, and what it answers of itself."""

import ast
import asyncio
import base64
import doctest
import io
import json
import socket
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from llama_index_raganything import testing
from llama_index_raganything.testing import DOCUMENTED_ERRORS, DashScopeServer, Fault
from llama_index_raganything.testing.dashscope import server as dashscope_http
from llama_index_raganything.testing.dashscope import server as server_module

CHAT = "/compatible-mode/v1/chat/completions"
TEXT = "/api/v1/services/embeddings/text-embedding/text-embedding"
MEDIA = "/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding"
GENERATION = "/api/v1/services/aigc/text-generation/generation"
BODY = {"model": "qwen-max", "messages": [{"role": "user", "content": "Hi"}]}
NATIVE = {"model": "qwen-max", "input": {"messages": BODY["messages"]}, "parameters": {"result_format": "message"}}
TEXTS = {"model": "text-embedding-v4", "input": {"texts": ["a", "b"]}}


@pytest.fixture
def server():
    with DashScopeServer() as server:
        yield server


@pytest.fixture
def client(server):
    # Loading certificates, which nothing here needs, would take longer than most of the tests.
    with httpx.Client(base_url=server.url, headers=authorized(server), verify=False) as client:
        yield client


def authorized(server):
    return {"Authorization": f"Bearer {server.api_key}"}


def ask(client, *messages, **changes):
    listed = [{"role": "user", "content": message} if isinstance(message, str) else message for message in messages]
    answer = client.post(CHAT, json=BODY | {"messages": listed} | changes)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]


class TestConnections:
    def test_many_requests_share_one_connection(self, server):
        accepted = []
        process = server._http.process_request
        server._http.process_request = lambda *args: (accepted.append(args), process(*args))
        with httpx.Client(base_url=server.url, headers=authorized(server)) as client:
            server.fail(Fault.documented("InternalError"), route="rerank")
            for path, body in [(CHAT, BODY), (TEXT, TEXTS), (CHAT, BODY | {"stream": True}), (CHAT, {}), ("/x", {})]:
                client.post(path, json=body)
            client.get("/api/v1/anything")
        assert len(accepted) == 1
        assert len(server.requests) == 6

    def test_events_do_not_wait_for_acknowledgements(self, server, client):
        # Nagle's algorithm together with delayed acknowledgements would hold a stream back for 40 ms.
        client.post(CHAT, json=BODY)
        (connection,) = server._http._open
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    async def test_sixteen_clients_at_once(self, server):
        meeting = threading.Barrier(16)  # Nobody is answered before all have asked.
        server.replies = [lambda body: f"client {meeting.wait(30)}"]
        async with httpx.AsyncClient(base_url=server.url, headers=authorized(server), timeout=30) as client:
            for _ in range(2):
                answers = await asyncio.gather(*(client.post(CHAT, json=BODY) for _ in range(16)))
                assert {answer.status_code for answer in answers} == {200}
        assert server.most_at_once() == 16

    def test_latency(self):
        with DashScopeServer(latency_s=0.05) as server:
            started = time.perf_counter()
            httpx.post(server.url + TEXT, json=TEXTS, headers=authorized(server))
            assert time.perf_counter() - started >= 0.05

    def test_stop_cuts_open_connections(self):
        server = DashScopeServer().start()
        with httpx.Client(base_url=server.url, headers=authorized(server)) as client:
            assert client.post(TEXT, json=TEXTS).status_code == 200
            server.stop()
            with pytest.raises(httpx.TransportError):
                client.post(TEXT, json=TEXTS)
        server.stop()

    def test_two_servers_side_by_side(self, server):
        with DashScopeServer(api_key="sk-other") as other:
            headers = {"Authorization": "Bearer sk-other"}
            assert httpx.post(other.url + TEXT, json=TEXTS, headers=headers).status_code == 200
            assert httpx.post(server.url + TEXT, json=TEXTS, headers=headers).status_code == 401
            assert len(other.requests) == len(server.requests) == 1

    def test_listens_on_loopback_only(self, server):
        assert server._http.socket.getsockname()[0] == "127.0.0.1"
        assert server.native_url == f"{server.url}/api/v1"
        assert server.compatible_url == f"{server.url}/compatible-mode/v1"

    @pytest.mark.parametrize("head", [b"Content-Length: x", b"Transfer-Encoding: chunked", b"Content-Length: -5"])
    def test_unreadable_length(self, server, head):
        with socket.create_connection(("127.0.0.1", server._http.server_port), timeout=5) as connection:
            connection.sendall(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
            assert connection.makefile("rb").readline() == b"HTTP/1.1 411 Length Required\r\n"

    def test_it_needs_no_package_of_an_extra(self):
        allowed = {
            *sys.stdlib_module_names,
            "llama_index.core",
            "llama_index_raganything.testing",
            "numpy",
            "PIL",
            "pydantic",
        }
        for path in Path(testing.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                for name in names:
                    parts = name.split(".")
                    assert {parts[0], ".".join(parts[:2])} & allowed, f"{path.name} imports {name}"

    def test_doctest(self):
        assert doctest.testmod(server_module) == (0, 3)


class TestGates:
    @pytest.mark.parametrize(
        ("path", "code"), [(CHAT, "invalid_api_key"), (TEXT, "InvalidApiKey"), (GENERATION, "InvalidApiKey")]
    )
    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk-x"}, {"Authorization": "sk-loopback"}])
    def test_keys(self, server, path, code, headers):
        answer = httpx.post(server.url + path, json=BODY, headers=headers)
        body = answer.json()
        assert answer.status_code == 401
        assert (body["error"] if path == CHAT else body)["code"] == code

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe", b"[" * 100_000])
    @pytest.mark.parametrize("path", [CHAT, TEXT])
    def test_unreadable_bodies(self, server, client, path, content):
        answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert "Required body invalid" in answer.text
        assert server.requests[-1].body == {}

    def test_body_of_another_type(self, client):
        assert client.post(TEXT, data={"model": "text-embedding-v4"}).status_code == 400

    def test_other_methods(self, server, client):
        answer = client.get(TEXT)
        assert (answer.status_code, answer.json()["message"]) == (405, "Request method 'GET' is not supported.")
        assert server.requests[-1].method == "GET"

    def test_refused_native_stream_is_told_as_an_event(self, client):
        answer = client.post(GENERATION, json=NATIVE | {"model": "none"}, headers={"X-DashScope-SSE": "enable"})
        assert answer.status_code == 400
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.text.startswith('id:1\nevent:error\n:HTTP_STATUS/400\ndata:{"code":"InvalidParameter"')


class TestLog:
    def test_what_is_noted(self, server, client):
        client.post(TEXT, json=TEXTS, headers={"X-Test": "词".encode()})
        client.post(CHAT, json=BODY)
        (noted, chat) = server.requests
        assert (noted.route, noted.path, noted.method, noted.status) == ("text-embedding", TEXT, "POST", 200)
        assert noted.body == TEXTS
        assert noted.headers["authorization"] == f"Bearer {server.api_key}"
        assert "x-test" in noted.headers
        assert noted.started < noted.ended < chat.started < chat.ended
        assert server.requests_to("chat") == [chat]
        assert server.requests_to("embeddings") == server.requests_to("text-embedding") == [noted]
        assert server.requests_to("rerank") == []

    def test_a_request_has_ended_before_its_client_knows(self, server, client, monkeypatch):
        write = dashscope_http._Handler._write

        def slow(handler, *arguments):
            write(handler, *arguments)
            handler.wfile.flush()
            time.sleep(0.1)

        monkeypatch.setattr(dashscope_http._Handler, "_write", slow)
        client.post(TEXT, json=TEXTS)
        assert server.requests[-1].ended is not None

    def test_unknown_routes(self, server, client):
        client.post("/api/v1/services/embeddings/text-embedding", json=TEXTS)
        assert [request.route for request in server.requests_to("unknown")] == ["unknown"]
        with pytest.raises(ValueError, match="'chats' is no route; take one of chat, "):
            server.requests_to("chats")
        with pytest.raises(ValueError, match="is no route"):
            server.fail(Fault(drop=True), route="chats")

    def test_clear(self, server, client):
        server.fail(Fault(drop=True))
        client.close()
        server.clear()
        answer = httpx.post(server.url + TEXT, json=TEXTS, headers=authorized(server))
        assert answer.status_code == 200
        assert len(server.requests) == 1

    def test_most_at_once(self, server, client):
        meeting = threading.Barrier(3)
        server.replies = [*[lambda body: f"client {meeting.wait(30)}"] * 3, "alone"]
        url, options = server.url + CHAT, {"json": BODY, "headers": authorized(server), "timeout": 30}
        threads = [threading.Thread(target=httpx.post, args=(url,), kwargs=options) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.post(CHAT, json=BODY)
        assert server.most_at_once("chat") == server.most_at_once() == 3
        assert server.most_at_once("rerank") == 0


class TestScript:
    def test_replies_in_order_and_the_last_for_ever(self, server, client):
        server.replies = ["one", {"content": "two"}, lambda body: f"{body['model']} three"]
        assert [ask(client, "Hi")["content"] for _ in range(4)] == ["one", "two", "qwen-max three", "qwen-max three"]
        assert len(server.replies) == 3
        server.replies = ["again"]
        assert client.post(GENERATION, json=NATIVE).json()["output"]["choices"][0]["message"]["content"] == "again"

    def test_refused_and_failed_requests_use_no_reply(self, server, client):
        server.replies = ["one", "two"]
        server.fail(Fault.documented("InternalError"))
        client.post(CHAT, json=BODY)
        client.post(CHAT, json={"model": "qwen-max"})
        assert ask(client, "Hi")["content"] == "one"

    @pytest.mark.parametrize("text", ["", "词🙂\u2028\x00\ud800", "line\nline\n\ndata: [DONE]\n\n", "x" * 10_000])
    @pytest.mark.parametrize("stream", [True, False])
    def test_any_text_survives(self, server, client, text, stream):
        server.replies = [text]
        answer = client.post(CHAT, json=BODY | {"stream": stream})
        if not stream:
            said = answer.json()["choices"][0]["message"]["content"]
        else:
            events = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
            assert events[-1] == "[DONE]"
            said = "".join(json.loads(event)["choices"][0]["delta"]["content"] for event in events[:-1])
        assert said == text.replace("\ud800", "?")


class TestFaults:
    def test_each_documented_error_in_both_protocols(self, server, client):
        for code, known in DOCUMENTED_ERRORS.items():
            server.fail(Fault.documented(code), times=2)
            native, compatible = client.post(TEXT, json=TEXTS), client.post(CHAT, json=BODY)
            assert native.status_code == compatible.status_code == known.status
            assert native.json() | {"request_id": ""} == {"code": code, "message": known.message, "request_id": ""}
            error = {
                "message": known.message,
                "type": known.compatible_type,
                "param": None,
                "code": known.compatible_code,
            }
            assert compatible.json()["error"] == error

    def test_order_times_routes_and_conditions(self, server, client):
        server.fail(Fault(status=500, code="a"), times=2, route="chat")
        server.fail(Fault(status=503, code="b"), route="embeddings")
        server.fail(Fault(status=400, code="c"), times=None, when=lambda body: "bad" in json.dumps(body))
        statuses = [client.post(path, json=body).status_code for path, body in [
            (TEXT, TEXTS), (TEXT, TEXTS), (CHAT, BODY), (CHAT, BODY), (CHAT, BODY),
            (TEXT, TEXTS | {"x": "bad"}), (CHAT, BODY | {"x": "bad"}), (TEXT, TEXTS),
        ]]  # fmt: skip
        assert statuses == [503, 200, 500, 500, 200, 400, 400, 200]

    def test_page_of_a_gateway(self, server, client):
        server.fail(Fault(status=503, body=b"<html>no</html>", headers={"Retry-After": "7"}))
        answer = client.post(TEXT, json=TEXTS)
        assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (503, "<html>no</html>", "7")
        assert answer.headers["content-type"] == "text/html"
        server.fail(Fault(body=b"", content_type="application/json"))
        assert (client.post(TEXT, json=TEXTS).content, server.requests[-1].status) == (b"", 200)

    def test_error_in_a_good_looking_answer(self, server, client):
        server.fail(Fault(code="InternalError", message="oops"))
        answer = client.post(TEXT, json=TEXTS)
        assert (answer.status_code, answer.json()["code"]) == (200, "InternalError")

    def test_delay(self, server, client):
        server.fail(Fault(delay_s=0.15))
        with pytest.raises(httpx.ReadTimeout):
            client.post(TEXT, json=TEXTS, timeout=0.05)
        server.fail(Fault(delay_s=0.05))
        started = time.perf_counter()
        assert client.post(TEXT, json=TEXTS).status_code == 200
        assert time.perf_counter() - started >= 0.05

    def test_drop(self, server, client):
        server.fail(Fault(drop=True))
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            client.post(TEXT, json=TEXTS)
        assert server.requests[-1].status is None
        assert client.post(TEXT, json=TEXTS).status_code == 200

    @pytest.mark.parametrize("cut", [0, 1, 100])
    def test_cut_answer(self, server, client, cut):
        server.fail(Fault(cut_after=cut))
        received = []
        with client.stream("POST", TEXT, json=TEXTS) as answer, pytest.raises(httpx.RemoteProtocolError):
            received.extend(answer.iter_raw())
        assert (answer.status_code, len(b"".join(received))) == (200, cut)
        assert client.post(TEXT, json=TEXTS).status_code == 200

    @pytest.mark.parametrize(
        ("fault", "count"),
        [
            (Fault(cut_after_events=2), 2),
            (Fault(cut_after=0), 0),
            (Fault(cut_after=300), 1),
            (Fault(cut_after=10**6), 5),
        ],
    )
    def test_cut_stream(self, server, client, fault, count):
        server.replies = ["word " * 4]
        server.fail(fault)
        received = b""
        with client.stream("POST", CHAT, json=BODY | {"stream": True}) as answer:
            try:
                for part in answer.iter_raw():
                    received += part
                ended = True
            except httpx.RemoteProtocolError:
                ended = False
        assert ended is (fault.cut_after == 10**6)
        assert received.count(b"\n\n") - ended == count
        if fault.cut_after is not None and not ended:
            assert len(received) == fault.cut_after

    def test_slow_stream(self):
        with DashScopeServer(latency_s=0.05, event_delay_s=0.03) as server:
            server.replies = ["word " * 4]
            times = [time.perf_counter()]
            with httpx.stream(
                "POST", server.url + CHAT, json=BODY | {"stream": True}, headers=authorized(server)
            ) as answer:
                times += [time.perf_counter() for line in answer.iter_lines() if line]
        assert len(times) == 7
        assert times[1] - times[0] >= 0.05
        assert times[-1] - times[0] >= 0.05 + 4 * 0.03

    def test_changed_answers(self, server, client):
        def turned(reply):
            reply["output"]["embeddings"].reverse()
            del reply["output"]["embeddings"][0]["embedding"][1:]
            return reply

        server.fail(Fault(reply=turned))
        embeddings = client.post(TEXT, json=TEXTS).json()["output"]["embeddings"]
        assert [(item["text_index"], len(item["embedding"])) for item in embeddings] == [(1, 1), (0, 1024)]
        server.fail(Fault(reply=lambda reply: reply | {"choices": []}), times=2)
        assert client.post(CHAT, json=BODY).json()["choices"] == []
        assert '"choices":[{' not in client.post(CHAT, json=BODY | {"stream": True}).text
        server.fail(Fault(reply=lambda reply: [1]))
        assert client.post(CHAT, json=BODY).json() == [1]


def uri(colour, size=(30, 20)):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "png")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


class TestOwnAnswers:
    def test_sentence_with_its_source(self, client):
        prompt = (
            "Sources:\n\nSource [1]:\nThe pump is blue. It weighs 3 kg.\n\n"
            "Source [2]:\nRevenue grew by 12 % in 2024.\n\nSource [3]:\nRevenue of 2023 is not known.\n\n"
            "Question: How much did revenue grow in 2024?\nAnswer: "
        )
        assert ask(client, prompt)["content"] == "Revenue grew by 12 % in 2024. [2]"
        ordered = prompt.replace("in 2024?", "in 2024? Tell how much revenue did grow.")
        assert ask(client, ordered)["content"] == "Revenue grew by 12 % in 2024. [2]"
        assert (
            ask(client, "Context:\n泵是蓝色的。收入增长了12%。\n问题：收入增长了多少？")["content"]
            == "收入增长了12%。 [1]"
        )

    def test_nothing_found(self, client):
        assert ask(client, "Source [1]:\nDogs bark.\n\nQuestion: 谁写了它?")["content"].endswith(
            "not found in the documents."
        )
        assert ask(client, "")["content"].endswith("not found in the documents.")

    def test_images_with_and_without_a_question(self, client):
        see = {"type": "image_url", "image_url": {"url": uri("red")}}
        described = "An image of 30 x 20 pixels, mostly red."
        for text, answer in [
            ("What is it?", described),
            ("Source [1]:\nThe pump weighs 3 kg.\nQuestion: How heavy is the pump?", "The pump weighs 3 kg. [1]"),
            ("Source [1]:\nDogs bark.\nQuestion: How heavy is the pump?", described),
        ]:
            message = {"role": "user", "content": [{"type": "text", "text": text}, see]}
            assert ask(client, message, model="qwen-vl-max")["content"] == answer

    def test_descriptions_that_raganything_asks_for(self, client):
        prompt = (
            "Please analyze this table and provide a JSON response with the following structure:\n{\n"
            '    "detailed_description": "A comprehensive analysis of the table including:\n    - its columns",\n'
            '    "entity_info": {\n        "entity_name": "Revenue by year",\n        "entity_type": "table",\n'
            '        "summary": "concise summary (max 100 words)"\n    }\n}\nCaption: Revenue'
        )
        answer = json.loads(ask(client, prompt)["content"])
        assert answer["detailed_description"]
        assert answer["entity_info"].keys() == {"entity_name", "entity_type", "summary"}
        assert (answer["entity_info"]["entity_name"], answer["entity_info"]["entity_type"]) == (
            "Revenue by year",
            "table",
        )

    def test_vectors_are_the_same_in_every_process_and_model_spaces_differ(self, server, client):
        def vector(model):
            body = {"model": model, "input": {"texts": ["泵 pressure"]}, "parameters": {"dimension": 512}}
            return client.post(TEXT, json=body).json()["output"]["embeddings"][0]["embedding"]

        assert [place for place, value in enumerate(vector("text-embedding-v4")) if value > 0.1] == [98, 466]
        assert all(vector("text-embedding-v4"))
        assert vector("text-embedding-v4") != vector("text-embedding-v3")

    @pytest.mark.parametrize("text", ["!!!", "\x00", "🙂", "de", "a" * 5000, "the of and"])
    def test_every_text_has_a_unit_vector(self, client, text):
        contents = {"model": "tongyi-embedding-vision-plus", "input": {"contents": [{"text": text}]}}
        vector = client.post(MEDIA, json=contents).json()["output"]["embeddings"][0]["embedding"]
        assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-4)
