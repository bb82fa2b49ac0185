"""What DashScope's chat models send, and what they make of good answers, over real HTTP on loopback."""

import asyncio
import base64
import gc
import importlib
import io
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock, ThinkingBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.llms.openai_like import OpenAILike
from PIL import Image

from llama_index_raganything.errors import (
    ConfigurationError,
    CorruptFileError,
    DashScopeBadRequestError,
    MissingDependencyError,
    SourceError,
)
from llama_index_raganything.models.dashscope.chat import DashScopeLLM, documented_tools
from llama_index_raganything.models.dashscope.models import dashscope_llm, dashscope_vlm
from llama_index_raganything.models.model_names import supports_images
from llama_index_raganything.testing import DashScopeServer, Fault

HOSTILE = [
    "plain",
    "汉字与日本語と한국어",
    "emoji 👩‍🔬🧪 and e\u0301",
    "quotes \" ' ` \\ and \\u0041",
    'data: [DONE]\n\ndata: {"error": 1}\n\n',
    "\x00\x07 control \u2028\u2029\ufeff",
    "<script>alert(1)</script> {{template}} {0} %s",
    " leading and trailing \n\n",
    "x" * 2_000,
]


@pytest.fixture
def server(server):
    server.replies = ["The answer is 42."]
    return server


@pytest.fixture
def llm(server):
    return dashscope_llm(api_key=server.api_key, api_base=server.compatible_url)


@pytest.fixture
def vlm(server):
    return dashscope_vlm(api_key=server.api_key, api_base=server.compatible_url)


def image_bytes(size=(64, 48), colour="red", kind="PNG", **options):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, format=kind, **options)
    return stream.getvalue()


def user(*blocks):
    return ChatMessage(role=MessageRole.USER, blocks=list(blocks))


def body_of(server):
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/compatible-mode/v1/chat/completions")
    return request.body


MESSAGES = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="What is it?")]
SENT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}]
PLAIN = {"model": "qwen-max", "messages": SENT, "temperature": 0.1, "stream": False}
STREAMED = {**PLAIN, "stream": True, "stream_options": {"include_usage": True}}


async def _astream(llm, messages, **options):
    return [part async for part in await llm.astream_chat(messages, **options)]


WAYS = {
    "chat": (lambda llm, messages, **options: llm.chat(messages, **options), PLAIN),
    "achat": (lambda llm, messages, **options: asyncio.run(llm.achat(messages, **options)), PLAIN),
    "stream": (lambda llm, messages, **options: list(llm.stream_chat(messages, **options))[-1], STREAMED),
    "astream": (lambda llm, messages, **options: asyncio.run(_astream(llm, messages, **options))[-1], STREAMED),
}


@pytest.fixture(params=list(WAYS))
def way(request):
    return WAYS[request.param]


# Bodies ---------------------------------------------------------------------------------------------------------


def test_text_is_sent_as_documented(server, llm, way):
    ask, expected = way
    assert ask(llm, MESSAGES).message.content == "The answer is 42."
    assert body_of(server) == expected
    headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {server.api_key}"
    assert headers["content-type"] == "application/json"


def test_settings_are_sent_and_those_of_a_call_win(server, way):
    ask, expected = way
    llm = DashScopeLLM(
        "qwen-plus",
        api_key=server.api_key,
        api_base=server.compatible_url,
        temperature=0.5,
        max_tokens=100,
        additional_kwargs={"top_p": 0.8, "enable_search": True, "seed": 7},
    )
    ask(llm, MESSAGES, max_tokens=50, top_k=20, seed=8, stream_options=None)
    changed = {"model": "qwen-plus", "temperature": 0.5, "max_tokens": 50, "top_p": 0.8, "seed": 8}
    expected = {name: value for name, value in expected.items() if name != "stream_options"}
    assert body_of(server) == {**expected, **changed, "enable_search": True, "top_k": 20}


def test_a_field_of_a_call_goes_out_in_place_of_the_setting(server, way):
    ask, expected = way
    llm = dashscope_llm(
        api_key=server.api_key, api_base=server.compatible_url, additional_kwargs={"extra_body": {"top_k": 3}}
    )
    ask(llm, MESSAGES)
    assert body_of(server) == {**expected, "top_k": 3}


@pytest.mark.parametrize("thinking", [True, False])
def test_thinking_is_a_field_and_makes_every_call_a_stream(server, way, thinking):
    ask, expected = way
    llm = dashscope_llm("qwen3-max", api_key=server.api_key, api_base=server.compatible_url, enable_thinking=thinking)
    response = ask(llm, MESSAGES)
    assert response.message.content == "The answer is 42."
    assert response.additional_kwargs["total_tokens"] > 0
    base = STREAMED if thinking else expected
    assert body_of(server) == {**base, "model": "qwen3-max", "enable_thinking": thinking}


