"""Our requests are those of the official SDK."""

import base64
import io

import pytest
from PIL import Image

from llama_index_raganything.models.dashscope.embedding import DashScopeMultiModalEmbedding, DashScopeTextEmbedding

dashscope = pytest.importorskip("dashscope")


def options_of(server):
    return {"api_key": server.api_key, "api_base": server.native_url}


def sdk_options(server):
    return {"api_key": server.api_key, "base_address": server.native_url}


def assert_same(server):
    ours, theirs = server.requests
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert {"parameters": {}, **ours.body} == theirs.body  # The SDK sends an empty object where there are none.
    assert ours.headers["authorization"] == theirs.headers["authorization"]
    assert {ours.status, theirs.status} == {200}


@pytest.mark.parametrize("text_type", ["query", "document"])
def test_text_embeddings(server, text_type):
    model = DashScopeTextEmbedding(dimension=512, **options_of(server))
    is_query = text_type == "query"
    ours = [model.get_query_embedding("泵")] if is_query else model.get_text_embedding_batch(["泵"])
    answer = dashscope.TextEmbedding.call(
        "text-embedding-v4",
        ["泵"],
        text_type=text_type,
        dimension=512,
        output_type="dense",
        **sdk_options(server),
    )
    assert ours == [answer.output["embeddings"][0]["embedding"]]
    assert_same(server)


def test_multimodal_embeddings_of_texts(server):
    model = DashScopeMultiModalEmbedding(dimension=512, **options_of(server))
    ours = model.get_text_embedding_batch(["a red car", "泵"])
    answer = dashscope.MultiModalEmbedding.call(
        "tongyi-embedding-vision-plus", [{"text": "a red car"}, {"text": "泵"}], dimension=512, **sdk_options(server)
    )
    assert ours == [item["embedding"] for item in answer.output["embeddings"]]
    assert_same(server)


def test_multimodal_embeddings_of_images(server):
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(stream, "PNG")
    model = DashScopeMultiModalEmbedding(**options_of(server))
    ours = model.get_image_embedding_batch([io.BytesIO(stream.getvalue())])
    uri = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    answer = dashscope.MultiModalEmbedding.call("tongyi-embedding-vision-plus", [{"image": uri}], **sdk_options(server))
    assert ours == [answer.output["embeddings"][0]["embedding"]]
    assert_same(server)


def test_fused_embeddings(server):
    model = DashScopeMultiModalEmbedding("qwen3-vl-embedding", **options_of(server))
    ours = model.get_fused_embedding("a red car")
    answer = dashscope.MultiModalEmbedding.call(
        "qwen3-vl-embedding", [{"text": "a red car"}], enable_fusion=True, **sdk_options(server)
    )
    assert ours == answer.output["embeddings"][0]["embedding"]
    assert_same(server)
