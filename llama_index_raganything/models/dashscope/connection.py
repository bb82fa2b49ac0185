"""What the models of DashScope's native protocol share: where the service is, the key, and who pickles neither."""

from __future__ import annotations

import threading
from typing import Any, cast

from llama_index.core.callbacks import CallbackManager
from pydantic import BaseModel, Field, PrivateAttr, SecretStr

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.models.dashscope.client import DashScopeClient
from llama_index_raganything.models.dashscope.credentials import resolve_api_key
from llama_index_raganything.models.dashscope.endpoints import Endpoints

_connecting = threading.Lock()
"""Held while a model opens its connection: threads that do it together would each count their own requests."""


@strict_arguments
class DashScopeConnection(BaseModel):
    """Fields and connection of a model, to be mixed into one of LlamaIndex's components.

    Args:
        api_key: DashScope's key. Never shown, pickled or written.
        api_base: Host, base or full route of the service; by default that of ``region`` and ``workspace``.
        region: Region of the key; Beijing by default.
        workspace: Workspace with an address of its own.
        timeout: Seconds without a sign from the service after which a call fails.
        max_retries: Requests that are sent again after 429 and 5xx.
        max_concurrency: Requests at the same time, over all calls.
    """

    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False, description="DashScope's API key.")
    api_base: str | None = Field(default=None, description="Host, base or full route of the service.")
    region: str | None = Field(default=None, description="Region of the key.")
    workspace: str | None = Field(default=None, description="Workspace with an address of its own.")
    timeout: float = Field(default=60.0, gt=0, description="Seconds to wait for a sign from the service.")
    max_retries: int = Field(default=2, ge=0, description="Requests sent again after 429 and 5xx.")
    max_concurrency: int = Field(default=4, ge=1, description="Requests at the same time.")

    _client: DashScopeClient | None = PrivateAttr(default=None)

    def close(self) -> None:
        """Close the connections of blocking calls; the next call opens new ones."""
        if self._client is not None:
            self._client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        if self._client is not None:
            await self._client.aclose()

    def _connected(self) -> DashScopeClient:
        with _connecting:
            if self._client is None:
                self._client = DashScopeClient(
                    # A copy made by pickling has none, and takes that of its environment.
                    resolve_api_key(self.api_key),
                    Endpoints.resolve(self.api_base, self.region, self.workspace),
                    self.timeout,
                    self.max_retries,
                    self.max_concurrency,
                )
            return self._client

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: neither the key nor connections, nor who listens.

        LlamaIndex's own form takes what it cannot pickle from the object itself (llama-index-core 0.14).
        """
        state = cast(dict[str, Any], BaseModel.__getstate__(self))
        state["__dict__"] = {**state["__dict__"], "api_key": None, "callback_manager": CallbackManager([])}
        state["__pydantic_private__"] = {**(state["__pydantic_private__"] or {}), "_client": None}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore it as it was; the key comes from the environment with the first call."""
        BaseModel.__setstate__(self, state)
