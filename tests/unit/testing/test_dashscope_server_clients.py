"""The loopback server's wire format is DashScope's: its official SDK and OpenAI's client work against it unchanged."""

import base64
import io

import pytest
from PIL import Image

from llama_index_raganything.testing import DOCUMENTED_ERRORS, DashScopeServer, Fault

dashscope = pytest.importorskip("dashscope")
openai = pytest.importorskip("openai")

MESSAGES = [
    {"role": "system", "content": "Answer from the sources."},
    {
        "role": "user",
        "content": "Sources:\n\nSource [1]:\nIt rained.\n\nSource [2]:\n泵的压力是 5 bar。\n\nQuestion: 泵的压力?",
    },
]
ANSWER = "泵的压力是 5 bar。 [2]"
TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search.",
        "parameters": {"type": "object", "properties": {"limit": {"type": "integer"}, "query": {"type": "string"}}},
    },
}


def data_uri(colour, size=(60, 40), kind="png"):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, kind)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def vision(colour, compatible):
    image = data_uri(colour)
    parts = [{"image": image}, {"text": "What colour has it?"}]
    if compatible:
        parts = [
            {"type": "image_url", "image_url": {"url": image}},
            {"type": "text", "text": "What colour has it?"},
        ]
    return [{"role": "user", "content": parts}]


