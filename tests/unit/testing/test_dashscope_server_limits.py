"""The loopback server refuses what the service is documented to refuse, in the words and shapes of its protocols."""

import base64
import io

import httpx
import pytest
from PIL import Image

from llama_index_raganything.testing import DashScopeServer

GENERATION = "/api/v1/services/aigc/text-generation/generation"
VISION = "/api/v1/services/aigc/multimodal-generation/generation"
TEXT = "/api/v1/services/embeddings/text-embedding/text-embedding"
MEDIA = "/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding"
RERANK = "/api/v1/services/rerank/text-rerank/text-rerank"
FLAT_RERANK = "/compatible-api/v1/reranks"
CHAT = "/compatible-mode/v1/chat/completions"
EMBEDDINGS = "/compatible-mode/v1/embeddings"

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PLUS = "tongyi-embedding-vision-plus"


def data_uri(size=(60, 40), kind="png", noise=False):
    stream = io.BytesIO()
    image = Image.effect_noise(size, 90).convert("RGB") if noise else Image.new("RGB", size, "red")
    image.save(stream, kind)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


RED = data_uri()


def chat(**changes):
    return {"model": "qwen-max", "messages": [USER]} | changes


def seen(url):
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


def native(model="qwen-max", messages=(USER,), **parameters):
    return {"model": model, "input": {"messages": list(messages)}, "parameters": parameters}


def texts(count=1, model="text-embedding-v4", text="a", **parameters):
    return {"model": model, "input": {"texts": [text] * count}, "parameters": parameters}


def contents(*items, model=PLUS, **parameters):
    return {"model": model, "input": {"contents": list(items)}, "parameters": parameters}


def rerank(query="q", documents=("a", "b"), model="qwen3-rerank", **parameters):
    return {"model": model, "input": {"query": query, "documents": list(documents)}, "parameters": parameters}


@pytest.fixture(scope="module")
def server():
    with DashScopeServer() as server:
        yield server


@pytest.fixture(scope="module")
def post(server):
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.api_key}"}) as client:
        yield lambda path, body: client.post(path, json=body)


def told(answer):
    """Return code and message of an error in either shape, and check the shape."""
    body = answer.json()
    assert body["request_id"] == answer.headers["x-request-id"]
    if "error" in body:
        assert body["error"].keys() == {"message", "type", "param", "code"}
        return body["error"]["code"], body["error"]["message"]
    assert body.keys() == {"code", "message", "request_id"}
    return body["code"], body["message"]


