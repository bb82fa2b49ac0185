"""DashScope's embedding models over real HTTP on loopback: what is sent, what is made of answers and faults."""

import asyncio
import base64
import io
import logging
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import Document, ImageDocument, ImageNode, MediaResource, TextNode
from PIL import Image

from llama_index_raganything import errors
from llama_index_raganything.enrich.image_embedder import ImageEmbedder
from llama_index_raganything.models.dashscope import embedding_batches as batches
from llama_index_raganything.models.dashscope.embedding import (
    DashScopeMultiModalEmbedding,
    DashScopeTextEmbedding,
)
from llama_index_raganything.testing import DashScopeServer, Fault

pytestmark = pytest.mark.usefixtures("quick_retries")

RED, GREEN, BLUE = (220, 30, 30), (40, 160, 60), (40, 70, 210)
TEXT_PATH = "/api/v1/services/embeddings/text-embedding/text-embedding"
MEDIA_PATH = "/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding"
FUSING = ["tongyi-embedding-vision-plus-2026-03-06", "qwen3-vl-embedding", "qwen2.5-vl-embedding"]
HOSTILE = [
    "",
    "   \n",
    "\x00\x01",
    "\ud800 alone",
    '"}], "x": [{"',
    "图表 红色 ＄％",
    "👩‍👩‍👧",
    "<|endoftext|>",
    "' OR 1=1 --",
    "a\u202eb",
]


def text_model(server, **options):
    return DashScopeTextEmbedding(**{"api_key": server.api_key, "api_base": server.native_url, **options})


def media_model(server, **options):
    return DashScopeMultiModalEmbedding(**{"api_key": server.api_key, "api_base": server.native_url, **options})


MODELS = [text_model, media_model]


def picture(colour=RED, size=(64, 48), kind="PNG", mode="RGB", **options):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).convert(mode).save(stream, kind, **options)
    stream.seek(0)
    return stream


def sent_image(content):
    head, _, data = content["image"].partition(",")
    return head, Image.open(io.BytesIO(base64.b64decode(data)))


async def both(server, blocking, awaited):
    """Call in both ways; return the requests of the first and what came: vectors or an error. They must agree."""
    outcomes = []
    for call in (lambda: asyncio.to_thread(blocking), awaited):
        server_before = len(server.requests)
        try:
            value = await call()
        except errors.RAGAnythingError as error:
            value = error
        outcomes.append((server.requests[server_before:], value))
    (first, one), (second, other) = outcomes
    assert sorted(map(repr, (r.body for r in first))) == sorted(map(repr, (r.body for r in second)))
    if isinstance(one, errors.PartialEmbeddingError):
        assert one.embeddings == other.embeddings
        assert {k: type(v) for k, v in one.failures.items()} == {k: type(v) for k, v in other.failures.items()}
    elif isinstance(one, Exception):
        assert type(one) is type(other)
    else:
        assert one == other
    return first, one


async def texts_both(server, model, texts):
    return await both(
        server, lambda: model.get_text_embedding_batch(texts), lambda: model.aget_text_embedding_batch(texts)
    )


async def images_both(server, model, images):
    return await both(
        server, lambda: model.get_image_embedding_batch(images), lambda: model.aget_image_embedding_batch(images)
    )


# -- request bodies, field by field ------------------------------------------------------------------------------------


async def test_texts_and_queries_of_a_text_model(server):
    model = text_model(server)
    requests, vector = await both(
        server, lambda: model.get_query_embedding("红色"), lambda: model.aget_query_embedding("红色")
    )
    assert requests[0].path == TEXT_PATH
    assert requests[0].method == "POST"
    assert requests[0].headers["authorization"] == f"Bearer {server.api_key}"
    assert requests[0].body == {
        "model": "text-embedding-v4",
        "input": {"texts": ["红色"]},
        "parameters": {"text_type": "query", "output_type": "dense"},
    }
    assert len(vector) == 1024
    requests, _ = await both(server, lambda: model.get_text_embedding("a"), lambda: model.aget_text_embedding("a"))
    assert requests[0].body["parameters"] == {"text_type": "document", "output_type": "dense"}
    requests, _ = await texts_both(server, model, ["a", "b"])
    assert requests[0].body == {
        "model": "text-embedding-v4",
        "input": {"texts": ["a", "b"]},
        "parameters": {"text_type": "document", "output_type": "dense"},
    }


