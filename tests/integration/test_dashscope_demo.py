"""The whole demo on DashScope's models: over real HTTP, configured as the seed's ``.env``."""

import json
from pathlib import Path

import pytest

import llama_index_raganything
from llama_index_raganything import EnrichmentOptions, RAGAnythingIndex, RAGAnythingReader, RAGAnythingSettings
from llama_index_raganything.cli import main as command_line
from llama_index_raganything.cli.main import main
from llama_index_raganything.errors import ConfigurationError, DashScopeAuthenticationError
from llama_index_raganything.models.dashscope.embedding import DashScopeMultiModalEmbedding
from llama_index_raganything.models.dashscope.models import dashscope_vlm
from llama_index_raganything.testing import DashScopeServer, Fault, HashEmbedding, ScriptedTextLLM

DEMO_FILES = Path(llama_index_raganything.__file__).parent / "demo_files"


@pytest.fixture
def server(monkeypatch):
    with DashScopeServer() as running:
        yield running


def env_of(server):
    """The seed's names and paths, on another host; its path for embeddings is as wrong as there."""
    return {
        "DASHSCOPE_API_KEY": server.api_key,
        "ALIYUN_LLM_URL": f"{server.compatible_url}/chat/completions",
        "ALIYUN_VLM_URL": f"{server.compatible_url}/chat/completions",
        "ALIYUN_EMBED_URL": f"{server.native_url}/services/embeddings/text-embedding",
        "LLM_TEXT_MODEL": "qwen-max",
        "LLM_VLM_MODEL": "qwen-vl-max",
        "EMBED_MODEL": "tongyi-embedding-vision-plus",
        "MILVUS_URI": "milvus_lite.db",
        "MILVUS_COLLECTION": "rag_multimodal_collection",
        "EMBED_DIM": "1152",
    }


def write_env(path, values):
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def has_image(body):
    return "data:image/" in json.dumps(body["messages"])


def test_the_demo_runs_on_dashscope(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_env(tmp_path / ".env", env_of(server))
    assert main(["demo", "--models", "dashscope", "--json"]) == 0
    out = capsys.readouterr()
    assert str(tmp_path / ".env") in out.err
    result = json.loads(out.out)
    assert not result["report"]["failures"]
    assert not result["report"]["warnings"]
    assert all(answer["answer"].strip() for answer in result["answers"])
    assert result["agent"].strip()

    chats = [request.body for request in server.requests_to("chat")]
    described = [body for body in chats if "image analyst" in json.dumps(body["messages"])]
    # One call per picture when it is brought in; answers come as streams.
    assert len(described) == result["report"]["nodes"]["image"]
    assert all(has_image(body) for body in described)
    assert {body["model"] for body in described} == {"qwen-vl-max"}
    streamed = [body for body in chats if body.get("stream")]
    assert len(streamed) == len(result["answers"])
    assert {body["model"] for body in streamed if has_image(body)} == {"qwen-vl-max"}
    assert {body["model"] for body in streamed if not has_image(body)} <= {"qwen-max"}

    embeddings = [request.body for request in server.requests_to("multimodal-embedding")]
    assert {body["model"] for body in embeddings} == {"tongyi-embedding-vision-plus"}
    contents = [content for body in embeddings for content in body["input"]["contents"]]
    assert sum("image" in content for content in contents) == len(described)
    assert sum("text" in content for content in contents) >= sum(result["report"]["nodes"].values())
    assert not server.requests_to("text-embedding")

    reranks = [request.body for request in server.requests_to("rerank")]
    assert len(reranks) == len(result["answers"])
    assert {body["model"] for body in reranks} == {"qwen3-rerank"}

    with_tools = [body for body in chats if body.get("tools")]
    assert {tool["function"]["name"] for tool in with_tools[0]["tools"]} >= {"ask", "search"}
    assert any(message["role"] == "tool" for body in with_tools for message in body["messages"])
    assert all(request.headers["authorization"] == f"Bearer {server.api_key}" for request in server.requests)
    assert server.api_key not in out.out + out.err


def test_a_demo_without_a_key_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["demo", "--models", "dashscope"]) == 1
    assert "DASHSCOPE_API_KEY" in capsys.readouterr().err


