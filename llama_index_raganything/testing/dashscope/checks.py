"""What the service refuses: requests to the embedding and rerank routes, checked against the documented limits. Pure.

The limits are written down here a second time, and not read from the models' catalogue, so that a mistake there shows.
A text counts as too long only where every tokenizer would find it so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_index_raganything.testing.dashscope.errors import DOCUMENTED_ERRORS, Refusal, algorithm_refusal, wrong_route
from llama_index_raganything.testing.dashscope.vectors import image_bytes, open_image

_MEGABYTE: Final = 1_000_000
_TOKEN: Final = re.compile(r"[a-zA-Z]+|[0-9]|[\u3400-\u9fff]{1,4}")
_IMAGE_REFERENCE: Final = re.compile(r"https?://\S|data:image/[a-z0-9.+-]+;base64,|oss://\S")
_MEDIA: Final = ("text", "image", "video", "multi_images")


@dataclass(frozen=True, slots=True)
class _TextLimits:
    dimensions: tuple[int, ...]
    texts: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _MediaLimits:
    dimensions: tuple[int, ...]
    tokens: int
    image_bytes: int
    contents: int = 20
    images: int = 8
    fused: bool = False
    cuts_text: bool = False
    formats: tuple[str, ...] = ("JPEG", "PNG", "BMP")


@dataclass(frozen=True, slots=True)
class _RankLimits:
    documents: int
    document_tokens: int
    request_tokens: int


_TEXT: Final[Mapping[str, _TextLimits]] = {
    "text-embedding-v4": _TextLimits((1024, 2048, 1536, 768, 512, 256, 128, 64), 10, 8_192),
    "text-embedding-v3": _TextLimits((1024, 768, 512, 256, 128, 64), 10, 8_192),
    "text-embedding-v2": _TextLimits((1536,), 25, 2_048),
    "text-embedding-v1": _TextLimits((1536,), 25, 2_048),
}
_PLUS: Final = (1152, 1024, 512, 256, 128, 64)
_FLASH: Final = (768, 512, 256, 128, 64)
_MEDIA_MODELS: Final[Mapping[str, _MediaLimits]] = {
    "tongyi-embedding-vision-plus": _MediaLimits(_PLUS, 1_024, 3 * _MEGABYTE),
    "tongyi-embedding-vision-flash": _MediaLimits(_FLASH, 1_024, 3 * _MEGABYTE),
    "tongyi-embedding-vision-plus-2026-03-06": _MediaLimits(_PLUS, 1_024, 10 * _MEGABYTE, images=64, fused=True),
    "tongyi-embedding-vision-flash-2026-03-06": _MediaLimits(_FLASH, 1_024, 10 * _MEGABYTE, images=64, fused=True),
    "qwen3-vl-embedding": _MediaLimits(
        (2560, 2048, 1536, 1024, 768, 512, 256), 32_000, 5 * _MEGABYTE, images=5, fused=True, formats=()
    ),
    "qwen2.5-vl-embedding": _MediaLimits(
        (1024, 2048, 768, 512), 32_000, 5 * _MEGABYTE, contents=3, images=1, fused=True, formats=()
    ),
    "multimodal-embedding-v1": _MediaLimits((1024,), 512, 3 * _MEGABYTE, contents=3, images=1, cuts_text=True),
}
_RANK: Final[Mapping[str, _RankLimits]] = {
    "qwen3-rerank": _RankLimits(500, 4_000, 120_000),
    "gte-rerank-v2": _RankLimits(500, 4_000, 30_000),
    "qwen3-vl-rerank": _RankLimits(100, 8_000, 120_000),
}


def check_text_embedding(body: Mapping[str, Any]) -> tuple[str, list[str], int]:
    """Check a request to the native text embedding route.

    Returns:
        Model, texts and dimension.

    Raises:
        Refusal: The service would not take it.
    """
    limits = _known(model_of(body), _TEXT)
    given = input_of(body)
    parameters = parameters_of(body)
    texts = given.get("texts")
    if texts is None:
        raise Refusal("Required input parameter missing from request: texts.", "BadRequest.EmptyInput")
    _check_texts(texts, limits)
    _one_of(parameters, "text_type", ("query", "document"))
    # The service has sparse vectors as well; refusing them here is better than answering something else.
    _one_of(parameters, "output_type", ("dense",))
    return body["model"], texts, _dimension(parameters.get("dimension"), limits.dimensions)


def check_compatible_embedding(body: Mapping[str, Any]) -> tuple[str, list[str], int]:
    """Check a request to the OpenAI-compatible embedding route.

    Returns:
        Model, texts and dimension.

    Raises:
        Refusal: The service would not take it.
    """
    model = model_of(body)
    if model not in _TEXT:
        raise unknown_compatible_model(model)
    given = body.get("input")
    if given is None:
        raise Refusal("Required input parameter missing from request: input.", "BadRequest.EmptyInput")
    texts = [given] if isinstance(given, str) else given
    _check_texts(texts, _TEXT[model])
    _one_of(body, "encoding_format", ("float", "base64"))
    return model, texts, _dimension(body.get("dimensions"), _TEXT[model].dimensions)


def check_multimodal_embedding(
    body: Mapping[str, Any], headers: Mapping[str, str]
) -> tuple[str, list[Mapping[str, Any]], int]:
    """Check a request to the multimodal embedding route.

    Args:
        headers: Its headers, by names in lower case.

    Returns:
        Model, contents and dimension.

    Raises:
        Refusal: The service would not take it.
    """
    model = model_of(body)
    limits = _known(model, _MEDIA_MODELS)
    contents = input_of(body).get("contents")
    if not isinstance(contents, Sequence) or isinstance(contents, str) or not contents:
        raise Refusal("Required input parameter missing from request: contents.", "BadRequest.EmptyInput")
    if len(contents) > limits.contents:
        message = f"Value error, batch size is invalid, it should not be larger than {limits.contents}.: input.contents"
        raise algorithm_refusal(message)
    images = [image for content in contents for image in _check_content(content, limits)]
    if len(images) > limits.images:
        message = f"The number of images should not be larger than {limits.images}: input.contents"
        raise algorithm_refusal(message)
    if model in {"multimodal-embedding-v1", "qwen2.5-vl-embedding"}:
        _check_each_type_once(contents)
    for image in images:
        check_image(image, limits.image_bytes, headers, limits.formats)
    parameters = parameters_of(body)
    _one_of(parameters, "output_type", ("dense",))
    if parameters.get("enable_fusion") and model != "qwen3-vl-embedding":
        message = f"enable_fusion is not supported by {model}"
        raise algorithm_refusal(message)
    return model, list(contents), _dimension(parameters.get("dimension"), limits.dimensions)


def check_rerank(body: Mapping[str, Any], flat: bool) -> tuple[str, str, list[Any], Mapping[str, Any]]:
    """Check a request to a rerank route.

    Args:
        flat: Whether the route takes everything at the top level of the body.

    Returns:
        Model, query, documents and parameters.

    Raises:
        Refusal: The service would not take it.
    """
    model = model_of(body)
    limits = _known(model, _RANK)
    given = body if flat else input_of(body)
    query, documents = given.get("query"), given.get("documents")
    if not isinstance(query, str) or not query.strip():
        raise Refusal("Required input parameter missing from request: query.", "BadRequest.EmptyInput")
    if not isinstance(documents, Sequence) or isinstance(documents, str) or not documents:
        raise Refusal("Required input parameter missing from request: documents.", "BadRequest.EmptyInput")
    texts = [_document_text(document, model) for document in documents]
    _check_rank_sizes(query, texts, limits)
    parameters = body if flat else parameters_of(body)
    top_n = parameters.get("top_n")
    if top_n is not None and (not isinstance(top_n, int) or isinstance(top_n, bool) or top_n < 1):
        raise algorithm_refusal("Range of top_n should be [1, documents size]")
    return model, query, list(documents), parameters


def check_image(
    reference: Any, max_bytes: int, headers: Mapping[str, str], formats: Sequence[str] = (), min_side: int = 1
) -> None:
    """Check a reference to an image.

    Args:
        reference: What stands in its place.
        max_bytes: Bytes that it may have.
        headers: The request's headers, by names in lower case.
        formats: Names of formats that it may have, as Pillow calls them; empty for any.
        min_side: Pixels that height and width must have at least.

    Raises:
        Refusal: It is no URL or data URI, or its data cannot be read or are too many.
    """
    stored = isinstance(reference, str) and reference.startswith("oss://")
    if stored and headers.get("x-dashscope-ossresourceresolve") != "enable":
        raise Refusal(DOCUMENTED_ERRORS["InvalidURL"].message, "InvalidURL")
    if not isinstance(reference, str) or not _IMAGE_REFERENCE.match(reference):
        raise Refusal(DOCUMENTED_ERRORS["InvalidURL"].message, "InvalidURL")
    try:
        content = image_bytes(reference)
        image = None if content is None else open_image(content)
    except ValueError as error:
        raise algorithm_refusal("The image format is illegal and cannot be opened") from error
    if content is None or image is None:
        return
    if len(content) > max_bytes:
        message = f"Exceeded limit on max bytes per data-uri item : {max_bytes}"
        raise algorithm_refusal(message)
    if formats and image.format not in formats:
        raise algorithm_refusal("The image format is illegal and cannot be opened")
    if min(image.size) < min_side:
        width, height = image.size
        message = (
            "The image length and width do not meet the model restrictions. "
            f"[height:{height} or width:{width} must be larger than {min_side - 1}]"
        )
        raise algorithm_refusal(message)


def model_of(body: Mapping[str, Any]) -> str:
    """Return the model that a request names.

    Raises:
        Refusal: It names none.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal(
            'Required parameter "model" missing or invalid, please check the request parameters.',
            "BadRequest.EmptyModel",
        )
    return model