async def test_dimension_and_instruct_of_a_text_model(server):
    model = text_model(server, dimension=256, instruct="Find the page of a manual.")
    requests, vector = await both(
        server, lambda: model.get_query_embedding("a"), lambda: model.aget_query_embedding("a")
    )
    assert requests[0].body["parameters"] == {
        "text_type": "query",
        "dimension": 256,
        "output_type": "dense",
        "instruct": "Find the page of a manual.",
    }
    assert len(vector) == 256
    model.get_text_embedding("a")
    assert server.requests[-1].body["parameters"] == {"text_type": "document", "dimension": 256, "output_type": "dense"}
    text_model(server, dimension=1024).get_text_embedding("a")
    assert "dimension" not in server.requests[-1].body["parameters"]


async def test_texts_and_queries_of_a_multimodal_model(server):
    model = media_model(server)
    requests, vector = await both(
        server, lambda: model.get_query_embedding("red"), lambda: model.aget_query_embedding("red")
    )
    assert requests[0].path == MEDIA_PATH
    assert requests[0].body == {"model": "tongyi-embedding-vision-plus", "input": {"contents": [{"text": "red"}]}}
    assert len(vector) == 1152
    requests, _ = await texts_both(server, model, ["a", "b"])
    assert requests[0].body["input"] == {"contents": [{"text": "a"}, {"text": "b"}]}
    model = media_model(server, dimension=512, instruct="Find the picture.")
    model.get_query_embedding("red")
    assert server.requests[-1].body["parameters"] == {"dimension": 512, "instruct": "Find the picture."}
    assert len(model.get_text_embedding("red")) == 512
    assert server.requests[-1].body["parameters"] == {"dimension": 512}


async def test_images_are_sent_as_data_uris(server, tmp_path):
    path = tmp_path / "图 ' \".png"
    path.write_bytes(picture().getvalue())
    encoded = base64.b64encode(path.read_bytes()).decode()
    uri = f"data:image/png;base64,{encoded}"
    forms = [str(path), path, path.read_bytes(), io.BytesIO(path.read_bytes()), uri]
    model = media_model(server)
    requests, vectors = await images_both(server, model, forms)
    assert requests[0].body == {
        "model": "tongyi-embedding-vision-plus",
        "input": {"contents": [{"image": uri}] * 5},
    }
    assert vectors == [vectors[0]] * 5
    requests, alone = await both(
        server, lambda: model.get_image_embedding(forms[3]), lambda: model.aget_image_embedding(forms[3])
    )
    assert alone == vectors[0]
    assert requests[0].body["input"]["contents"] == [{"image": uri}]


async def test_a_url_is_passed_on_and_others_are_refused(server):
    model = media_model(server)
    requests, _ = await images_both(server, model, ["https://example.org/a b.png?x=1"])
    assert requests[0].body["input"]["contents"] == [{"image": "https://example.org/a b.png?x=1"}]
    for url in ("file:///etc/passwd", "ftp://example.org/x.png", "oss://bucket/x.png"):
        requests, error = await images_both(server, model, [url])
        assert requests == []
        assert isinstance(error, errors.SourceError)


def test_text_and_images_lie_in_one_space(server):
    model = media_model(server)
    images = model.get_image_embedding_batch([picture(RED), picture(GREEN), picture(BLUE)])
    query = model.get_query_embedding("the green one")
    scores = [model.similarity(query, image) for image in images]
    assert max(scores) == scores[1]


@pytest.mark.parametrize(
    ("options", "image", "kind"),
    [
        ({}, picture(kind="WEBP", lossless=True), "PNG"),
        ({}, picture(kind="BMP"), "PNG"),
        ({}, picture(kind="GIF"), "PNG"),
        ({}, picture(kind="TIFF"), "PNG"),
        ({}, picture(kind="JPEG", mode="CMYK"), "JPEG"),
        ({}, picture(size=(1, 1)), "PNG"),
        ({"max_image_pixels": 10_000}, picture(size=(400, 300)), "PNG"),
    ],
)
async def test_images_are_made_fit(server, options, image, kind):
    requests, vectors = await images_both(server, media_model(server, **options), [image])
    head, sent = sent_image(requests[0].body["input"]["contents"][0])
    assert head == f"data:image/{kind.lower()};base64"
    assert sent.format == kind
    assert sent.mode == "RGB"
    assert sent.width * sent.height <= options.get("max_image_pixels", 1_000_000)
    assert len(vectors[0]) == 1152