def test_thinking_of_one_call(server, llm, way):
    ask, _ = way
    ask(llm, MESSAGES, enable_thinking=True)
    assert body_of(server) == {**STREAMED, "enable_thinking": True}


@pytest.mark.parametrize("options", [{"enable_thinking": True}, {"extra_body": {"enable_thinking": True}}])
def test_thinking_said_in_another_place(server, way, options):
    ask, _ = way
    llm = dashscope_llm(api_key=server.api_key, api_base=server.compatible_url, additional_kwargs=options)
    ask(llm, MESSAGES)
    assert body_of(server) == {**STREAMED, "enable_thinking": True}
    server.clear()
    ask(llm, MESSAGES, enable_thinking=False)
    assert body_of(server)["enable_thinking"] is False


def test_models_that_answer_streams_only_get_streams(server):
    llm = dashscope_llm("qwq-plus", api_key=server.api_key, api_base=server.compatible_url)
    assert str(llm.complete("What?")) == "The answer is 42."
    assert body_of(server)["stream"] is True
    assert "enable_thinking" not in body_of(server)


def thoughts(text):
    """Return a chunk's or a message's change into one that thinks."""

    def change(reply):
        for choice in reply["choices"]:
            part = choice.get("message") or choice.get("delta")
            if part.get("role"):
                part["reasoning_content"] = text
                part["content"] = None if "delta" in choice else part["content"]
        return reply

    return change


def test_what_a_model_thought_is_a_block_of_its_own(server, llm, way):
    ask, _ = way
    server.fail(Fault(reply=thoughts("Let me think.")))
    blocks = ask(llm, MESSAGES).message.blocks
    assert [block.content for block in blocks if isinstance(block, ThinkingBlock)] == ["Let me think."]
    assert [block.text for block in blocks if isinstance(block, TextBlock)] == ["The answer is 42."]


def test_completions_go_the_same_way(server, llm):
    texts = {
        str(llm.complete("What?")),
        str(asyncio.run(llm.acomplete("What?"))),
        list(llm.stream_complete("What?"))[-1].text,
    }
    assert texts == {"The answer is 42."}
    assert [request.body["messages"] for request in server.requests] == [[{"role": "user", "content": "What?"}]] * 3


# Images ---------------------------------------------------------------------------------------------------------


def test_images_go_as_data_uris_between_the_texts(server, vlm, way, tmp_path):
    ask, expected = way
    red, blue = image_bytes(colour="red"), image_bytes(colour="blue", kind="JPEG")
    path = tmp_path / "图 1.jpg"
    path.write_bytes(blue)
    message = user(
        TextBlock(text="First"),
        ImageBlock(image=red),
        TextBlock(text="then"),
        ImageBlock(path=path),
        ImageBlock(url="https://example.org/a.png"),
    )
    ask(vlm, [message])
    content = [
        {"type": "text", "text": "First"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(red).decode()}},
        {"type": "text", "text": "then"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(blue).decode()}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    assert body_of(server) == {**expected, "model": "qwen-vl-max", "messages": [{"role": "user", "content": content}]}
    assert isinstance(message.blocks[1], ImageBlock), "the caller's message stays as it is"


def sent_image(server):
    url = body_of(server)["messages"][-1]["content"][-1]["image_url"]["url"]
    head, _, data = url.partition(",")
    return head, Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("block", ["data", "file", "bytes", "stream"])
def test_every_form_of_an_image_is_fitted(server, vlm, block, tmp_path):
    data = image_bytes((2000, 1500), "green", "BMP")
    path = tmp_path / "large one.bmp"
    path.write_bytes(data)
    blocks = {
        "data": lambda: ImageBlock(
            url="data:image/bmp;base64," + base64.b64encode(data).decode().replace("A", "%41", 1)
        ),
        "file": lambda: ImageBlock(url=path.as_uri()),
        "bytes": lambda: ImageBlock(image=data),
        "stream": lambda: ImageBlock(image=io.BytesIO(data)),
    }
    vlm.chat([user(blocks[block]())])
    head, image = sent_image(server)
    assert head == "data:image/png;base64"
    assert image.width * image.height <= 2_000_000
    assert image.width / image.height == pytest.approx(4 / 3, rel=0.01)