BAD_CHATS = {
    "no model": ({"messages": [USER]}, "model"),
    "no messages": ({"model": "qwen-max"}, "'messages' is a required property"),
    "native body": (native(), "'messages' is a required property"),
    "empty messages": (chat(messages=[]), "[] is too short - 'messages'"),
    "messages that are text": (chat(messages="Hi"), "is not of type 'array'"),
    "unknown role": (chat(messages=[{"role": "developer", "content": "x"}]), "'developer' is not one of"),
    "system only": (chat(messages=[{"role": "system", "content": "x"}]), "role of user"),
    "no content": (chat(messages=[{"role": "user", "content": None}]), "content field is a required field"),
    "empty parts": (chat(messages=[{"role": "user", "content": []}]), "not valid under any of the given schemas"),
    "native parts": (chat(messages=[{"role": "user", "content": [{"image": RED}]}]), "Unexpected item type in content"),
    "part without its value": (
        chat(messages=[{"role": "user", "content": [{"type": "text"}]}]),
        "Unexpected item type in content",
    ),
    "image to a text model": (chat(messages=seen(RED)), "does not support image"),
    "image by path": (chat(model="qwen-vl-max", messages=seen("/tmp/a.png")), "does not appear to be valid"),
    "bad base64": (chat(model="qwen-vl-max", messages=seen(RED[:-3] + "!!!")), "illegal and cannot be opened"),
    "no image": (
        chat(model="qwen-vl-max", messages=seen("data:image/png;base64,AAAA")),
        "illegal and cannot be opened",
    ),
    "tiny image": (
        chat(model="qwen-vl-max", messages=seen(data_uri((10, 40)))),
        "[height:40 or width:10 must be larger than 10]",
    ),
    "tool choice required": (chat(tools=[TOOL], tool_choice="required"), 'should be ["none", "auto"]'),
    "tool choice while thinking": (
        chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}}, enable_thinking=True),
        "thinking mode",
    ),
    "unknown tool chosen": (chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}), "'g'"),
    "tool choice without tools": (chat(tool_choice="required"), '"tools" must be set'),
    "no tools": (chat(tools=[]), "[] is too short - 'tools'"),
    "tool without function": (chat(tools=[{"type": "function"}]), "'function' is a required property"),
    "tools for vision": (chat(model="qwen-vl-max", tools=[TOOL]), "tool call is not supported"),
    "tool result without call": (
        chat(messages=[USER, {"role": "tool", "tool_call_id": "x", "content": "1"}]),
        "must be a response to a preceeding message",
    ),
    "call without result": (
        chat(messages=[USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, USER]),
        "must be followed by tool messages",
    ),
    "call without result at the end": (
        chat(messages=[USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}]),
        "must be followed by tool messages",
    ),
    "call without arguments": (
        chat(messages=[USER, {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f"}}]}]),
        "function.arguments must be defined",
    ),
    "temperature": (chat(temperature=2), "Range of temperature should be [0.0, 2.0)"),
    "top_p": (chat(top_p=0), "Range of top_p"),
    "max_tokens": (chat(max_tokens=8193), "Range of max_tokens should be [1, 8192]"),
    "max_tokens as text": (chat(max_tokens="8"), "Range of max_tokens"),
    "n": (chat(n=5), "Range of n should be [1, 4]"),
    "stream options without a stream": (chat(stream_options={"include_usage": True}), "stream_options"),
    "JSON without the word": (chat(response_format={"type": "json_object"}), "must contain the word 'json'"),
    "JSON schema": (chat(response_format={"type": "json_schema", "json_schema": {}}), "'json_schema' is not supported"),
    "too long": (
        chat(messages=[{"role": "user", "content": "word " * 30_721}]),
        "Range of input length should be [1, 30720]",
    ),
}


@pytest.mark.parametrize("name", BAD_CHATS)
def test_bad_chats_are_refused(post, name):
    body, reason = BAD_CHATS[name]
    answer = post(CHAT, body)
    assert answer.status_code == 400
    code, message = told(answer)
    assert code == "invalid_parameter_error"
    assert reason in message


GOOD_CHATS = {
    "remote image": chat(model="qwen-vl-max", messages=seen("https://example.com/a.png")),
    "JSON": chat(messages=[{"role": "user", "content": "Answer in JSON."}], response_format={"type": "json_object"}),
    "tools as null": chat(tools=None, tool_choice=None),
    "auto choice without tools": chat(tool_choice="auto"),
    "two calls answered in turn": chat(
        messages=[
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL, CALL | {"id": "call_2"}]},
            {"role": "tool", "tool_call_id": "call_2", "content": "2"},
            {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        ]
    ),
    "longest output": chat(max_tokens=8192, temperature=0, top_p=1, seed=0, n=4),
    "newer model": chat(model="qwen3.5-plus", messages=seen(RED), tools=[TOOL]),
    "snapshot": chat(model="qwen-max-2025-01-25"),
}


@pytest.mark.parametrize("name", GOOD_CHATS)
def test_good_chats_are_taken(post, name):
    answer = post(CHAT, GOOD_CHATS[name])
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        (GENERATION, native(model=""), '"model" missing'),
        (GENERATION, {"model": "qwen-max"}, "input parameter missing"),
        (GENERATION, {"model": "qwen-max", "input": {"texts": ["a"]}}, "messages"),
        (GENERATION, native() | {"parameters": []}, '"parameters" missing or invalid'),
        (GENERATION, chat(), "input parameter missing"),
        (GENERATION, native(result_format="xml"), "result_format"),
        (GENERATION, native(temperature=-1), "Range of temperature"),
        (GENERATION, native(tools=[TOOL], tool_choice="required"), "none"),
        (GENERATION, native(messages=[{"role": "user", "content": [{"text": "a"}]}]), "valid string"),
        (VISION, native("qwen-vl-max", seen(RED)), "'text', 'image'"),
        (VISION, native("qwen-vl-max", [{"role": "user", "content": [{"type": "text"}]}]), "'text', 'image'"),
        (VISION, native("qwen-vl-max", [{"role": "user", "content": [{"image": "file.png"}]}]), "URL"),
        (TEXT, texts(0), "larger than 10"),
        (TEXT, texts(11), "larger than 10"),
        (TEXT, texts(26, "text-embedding-v2"), "larger than 25"),
        (TEXT, texts(text=""), "Range of input length should be [1, 8192]"),
        (TEXT, texts(text="word " * 8193), "Range of input length should be [1, 8192]"),
        (TEXT, texts(text=5), "neither str nor list of str"),
        (TEXT, texts(dimension=1152), "1152"),
        (TEXT, texts(model="text-embedding-v3", dimension=2048), "2048"),
        (TEXT, texts(text_type="passage"), "text_type"),
        (TEXT, texts(output_type="sparse"), "output_type"),
        (TEXT, {"model": "text-embedding-v4", "input": {"contents": [{"text": "a"}]}}, "texts"),
        (TEXT, {"model": "text-embedding-v4", "input": ["a"]}, "input parameter missing"),
        (MEDIA, {"model": PLUS, "input": {"texts": ["a"]}}, "contents"),
        (MEDIA, contents(), "contents"),
        (MEDIA, contents(*[{"text": "a"}] * 21), "larger than 20"),
        (MEDIA, contents(*[{"image": RED}] * 9), "larger than 8"),
        (MEDIA, contents({"multi_images": [RED] * 9}), "larger than 8"),
        (MEDIA, contents(*[{"image": RED}] * 6, model="qwen3-vl-embedding"), "larger than 5"),
        (MEDIA, contents({"text": "a", "image": RED}), "one of text, image"),
        (MEDIA, contents({"text": ""}), "non-empty"),
        (MEDIA, contents("a"), "one of text, image"),
        (MEDIA, contents({"text": "word " * 1025}), "Range of input length should be [1, 1024]"),
        (MEDIA, contents({"image": "red.png"}), "URL"),
        (MEDIA, contents({"image": "oss://bucket/red.png"}), "URL"),
        (MEDIA, contents({"image": "data:image/png;base64,%%%"}), "illegal"),
        (MEDIA, contents({"image": RED[:-40]}), "illegal"),
        (MEDIA, contents({"image": data_uri(kind="gif")}), "illegal"),
        (MEDIA, contents({"text": "a"}, dimension=768), "768"),
        (MEDIA, contents({"text": "a"}, enable_fusion=True), "enable_fusion"),
        (MEDIA, contents({"text": "a"}, {"text": "b"}, model="multimodal-embedding-v1"), "once"),
        (MEDIA, contents({"image": RED}, {"image": RED}, model="qwen2.5-vl-embedding"), "larger than 1"),
        (RERANK, rerank(query=" "), "query"),
        (RERANK, rerank(documents=[]), "documents"),
        (RERANK, rerank(documents=["a"] * 501), "[1, 500]"),
        (RERANK, rerank(documents=["word " * 4001]), "[1, 4000]"),
        (RERANK, rerank(documents=[5]), "valid string"),
        (RERANK, rerank(query="word " * 400, documents=["a"] * 301), "120000"),
        (RERANK, rerank(query="word " * 400, documents=["a"] * 76, model="gte-rerank-v2"), "30000"),
        (RERANK, rerank(top_n=0), "top_n"),
        (RERANK, {"model": "qwen3-rerank", "query": "q", "documents": ["a"]}, "input parameter missing"),
    ],
)  # fmt: skip
def test_bad_native_requests_are_refused(post, path, body, reason):
    answer = post(path, body)
    assert answer.status_code == 400, answer.text
    code, message = told(answer)
    assert code in {
        "InvalidParameter",
        "InvalidURL",
        "BadRequest.EmptyInput",
        "BadRequest.EmptyModel",
        "BadRequest.EmptyParameters",
    }
    assert reason in message


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (GENERATION, native(PLUS)),
        (GENERATION, native("qwen-vl-max")),
        (GENERATION, native("qwen3.5-plus")),
        (GENERATION, native("nothing")),
        (VISION, native("qwen-max")),
        (TEXT, texts(model=PLUS)),
        (TEXT, texts(model="qwen-max")),
        (MEDIA, contents({"text": "a"}, model="text-embedding-v4")),
        (RERANK, rerank(model="text-embedding-v4")),
        ("/api/v1/services/embeddings/text-embedding", texts()),
        ("/api/v1/", texts()),
    ],
)
def test_wrong_routes_are_told(post, path, body):
    answer = post(path, body)
    assert answer.status_code == 400
    code, message = told(answer)
    assert code == "InvalidParameter"
    assert message.startswith("url error, please check url")