def test_a_big_image_is_made_smaller_than_the_models_bytes(server):
    noise = Image.effect_noise((300, 300), 120)
    stream = io.BytesIO()
    Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180))).save(stream, "PNG")
    assert len(stream.getvalue()) > 200_000
    media_model(server, max_image_bytes=50_000).get_image_embedding(stream)
    content = server.requests[-1].body["input"]["contents"][0]
    assert len(base64.b64decode(content["image"].partition(",")[2])) <= 50_000


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "options", "count", "requests"),
    [
        (text_model, {}, 25, 3),
        (text_model, {"model_name": "text-embedding-v3"}, 10, 1),
        (text_model, {"model_name": "text-embedding-v2"}, 26, 2),
        (text_model, {"model_name": "text-embedding-v1"}, 25, 1),
        (text_model, {"max_contents": 2}, 5, 3),
        (media_model, {}, 41, 3),
        (media_model, {"model_name": "tongyi-embedding-vision-flash"}, 20, 1),
        (media_model, {"model_name": "multimodal-embedding-v1"}, 3, 3),
        (media_model, {"model_name": "qwen3-vl-embedding"}, 21, 2),
        (media_model, {"model_name": "qwen2.5-vl-embedding"}, 2, 2),
    ],
)
async def test_requests_of_texts_are_as_few_as_the_limits_allow(server, make, options, count, requests):
    model = make(server, **options)
    texts = [f"text {number}" for number in range(count)]
    sent, vectors = await texts_both(server, model, texts)
    assert len(sent) == requests
    assert all(request.status == 200 for request in sent)
    assert {len(vector) for vector in vectors} == {model.dimension}
    assert vectors[-1] == model.get_text_embedding(texts[-1])


@pytest.mark.parametrize(
    ("name", "count", "requests"),
    [
        ("tongyi-embedding-vision-plus", 17, 3),
        ("tongyi-embedding-vision-flash-2026-03-06", 8, 1),
        ("multimodal-embedding-v1", 2, 2),
        ("qwen3-vl-embedding", 6, 2),
    ],
)
async def test_requests_of_images_are_as_few_as_the_limits_allow(server, name, count, requests):
    colours = [(RED, GREEN, BLUE)[number % 3] for number in range(count)]
    sent, vectors = await images_both(server, media_model(server, model_name=name), [picture(c) for c in colours])
    assert len(sent) == requests
    assert all(request.status == 200 for request in sent)
    assert len({tuple(vector) for vector in vectors}) == min(3, count)
    assert [vectors[n] == vectors[0] for n in range(count)] == [colour == RED for colour in colours]


async def test_requests_of_images_are_filled_by_bytes(server, monkeypatch):
    size = batches.content_bytes({"image": "data:image/png;base64," + base64.b64encode(picture().getvalue()).decode()})
    monkeypatch.setattr(batches, "MAX_REQUEST_BYTES", 3 * size + 1)
    sent, vectors = await images_both(server, media_model(server), [picture() for _ in range(8)])
    assert sorted(len(request.body["input"]["contents"]) for request in sent) == [2, 3, 3]
    assert len(vectors) == 8


@pytest.mark.parametrize("make", MODELS)
async def test_requests_at_the_same_time_are_bounded_over_all_calls(make):
    with DashScopeServer(latency_s=0.03) as server:
        model = make(server, workers=3, max_contents=1)
        texts = [str(number) for number in range(12)]
        await asyncio.gather(model.aget_text_embedding_batch(texts[:6]), model.aget_text_embedding_batch(texts[6:]))
        assert server.most_at_once() == 3
        server.clear()
        threads = [asyncio.to_thread(model.get_text_embedding_batch, half) for half in (texts[:6], texts[6:])]
        await asyncio.gather(*threads)
        assert server.most_at_once() == 3


@pytest.mark.parametrize("make", MODELS)
async def test_nothing_is_embedded_without_a_request(server, make):
    assert await texts_both(server, make(server), []) == ([], [])