def cosine(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def running():
    with DashScopeServer() as server:
        yield server


@pytest.fixture
def server(running):
    yield running
    running.clear()
    running.replies = []


@pytest.fixture
def native(server):
    return {"api_key": server.api_key, "base_address": server.native_url}


@pytest.fixture
async def anative(native):
    yield native
    await dashscope.close_shared_aio_session()  # One for each event loop, which ends with the test.


@pytest.fixture(scope="module")
def connected(running):
    with openai.OpenAI(api_key=running.api_key, base_url=running.compatible_url, max_retries=0) as client:
        yield client


@pytest.fixture
def client(server, connected):
    return connected


class TestOfficialSDK:
    def test_generation_as_message(self, native):
        reply = dashscope.Generation.call("qwen-max", messages=MESSAGES, result_format="message", **native)
        assert reply.status_code == 200
        assert reply.request_id
        assert reply.output.choices[0].message.content == ANSWER
        assert reply.output.choices[0].finish_reason == "stop"
        assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens > 0

    def test_generation_of_a_prompt_as_text(self, server, native):
        server.replies = ["Good."]
        reply = dashscope.Generation.call("qwen-plus", prompt="How are you?", **native)
        assert (reply.output.text, reply.output.finish_reason, reply.output.choices) == ("Good.", "stop", None)

    @pytest.mark.parametrize("incremental", [True, False])
    def test_streamed_generation(self, native, incremental):
        # The SDK asks for increments of some models itself, and joins them, so this one is named that it does not.
        events = list(
            dashscope.Generation.call(
                "qwen-max",
                messages=MESSAGES,
                result_format="message",
                stream=True,
                incremental_output=incremental,
                **native,
            )
        )
        contents = [event.output.choices[0].message.content for event in events]
        assert ("".join(contents) if incremental else contents[-1]) == ANSWER
        assert [event.output.choices[0].finish_reason for event in events][:-1] == ["null"] * (len(events) - 1)
        assert events[-1].output.choices[0].finish_reason == "stop"
        assert len(events) > 2

    def test_streamed_generation_that_repeats_itself(self, server):
        import httpx

        body = {"model": "qwen-max", "input": {"messages": MESSAGES}, "parameters": {"result_format": "message"}}
        headers = {"Authorization": f"Bearer {server.api_key}", "X-DashScope-SSE": "enable"}
        url = f"{server.native_url}/services/aigc/text-generation/generation"
        text = httpx.post(url, json=body, headers=headers).text
        events = text.strip().split("\n\n")
        assert events[0].startswith("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{")
        assert ANSWER[:8] in events[1]
        assert ANSWER in events[-1]
        assert "DONE" not in text

    async def test_async_generation_and_stream(self, anative):
        reply = await dashscope.AioGeneration.call("qwen-max", messages=MESSAGES, result_format="message", **anative)
        assert reply.output.choices[0].message.content == ANSWER
        stream = await dashscope.AioGeneration.call(
            "qwen-max", messages=MESSAGES, result_format="message", stream=True, incremental_output=True, **anative
        )
        contents = [event.output.choices[0].message.content async for event in stream]
        assert "".join(contents) == ANSWER

    def test_tool_call(self, server, native):
        call = {"messages": MESSAGES, "tools": [TOOL], "result_format": "message", **native}
        choice = dashscope.Generation.call("qwen-max", **call).output.choices[0]
        assert choice.finish_reason == "tool_calls"
        (tool_call,) = choice.message.tool_calls
        assert tool_call["function"] == {"name": "search", "arguments": '{"query": "泵的压力?"}'}
        answered = [
            *MESSAGES,
            {"role": "assistant", "content": "", "tool_calls": [tool_call]},
            {"role": "tool", "tool_call_id": tool_call["id"], "content": "泵的压力是 6 bar。"},
        ]
        choice = dashscope.Generation.call("qwen-max", **(call | {"messages": answered})).output.choices[0]
        assert choice.finish_reason == "stop"

    def test_streamed_tool_call(self, native):
        events = dashscope.Generation.call(
            "qwen-max",
            messages=MESSAGES,
            tools=[TOOL],
            result_format="message",
            stream=True,
            incremental_output=True,
            **native,
        )
        calls = [call for event in events for call in event.output.choices[0].message.get("tool_calls", [])]
        assert calls[0]["function"]["name"] == "search"
        assert "".join(call["function"]["arguments"] for call in calls) == '{"query": "泵的压力?"}'

    def test_vision(self, native):
        reply = dashscope.MultiModalConversation.call("qwen-vl-max", vision("red", False), **native)
        assert reply.output.choices[0].message.content == [{"text": "An image of 60 x 40 pixels, mostly red."}]
        assert reply.usage.image_tokens > 0

    async def test_async_and_streamed_vision(self, anative):
        messages = vision("blue", False)
        reply = await dashscope.AioMultiModalConversation.call("qwen-vl-max", messages, **anative)
        assert "mostly blue" in reply.output.choices[0].message.content[0]["text"]
        events = list(
            dashscope.MultiModalConversation.call(
                "qwen-vl-max", messages, stream=True, incremental_output=True, **anative
            )
        )
        parts = [event.output.choices[0].message.content for event in events]
        assert parts[-1] == []
        assert "".join(part["text"] for content in parts for part in content).endswith("mostly blue.")

    def test_text_embedding(self, server, native):
        reply = dashscope.TextEmbedding.call(
            "text-embedding-v4", ["red pump", "a pump, red", "蓝色的狗"], dimension=256, text_type="query", **native
        )
        assert [item["text_index"] for item in reply.output["embeddings"]] == [0, 1, 2]
        red, also_red, dog = [item["embedding"] for item in reply.output["embeddings"]]
        assert len(red) == 256
        assert cosine(red, red) == pytest.approx(1, abs=1e-4)
        assert cosine(red, also_red) > 0.9 > 0.2 > cosine(red, dog)
        assert all(isinstance(value, float) for value in red)
        assert reply.usage["total_tokens"] == 7
        assert server.requests[-1].body["parameters"]["text_type"] == "query"

    def test_multimodal_embedding_puts_text_and_image_in_one_space(self, native):
        contents = [{"text": "the red chart"}, {"image": data_uri("red")}, {"image": data_uri("blue", kind="jpeg")}]
        reply = dashscope.MultiModalEmbedding.call("tongyi-embedding-vision-plus", contents, **native)
        assert [(item["index"], item["type"]) for item in reply.output["embeddings"]] == [
            (0, "text"), (1, "image"), (2, "image"),
        ]  # fmt: skip
        text, red, blue = [item["embedding"] for item in reply.output["embeddings"]]
        assert len(text) == len(red) == len(blue) == 1152
        assert cosine(text, red) > 0.8 > 0.2 > cosine(text, blue)
        assert reply.usage["input_tokens_details"]["image_tokens"] > 0

    @pytest.mark.parametrize(
        ("model", "contents", "parameters", "count"),
        [
            ("qwen3-vl-embedding", [{"text": "a"}, {"image": data_uri("red")}], {"enable_fusion": True}, 1),
            ("qwen3-vl-embedding", [{"text": "a"}, {"image": data_uri("red")}], {}, 2),
            ("qwen2.5-vl-embedding", [{"text": "a"}, {"image": data_uri("red")}], {}, 1),
            (
                "tongyi-embedding-vision-plus-2026-03-06",
                [{"text": "a", "image": data_uri("red")}, {"text": "b"}],
                {},
                2,
            ),
            ("tongyi-embedding-vision-flash", [{"multi_images": [data_uri("red"), data_uri("blue")]}], {}, 1),
        ],
    )
    async def test_fused_embeddings(self, anative, model, contents, parameters, count):
        reply = await dashscope.AioMultiModalEmbedding.call(model, contents, **parameters, **anative)
        assert len(reply.output["embeddings"]) == count

    @pytest.mark.parametrize("model", ["qwen3-rerank", "gte-rerank-v2"])
    async def test_rerank(self, anative, model):
        documents = ["Ein Hund", "the pump is red", "pump"]
        arguments = {"query": "red pump", "documents": documents, "top_n": 2, **anative}
        reply = dashscope.TextReRank.call(model, return_documents=True, **arguments)
        assert [(result.index, result["document"]["text"]) for result in reply.output.results] == [
            (1, "the pump is red"), (2, "pump"),
        ]  # fmt: skip
        scores = [result.relevance_score for result in reply.output.results]
        assert 1 >= scores[0] > scores[1] > 0
        reply = await dashscope.AioTextReRank.call(model, **arguments)
        assert [result.index for result in reply.output.results] == [1, 2]
        assert reply.output.results[0]["document"] is None

    @pytest.mark.parametrize("code", sorted(DOCUMENTED_ERRORS))
    async def test_documented_errors_come_out(self, server, anative, code):
        known = DOCUMENTED_ERRORS[code]
        server.fail(Fault.documented(code), times=3)
        arguments = {"messages": MESSAGES, "result_format": "message", **anative}
        replies = [
            dashscope.Generation.call("qwen-max", **arguments),
            await dashscope.AioGeneration.call("qwen-max", **arguments),
            *dashscope.Generation.call("qwen-max", stream=True, incremental_output=True, **arguments),
        ]
        for reply in replies:
            assert (reply.status_code, reply.code, reply.message) == (known.status, code, known.message)
            assert reply.request_id

    def test_error_in_the_middle_of_a_stream(self, server, native):
        server.fail(Fault(code="InternalError", message="broken", error_after_events=2))
        events = list(
            dashscope.Generation.call(
                "qwen-max", messages=MESSAGES, result_format="message", stream=True, incremental_output=True, **native
            )
        )
        assert [event.status_code for event in events] == [200, 200, 400]
        assert (events[-1].code, events[-1].message) == ("InternalError", "broken")

    def test_wrong_key(self, native):
        reply = dashscope.TextEmbedding.call("text-embedding-v4", "a", **(native | {"api_key": "sk-wrong"}))
        assert (reply.status_code, reply.code) == (401, "InvalidApiKey")

    def test_gateway_page(self, server, native):
        server.fail(Fault(status=503, body=b"<html><h1>503</h1></html>"))
        reply = dashscope.TextEmbedding.call("text-embedding-v4", "a", **native)
        assert (reply.status_code, reply.code) == (503, "Unknown")
        assert "<h1>503" in reply.message


class TestOpenAIClient:
    def test_chat(self, client):
        reply = client.chat.completions.create(model="qwen-max", messages=MESSAGES)
        assert reply.choices[0].message.content == ANSWER
        assert reply.choices[0].finish_reason == "stop"
        assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
        assert (reply.object, reply.model) == ("chat.completion", "qwen-max")

    def test_stream_with_usage(self, client):
        chunks = list(
            client.chat.completions.create(
                model="qwen-max", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(chunk.choices[0].delta.content for chunk in chunks[:-1]) == ANSWER
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].choices == []
        assert chunks[-1].usage.total_tokens > 0
        assert len({chunk.id for chunk in chunks}) == 1

    def test_stream_without_usage(self, client):
        chunks = list(client.chat.completions.create(model="qwen-max", messages=MESSAGES, stream=True))
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)

    async def test_async_chat_stream_and_embeddings(self, server):
        async with openai.AsyncOpenAI(api_key=server.api_key, base_url=server.compatible_url, max_retries=0) as client:
            reply = await client.chat.completions.create(model="qwen-max", messages=MESSAGES)
            assert reply.choices[0].message.content == ANSWER
            stream = await client.chat.completions.create(model="qwen-max", messages=MESSAGES, stream=True)
            assert "".join([chunk.choices[0].delta.content async for chunk in stream]) == ANSWER
            vectors = await client.embeddings.create(model="text-embedding-v3", input="hello", dimensions=64)
            assert len(vectors.data[0].embedding) == 64

    def test_vision(self, client):
        reply = client.chat.completions.create(model="qwen-vl-max", messages=vision("green", True))
        assert reply.choices[0].message.content == "An image of 60 x 40 pixels, mostly green."
        assert reply.usage.prompt_tokens_details.model_extra["image_tokens"] > 0

    def test_tool_call_and_its_result(self, client):
        reply = client.chat.completions.create(model="qwen-max", messages=MESSAGES, tools=[TOOL])
        assert reply.choices[0].finish_reason == "tool_calls"
        message = reply.choices[0].message
        assert message.tool_calls[0].function.arguments == '{"query": "泵的压力?"}'
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "泵的压力是 6 bar。"}
        question = {"role": "user", "content": "泵的压力?"}
        reply = client.chat.completions.create(
            model="qwen-max", messages=[question, message.model_dump(exclude_none=True), result], tools=[TOOL]
        )
        assert reply.choices[0].message.content == "泵的压力是 6 bar。 [1]"

    def test_tool_call_streams_in_pieces(self, server, client):
        server.replies = [
            {"tool_calls": [
                {"function": {"name": "search", "arguments": {"query": "红色的泵", "limit": 3}}},
                {"function": {"name": "search", "arguments": '{"query": "x"}'}, "id": "call_mine"},
            ]}
        ]  # fmt: skip
        chunks = list(client.chat.completions.create(model="qwen-max", messages=MESSAGES, tools=[TOOL], stream=True))
        deltas = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls or []]
        first = [delta for delta in deltas if delta.index == 0]
        assert (first[0].function.name, first[0].id[:5]) == ("search", "call_")
        assert len(first) > 3
        assert "".join(delta.function.arguments for delta in first) == '{"query": "红色的泵", "limit": 3}'
        assert all(delta.id == "" and delta.function.name is None for delta in first[1:])
        assert next(delta.id for delta in deltas if delta.index == 1) == "call_mine"
        assert chunks[-1].choices[0].finish_reason == "tool_calls"

    def test_named_tool_is_called(self, client):
        other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object", "properties": {}}}}
        choice = {"type": "function", "function": {"name": "other"}}
        reply = client.chat.completions.create(
            model="qwen-max", messages=MESSAGES, tools=[TOOL, other], tool_choice=choice
        )
        assert reply.choices[0].message.tool_calls[0].function.name == "other"
        reply = client.chat.completions.create(
            model="qwen-max", messages=MESSAGES, tools=[TOOL, other], tool_choice="none"
        )
        assert reply.choices[0].message.tool_calls is None

    def test_embeddings(self, client):
        reply = client.embeddings.create(model="text-embedding-v4", input=["red pump", "pump red", "a dog"])
        one, same, other = [item.embedding for item in reply.data]
        assert [item.index for item in reply.data] == [0, 1, 2]
        assert len(one) == 1024
        assert one == same
        assert cosine(one, other) < 0.1

    def test_answer_is_cut_at_max_tokens(self, server, client):
        server.replies = ["word " * 100]
        reply = client.chat.completions.create(model="qwen-max", messages=MESSAGES, max_tokens=10)
        assert reply.choices[0].finish_reason == "length"
        assert len(reply.choices[0].message.content) == 40

    def test_several_choices(self, client):
        assert len(client.chat.completions.create(model="qwen-max", messages=MESSAGES, n=2).choices) == 2

    @pytest.mark.parametrize("code", sorted(DOCUMENTED_ERRORS))
    def test_documented_errors_come_out(self, server, client, code):
        known = DOCUMENTED_ERRORS[code]
        classes = {
            400: openai.BadRequestError, 401: openai.AuthenticationError, 403: openai.PermissionDeniedError,
            404: openai.NotFoundError, 408: openai.APIStatusError, 429: openai.RateLimitError,
            500: openai.InternalServerError, 503: openai.InternalServerError,
        }  # fmt: skip
        for stream in (False, True):
            server.fail(Fault.documented(code))
            with pytest.raises(classes[known.status]) as caught:
                client.chat.completions.create(model="qwen-max", messages=MESSAGES, stream=stream)
            assert (caught.value.status_code, caught.value.code) == (known.status, known.compatible_code)
            assert caught.value.body["message"] == known.message
            assert caught.value.response.json()["request_id"] == caught.value.request_id

    def test_error_in_the_middle_of_a_stream(self, server, client):
        server.fail(Fault.documented("DataInspectionFailed", error_after_events=3))
        stream = client.chat.completions.create(model="qwen-max", messages=MESSAGES, stream=True)
        seen = []
        with pytest.raises(openai.APIError, match="inappropriate") as caught:
            seen.extend(stream)
        assert len(seen) == 3
        assert caught.value.code == "data_inspection_failed"

    def test_retry_after_reaches_the_client(self, server, client):
        server.fail(Fault.documented("Throttling.RateQuota", headers={"Retry-After": "0.01"}), times=2)
        reply = client.with_options(max_retries=2).chat.completions.create(model="qwen-max", messages=MESSAGES)
        assert reply.choices[0].message.content == ANSWER
        assert [request.status for request in server.requests_to("chat")] == [429, 429, 200]

    def test_wrong_key(self, client):
        with pytest.raises(openai.AuthenticationError) as caught:
            client.with_options(api_key="sk-wrong").chat.completions.create(model="qwen-max", messages=MESSAGES)
        assert caught.value.code == "invalid_api_key"
