"""Tools, agents and structured answers of DashScope's chat models, over real HTTP on loopback."""

import asyncio
import json

import pytest
from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_index_raganything.errors import DashScopeBadRequestError
from llama_index_raganything.models.dashscope.models import dashscope_llm, dashscope_vlm
from llama_index_raganything.testing import Fault


class Song(BaseModel):
    """A song."""

    title: str
    seconds: int


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It rains in {city}."


def add(first: int, second: int) -> int:
    """Add two numbers."""
    return first + second


WEATHER, ADD = FunctionTool.from_defaults(weather), FunctionTool.from_defaults(add)
CALL = {"tool_calls": [{"id": "call_1", "function": {"name": "weather", "arguments": {"city": '北京 "x"'}}}]}
BOTH = {
    "tool_calls": [
        {"id": "call_1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}},
        {"id": "call_2", "function": {"name": "add", "arguments": {"first": 2, "second": 3}}},
    ]
}
SONG = {"tool_calls": [{"function": {"name": "Song", "arguments": {"title": "月亮", "seconds": 180}}}]}


@pytest.fixture
def server(server):
    server.replies = []
    return server


@pytest.fixture
def llm(server):
    return dashscope_llm(api_key=server.api_key, api_base=server.compatible_url)


async def _last(stream):
    return [part async for part in stream][-1]


async def _astream(llm, tools, **options):
    return await _last(await llm.astream_chat_with_tools(tools, **options))


WAYS = {
    "chat": lambda llm, tools, **options: llm.chat_with_tools(tools, **options),
    "achat": lambda llm, tools, **options: asyncio.run(llm.achat_with_tools(tools, **options)),
    "stream": lambda llm, tools, **options: list(llm.stream_chat_with_tools(tools, **options))[-1],
    "astream": lambda llm, tools, **options: asyncio.run(_astream(llm, tools, **options)),
}


@pytest.fixture(params=list(WAYS))
def ask(request):
    return WAYS[request.param]


def chosen(llm, response):
    calls = llm.get_tool_calls_from_response(response)
    return [(call.tool_id, call.tool_name, call.tool_kwargs) for call in calls]


# Bodies ---------------------------------------------------------------------------------------------------------


def test_tools_are_sent_as_documented(server, llm, ask):
    server.replies = [CALL]
    response = ask(
        llm, [WEATHER], user_msg="How is it?", chat_history=[ChatMessage(role="system", content="Be brief.")]
    )
    assert chosen(llm, response) == [("call_1", "weather", {"city": '北京 "x"'})]
    (request,) = server.requests
    body = dict(request.body)
    streams = body.pop("stream")
    assert body.pop("stream_options", None) == ({"include_usage": True} if streams else None)
    assert body == {
        "model": "qwen-max",
        "temperature": 0.1,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How is it?"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "weather(city: str) -> str\nTell the weather of a city.",
                    "parameters": {
                        "properties": {"city": {"title": "City", "type": "string"}},
                        "required": ["city"],
                        "type": "object",
                        "additionalProperties": False,
                    },
                },
            }
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }


@pytest.mark.parametrize(
    ("options", "choice", "parallel"),
    [
        ({"tool_required": True}, {"type": "function", "function": {"name": "weather"}}, False),
        ({"tool_choice": "weather"}, {"type": "function", "function": {"name": "weather"}}, False),
        ({"tool_choice": "none"}, "none", False),
        ({"allow_parallel_tool_calls": True}, "auto", True),
    ],
)
def test_choices_of_one_tool(server, llm, ask, options, choice, parallel):
    ask(llm, [WEATHER], user_msg="Oslo", **options)
    (request,) = server.requests
    assert (request.body["tool_choice"], request.body["parallel_tool_calls"]) == (choice, parallel)
    assert request.status == 200


def test_one_of_several_tools_is_the_models_choice(server, llm, ask):
    ask(llm, [WEATHER, ADD], user_msg="Oslo", tool_required=True)
    assert server.requests[0].body["tool_choice"] == "auto"