# -- texts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MODELS)
async def test_hostile_and_empty_texts(server, make):
    requests, vectors = await texts_both(server, make(server), HOSTILE)
    assert [request.status for request in requests] == [200]
    assert len(vectors) == len(HOSTILE)
    given = requests[0].body["input"]
    sent = given.get("texts") or [content["text"] for content in given["contents"]]
    assert sent[:2] == ["-", "-"]
    assert sent[4:] == HOSTILE[4:]


@pytest.mark.parametrize(
    ("make", "name", "tokens"),
    [
        (text_model, "text-embedding-v4", 8192),
        (media_model, "tongyi-embedding-vision-plus", 1024),
        (media_model, "multimodal-embedding-v1", 512),
    ],
)
async def test_long_texts_are_cut_and_said_once(server, make, name, tokens, caplog):
    model = make(server, model_name=name)
    texts = ["word " * 10_000, "图表" * 9_000, "x1 " * 30_000]
    with caplog.at_level(logging.WARNING):
        requests, _ = await texts_both(server, model, texts)
    assert all(request.status == 200 for request in requests)
    assert len([record for record in caplog.records if f"{tokens} tokens" in record.getMessage()]) == 1
    sent = "".join(map(str, (request.body for request in requests)))
    assert "图表" * (tokens // 4) in sent


# -- answers -----------------------------------------------------------------------------------------------------------


def with_reply(change, **options):
    def changed(reply):
        return change(reply) or reply

    return Fault(reply=changed, **options)


USAGES = [
    {"total_tokens": 3},
    {"input_tokens": 3, "image_tokens": 896},
    {"image_count": 1, "duration": 0},
    {"input_tokens": 10, "input_tokens_details": {"text_tokens": 10}, "output_tokens": 1, "total_tokens": 11},
    None,
]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("usage", USAGES)
def test_usage_may_be_anything(server, make, usage):
    server.fail(with_reply(lambda reply: reply.update(usage=usage)))
    assert len(make(server).get_text_embedding_batch(["a", "b"])) == 2


@pytest.mark.parametrize("make", MODELS)
async def test_vectors_are_ordered_by_index(server, make):
    model = make(server)
    wanted = model.get_text_embedding_batch(["a", "b", "c"])
    server.fail(with_reply(lambda reply: reply["output"]["embeddings"].reverse()), times=2)
    _, vectors = await texts_both(server, model, ["a", "b", "c"])
    assert vectors == wanted


WRONG = {
    "another length": lambda reply: reply["output"]["embeddings"][1].update(embedding=[0.5] * 7),
    "one missing": lambda reply: reply["output"]["embeddings"].pop(),
    "given twice": lambda reply: reply["output"]["embeddings"].append(dict(reply["output"]["embeddings"][0])),
    "no output": lambda reply: {"request_id": "r"},
    "NaN": lambda reply: reply["output"]["embeddings"][0].update(embedding=[float("nan")] * 1152),
}


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("name", WRONG)
async def test_wrong_answers_are_protocol_errors_and_not_repeated(server, make, name):
    server.fail(with_reply(WRONG[name]), times=2)
    requests, error = await texts_both(server, make(server), ["a", "b"])
    assert isinstance(error, errors.DashScopeProtocolError)
    assert len(requests) == 1


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(
    ("fault", "kind", "count"),
    [
        (Fault.documented("InvalidApiKey"), errors.DashScopeAuthenticationError, 1),
        (Fault.documented("Model.AccessDenied"), errors.DashScopePermissionError, 1),
        (Fault.documented("Arrearage"), errors.DashScopeQuotaError, 1),
        (Fault.documented("Throttling.RateQuota"), errors.DashScopeRateLimitError, 3),
        (Fault.documented("Throttling.RateQuota", headers={"Retry-After": "1"}), errors.DashScopeRateLimitError, 3),
        (Fault.documented("InternalError"), errors.DashScopeServerError, 3),
        (Fault(status=503, body=b"<html>Bad gateway</html>"), errors.DashScopeServerError, 3),
        (Fault(body=b"<html>Sign in</html>"), errors.DashScopeProtocolError, 1),
        (Fault.documented("InvalidParameter"), errors.DashScopeBadRequestError, 1),
        (Fault(drop=True), errors.DashScopeConnectionError, 1),
        (Fault(cut_after=40), errors.DashScopeConnectionError, 1),
    ],
)
async def test_faults_are_typed_and_retries_are_not_multiplied(server, make, fault, kind, count):
    server.fail(fault, times=2 * count)
    requests, error = await texts_both(server, make(server), ["a", "b"])
    assert type(error) is kind
    assert len(requests) == count
    assert server.api_key not in f"{error!r} {error}"


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("code", ["Throttling.RateQuota", "ModelUnavailable"])
async def test_what_passes_by_is_retried(server, make, code):
    model = make(server)
    for call in (lambda: asyncio.to_thread(model.get_text_embedding, "a"), lambda: model.aget_text_embedding("a")):
        server.clear()
        server.fail(Fault.documented(code, headers={"Retry-After": "1"}))
        assert len(await call()) == model.dimension
        assert len(server.requests) == 2


async def test_a_time_out_is_typed(server):
    server.fail(Fault(delay_s=0.4), times=2)
    requests, error = await texts_both(server, text_model(server, timeout_s=0.1), ["a"])
    assert isinstance(error, errors.DashScopeTimeoutError)
    assert len(requests) <= 1


@pytest.mark.parametrize("make", MODELS)
async def test_a_wrong_key_sends_no_more_than_what_is_on_its_way(server, make):
    model = make(server, api_key="sk-wrong-0123456789", workers=2, max_contents=1)
    texts = [str(number) for number in range(20)]
    for call in (
        lambda: asyncio.to_thread(model.get_text_embedding_batch, texts),
        lambda: model.aget_text_embedding_batch(texts),
    ):
        server.clear()
        with pytest.raises(errors.DashScopeAuthenticationError) as caught:
            await call()
        assert len(server.requests) <= 2
        assert "sk-wrong" not in f"{caught.value} {caught.value!r}"


async def test_images_made_ready_ahead_are_not_sent_after_a_final_error(server):
    model = media_model(server, api_key="sk-wrong-0123456789", workers=1)
    requests, error = await images_both(server, model, [picture() for _ in range(32)])
    assert isinstance(error, errors.DashScopeAuthenticationError)
    assert len(requests) == 1


@pytest.mark.parametrize("make", MODELS)
async def test_a_half_failed_call_loses_nothing_that_succeeded(server, make):
    model = make(server, max_contents=4, workers=1)
    texts = [f"word{number}" for number in range(12)]
    wanted = model.get_text_embedding_batch(texts)
    server.fail(Fault.documented("InternalError"), times=None, when=lambda body: "word5" in str(body))
    _, error = await texts_both(server, model, texts)
    assert isinstance(error, errors.PartialEmbeddingError)
    assert error.embeddings == [*wanted[:4], None, None, None, None, *wanted[8:]]
    assert sorted(error.failures) == [4, 5, 6, 7]
    assert all(isinstance(reason, errors.DashScopeServerError) for reason in error.failures.values())
    assert "4 of 12" in str(error)


@pytest.mark.parametrize("make", MODELS)
async def test_refused_content_costs_itself_alone(server, make):
    model = make(server)
    texts = [f"word{number}" for number in range(8)]
    wanted = model.get_text_embedding_batch(texts)
    server.fail(Fault.documented("DataInspectionFailed"), times=None, when=lambda body: "word6" in str(body))
    requests, error = await texts_both(server, model, texts)
    assert isinstance(error, errors.PartialEmbeddingError)
    assert error.embeddings == [*wanted[:6], None, wanted[7]]
    assert [(place, type(reason)) for place, reason in error.failures.items()] == [(6, errors.DashScopeContentError)]
    assert len(requests) == 7
    assert error.failures[6].request_id


@pytest.mark.parametrize("make", MODELS)
async def test_the_other_batches_of_llamaindex_are_kept(server, make):
    model = make(server, embed_batch_size=3, workers=1)
    texts = [f"word{number}" for number in range(8)]
    wanted = model.get_text_embedding_batch(texts)
    server.fail(Fault.documented("InternalError"), times=None, when=lambda body: "word4" in str(body))
    requests, error = await texts_both(server, model, texts)
    assert len(requests) == 3 + 2
    assert error.embeddings == [*wanted[:3], None, None, None, *wanted[6:]]
    assert sorted(error.failures) == [3, 4, 5]
    server.clear()
    server.fail(Fault.documented("Arrearage"), times=None, when=lambda body: "word4" in str(body))
    requests, error = await texts_both(server, model, texts)
    assert len(requests) == 2
    assert error.embeddings == [*wanted[:3], *[None] * 5]
    assert {type(reason) for reason in error.failures.values()} == {errors.DashScopeQuotaError}
    assert len(error.failures) == 5


async def test_the_other_batches_of_images_are_kept(server):
    model = media_model(server, embed_batch_size=2)
    images = [picture(RED), b"no image", picture(BLUE), picture(GREEN), picture(RED)]
    requests, error = await images_both(server, model, images)
    assert len(requests) == 3
    assert [vector is None for vector in error.embeddings] == [False, True, False, False, False]
    assert error.embeddings[0] == error.embeddings[4]


async def test_an_unreadable_image_costs_itself_alone(server, tmp_path):
    (tmp_path / "cut.png").write_bytes(picture(size=(300, 300)).getvalue()[:80])
    images = [picture(RED), str(tmp_path / "cut.png"), str(tmp_path / "missing.png"), picture(BLUE), "no\x00path.png"]
    requests, error = await images_both(server, media_model(server), images)
    assert len(requests) == 1
    assert [vector is None for vector in error.embeddings] == [False, True, True, False, True]
    kinds = [type(error.failures[place]) for place in (1, 2, 4)]
    assert kinds == [errors.CorruptFileError, errors.SourceError, errors.SourceError]
    requests, error = await images_both(server, media_model(server), [images[1]])
    assert (requests, type(error)) == ([], errors.CorruptFileError)


# -- fused vectors -----------------------------------------------------------------------------------------------------


def uri_of(stream):
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


@pytest.mark.parametrize("name", FUSING)
async def test_fused_vectors_in_each_models_way(server, name):
    model = media_model(server, model_name=name, instruct="Find it.")
    image = picture()
    requests, vector = await both(
        server,
        lambda: model.get_fused_embedding("a red pump", [image]),
        lambda: model.aget_fused_embedding("a red pump", [image]),
    )
    apart = [{"text": "a red pump"}, {"image": uri_of(image)}]
    together = [{"text": "a red pump", "image": uri_of(image)}]
    expected = {
        FUSING[0]: {"model": name, "input": {"contents": together}},
        FUSING[1]: {"model": name, "input": {"contents": apart}, "parameters": {"enable_fusion": True}},
        FUSING[2]: {"model": name, "input": {"contents": apart}},
    }
    assert [request.body for request in requests] == [expected[name]]
    assert len(vector) == model.dimension
    assert vector not in model.get_image_embedding_batch([image])
    model.get_fused_embedding("red", query=True)
    assert server.requests[-1].body["parameters"]["instruct"] == "Find it."


def test_several_images_fused(server):
    images = [picture(RED), picture(BLUE)]
    model = media_model(server, model_name=FUSING[0])
    assert len(model.get_fused_embedding("both", images)) == 1152
    assert server.requests[-1].body["input"]["contents"] == [{"text": "both", "multi_images": [*map(uri_of, images)]}]
    model = media_model(server, model_name=FUSING[1], dimension=512)
    assert len(model.get_fused_embedding(None, images)) == 512
    assert server.requests[-1].body["parameters"] == {"dimension": 512, "enable_fusion": True}
    assert server.requests[-1].body["input"]["contents"] == [{"image": uri_of(image)} for image in images]


@pytest.mark.parametrize(
    ("name", "text", "count", "message"),
    [
        ("tongyi-embedding-vision-plus", "a", 1, "qwen3-vl-embedding"),
        ("multimodal-embedding-v1", "a", 1, "no vectors of several"),
        ("qwen3-vl-embedding", " ", 0, "text or an image"),
        ("qwen3-vl-embedding", None, 6, "takes 5 images"),
        ("qwen2.5-vl-embedding", "a", 2, "takes 1 images"),
    ],
)
async def test_what_cannot_be_fused_is_not_sent(server, name, text, count, message):
    model = media_model(server, model_name=name)
    images = [picture() for _ in range(count)]
    requests, error = await both(
        server, lambda: model.get_fused_embedding(text, images), lambda: model.aget_fused_embedding(text, images)
    )
    assert requests == []
    assert isinstance(error, errors.ConfigurationError)
    assert message in str(error)


# -- configuration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (text_model, {"dimension": 1152}, "1024, 2048"),
        (media_model, {"dimension": 1000}, "1152, 1024"),
        (media_model, {"model_name": "multimodal-embedding-v1", "dimension": 512}, "take one of 1024"),
        (text_model, {"model_name": "tongyi-embedding-vision-plus"}, "DashScopeMultiModalEmbedding"),
        (media_model, {"model_name": "text-embedding-v4"}, "DashScopeTextEmbedding"),
        (text_model, {"api_base": "ftp://x"}, "https"),
        (text_model, {"api_base": None, "region": "eu-central-1"}, "workspace"),
    ],
)
def test_wrong_configuration_is_told_at_once(server, make, options, message):
    with pytest.raises(errors.ConfigurationError, match=message):
        make(server, **options)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"timeout_s": 0}, {"max_retries": -1}, {"embed_batch_size": 0}])
