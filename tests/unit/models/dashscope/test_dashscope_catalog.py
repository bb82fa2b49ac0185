"""What is known of DashScope's models agrees with the official SDK, and texts are cut to what models take."""

import pytest

from llama_index_raganything.models.dashscope.catalog import (
    chat_model,
    cut_to_tokens,
    embedding_model,
    estimate_tokens,
    rerank_model,
)


def names_of(models):
    return sorted(value for key, value in vars(models).items() if not key.startswith("_") and isinstance(value, str))


def test_models_of_the_sdk_are_known():
    dashscope = pytest.importorskip("dashscope")
    # The first, of 2023, is no longer served; the limits of the others are not in the pages that could be read.
    unknown = {"multimodal-embedding-one-peace-v1", "qwen3.7-text-rerank", "qwen3.7-text-embedding"}
    for name in set(names_of(dashscope.TextEmbedding.Models)) - unknown:
        assert embedding_model(name).dimensions, name
        assert not embedding_model(name).multimodal
    for name in set(names_of(dashscope.MultiModalEmbedding.Models)) - unknown:
        assert embedding_model(name).dimensions, name
        assert embedding_model(name).multimodal
    for name in set(names_of(dashscope.TextReRank.Models)) - unknown:
        assert rerank_model(name).name == name


def test_the_models_of_the_seed():
    assert chat_model("qwen-max").function_calling
    assert not chat_model("qwen-max").vision
    assert chat_model("qwen-vl-max").vision
    assert not chat_model("qwen-vl-max").function_calling
    assert embedding_model("tongyi-embedding-vision-plus").dimensions[0] == 1152
    assert embedding_model("tongyi-embedding-vision-flash").dimensions[0] == 768
    assert embedding_model("tongyi-embedding-vision-plus").max_images == 8


def test_snapshots_and_unknown_names():
    assert chat_model("qwen-max-latest").name == "qwen-max"
    assert chat_model("qwen-vl-max-2025-08-13").vision
    assert chat_model("qwen3.7-plus").name == "qwen3.7"
    assert embedding_model("tongyi-embedding-vision-plus-2026-03-06").fusion == "content"
    assert embedding_model("tongyi-embedding-vision-plus-2027-01-01").max_images == 8
    assert embedding_model("new-embedding").dimensions == ()
    assert embedding_model("new-embedding").max_contents == 1
    assert embedding_model("text-embedding-v9").max_contents == 10
    assert not embedding_model("text-embedding-v9").multimodal
    assert not embedding_model("qwen3.7-text-embedding").multimodal
    assert chat_model("").context_window == 32_768
    assert rerank_model("qwen3-rerank").max_documents == 500
    assert rerank_model("qwen3-vl-rerank").max_documents == 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one word",
        "十个汉字就是十个词元",
        "1234567890" * 30,
        "x" * 5000,
        "🙂" * 50,
        "a b\n\n c\t" * 200,
        "\ud800" * 40,
    ],
)
def test_texts_are_cut_to_a_limit(text):
    for limit in (0, 1, 7, 100, 10_000):
        cut = cut_to_tokens(text, limit)
        assert text.startswith(cut)
        assert estimate_tokens(cut) <= limit or len(cut.encode("utf-8", "replace")) <= limit
    assert cut_to_tokens(text, 20_000) == text


def test_estimates_are_not_below_what_qwen_counts():
    # Digits are a token each, Chinese signs about one, an English word one or two.
    assert estimate_tokens("2024") >= 4
    assert estimate_tokens("汉字") >= 2
    assert estimate_tokens("revenue") >= 2