def test_tiny_images_get_the_size_that_the_service_takes(server, vlm):
    vlm.chat([user(ImageBlock(image=image_bytes((3, 3))))])
    assert min(sent_image(server)[1].size) >= 28


def test_images_of_tools_come_in_a_message_behind_the_tools(server):
    llm = dashscope_vlm("qwen3-vl-plus", api_key=server.api_key, api_base=server.compatible_url)
    calls = [{"id": f"c{i}", "type": "function", "function": {"name": "look", "arguments": "{}"}} for i in (1, 2)]
    picture = ImageBlock(image=image_bytes())
    messages = [
        ChatMessage(role="user", content="Look."),
        ChatMessage(role="assistant", content=None, additional_kwargs={"tool_calls": calls}),
        ChatMessage(role="tool", blocks=[TextBlock(text="one"), picture], additional_kwargs={"tool_call_id": "c1"}),
        ChatMessage(role="tool", blocks=[TextBlock(text="two")], additional_kwargs={"tool_call_id": "c2"}),
    ]
    llm.chat(messages)
    sent = body_of(server)["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    assert [message["content"] for message in sent[1:4]] == ["", "one", "two"]
    assert sent[4]["content"][1]["type"] == "image_url"
    assert len(messages[2].blocks) == 2


def test_a_model_that_sees_nothing_is_not_asked_about_images(server, llm, way):
    ask, _ = way
    with pytest.raises(ConfigurationError, match="qwen-max does not look at images"):
        ask(llm, [user(TextBlock(text="What?"), ImageBlock(image=image_bytes()))])
    assert server.requests == []


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (lambda path: ImageBlock(image=image_bytes()[:60]), CorruptFileError),
        (lambda path: ImageBlock(), CorruptFileError),
        (lambda path: ImageBlock(url="data:image/png;base64,###"), CorruptFileError),
        (lambda path: ImageBlock(url=(path / "none.png").as_uri()), SourceError),
    ],
)
def test_images_that_cannot_be_read_are_typed_errors(server, vlm, way, block, kind, tmp_path):
    ask, _ = way
    with pytest.raises(kind):
        ask(vlm, [user(TextBlock(text="What?"), block(tmp_path))])
    assert server.requests == []


# Texts of all kinds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_every_text_goes_and_comes_back_as_it_is(server, llm, way, text):
    ask, _ = way
    server.replies = [text]
    assert ask(llm, [ChatMessage(role="user", content=text)]).message.content == text
    assert body_of(server)["messages"] == [{"role": "user", "content": text}]


def test_half_a_surrogate_pair_is_sent_as_a_question_mark(server, llm, way):
    ask, _ = way
    ask(llm, [ChatMessage(role="user", content="bad \ud83d sign")])
    assert body_of(server)["messages"] == [{"role": "user", "content": "bad ? sign"}]


@pytest.mark.parametrize("text", ["", None])
def test_an_empty_text_is_sent_as_one(server, llm, way, text):
    ask, _ = way
    ask(llm, [ChatMessage(role="user", content=text)])
    assert body_of(server)["messages"] == [{"role": "user", "content": ""}]


def test_no_messages_are_refused_by_the_service(server, llm, way):
    ask, _ = way
    with pytest.raises(DashScopeBadRequestError, match="too short"):
        ask(llm, [])
    assert len(server.requests) == 1


def test_an_empty_answer_is_an_answer(server, llm, way):
    ask, _ = way
    server.replies = [""]
    assert not ask(llm, MESSAGES).message.content


# Streams --------------------------------------------------------------------------------------------------------


def test_a_stream_is_the_answer_piece_by_piece_and_ends_with_the_usage(server, llm):
    parts = list(llm.stream_chat(MESSAGES))
    assert "".join(part.delta for part in parts) == parts[-1].message.content == "The answer is 42."
    assert len(parts) > 3
    assert set(parts[-1].additional_kwargs) == {"prompt_tokens", "completion_tokens", "total_tokens"}


def test_a_stream_that_is_left_frees_its_connection(server, llm):
    server.replies = ["word " * 100]
    for _ in range(3):
        stream = llm.stream_chat(MESSAGES)
        next(stream)
        next(stream)
        stream.close()
    assert llm.chat(MESSAGES).message.content == "word " * 100
    assert len(server.requests) == 4


async def test_an_async_stream_that_is_left_frees_its_connection(server, llm):
    stream = await llm.astream_chat(MESSAGES)
    await anext(stream)
    await stream.aclose()
    assert (await llm.achat(MESSAGES)).message.content == "The answer is 42."
    await llm.aclose()


