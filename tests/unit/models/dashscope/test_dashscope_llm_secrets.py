"""The key of DashScope's chat models: where it comes from, where it goes, and where it must not show."""

import copy
import json
import logging
import pickle

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from pydantic import SecretStr

from llama_index_raganything.errors import DashScopeAuthenticationError
from llama_index_raganything.models.dashscope.chat import DashScopeLLM
from llama_index_raganything.models.dashscope.models import dashscope_llm, dashscope_vlm
from llama_index_raganything.testing import DashScopeServer

KEY = "sk-argument-0123456789abcdef"
ENVIRONMENT_KEY = "sk-environment-0123456789abcdef"
OPENAI = {
    "OPENAI_API_KEY": "sk-openai-0123456789abcdef",
    "OPENAI_ADMIN_KEY": "sk-admin-0123456789abcdef",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/openai",
    "OPENAI_API_BASE": "http://127.0.0.1:9/openai",
    "OPENAI_ORG_ID": "org-secret",
    "OPENAI_PROJECT_ID": "proj-secret",
    "OPENAI_CUSTOM_HEADERS": "X-Secret: custom-secret",
}


@pytest.fixture(autouse=True)
def no_key_file(monkeypatch, tmp_path):
    monkeypatch.setenv("DASHSCOPE_API_KEY_FILE_PATH", str(tmp_path / "none"))


@pytest.fixture
def server():
    with DashScopeServer() as server:
        server.replies = ["Yes."]
        yield server


@pytest.mark.parametrize("made", [dashscope_llm, dashscope_vlm, DashScopeLLM])
@pytest.mark.parametrize("key", [None, "", "  ", "your_api_key_here", SecretStr("")])
def test_a_missing_key_is_an_error_at_once(made, key, monkeypatch):
    for name, value in OPENAI.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DashScopeAuthenticationError, match="DASHSCOPE_API_KEY"):
        made(api_key=key)


def test_the_key_comes_from_the_environment(monkeypatch, server):
    monkeypatch.setenv("DASHSCOPE_API_KEY", server.api_key)
    assert str(dashscope_llm(api_base=server.compatible_url).complete("?")) == "Yes."


@pytest.mark.parametrize("key", [KEY, SecretStr(KEY)])
async def test_nothing_of_openais_environment_is_sent(key, monkeypatch, server):
    for name, value in OPENAI.items():
        monkeypatch.setenv(name, value)
    server.api_key = KEY
    llm = dashscope_llm(api_key=key, api_base=server.compatible_url)
    llm.complete("?")
    await llm.acomplete("?")
    list(llm.stream_complete("?"))
    assert len(server.requests) == 3
    for request in server.requests:
        sent = json.dumps([dict(request.headers), request.body])
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert not [value for value in ("sk-openai", "sk-admin", "org-", "proj-", "custom-secret") if value in sent]
        assert not [name for name in request.headers if name.startswith("openai-")]


def test_the_callers_headers_are_sent_but_not_in_place_of_the_key(server):
    headers = {"X-DashScope-DataInspection": '{"input":"cip"}', "Authorization": "Bearer other"}
    dashscope_llm(api_key=server.api_key, api_base=server.compatible_url, default_headers=headers).complete("?")
    assert server.requests[0].headers["x-dashscope-datainspection"] == '{"input":"cip"}'
    assert server.requests[0].headers["authorization"] == f"Bearer {server.api_key}"


def test_the_key_shows_nowhere(caplog):
    caplog.set_level(logging.DEBUG)
    llm = dashscope_llm(api_key=KEY)
    llm._get_client()
    forms = [
        repr(llm),
        str(llm),
        f"{llm.api_key}",
        str(llm.to_dict()),
        llm.to_json(),
        llm.model_dump_json(),
        str(vars(llm)),
    ]
    assert not [form for form in forms if KEY in form]
    assert KEY.encode() not in pickle.dumps(llm)
    assert KEY not in caplog.text


def test_a_key_that_is_set_later_shows_nowhere_either(server):
    llm = dashscope_llm(api_key=KEY, api_base=server.compatible_url)
    llm.api_key = server.api_key
    assert str(llm.complete("?")) == "Yes."
    assert server.api_key not in repr(llm) + str(llm) + llm.to_json()
    assert server.api_key.encode() not in pickle.dumps(llm)


def test_a_field_that_cannot_be_pickled_stays_behind(monkeypatch, server):
    monkeypatch.setenv("DASHSCOPE_API_KEY", server.api_key)
    llm = dashscope_llm(api_base=server.compatible_url, completion_to_prompt=lambda prompt: prompt.upper())
    assert str(pickle.loads(pickle.dumps(llm)).complete("?")) == "Yes."
    assert llm.completion_to_prompt("a") == "A"


def test_a_pickled_model_takes_the_key_of_where_it_wakes(monkeypatch, server):
    llm = dashscope_llm(
        "qwen-plus", api_key=KEY, api_base=server.compatible_url, max_tokens=77, enable_thinking=False, timeout=9.0
    )
    data = pickle.dumps(llm)
    with pytest.raises(DashScopeAuthenticationError):
        pickle.loads(data)
    monkeypatch.setenv("DASHSCOPE_API_KEY", server.api_key)
    again = pickle.loads(data)
    assert again.api_key == SecretStr(server.api_key)
    assert again.to_dict() == llm.to_dict()
    assert str(again.complete("?")) == "Yes."
    assert llm.api_key == SecretStr(KEY), "pickling leaves the model as it was"


def test_a_model_that_was_used_can_be_pickled_and_copied(monkeypatch, server):
    monkeypatch.setenv("DASHSCOPE_API_KEY", server.api_key)
    llm = dashscope_llm(api_base=server.compatible_url, callback_manager=CallbackManager([TokenCountingHandler()]))
    llm.complete("?")
    for twin in (pickle.loads(pickle.dumps(llm)), copy.copy(llm), copy.deepcopy(llm), llm.model_copy()):
        assert len(twin.callback_manager.handlers) == 1
        assert str(twin.complete("?")) == "Yes."
    assert str(llm.complete("?")) == "Yes."
    assert len(llm.callback_manager.handlers) == 1


@pytest.mark.parametrize("written", [lambda llm: llm.to_dict(), lambda llm: json.loads(llm.to_json())])
def test_a_written_model_takes_the_key_of_the_environment(written, monkeypatch):
    fields = written(dashscope_vlm("qwen3-vl-plus", api_key=KEY, region="ap-southeast-1", max_retries=5))
    with pytest.raises(DashScopeAuthenticationError):
        DashScopeLLM.from_dict(fields)
    monkeypatch.setenv("DASHSCOPE_API_KEY", ENVIRONMENT_KEY)
    again = DashScopeLLM.from_dict(fields)
    assert again.to_dict() == fields
    assert (again.api_key, again.max_retries) == (SecretStr(ENVIRONMENT_KEY), 5)
    assert again._http.max_retries == 5
