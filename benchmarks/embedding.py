"""How many requests the embedding models of DashScope send, and how near to the least time they come.

A loopback server in another process answers each request after ``--latency`` seconds. It takes no data: texts and
images are made here. The least number of requests follows from the models' documented limits; the ideal time is that
of so many requests, as many at a time as ``--concurrency`` says. The same texts go through
llama-index-embeddings-dashscope, in batches of 10, the most of text-embedding-v4 (with its default of 25 all texts
fail; ``peer_default.failed`` counts them).

Metrics of each model and way: ``requests``, the most of all runs; ``minimum``; ``time_ratio``, the wall time of the
best run over the ideal time (``.p50``: of the median run); ``cpu_ratio``, processor time over the ideal time, which
tells a slow client from a busy machine; ``most_at_once``, the largest number of open requests. The peer's are held
against the same minimum and the same ideal, and measured once.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from PIL import Image

from benchmarks._harness import Result, percentile, run
from llama_index_raganything.models.dashscope.embedding import DashScopeMultiModalEmbedding, DashScopeTextEmbedding
from llama_index_raganything.testing import DashScopeServer

TEXTS_PER_REQUEST = {"tongyi-embedding-vision-plus": 20, "text-embedding-v4": 10}
IMAGES_PER_REQUEST = 8
"""The documented limits; written here once more, so that a mistake in the package shows."""

_TOPICS = ("harbour", "turbine", "ledger", "glacier", "orchard", "signal", "bridge", "archive", "vaccine", "compiler")


class Server:
    """The loopback server of another process.

    Args:
        pipe: Leads to it.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.url, self.api_key = pipe.recv()

    def take_counts(self) -> dict[str, int]:
        """Return the requests and the most at once since the last call."""
        self._pipe.send("counts")
        counts: dict[str, int] = self._pipe.recv()
        return counts


def serve(pipe: Connection, latency: float) -> None:
    """Run a server, and tell about it when asked, until the pipe closes."""
    with DashScopeServer(latency_s=latency) as server:
        pipe.send((server.native_url, server.api_key))
        while True:
            try:
                pipe.recv()
            except EOFError:
                return
            pipe.send({"requests": len(server.requests), "most_at_once": server.most_at_once()})
            server.clear()


@contextmanager
def server_process(latency: float) -> Iterator[Server]:
    """Run a server in another process, as the service does: its work must not take the client's time."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, latency), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Server(ours)
    finally:
        ours.close()
        process.join()


def make_texts(count: int) -> list[str]:
    """Return so many different passages of some 60 words."""
    return [
        " ".join(
            f"Passage {number} says of the {_TOPICS[(number + step) % 10]} what was measured." for step in range(7)
        )
        for number in range(count)
    ]


def make_images(count: int, side: int = 224) -> list[io.BytesIO]:
    """Return so many different JPEG images."""
    images = []
    for number in range(count):
        image = Image.linear_gradient("L").resize((side, side)).rotate(number)
        stream = io.BytesIO()
        Image.merge("RGB", (image, image.transpose(Image.Transpose.ROTATE_90), image)).save(stream, "JPEG")
        images.append(stream)
    return images


@dataclass(frozen=True)
class Aim:
    """What a way to embed is held against.

    Attributes:
        minimum: Requests at least.
        ideal: Seconds that they take at least.
    """

    minimum: int
    ideal: float


def measure(
    name: str, server: Server, embed: Callable[[], Sequence[Any]], aim: Aim, repeat: int, result: Result
) -> None:
    """Embed some times, and note the counts and the ratios of the times."""
    runs = []
    for _ in range(repeat):
        server.take_counts()
        began, worked = time.perf_counter(), time.process_time()
        vectors = embed()
        seconds, work = time.perf_counter() - began, time.process_time() - worked
        counts = server.take_counts()
        runs.append({"name": name, "vectors": len(vectors), "seconds": seconds, "cpu_seconds": work, **counts})
    result.rows += runs
    ratios = [row["seconds"] / aim.ideal for row in runs]
    result.metrics |= {
        f"{name}.requests": max(row["requests"] for row in runs),
        f"{name}.minimum": aim.minimum,
        f"{name}.most_at_once": max(row["most_at_once"] for row in runs),
        f"{name}.time_ratio": min(ratios),
        f"{name}.time_ratio.p50": percentile(ratios, 0.5),
        f"{name}.cpu_ratio": min(row["cpu_seconds"] for row in runs) / aim.ideal,
    }


def embed_default(texts: list[str], **options: Any) -> list[Any]:
    """Embed with the peer's own batch size; return nothing where it raises."""
    from llama_index.embeddings.dashscope import DashScopeEmbedding

    try:
        return list(DashScopeEmbedding(**options).get_text_embedding_batch(texts))
    except ValueError:  # Its missing vectors are no lists of numbers for LlamaIndex's event.
        return []


def main(args: argparse.Namespace) -> Result:
    """Measure our two models and the peer, blocking and not."""
    import dashscope
    from llama_index.embeddings.dashscope import DashScopeEmbedding

    result = Result()
    texts, images = make_texts(args.texts), make_images(args.images)
    with server_process(args.latency) as server:
        dashscope.base_http_api_url = server.url  # One for the whole process: the peer has no setting for it.
        options = {"api_key": server.api_key, "api_base": server.url, "workers": args.concurrency}
        multimodal, text = DashScopeMultiModalEmbedding(**options), DashScopeTextEmbedding(**options)
        peer = DashScopeEmbedding(model_name="text-embedding-v4", api_key=server.api_key, embed_batch_size=10)
        _warm_up(multimodal, text)

        def both(name: str, model: Any, kind: str, inputs: Sequence[Any], limit: int, repeat: int = 1) -> None:
            minimum = math.ceil(len(inputs) / limit)
            aim = Aim(minimum, math.ceil(minimum / args.concurrency) * args.latency)
            blocking = getattr(model, f"get_{kind}_embedding_batch")
            awaited = getattr(model, f"aget_{kind}_embedding_batch")
            measure(f"{name}.sync", server, lambda: blocking(list(inputs)), aim, repeat, result)
            measure(f"{name}.async", server, lambda: asyncio.run(awaited(list(inputs))), aim, repeat, result)

        both("multimodal.texts", multimodal, "text", texts, TEXTS_PER_REQUEST[multimodal.model_name], args.repeat)
        both("multimodal.images", multimodal, "image", images, IMAGES_PER_REQUEST, args.repeat)
        both("text", text, "text", texts, TEXTS_PER_REQUEST[text.model_name], args.repeat)
        if not args.ours_only:
            both("peer", peer, "text", texts, TEXTS_PER_REQUEST[text.model_name])
            made = embed_default(texts[:30], model_name="text-embedding-v4", api_key=server.api_key)
            result.metrics["peer_default.failed"] = len(texts[:30]) - sum(bool(vector) for vector in made)
    return result


def _warm_up(*models: Any) -> None:
    """Open the first connection of each model and load what is loaded late."""
    for model in models:
        model.get_text_embedding("warm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be changed."""
    parser.add_argument("--texts", type=int, default=1000, help="number of texts")
    parser.add_argument("--images", type=int, default=200, help="number of images")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds from a request to its answer")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each of our models")
    parser.add_argument("--ours-only", action="store_true", help="leave out the peer, which takes a minute")
    parser.add_argument("--concurrency", type=int, default=4, help="requests at the same time (the models' default)")


if __name__ == "__main__":
    raise SystemExit(run("embedding", __doc__, main, add_arguments=add_arguments, takes_data=False))