def test_a_demo_with_a_wrong_key_says_so_once(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_env(tmp_path / ".env", env_of(server) | {"DASHSCOPE_API_KEY": "sk-wrong-0123456789"})
    assert main(["demo", "--models", "dashscope"]) == 1
    out = capsys.readouterr()
    assert "InvalidApiKey" in out.out + out.err
    assert "sk-wrong" not in out.out + out.err
    assert len(server.requests_to("multimodal-embedding")) == 1


def test_the_demo_is_embedded_unless_dashscope_is_named():
    assert command_line._parser().parse_args(["demo"]).models == "embedded"
    assert command_line._parser().parse_args(["ask", "Who?"]).models == "auto"


PAGES = {
    "pump.md": "# Pump\n\nThe red pump delivers 4.2 litres per minute.\n",
    "valve.md": "# Valve\n\nThe valve is blue.\n",
}


@pytest.fixture
def settings(server, tmp_path):
    write_env(tmp_path / "named.env", env_of(server) | {"MILVUS_URI": str(tmp_path / "milvus_lite.db")})
    return RAGAnythingSettings.from_env_file(tmp_path / "named.env", working_dir=tmp_path / "storage")


@pytest.fixture
def pages(tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    for name, text in PAGES.items():
        (folder / name).write_text(text)
    return folder


async def test_a_key_is_enough(server, settings, pages):
    with RAGAnythingIndex.from_paths(pages, settings=settings) as index:
        assert not index.last_report.failures
        assert index.embed_model.model_name == "tongyi-embedding-vision-plus"
        assert index.llm.model == "qwen-max"
        assert index.store.collection_name == "rag_multimodal_collection"
        assert index.store.dim == 1152
        server.replies = ["It delivers 4.2 litres per minute. [1]"]
        engine = index.as_query_engine()
        question = "What does the pump deliver?"
        assert "4.2 litres" in str(engine.query(question))
        assert "4.2 litres" in str(await engine.aquery(question))
        pieces = list(index.as_query_engine(streaming=True).query(question).response_gen)
        assert len(pieces) > 1
        assert "4.2 litres" in "".join(pieces)
        assert "4.2 litres" in str(index.as_chat_engine().chat(question))


def test_what_the_caller_names_wins(server, settings, pages, tmp_path):
    llm = ScriptedTextLLM(replies=["Mine. [1]"])
    with RAGAnythingIndex.from_paths(
        pages, settings=settings, models="dashscope", embed_model=HashEmbedding(), llm=llm
    ) as index:
        assert str(index.as_query_engine().query("What does the pump deliver?")) == "Mine. [1]"
    assert not server.requests


def test_embedded_means_that_nobody_is_called(server, settings, pages):
    with RAGAnythingIndex.from_paths(pages, settings=settings, models="embedded") as index:
        assert index.llm is None
        assert "4.2" in str(index.as_query_engine().query("What does the pump deliver?"))
        assert "4.2" in str(index.as_tools()[0].call(input="What does the pump deliver?"))
    assert not server.requests


def test_models_of_another_name_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="embedded"):
        RAGAnythingIndex(uri=str(tmp_path / "m.db"), models="openai")


def test_dashscope_without_a_key_is_refused_before_anything_is_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DashScopeAuthenticationError, match="DASHSCOPE_API_KEY"):
        RAGAnythingIndex(uri=str(tmp_path / "m.db"), working_dir=tmp_path / "w", models="dashscope")
    assert not (tmp_path / "m.db").exists()


def test_a_refused_text_costs_its_node_only(server, settings, pages):
    refused = Fault(status=400, code="DataInspectionFailed", message="Input may contain inappropriate content.")
    (pages / "bad.md").write_text("# One\n\nGood words about pumps.\n\n# Two\n\nThis is forbiddenword.\n")
    route = "multimodal-embedding"
    server.fail(refused, times=None, route=route, when=lambda body: "forbiddenword" in json.dumps(body))
    with RAGAnythingIndex.from_paths(pages, settings=settings) as index:
        report = index.last_report
        assert not report.failures
        assert [source.rsplit("/", 1)[1] for source, _ in report.warnings] == ["bad.md"] * len(report.warnings)
        texts = [node.get_content() for node in index.store.get_nodes()]
        assert not any("forbiddenword" in text for text in texts)
        assert any("Good words" in text for text in texts)