@pytest.mark.parametrize(
    ("path", "body", "code", "reason"),
    [
        (CHAT, chat(model="gpt-9"), "model_not_found", "The model `gpt-9` does not exist"),
        (CHAT, chat(model=PLUS), "model_not_supported", "Unsupported model"),
        (EMBEDDINGS, {"model": PLUS, "input": "a"}, "model_not_supported", "Unsupported model"),
        (EMBEDDINGS, {"model": "qwen-max", "input": "a"}, "model_not_found", "does not exist"),
        ("/compatible-mode/v1/nothing", chat(), "model_not_found", "Not Found"),
    ],
)
def test_unknown_models_of_the_compatible_protocol(post, path, body, code, reason):
    answer = post(path, body)
    assert answer.status_code == 404
    assert told(answer)[0] == code
    assert reason in told(answer)[1]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"model": "text-embedding-v4"}, "input"),
        ({"model": "text-embedding-v4", "input": ["a"] * 11}, "larger than 10"),
        ({"model": "text-embedding-v4", "input": [[1, 2], [3]]}, "neither str nor list of str"),
        ({"model": "text-embedding-v4", "input": [1, 2]}, "neither str nor list of str"),
        ({"model": "text-embedding-v4", "input": "a", "dimensions": 100}, "100"),
        ({"model": "text-embedding-v4", "input": "a", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_bad_compatible_embeddings_are_refused(post, body, reason):
    answer = post(EMBEDDINGS, body)
    assert answer.status_code == 400
    assert told(answer)[0] == "invalid_parameter_error"
    assert reason in told(answer)[1]


@pytest.mark.parametrize(
    ("path", "body", "count"),
    [
        (TEXT, texts(10, dimension=64), 10),
        (TEXT, texts(25, "text-embedding-v1"), 25),
        (TEXT, texts(text="词" * 8192), 1),
        (MEDIA, contents(*[{"image": RED}] * 8, *[{"text": "a"}] * 12, dimension=64), 20),
        (MEDIA, contents({"text": "word " * 600}, {"image": RED}, model="multimodal-embedding-v1"), 2),
        (MEDIA, contents({"image": "https://example.com/red.png"}, {"text": "\x00\u202e😀"}), 2),
        (MEDIA, contents({"image": data_uri(kind="jpeg")}, {"image": data_uri(kind="bmp")}), 2),
        (MEDIA, contents({"image": data_uri(kind="webp")}, model="qwen3-vl-embedding"), 1),
    ],
)  # fmt: skip
def test_the_most_that_is_allowed_is_taken(post, path, body, count):
    answer = post(path, body)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["output"]["embeddings"]) == count


def test_large_images(post):
    large = data_uri((1100, 1000), "bmp")
    assert len(large) > 4_000_000
    answer = post(MEDIA, contents({"image": large}))
    assert told(answer)[1].endswith("Exceeded limit on max bytes per data-uri item : 3000000")
    assert post(MEDIA, contents({"image": large}, model="qwen3-vl-embedding")).status_code == 200


@pytest.mark.parametrize("documents", [["b", "a b", "a"], [{"text": "b"}, {"text": "a b"}, {"text": "a"}]])
def test_flat_rerank(post, documents):
    body = {"model": "qwen3-rerank", "query": "zinc alloy b", "documents": documents, "top_n": 2}
    answer = post(FLAT_RERANK, body | {"return_documents": True}).json()
    assert [result["index"] for result in answer["results"]] == [0, 1]
    assert answer["results"][0]["document"] == {"text": "b"}
    assert answer["usage"]["total_tokens"] > 0
    assert "output" not in answer


def test_stored_images_need_their_header(server):
    body = contents({"image": "oss://bucket/red.png"})
    headers = {"Authorization": f"Bearer {server.api_key}", "X-DashScope-OssResourceResolve": "enable"}
    assert httpx.post(server.url + MEDIA, json=body, headers=headers).status_code == 200