# Many calls -----------------------------------------------------------------------------------------------------


async def test_twenty_calls_at_once(server, llm):
    server.replies = [lambda body: "Reply to " + body["messages"][0]["content"]]
    responses = await asyncio.gather(*(llm.acomplete(f"call {index}") for index in range(20)))
    assert [str(response) for response in responses] == [f"Reply to call {index}" for index in range(20)]
    assert len(server.requests) == 20


def test_twenty_threads_at_once(server, llm):
    server.replies = [lambda body: "Reply to " + body["messages"][0]["content"]]
    with ThreadPoolExecutor(20) as pool:
        texts = list(pool.map(lambda index: str(llm.complete(f"call {index}")), range(20)))
    assert texts == [f"Reply to call {index}" for index in range(20)]


def test_one_model_serves_several_event_loops(llm):
    texts = [str(asyncio.run(llm.acomplete("What?"))) for _ in range(3)]
    assert texts == ["The answer is 42."] * 3


def test_connections_of_event_loops_that_ended_are_let_go(llm):
    clients = []

    async def ask():
        await llm.acomplete("What?")
        clients.append(weakref.ref(llm._http.asynchronous()))

    for _ in range(4):
        asyncio.run(ask())
    gc.collect()
    assert [client() is None for client in clients] == [True, True, True, False]


def test_a_closed_model_opens_again(llm):
    llm.complete("What?")
    llm.close()
    assert str(llm.complete("What?")) == "The answer is 42."


async def test_clients_that_are_not_to_be_reused_leave_the_connections_of_others_open(server, monkeypatch):
    monkeypatch.setattr(server, "event_delay_s", 0.02)
    server.replies = ["word " * 20]
    llm = dashscope_llm(api_key=server.api_key, api_base=server.compatible_url, reuse_client=False)
    stream, astream = llm.stream_complete("What?"), await llm.astream_complete("What?")
    next(stream)
    await anext(astream)
    assert str(llm.complete("What?")) == str(await llm.acomplete("What?")) == "word " * 20
    assert list(stream)[-1].text == [part async for part in astream][-1].text == "word " * 20


# LlamaIndex's own ends ------------------------------------------------------------------------------------------


def test_callbacks_and_events_come_once_for_each_call(server, way):
    ask, _ = way
    seen = []

    class Handler(BaseEventHandler):
        def handle(self, event, **kwargs):
            seen.append(type(event))

    counter = TokenCountingHandler(tokenizer=str.split)
    llm = dashscope_llm(
        api_key=server.api_key, api_base=server.compatible_url, callback_manager=CallbackManager([counter])
    )
    handler = Handler()
    get_dispatcher().add_event_handler(handler)
    try:
        ask(llm, MESSAGES)
    finally:
        get_dispatcher().event_handlers.remove(handler)
    assert (seen.count(LLMChatStartEvent), seen.count(LLMChatEndEvent)) == (1, 1)
    assert len(counter.llm_token_counts) == 1
    assert counter.llm_token_counts[0].total_token_count > 0


# Metadata and arguments -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "window", "output", "tools", "sees"),
    [
        (lambda **key: dashscope_llm(**key), 32_768, 8_192, True, False),
        (lambda **key: dashscope_vlm(**key), 131_072, 8_192, False, True),
        (lambda **key: dashscope_llm("qwen-max-2025-01-25", **key), 32_768, 8_192, True, False),
        (lambda **key: dashscope_vlm("qwen3-vl-plus", **key), 131_072, 32_768, True, True),
        (lambda **key: dashscope_vlm("my-own-vision", **key), 32_768, 8_192, True, True),
        (lambda **key: dashscope_llm("kimi-k2", **key), 32_768, 8_192, True, False),
        (lambda **key: dashscope_llm(max_tokens=500, **key), 32_768, 500, True, False),
        (lambda **key: dashscope_llm(context_window=4_000, **key), 4_000, 2_000, True, False),
        (lambda **key: dashscope_llm("qwen-plus", supports_images=True, **key), 131_072, 16_384, True, True),
    ],
)
def test_metadata_are_those_of_the_model(made, window, output, tools, sees):
    llm = made(api_key="sk-0123456789")
    assert isinstance(llm, OpenAILike)
    metadata = llm.metadata
    assert (metadata.context_window, metadata.num_output) == (window, output)
    assert (metadata.is_chat_model, metadata.is_function_calling_model) == (True, tools)
    assert supports_images(llm) is sees
    assert llm.temperature == 0.1