def input_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the input of a native request.

    Raises:
        Refusal: It has none.
    """
    given = body.get("input")
    if not isinstance(given, Mapping) or not given:
        raise Refusal("Required input parameter missing from request.", "BadRequest.EmptyInput")
    return given


def parameters_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a native request, which may be absent.

    Raises:
        Refusal: They are no object.
    """
    parameters = body.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise Refusal(
            'Required parameter "parameters" missing or invalid, please check the request parameters.',
            "BadRequest.EmptyParameters",
        )
    return parameters


def fewest_tokens(text: str) -> int:
    """Return a number of tokens that a text surely has."""
    return len(_TOKEN.findall(text))


def unknown_compatible_model(model: str) -> Refusal:
    """Return the refusal of a model by the OpenAI-compatible routes."""
    if model in _TEXT or model in _MEDIA_MODELS or model in _RANK:
        message = f"Unsupported model `{model}` for OpenAI compatibility mode."
        return Refusal(message, "ModelNotFound", compatible_code="model_not_supported")
    return Refusal(f"The model `{model}` does not exist or you do not have access to it.", "ModelNotFound")


def is_fused(body: Mapping[str, Any]) -> bool:
    """Return whether all contents of a multimodal embedding request become one vector.

    Args:
        body: A request that was checked.
    """
    if body["model"] == "qwen2.5-vl-embedding":
        return True
    return bool((body.get("parameters") or {}).get("enable_fusion"))


