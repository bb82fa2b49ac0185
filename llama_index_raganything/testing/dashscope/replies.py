"""The loopback server's answers: rankings, sentences from the context, and their bodies in both protocols.

Without a script, the words that texts share decide.
"""

from __future__ import annotations

import copy
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from llama_index_raganything.testing.dashscope.vectors import Vector, image_bytes, image_colours, open_image, words_of
from llama_index_raganything.testing.embeddings import COLOURS

_DIGITS: Final = 6

_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_SOURCE_MARK: Final = re.compile(r"^\W*(?:(?:source|来源)\s*\[?|\[)(\d{1,3})\]?\s*[:.]?\s*", re.IGNORECASE)
_QUESTION: Final = re.compile(r"(?:question|query|问题)\s*[:：]\s*(.+)", re.IGNORECASE)
_NO_STATEMENT: Final = re.compile(r"[?？]\W*$|attached to the question", re.IGNORECASE)
_NOTHING_FOUND: Final = "The answer was not found in the documents."
_MIN_SENTENCE: Final = 8
_DESCRIPTION_KEY: Final = "detailed_description"
_ENTITY_FIELD: Final = re.compile(r'"(entity_name|entity_type)":\s*"([^"\n]{0,200})"')


def relevance(query: str, document: str) -> float:
    """Return how much of a query's words a document has, from 0 to 1."""
    wanted, found = Counter(words_of(query)), Counter(words_of(document))
    if not wanted or not found:
        return 0.0
    shared = sum((wanted & found).values())
    # Of two documents with all the words the shorter one is more about them.
    return round(shared / sum(wanted.values()) * (0.9 + 0.1 / (1 + math.log1p(sum(found.values())))), _DIGITS)