def test_rag_anythings_configuration_on_dashscope(server, settings, tmp_path):
    from raganything import RAGAnythingConfig

    page = tmp_path / "page"
    page.mkdir()
    (page / "page.md").write_text("# Fares\n\n| Route | Fare |\n|---|---|\n| Ebeltoft | 12 |\n\n$$E = mc^2$$\n")
    (page / "page.png").write_bytes((DEMO_FILES / "milvus_architecture.png").read_bytes())
    config = RAGAnythingConfig(working_dir=str(tmp_path / "w"), parser="docvortex", enable_equation_processing=False)
    with RAGAnythingIndex.from_config(config, models="dashscope", settings=settings) as index:
        report = index.add(page)
        assert not report.failures
        assert not report.warnings
        assert index.llm.model == "qwen-max"
    asked = [request.body for request in server.requests_to("chat")]
    assert sorted((body["model"], has_image(body)) for body in asked) == [("qwen-max", False), ("qwen-vl-max", True)]


def picture_index(server, tmp_path):
    model = DashScopeMultiModalEmbedding(api_key=server.api_key, api_base=server.native_url, max_retries=0)
    return RAGAnythingIndex(
        uri=str(tmp_path / "m.db"),
        working_dir=tmp_path / "w",
        embed_model=HashEmbedding(),
        image_embed_model=model,
        reader=RAGAnythingReader(ocr="off", profile="fast"),
    )


def test_a_picture_without_a_vector_is_asked_for_again(server, tmp_path):
    picture = DEMO_FILES / "milvus_architecture.png"
    with picture_index(server, tmp_path) as index:
        server.fail(Fault(status=429, code="Throttling.RateQuota"), times=1, route="multimodal-embedding")
        first = index.add(picture)
        assert first.added
        assert "429" in first.warnings[0][1]
        assert index.visual_store.count() == 0
        assert index.add(picture).updated
        assert index.visual_store.count() == 1
        assert index.add(picture).unchanged


def test_a_vector_stays_while_it_cannot_be_renewed(server, tmp_path):
    picture = tmp_path / "picture.png"
    picture.write_bytes((DEMO_FILES / "milvus_architecture.png").read_bytes())
    with picture_index(server, tmp_path) as index:
        index.add(picture)
        index.ingestion.embed_model = HashEmbedding(model_name="another")
        server.fail(Fault(status=503, code="ModelUnavailable"), times=1, route="multimodal-embedding")
        report = index.add(picture)
        assert report.updated
        assert report.warnings
        assert index.visual_store.count() == 1


def test_a_refused_key_for_pictures_ends_the_run(server, tmp_path):
    with picture_index(server, tmp_path) as index:
        server.fail(Fault(status=401, code="InvalidApiKey"), times=None, route="multimodal-embedding")
        report = index.add(DEMO_FILES)
        assert report.failures
        assert len(server.requests_to("multimodal-embedding")) == 1


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        (Fault(status=403, code="Model.AccessDenied"), 1),
        (Fault(status=500, code="InternalError", headers={"Retry-After": "0"}), 3 * 2),
    ],
)
def test_descriptions_that_fail_cost_no_multiplied_requests(server, tmp_path, fault, requests):
    vlm = dashscope_vlm(api_key=server.api_key, api_base=server.compatible_url)
    server.fail(fault, times=None, route="chat")
    with RAGAnythingIndex(
        uri=str(tmp_path / "m.db"),
        working_dir=tmp_path / "w",
        embed_model=HashEmbedding(),
        vision_llm=vlm,
        enrichment=EnrichmentOptions(workers=1),
        reader=RAGAnythingReader(ocr="off"),
    ) as index:
        report = index.add(DEMO_FILES / "annual_report.pdf")
        assert report.added
        assert len(report.warnings) == 2
        assert len(server.requests_to("chat")) == requests
        server.clear()
        assert index.add(DEMO_FILES / "annual_report.pdf").updated
        assert len(server.requests_to("chat")) == 2