def test_a_model_that_thinks_is_not_forced(server, llm, ask):
    ask(llm, [WEATHER], user_msg="Oslo", tool_required=True, enable_thinking=True)
    (request,) = server.requests
    assert (request.body["tool_choice"], request.body["enable_thinking"], request.body["stream"]) == (
        "auto",
        True,
        True,
    )


def test_a_model_without_tools_is_asked_without_them(server, llm, ask):
    server.replies = ["No tools."]
    assert ask(llm, [], user_msg="Oslo").message.content == "No tools."
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(server.requests[0].body)


# Answers --------------------------------------------------------------------------------------------------------


def test_parallel_calls_all_arrive(server, llm, ask):
    server.replies = [BOTH]
    response = ask(llm, [WEATHER, ADD], user_msg="Both", allow_parallel_tool_calls=True)
    expected = [("call_1", "weather", {"city": "Oslo"}), ("call_2", "add", {"first": 2, "second": 3})]
    assert chosen(llm, response) == expected


def merged(deltas):
    """Return a change that puts the calls of a stream's chunks into one chunk, as some models do."""

    def change(reply):
        for choice in reply["choices"]:
            if (choice.get("delta") or {}).get("tool_calls"):
                first = choice["delta"]["tool_calls"][0]["index"] == 0 and choice["delta"]["tool_calls"][0]["id"]
                choice["delta"]["tool_calls"] = deltas if first else []
        return reply

    return change


def whole(index, name, arguments, **fields):
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"index": index, "id": f"call_{index}", "type": "function", "function": function, **fields}


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_two_calls_in_one_chunk_both_arrive(server, llm, way):
    server.replies = [BOTH]
    server.fail(
        Fault(reply=merged([whole(0, "weather", {"city": "Oslo"}), whole(1, "add", {"first": 2, "second": 3})]))
    )
    response = WAYS[way](llm, [WEATHER, ADD], user_msg="Both", allow_parallel_tool_calls=True)
    expected = [("call_0", "weather", {"city": "Oslo"}), ("call_1", "add", {"first": 2, "second": 3})]
    assert chosen(llm, response) == expected


def repeated(reply):
    """Repeat id and name in every chunk of a call, as some models do."""
    for choice in reply["choices"]:
        for call in (choice.get("delta") or {}).get("tool_calls") or []:
            call["id"] = "call_1"
            call["function"]["name"] = "weather"
    return reply


def without_function(reply):
    """Name the call once more in the last chunk, without a function."""
    for choice in reply["choices"]:
        if choice.get("finish_reason"):
            choice["delta"]["tool_calls"] = [{"index": 0, "id": "", "type": "function", "function": None}]
    return reply


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("change", [repeated, without_function])
def test_chunks_that_repeat_or_lack_parts(server, llm, way, change):
    server.replies = [CALL]
    server.fail(Fault(reply=change))
    response = WAYS[way](llm, [WEATHER], user_msg="How is it?")
    assert chosen(llm, response) == [("call_1", "weather", {"city": '北京 "x"'})]


def test_arguments_that_are_no_json_do_not_stop_the_caller(server, llm, ask):
    server.replies = [{"tool_calls": [{"id": "c", "function": {"name": "weather", "arguments": "{city: Os"}}]}]
    assert chosen(llm, ask(llm, [WEATHER], user_msg="Oslo")) == [("c", "weather", {})]


# Agents ---------------------------------------------------------------------------------------------------------


def test_predict_and_call(server, llm):
    server.replies = [CALL]
    assert str(llm.predict_and_call([WEATHER], user_msg="北京?")) == 'It rains in 北京 "x".'
    assert str(asyncio.run(llm.apredict_and_call([WEATHER], user_msg="北京?"))) == 'It rains in 北京 "x".'


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_function_agent_calls_tools_until_it_knows(server, llm, streaming):
    server.replies = [BOTH, "It rains, and it is 5."]
    agent = FunctionAgent(tools=[WEATHER, ADD], llm=llm, streaming=streaming, system_prompt="Use the tools.")
    handler = agent.run("Weather and sum?")
    events = [event async for event in handler.stream_events()]
    assert str(await handler) == "It rains, and it is 5."
    results = [str(event.tool_output) for event in events if isinstance(event, ToolCallResult)]
    assert sorted(results) == ["5", "It rains in Oslo."]
    if streaming:
        deltas = [event.delta for event in events if isinstance(event, AgentStream)]
        assert "".join(deltas) == "It rains, and it is 5."
    assert len(server.requests) == 2
    sent = server.requests[1].body["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool"]
    assert sent[2]["content"] == ""
    assert [call["id"] for call in sent[2]["tool_calls"]] == ["call_1", "call_2"]
    assert {message["tool_call_id"]: message["content"] for message in sent[3:]} == {
        "call_1": "It rains in Oslo.",
        "call_2": "5",
    }
    assert not any("strict" in tool["function"] for tool in server.requests[1].body["tools"])