def default_reply(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str | dict[str, Any]:
    """Return what the server answers without a script.

    Args:
        messages: The conversation, of either protocol.
        tools: The tools that are offered.

    Returns:
        A message that calls the first tool, where tools are offered and none has answered yet; the JSON that
        RAG-Anything's prompts ask for; size and colours of images that come without "Question:"; else the sentence of
        the messages that shares most words with the question, with the number of its source.
    """
    asked, texts, images = _read(messages)
    question = _question_of(asked)
    if tools and messages[-1].get("role") != "tool":
        return _tool_call(tools[0], question)
    seen = " ".join(_described(image) for image in images)
    if _DESCRIPTION_KEY in asked:
        return _description_json(asked, seen)
    if seen and not _QUESTION.search(asked):
        return seen
    return _from_context(question, texts) or seen or _NOTHING_FOUND


def _read(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[str], list[str]]:
    """Return the text of the last user message, the texts that may answer it, and that message's images."""
    asked, texts, images = "", [], list[str]()
    for message in messages:
        role, parts = message.get("role"), _parts(message)
        text = "\n".join(text for text, _ in parts if text)
        if role in {"user", "tool"}:
            texts.append(text)
        if role == "user":
            asked, images = text, [image for _, image in parts if image]
    return asked, texts, images


def _parts(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the parts of a message as pairs of text and image, of which one is empty."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return [(content, "")]
    pairs = []
    for part in content:
        image = part.get("image") or part.get("image_url") or ""
        pairs.append((part.get("text") or "", image.get("url", "") if isinstance(image, Mapping) else image))
    return pairs


def _question_of(text: str) -> str:
    """Return the question of a prompt: what follows the last "Question:", else its last line with a question mark."""
    named = _QUESTION.findall(text)
    if named:
        return str(named[-1]).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    asking = [line for line in lines if line.endswith(("?", "？"))]
    return (asking or lines or [""])[-1]


def _from_context(question: str, texts: Sequence[str]) -> str | None:
    """Return the sentence that shares most words with the question, with the number of the source it stands in."""
    best, best_score, source = "", 0.0, 1
    for text in texts:
        number = 1
        for sentence in _SENTENCE_END.split(text):
            marked = _SOURCE_MARK.match(sentence)
            if marked:
                number = int(marked.group(1))
            plain = sentence[marked.end() if marked else 0 :].strip()
            asks = _QUESTION.match(plain) or _NO_STATEMENT.search(plain) or question in plain or plain in question
            if len(plain) < _MIN_SENTENCE or asks:
                continue
            score = relevance(question, plain)
            if score > best_score:
                best, best_score, source = plain, score, number
    return f"{best} [{source}]" if best else None


def _description_json(prompt: str, seen: str) -> str:
    """Return what RAG-Anything's prompts for images, tables and equations ask for."""
    named = _ENTITY_FIELD.findall(prompt)
    entity = {name: value for name, value in named if value and "{" not in value and "concise" not in value}
    summary = seen or "A description of what was asked for."
    fields = {"entity_name": "an element", "entity_type": "element", **entity, "summary": summary}
    return json.dumps({_DESCRIPTION_KEY: summary, "entity_info": fields}, ensure_ascii=False)


def _described(reference: str) -> str:
    """Return the size of an image and the colours that it mostly has."""
    content, colours = image_bytes(reference), image_colours(reference)
    if content is None or colours is None:
        return f"An image at {reference}."
    width, height = open_image(content).size
    shares = dict(zip(COLOURS, colours, strict=True))
    names = [name for name in sorted(shares, key=lambda name: -shares[name])[:2] if shares[name] > 0]
    return f"An image of {width} x {height} pixels, mostly {' and '.join(names)}."


def _tool_call(tool: Mapping[str, Any], question: str) -> dict[str, Any]:
    """Return a message that calls a tool with the question, as its first text parameter or its first of any type."""
    function = tool["function"]
    properties = (function.get("parameters") or {}).get("properties") or {}
    texts = [name for name, schema in properties.items() if schema.get("type") == "string"]
    names = (texts or list(properties))[:1]
    arguments = json.dumps(dict.fromkeys(names, question), ensure_ascii=False)
    return {"tool_calls": [{"function": {"name": function["name"], "arguments": arguments}}]}


_PIECE: Final = 8
_LETTERS_PER_TOKEN: Final = 4
_IMAGE_TOKENS: Final = 256

Body = Mapping[str, Any]
Reply = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a chat model says.

    Attributes:
        text: Its words.
        tool_calls: Calls of tools, in OpenAI's shape.
        finish_reason: Why it ended: stop, length or tool_calls.
    """

    text: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    finish_reason: str = "stop"


def answer_of(reply: str | Mapping[str, Any], body: Body) -> Answer:
    """Return a scripted reply as an answer, cut to the tokens that the request allows.

    Args:
        reply: Text, or a message with ``content`` and ``tool_calls``; ids, types and indices may be missing, and
            arguments may be a mapping.
    """
    if isinstance(reply, str):
        reply = {"content": reply}
    calls = tuple(_whole_call(index, call) for index, call in enumerate(reply.get("tool_calls") or ()))
    text = reply.get("content") or ""
    if calls:
        return Answer(text, calls, "tool_calls")
    parameters = body.get("parameters") or body
    limit = parameters.get("max_tokens") or parameters.get("max_completion_tokens")
    if limit and len(text) > limit * _LETTERS_PER_TOKEN:
        return Answer(text[: limit * _LETTERS_PER_TOKEN], (), "length")
    return Answer(text)


def compatible_chat(body: Body, answer: Answer, request_id: str) -> Reply:
    """Return a chat completion of the OpenAI-compatible protocol.

    Args:
        answer: What the model says.
        request_id: The request's id.
    """
    message: Reply = {"role": "assistant", "content": answer.text}
    if answer.tool_calls:
        message["tool_calls"] = [dict(call) for call in answer.tool_calls]
    choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason, "logprobs": None}
    choices = [{**copy.deepcopy(choice), "index": index} for index in range(body.get("n") or 1)]
    return {"choices": choices, "usage": _compatible_usage(body, answer)} | _head("chat.completion", body, request_id)


def compatible_chunks(body: Body, answer: Answer, request_id: str) -> Iterator[Reply]:
    """Yield the chunks of a streamed chat completion, the last with the usage where that was asked for.

    Args:
        answer: What the model says.
        request_id: The request's id.
    """
    head = _head("chat.completion.chunk", body, request_id)

    def chunk(delta: Reply, finish_reason: str | None = None) -> Reply:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {"choices": [choice], "usage": None, **head}

    yield chunk({"role": "assistant", "content": None if answer.tool_calls and not answer.text else ""})
    for piece in pieces(answer.text):
        yield chunk({"content": piece})
    for call in answer.tool_calls:
        for delta in _call_deltas(call):
            yield chunk({"content": None, "tool_calls": [delta]})
    yield chunk({"content": None if answer.tool_calls else ""}, answer.finish_reason)
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {"choices": [], "usage": _compatible_usage(body, answer), **head}


def native_chunks(route: str, body: Body, answer: Answer, request_id: str) -> Iterator[Reply]:
    """Yield the events of a streamed native answer: news only where ``incremental_output`` is set, else all so far.

    Args:
        route: "generation" or "multimodal-generation".
        answer: What the model says.
        request_id: The request's id.
    """
    incremental = bool((body.get("parameters") or {}).get("incremental_output"))
    said = ""
    for piece in pieces(answer.text):
        said += piece
        so_far = Answer(said, (), "null")
        yield native_chat(route, body, replace(so_far, text=piece) if incremental else so_far, so_far, request_id)
    for call in answer.tool_calls:
        deltas = list(_call_deltas(call)) if incremental else [call]
        for delta in deltas:
            event = Answer("" if incremental else said, (delta,), "null")
            yield native_chat(route, body, event, Answer(said), request_id)
    last = Answer("", (), answer.finish_reason) if incremental else answer
    yield native_chat(route, body, last, answer, request_id)


def text_embeddings(vectors: Sequence[Vector], tokens: int, request_id: str) -> Reply:
    """Return vectors as the native text embedding route does.

    Args:
        vectors: One for each text.
        request_id: The request's id.
    """
    embeddings = [{"embedding": vector, "text_index": index} for index, vector in enumerate(vectors)]
    return {"output": {"embeddings": embeddings}, "usage": {"total_tokens": tokens}, "request_id": request_id}


def compatible_embeddings(model: str, vectors: Sequence[Vector], tokens: int, request_id: str) -> Reply:
    """Return vectors as the OpenAI-compatible route does: always as lists of numbers.

    Args:
        vectors: One for each text.
        request_id: The request's id.
    """
    data = [{"embedding": vector, "index": index, "object": "embedding"} for index, vector in enumerate(vectors)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"data": data, "model": model, "object": "list", "usage": usage, "id": request_id}


def multimodal_embeddings(vectors: Sequence[tuple[Vector, str]], tokens: int, images: int, request_id: str) -> Reply:
    """Return vectors as the multimodal embedding route does.

    Args:
        vectors: One for each content, with its type; one for all where they are fused.
        request_id: The request's id.
    """
    embeddings = [{"index": index, "embedding": vector, "type": kind} for index, (vector, kind) in enumerate(vectors)]
    image_tokens = images * _IMAGE_TOKENS
    usage = {
        "input_tokens": tokens + image_tokens,
        "input_tokens_details": {"image_tokens": image_tokens, "text_tokens": tokens},
        "output_tokens": 1,
        "total_tokens": tokens + image_tokens + 1,
    }
    return {"output": {"embeddings": embeddings}, "usage": usage, "request_id": request_id}


def rerank_results(ranked: Sequence[tuple[int, float, Any]], tokens: int, request_id: str) -> Reply:
    """Return a ranking as the native route does.

    Args:
        ranked: Place in the request, relevance, and the document or None, best first.
        tokens: Tokens of query and documents.
        request_id: The request's id.
    """
    output = {"results": _results(ranked)}
    return {"output": output, "usage": {"total_tokens": tokens}, "request_id": request_id}


def compatible_rerank_results(
    model: str, ranked: Sequence[tuple[int, float, Any]], tokens: int, request_id: str
) -> Reply:
    """Return a ranking as the flat route does.

    Args:
        ranked: Place in the request, relevance, and the document or None, best first.
        tokens: Tokens of query and documents.
        request_id: The request's id.
    """
    head = {"object": "list", "model": model, "id": request_id}
    return {"results": _results(ranked), "usage": {"total_tokens": tokens}, **head}


def pieces(text: str) -> Iterator[str]:
    """Yield a text in the pieces in which it is streamed."""
    for start in range(0, len(text), _PIECE):
        yield text[start : start + _PIECE]


def tokens_of(*texts: str) -> int:
    """Return about how many tokens texts have."""
    return sum(max(1, len(words_of(text))) for text in texts)


def _results(ranked: Sequence[tuple[int, float, Any]]) -> list[Reply]:
    results = []
    for index, score, document in ranked:
        result: Reply = {"index": index, "relevance_score": score}
        if document is not None:
            result["document"] = {"text": document} if isinstance(document, str) else document
        results.append(result)
    return results


def _whole_call(index: int, call: Mapping[str, Any]) -> Reply:
    """Return a call of a tool with everything that a client may read."""
    function = call["function"]
    arguments = function.get("arguments", "{}")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    whole = {"name": function["name"], "arguments": text}
    return {"index": index, "id": call.get("id") or f"call_{index:024d}", "type": "function", "function": whole}


def _call_deltas(call: Mapping[str, Any]) -> Iterator[Reply]:
    """Yield a call in pieces: id and name first, then the arguments, with an empty id as the service does."""
    function = call["function"]
    yield {**call, "function": {"name": function["name"], "arguments": ""}}
    for piece in pieces(function["arguments"]):
        yield {"index": call["index"], "id": "", "type": "function", "function": {"arguments": piece}}


def _head(kind: str, body: Body, request_id: str) -> Reply:
    return {
        "id": f"chatcmpl-{request_id}",
        "object": kind,
        "created": int(time.time()),
        "model": body.get("model"),
        "system_fingerprint": None,
    }


def native_chat(route: str, body: Body, event: Answer, so_far: Answer, request_id: str) -> Reply:
    """Return a chat answer, or an event of one, of the native protocol; its usage is that of all that was said so far.

    Args:
        route: "generation", of texts, or "multimodal-generation", whose contents are lists of parts.
    """
    usage = _native_usage(body, so_far)
    if route == "generation" and (body.get("parameters") or {}).get("result_format") != "message":
        output: Reply = {"text": event.text, "finish_reason": event.finish_reason}
        return {"output": output, "usage": usage, "request_id": request_id}
    content: Any = event.text
    if route == "multimodal-generation":
        content = [{"text": event.text}] if event.text else []
    message: Reply = {"role": "assistant", "content": content}
    if event.tool_calls:
        message["tool_calls"] = [dict(call) for call in event.tool_calls]
    choices = [{"finish_reason": event.finish_reason, "message": message}]
    return {"output": {"choices": choices}, "usage": usage, "request_id": request_id}


def _compatible_usage(body: Body, answer: Answer) -> Reply:
    prompt, said, images = _counts(body.get("messages") or [], answer)
    usage: Reply = {
        "prompt_tokens": prompt + images,
        "completion_tokens": said,
        "total_tokens": prompt + images + said,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    if images:
        usage["prompt_tokens_details"] = {"image_tokens": images, "text_tokens": prompt}
        usage["completion_tokens_details"] = {"text_tokens": said}
    return usage


def _native_usage(body: Body, answer: Answer) -> Reply:
    given = body.get("input") or {}
    messages = given.get("messages") or [{"content": given.get("prompt") or ""}]
    prompt, said, images = _counts(messages, answer)
    usage = {"input_tokens": prompt + images, "output_tokens": said, "total_tokens": prompt + images + said}
    return usage | ({"image_tokens": images} if images else {})


def texts_of(message: Mapping[str, Any]) -> list[str]:
    """Return the texts in a message of either protocol."""
    content = message.get("content") or ""
    parts = [{"text": content}] if isinstance(content, str) else content
    return [part["text"] for part in parts if isinstance(part.get("text"), str)]


def _counts(messages: Sequence[Mapping[str, Any]], answer: Answer) -> tuple[int, int, int]:
    """Return about how many tokens the texts, the answer and the images have."""
    texts, images = [], 0
    for message in messages:
        content = message.get("content") or ""
        texts += texts_of(message)
        images += 0 if isinstance(content, str) else sum("image" in part or "image_url" in part for part in content)
    said = [answer.text, *(call["function"].get("arguments", "") for call in answer.tool_calls)]
    return tokens_of(*texts), tokens_of(*said), images * _IMAGE_TOKENS
