"""The embedded default embedding and the choice of defaults."""

import asyncio
import math
import pickle

import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.settings import Settings

from llama_index_raganything import WordLlamaEmbedding
from llama_index_raganything.models.defaults import resolve_embed_model, resolve_llm
from llama_index_raganything.testing import ScriptedTextLLM


def cosine(first, second):
    return sum(a * b for a, b in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def model():
    return WordLlamaEmbedding()


def test_is_an_embedding_and_near_texts_are_near(model):
    assert isinstance(model, BaseEmbedding)
    dog, puppy, stocks = model.get_text_embedding_batch(["a dog runs", "the puppy is running", "stock prices fell"])
    assert len(dog) == model.dimension
    assert cosine(dog, puppy) > cosine(dog, stocks) + 0.3


@pytest.mark.parametrize("text", ["", " ", "\x00", "\ud800", "图像 搜索", "a" * 100_000, '"; drop table', "مرحبا"])
def test_every_text_has_a_unit_vector(model, text):
    vector = model.get_text_embedding(text)
    assert math.isclose(cosine(vector, vector), 1.0, abs_tol=1e-4)


def test_batch_single_query_and_async_agree(model):
    texts = ["one two", "three", "四五六"]
    batch = model.get_text_embedding_batch(texts)
    assert batch == [model.get_text_embedding(text) for text in texts]
    assert batch == [model.get_query_embedding(text) for text in texts]
    assert batch == asyncio.run(model.aget_text_embedding_batch(texts))
    assert asyncio.run(model.aget_query_embedding("three")) == batch[1]


def test_serialises(model):
    assert pickle.loads(pickle.dumps(model)).get_text_embedding("x") == model.get_text_embedding("x")
    assert WordLlamaEmbedding.from_dict(model.to_dict()).get_text_embedding("x") == model.get_text_embedding("x")


def test_defaults_never_reach_for_a_paid_model(monkeypatch):
    monkeypatch.setattr(Settings, "_llm", None)
    monkeypatch.setattr(Settings, "_embed_model", None)
    assert resolve_llm() is None
    assert isinstance(resolve_embed_model(), WordLlamaEmbedding)
    assert Settings._llm is None
    assert Settings._embed_model is None


def test_the_callers_choice_wins_over_settings(monkeypatch):
    first, second = ScriptedTextLLM(), ScriptedTextLLM()
    monkeypatch.setattr(Settings, "_llm", first)
    assert resolve_llm() is first
    assert resolve_llm(second) is second
    monkeypatch.setattr(Settings, "_embed_model", WordLlamaEmbedding(max_chars=5))
    assert resolve_embed_model().max_chars == 5
