"""Sends the requests of a call, several at a time: in threads, or in tasks of the event loop."""

from __future__ import annotations

import asyncio
from typing import Final

from llama_index.core.base.embeddings.base import Embedding

from llama_index_raganything.errors import DashScopeError
from llama_index_raganything.models.dashscope.api.client import DashScopeClient
from llama_index_raganything.models.dashscope.embedding.batches import EmbeddingBatch, EmbeddingCall, EmbeddingRequest
from llama_index_raganything.workers import map_in_threads

_READ_AHEAD: Final = 2
"""Requests whose images are made ready while others are on their way."""


class EmbeddingSender:
    """Sends calls with a bounded number of requests at the same time, over all calls.

    Args:
        client: Posts requests; its limit is kept.
    """

    def __init__(self, client: DashScopeClient) -> None:
        self.client = client

    def run(self, call: EmbeddingCall) -> list[Embedding]:
        """Embed the inputs of a call, and block until all vectors are there.

        Returns:
            One vector per input, in order.

        Raises:
            PartialEmbeddingError: Some inputs failed.
            RAGAnythingError: All inputs failed.
        """
        batch = EmbeddingBatch(call)
        workers = self._workers(call)
        if workers == 1:
            self._work(batch)
        else:
            map_in_threads(self._work, [batch] * workers, workers)
        return batch.result()

    async def arun(self, call: EmbeddingCall) -> list[Embedding]:
        """Embed the inputs of a call without blocking the event loop; see :meth:`run`.

        Returns:
            One vector per input, in order.
        """
        batch = EmbeddingBatch(call)
        tasks = [asyncio.create_task(self._awork(batch)) for _ in range(self._workers(call))]
        try:
            await asyncio.gather(*tasks)
        finally:
            # gather() leaves the others running when one raises what is no failure of a request.
            for task in tasks:
                task.cancel()
        return batch.result()

    def _work(self, batch: EmbeddingBatch) -> None:
        while request := batch.next_request():
            with self.client.limit.threads:
                if batch.ended:
                    return
                try:
                    answer = self.client.post(batch.call.path, request.body)
                except DashScopeError as error:
                    batch.fail(request, error)
                    continue
            batch.succeed(request, answer)

    async def _awork(self, batch: EmbeddingBatch) -> None:
        while request := await self._next_request(batch):
            async with self.client.limit.tasks:
                if batch.ended:
                    return
                try:
                    answer = await self.client.apost(batch.call.path, request.body)
                except DashScopeError as error:
                    batch.fail(request, error)
                    continue
            batch.succeed(request, answer)

    async def _next_request(self, batch: EmbeddingBatch) -> EmbeddingRequest | None:
        if batch.call.reads_files:
            return await asyncio.to_thread(batch.next_request)
        return batch.next_request()

    def _workers(self, call: EmbeddingCall) -> int:
        ahead = _READ_AHEAD if call.reads_files else 0
        return min(self.client.limit.max_concurrency + ahead, call.requests)