def test_more_tokens_than_the_model_writes_are_refused(server, llm, way):
    ask, _ = way
    with pytest.raises(ConfigurationError, match=r"max_tokens is 8,193, but qwen-max writes at most 8,192"):
        dashscope_llm(api_key="sk-0123456789", max_tokens=8_193)
    with pytest.raises(ConfigurationError, match="max_tokens"):
        ask(llm, MESSAGES, max_tokens=9_000)
    assert server.requests == []
    assert dashscope_llm("a-model-of-tomorrow", api_key="sk-0123456789", max_tokens=90_000).max_tokens == 90_000


def test_a_model_that_is_known_to_see_nothing_is_no_vlm():
    with pytest.raises(ConfigurationError, match="qwen-max does not look at images"):
        dashscope_vlm("qwen-max", api_key="sk-0123456789")
    assert dashscope_vlm("qwen-max", api_key="sk-0123456789", supports_images=True).supports_images


@pytest.mark.parametrize(
    ("arguments", "base"),
    [
        ({}, "https://dashscope.aliyuncs.com/compatible-mode/v1"),
        ({"region": "ap-southeast-1"}, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        (
            {"region": "eu-central-1", "workspace": "ws-1"},
            "https://ws-1.eu-central-1.maas.aliyuncs.com/compatible-mode/v1",
        ),
        (
            {"api_base": "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions"},
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
        ),
        ({"api_base": "https://dashscope-intl.aliyuncs.com"}, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        (
            {"api_base": "https://dashscope.aliyuncs.com/api/v1/services/embeddings/text-embedding"},
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
        ),
    ],
)
def test_the_base_is_that_of_the_service(arguments, base):
    llm = dashscope_llm(api_key="sk-0123456789", **arguments)
    assert llm.api_base == base
    assert str(llm._get_client().base_url) == base + "/"
    assert DashScopeLLM.from_dict(llm.to_dict() | {"api_key": "sk-0123456789"}).api_base == base


def test_two_models_call_two_services(server, llm):
    with DashScopeServer() as other:
        second = dashscope_llm(api_key=other.api_key, api_base=other.compatible_url)
        llm.complete("What?")
        second.complete("What?")
        assert (len(server.requests), len(other.requests)) == (1, 1)


def test_a_bad_url_is_refused_at_once():
    with pytest.raises(ConfigurationError):
        dashscope_llm(api_key="sk-0123456789", api_base="ftp://dashscope.aliyuncs.com")


def test_an_argument_of_llamaindex_is_not_sent(server, llm):
    llm.chat(MESSAGES, use_chat_completions=True)
    assert body_of(server) == PLAIN


# Tools, the pure part; over HTTP in test_dashscope_llm_tools.py -------------------------------------------------

SEARCH = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
COUNT = {"type": "function", "function": {"name": "count", "parameters": {"type": "object"}}}
NAMED = {"type": "function", "function": {"name": "search"}}


@pytest.mark.parametrize(
    ("choice", "tools", "thinking", "expected"),
    [
        ("required", [SEARCH], None, NAMED),
        ("required", [SEARCH], True, "auto"),
        ("required", [SEARCH, COUNT], None, "auto"),
        ("auto", [SEARCH], None, "auto"),
        ("none", [SEARCH], True, "none"),
        (None, [SEARCH], None, None),
        ("search", [SEARCH, COUNT], False, NAMED),
        (NAMED, [SEARCH, COUNT], None, NAMED),
        (NAMED, [SEARCH, COUNT], True, "auto"),
    ],
)
def test_a_choice_of_tools_is_one_that_the_service_takes(choice, tools, thinking, expected):
    fields = documented_tools({"tools": tools, "tool_choice": choice, "enable_thinking": thinking})
    assert fields["tool_choice"] == expected
    assert fields["tools"] == tools


@pytest.mark.parametrize("tools", [None, []])
def test_without_tools_nothing_is_said_of_them(tools):
    fields = {"model": "qwen-max", "tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
    assert documented_tools(fields) == {"model": "qwen-max"}


def test_strict_is_left_out_unless_it_is_asked_for():
    strict = {"type": "function", "function": {"name": "search", "strict": True}}
    loose = {"type": "function", "function": {"name": "search", "strict": False}}
    assert documented_tools({"tools": [strict, loose]})["tools"] == [strict, NAMED]
    assert loose["function"]["strict"] is False, "the caller's tool stays as it is"


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, DashScopeLLM.__module__)
    monkeypatch.setitem(sys.modules, "llama_index.llms.openai_like", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "llama-index-raganything\[dashscope\]"'):
        importlib.import_module(DashScopeLLM.__module__)