async def test_a_react_agent_works_with_a_model_without_tools(server):
    llm = dashscope_vlm(api_key=server.api_key, api_base=server.compatible_url)
    server.replies = [
        'Thought: I need a tool.\nAction: weather\nAction Input: {"city": "Oslo"}',
        "Thought: I can answer without using any more tools.\nAnswer: It rains.",
    ]
    assert str(await ReActAgent(tools=[WEATHER], llm=llm).run("Weather in Oslo?")) == "It rains."
    assert len(server.requests) == 2
    assert "It rains in Oslo." in json.dumps(server.requests[1].body, ensure_ascii=False)
    assert "tools" not in server.requests[0].body


def test_tools_that_a_model_cannot_call_are_the_services_refusal(server, ask):
    llm = dashscope_vlm(api_key=server.api_key, api_base=server.compatible_url, is_function_calling_model=True)
    with pytest.raises(DashScopeBadRequestError, match="not supported"):
        ask(llm, [WEATHER], user_msg="Oslo")


# Structured answers ---------------------------------------------------------------------------------------------

ASK = PromptTemplate("A song about {what}.")
STRUCTURED = {
    "structured": lambda llm: llm.structured_predict(Song, ASK, what="the moon"),
    "astructured": lambda llm: asyncio.run(llm.astructured_predict(Song, ASK, what="the moon")),
    "stream": lambda llm: list(llm.stream_structured_predict(Song, ASK, what="the moon"))[-1],
    "astream": lambda llm: asyncio.run(_structured(llm)),
    "llm": lambda llm: llm.as_structured_llm(Song).complete("A song about the moon.").raw,
}


async def _structured(llm):
    return await _last(await llm.astream_structured_predict(Song, ASK, what="the moon"))


@pytest.fixture(params=list(STRUCTURED))
def structured(request):
    return STRUCTURED[request.param]


def test_structured_answers_come_by_the_one_tool_that_is_named(server, llm, structured):
    server.replies = [SONG]
    song = structured(llm)
    assert (song.title, song.seconds) == ("月亮", 180)
    (request,) = server.requests
    assert request.status == 200
    assert request.body["tool_choice"] == {"type": "function", "function": {"name": "Song"}}
    assert [tool["function"]["name"] for tool in request.body["tools"]] == ["Song"]
    assert "response_format" not in request.body


def test_a_model_that_thinks_gives_structured_answers_too(server, structured):
    llm = dashscope_llm("qwen3-max", api_key=server.api_key, api_base=server.compatible_url, enable_thinking=True)
    server.replies = [SONG]
    assert structured(llm).title == "月亮"
    assert server.requests[0].body["tool_choice"] == "auto"


def test_models_without_tools_write_json(server, structured):
    llm = dashscope_vlm(api_key=server.api_key, api_base=server.compatible_url)
    server.replies = ['Here it is:\n```json\n{"title": "月亮", "seconds": 180}\n```']
    assert structured(llm) == Song(title="月亮", seconds=180)
    (request,) = server.requests
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(request.body)


def test_a_schema_is_sent_where_that_is_asked_for(server, structured):
    llm = dashscope_llm(
        "qwen3-max", api_key=server.api_key, api_base=server.compatible_url, should_use_structured_outputs=True
    )
    server.replies = ['{"title": "月亮", "seconds": 180}']
    assert structured(llm).title == "月亮"
    (request,) = server.requests
    assert request.body["response_format"]["json_schema"]["name"] == "Song"
    assert "tools" not in request.body
