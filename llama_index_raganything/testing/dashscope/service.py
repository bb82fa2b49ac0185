"""How the loopback server checks and answers a request, apart from HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llama_index_raganything.testing.dashscope import checks, replies
from llama_index_raganything.testing.dashscope.errors import algorithm_refusal
from llama_index_raganything.testing.dashscope.replies import Reply, default_reply, relevance, tokens_of
from llama_index_raganything.testing.dashscope.vectors import Vector, image_vector, mixed_vector, text_vector

NATIVE_BASE: Final = "/api/v1"
COMPATIBLE_BASE: Final = "/compatible-mode/v1"
FLAT_RERANK: Final = "/compatible-api/v1/reranks"

PATHS: Final[Mapping[str, str]] = {
    f"{COMPATIBLE_BASE}/chat/completions": "chat",
    f"{COMPATIBLE_BASE}/embeddings": "compatible-embedding",
    f"{NATIVE_BASE}/services/aigc/text-generation/generation": "generation",
    f"{NATIVE_BASE}/services/aigc/multimodal-generation/generation": "multimodal-generation",
    f"{NATIVE_BASE}/services/embeddings/text-embedding/text-embedding": "text-embedding",
    f"{NATIVE_BASE}/services/embeddings/multimodal-embedding/multimodal-embedding": "multimodal-embedding",
    f"{NATIVE_BASE}/services/rerank/text-rerank/text-rerank": "rerank",
    FLAT_RERANK: "rerank",
}
"""The routes by their paths."""

ROUTE_GROUPS: Final[Mapping[str, frozenset[str]]] = {
    **{route: frozenset({route}) for route in (*PATHS.values(), "unknown")},
    "embeddings": frozenset({"text-embedding", "compatible-embedding", "multimodal-embedding"}),
}
"""The routes that a name stands for: "embeddings" for all three, every other for itself."""

ScriptedReply = str | Mapping[str, Any] | Callable[[dict[str, Any]], "str | Mapping[str, Any]"]
"""What a chat model shall say: text, a message with ``tool_calls``, or a function that makes one from the request."""


@dataclass
class Script:
    """Scripted replies in order, the last repeated; without any the server makes its own."""

    replies: Sequence[ScriptedReply] = ()
    _given: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def next(self) -> ScriptedReply | None:
        """Return the next reply; None without a script."""
        with self._lock:
            if not self.replies:
                return None
            reply = self.replies[min(self._given, len(self.replies) - 1)]
            self._given += 1
            return reply


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the service reads it.

    Attributes:
        route: Name of the route.
        path: Path of the URL.
        headers: Headers, with names in lower case.
        body: The JSON object sent.
        request_id: Its id.
    """

    route: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    request_id: str

    @property
    def compatible(self) -> bool:
        """Whether it speaks the OpenAI-compatible protocol."""
        return not self.path.startswith(NATIVE_BASE)

    @property
    def streams(self) -> bool:
        """Whether it asks for a stream."""
        if self.route == "chat":
            return bool(self.body.get("stream"))
        if self.route in {"generation", "multimodal-generation"}:
            accepts = "text/event-stream" in self.headers.get("accept", "")
            return accepts or self.headers.get("x-dashscope-sse") == "enable"
        return False


def respond(request: Request, script: Script) -> Reply | Iterator[Reply]:
    """Return the answer to a request.

    Returns:
        The body of the answer, or its events if the request asks for a stream.

    Raises:
        Refusal: The service would reject it.
    """
    if request.route in {"chat", "generation", "multimodal-generation"}:
        return _chat(request, script)
    return {
        "text-embedding": _text_embedding,
        "compatible-embedding": _compatible_embedding,
        "multimodal-embedding": _multimodal_embedding,
        "rerank": _rerank,
    }[request.route](request)


def _chat(request: Request, script: Script) -> Reply | Iterator[Reply]:
    route, body = request.route, request.body
    if route == "chat":
        answer = _said(request, script, *checks.check_compatible_chat(body, request.headers))
        reply = replies.compatible_chunks if request.streams else replies.compatible_chat
        return reply(body, answer, request.request_id)
    answer = _said(request, script, *checks.check_native_chat(route, body, request.headers))
    if request.streams:
        return replies.native_chunks(route, body, answer, request.request_id)
    return replies.native_chat(route, body, answer, answer, request.request_id)


def _said(
    request: Request, script: Script, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> replies.Answer:
    reply = script.next()
    if reply is None:
        try:
            reply = default_reply(messages, tools)
        except ValueError as error:
            raise algorithm_refusal("The image format is illegal and cannot be opened") from error
    elif callable(reply):
        reply = reply(request.body)
    return replies.answer_of(reply, request.body)


def _text_embedding(request: Request) -> Reply:
    model, texts, dimension = checks.check_text_embedding(request.body)
    vectors = [text_vector(text, dimension, model) for text in texts]
    return replies.text_embeddings(vectors, tokens_of(*texts), request.request_id)


def _compatible_embedding(request: Request) -> Reply:
    model, texts, dimension = checks.check_compatible_embedding(request.body)
    vectors = [text_vector(text, dimension, model) for text in texts]
    return replies.compatible_embeddings(model, vectors, tokens_of(*texts), request.request_id)


def _multimodal_embedding(request: Request) -> Reply:
    model, contents, dimension = checks.check_multimodal_embedding(request.body, request.headers)
    try:
        vectors = [_content_vector(content, dimension, model) for content in contents]
    except ValueError as error:
        raise algorithm_refusal("The image format is illegal and cannot be opened") from error
    if checks.is_fused(request.body):
        vectors = [(mixed_vector([vector for vector, _ in vectors]), "fusion")]
    tokens = tokens_of(*(content["text"] for content in contents if "text" in content))
    images = sum(("image" in content) + len(content.get("multi_images", ())) for content in contents)
    return replies.multimodal_embeddings(vectors, tokens, images, request.request_id)


def _content_vector(content: Mapping[str, Any], dimension: int, model: str) -> tuple[Vector, str]:
    """Return the vector of a content, and its type."""
    kinds = [kind for kind in ("text", "image", "video", "multi_images") if kind in content]
    vectors = []
    for kind in kinds:
        values = content[kind] if isinstance(content[kind], list) else [content[kind]]
        embed = text_vector if kind == "text" else image_vector
        vectors += [embed(value, dimension, model) for value in values]
    if len(vectors) == 1:
        return vectors[0], kinds[0]
    return mixed_vector(vectors), "fusion" if len(kinds) > 1 else kinds[0]


def _rerank(request: Request) -> Reply:
    flat = request.compatible
    model, query, documents, parameters = checks.check_rerank(request.body, flat)
    texts = [document if isinstance(document, str) else document.get("text", "") for document in documents]
    scores = [relevance(query, text) for text in texts]
    order = sorted(range(len(documents)), key=lambda index: -scores[index])[: parameters.get("top_n")]
    shown = parameters.get("return_documents")
    ranked = [(index, scores[index], documents[index] if shown else None) for index in order]
    tokens = tokens_of(query) * len(texts) + tokens_of(*texts)
    if flat:
        return replies.compatible_rerank_results(model, ranked, tokens, request.request_id)
    return replies.rerank_results(ranked, tokens, request.request_id)