def _known(model: str, models: Mapping[str, Any]) -> Any:
    if model not in models:
        raise wrong_route()
    return models[model]


def _check_texts(texts: Any, limits: _TextLimits) -> None:
    if not isinstance(texts, Sequence) or isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise algorithm_refusal("Value error, contents is neither str nor list of str.: input.contents")
    if not texts or len(texts) > limits.texts:
        message = f"Value error, batch size is invalid, it should not be larger than {limits.texts}.: input.contents"
        raise algorithm_refusal(message)
    for text in texts:
        if not text or fewest_tokens(text) > limits.tokens:
            message = f"Range of input length should be [1, {limits.tokens}]"
            raise algorithm_refusal(message)


def _check_content(content: Any, limits: _MediaLimits) -> list[Any]:
    """Check one of the contents, and return its images."""
    kinds = [kind for kind in _MEDIA if isinstance(content, Mapping) and kind in content]
    if not kinds or (len(kinds) > 1 and not limits.fused):
        raise algorithm_refusal("Value error, each content should have one of text, image, video: input.contents")
    text = content.get("text", "-")
    if not isinstance(text, str) or not text.strip():
        raise algorithm_refusal("Value error, text should be a non-empty str: input.contents")
    if not limits.cuts_text and fewest_tokens(text) > limits.tokens:
        message = f"Range of input length should be [1, {limits.tokens}]"
        raise algorithm_refusal(message)
    several = content.get("multi_images", [])
    if not isinstance(several, Sequence) or isinstance(several, str):
        raise algorithm_refusal("Value error, multi_images should be a list: input.contents")
    return [content[kind] for kind in ("image",) if kind in content] + list(several)


def _check_each_type_once(contents: Sequence[Mapping[str, Any]]) -> None:
    kinds = [kind for content in contents for kind in _MEDIA if kind in content]
    if len(kinds) != len(set(kinds)):
        raise algorithm_refusal("Value error, each type may be given once: input.contents")


def _document_text(document: Any, model: str) -> str:
    """Return the text of a document; "" for an image, which a vision model takes."""
    if isinstance(document, str):
        return document
    if isinstance(document, Mapping) and isinstance(document.get("text"), str):
        return str(document["text"])
    if isinstance(document, Mapping) and "image" in document and model == "qwen3-vl-rerank":
        return ""
    raise algorithm_refusal("Input should be a valid string: input.documents")


def _check_rank_sizes(query: str, texts: Sequence[str], limits: _RankLimits) -> None:
    if len(texts) > limits.documents:
        message = f"Range of documents size should be [1, {limits.documents}]"
        raise algorithm_refusal(message)
    counts = [fewest_tokens(text) for text in texts]
    if max(counts) > limits.document_tokens or fewest_tokens(query) > limits.document_tokens:
        message = f"Range of input length should be [1, {limits.document_tokens}]"
        raise algorithm_refusal(message)
    if fewest_tokens(query) * len(texts) + sum(counts) > limits.request_tokens:
        message = f"Total tokens of query and documents should not exceed {limits.request_tokens}"
        raise algorithm_refusal(message)


def _dimension(asked: Any, allowed: Sequence[int]) -> int:
    if asked is None:
        return allowed[0]
    if isinstance(asked, bool) or asked not in allowed:
        message = f"Value error, dimension {asked!r} is invalid, it should be one of {sorted(allowed)}"
        raise algorithm_refusal(message)
    return int(asked)


def _one_of(parameters: Mapping[str, Any], name: str, allowed: Sequence[str]) -> None:
    value = parameters.get(name)
    if value is not None and value not in allowed:
        message = f"{name} should be one of {list(allowed)}"
        raise algorithm_refusal(message)