def test_arguments_are_checked(server, wrong):
    with pytest.raises(ValueError, match="greater"):
        text_model(server, **wrong)


def test_dimensions_of_models_that_are_not_known_are_the_users(server):
    assert text_model(server, model_name="text-embedding-v9").dimension is None
    assert text_model(server, model_name="text-embedding-v9", dimension=99).dimension == 99


def test_a_key_is_needed_and_comes_from_the_environment(server, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(errors.DashScopeAuthenticationError, match="DASHSCOPE_API_KEY"):
        DashScopeTextEmbedding()
    monkeypatch.setenv("DASHSCOPE_API_KEY", server.api_key)
    assert DashScopeTextEmbedding(api_base=server.native_url).get_text_embedding("a")
    assert DashScopeMultiModalEmbedding().dimension == 1152


@pytest.mark.parametrize("make", MODELS)
def test_the_key_shows_nowhere(server, make, caplog):
    with caplog.at_level(logging.DEBUG):
        model = make(server)
        model.get_text_embedding("a")
    state = pickle.dumps(model)
    shown = [repr(model), str(model), model.to_json(), str(model.to_dict()), str(model.to_payload()), caplog.text]
    assert not [text for text in shown if server.api_key in text]
    assert server.api_key.encode() not in state
    assert "api_key" not in model.to_dict()


@pytest.mark.parametrize("make", MODELS)
def test_it_can_be_pickled_and_written_down(server, make, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    model = make(server, dimension=512 if make is media_model else 256, instruct="x", max_retries=1)
    before = model.get_text_embedding("a")
    state, written = pickle.dumps(model), model.to_dict()
    assert model.api_key.get_secret_value() == server.api_key
    copy = pickle.loads(state)
    with pytest.raises(errors.DashScopeAuthenticationError):
        copy.get_text_embedding("a")
    monkeypatch.setenv("DASHSCOPE_API_KEY", server.api_key)
    assert copy.get_text_embedding("a") == before
    again = type(model).from_dict(written)
    assert again.to_dict() == written
    assert again.get_text_embedding("a") == before
    assert model.model_copy(deep=True).get_text_embedding("a") == before


# -- LlamaIndex and event loops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MODELS)
async def test_it_serves_a_plain_index_and_a_pipeline(server, make):
    model = make(server)
    nodes = [TextNode(text=f"The {colour} page") for colour in ("red", "green", "blue")]
    index = VectorStoreIndex(nodes, embed_model=model)
    assert len(server.requests) == 1
    assert "green" in index.as_retriever(similarity_top_k=1).retrieve("green")[0].text
    assert "blue" in (await index.as_retriever(similarity_top_k=1).aretrieve("blue"))[0].text
    pipeline = IngestionPipeline(transformations=[model], disable_cache=True)
    assert len(pipeline.run(nodes=nodes)[0].embedding) == model.dimension
    assert len((await pipeline.arun(nodes=nodes))[0].embedding) == model.dimension


@pytest.mark.parametrize("make", MODELS)
def test_one_object_serves_several_event_loops(server, make):
    model = make(server, max_contents=1)
    first = asyncio.run(model.aget_text_embedding_batch(["a", "b", "c"]))
    assert asyncio.run(model.aget_text_embedding_batch(["a", "b", "c"])) == first
    assert model.get_text_embedding_batch(["a", "b", "c"]) == first
    model.close()
    asyncio.run(model.aclose())
    assert model.get_text_embedding("a") == first[0]


def test_a_refused_key_is_told_where_llama_index_blocks_on_async_calls(server):
    server.fail(Fault(status=401, code="InvalidApiKey"), times=None)
    with pytest.raises(errors.DashScopeAuthenticationError):
        VectorStoreIndex([TextNode(text="a")], embed_model=text_model(server), use_async=True)
    assert len(server.requests) == 1


def test_threads_that_begin_together_share_the_bound(server):
    server.fail(Fault(delay_s=0.01), times=None)
    together = threading.Barrier(6)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def embed(model):
        together.wait()
        return model.get_text_embedding("a")

    try:
        with ThreadPoolExecutor(6) as pool:
            for _ in range(20):
                list(pool.map(embed, [text_model(server, workers=1)] * 6))
    finally:
        sys.setswitchinterval(interval)
    assert server.most_at_once() == 1


async def test_images_may_be_open_files_and_nodes(server, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(picture().getvalue())
    model = media_model(server)
    wanted = model.get_image_embedding(str(path))
    images = [
        ImageNode(image_path=str(path)),
        ImageDocument(image_path=str(path)),
        Document(image_resource=MediaResource(path=path)),
    ]
    with path.open("rb") as opened:
        assert await model.aget_image_embedding_batch([*images, opened]) == [wanted] * 4
        assert await model.aget_image_embedding(opened) == wanted


async def test_a_node_without_image_is_an_error(server):
    with pytest.raises(errors.CorruptFileError, match="TextNode without image"):
        await media_model(server).aget_image_embedding(TextNode(text="x"))
    assert server.requests == []


def image_nodes(tmp_path, count):
    nodes = []
    for number in range(count):
        path = tmp_path / f"{number}.png"
        path.write_bytes(picture((number * 10, 30, 200), (40 + number, 40)).getvalue())
        nodes.append(ImageNode(id_=str(number), text="x", image_path=str(path)))
    return nodes


async def processed(embedder, nodes, way):
    result = getattr(embedder, way)(nodes)
    return await result if way == "aprocess" else result


@pytest.mark.parametrize(("name", "size"), [(None, 16), ("qwen3-vl-embedding", 15), ("multimodal-embedding-v1", 16)])
async def test_the_image_embedder_sends_full_requests(server, tmp_path, name, size):
    model = media_model(server, **({"model_name": name} if name else {}))
    assert model.image_batch_size == size
    embedder = ImageEmbedder(embed_model=model)
    nodes = image_nodes(tmp_path, 20)
    requests, result = await both(server, lambda: embedder.process(nodes), lambda: embedder.aprocess(nodes))
    assert len(requests) == -(-20 // min(model.max_images, model.max_contents))
    assert len(result.changed) == 20


@pytest.mark.parametrize("way", ["process", "aprocess"])
async def test_the_image_embedder_keeps_what_succeeded_and_asks_once(server, tmp_path, way):
    embedder = ImageEmbedder(embed_model=media_model(server))
    nodes = image_nodes(tmp_path, 20)
    bad = uri_of(io.BytesIO((tmp_path / "9.png").read_bytes()))
    server.fail(Fault.documented("DataInspectionFailed"), times=None, when=lambda body: bad in str(body))
    result = await processed(embedder, nodes, way)
    assert [node_id for node_id, _ in result.failures] == ["9"]
    assert "DataInspectionFailed" in result.failures[0][1]
    assert len(result.changed) == 19
    assert len(server.requests) == 3 + 2 * 3


@pytest.mark.parametrize("way", ["process", "aprocess"])
async def test_the_image_embedder_stops_at_a_final_error(server, tmp_path, way):
    model = media_model(server, api_key="sk-wrong-0123456789", workers=1)
    embedder = ImageEmbedder(embed_model=model, workers=1)
    nodes = image_nodes(tmp_path, 40)
    result = await processed(embedder, nodes, way)
    assert len(server.requests) == 1
    assert len(result.failures) == 40
    assert all("InvalidApiKey" in reason for _, reason in result.failures)
