"""placeholder"""

from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from llama_index_raganything.errors import BlockedSourceError


@dataclass(frozen=True)
class UrlPolicy:
    allow: bool = False
    allow_private: bool = False
    timeout_s: float = 30.0


def fetch_url(url: str, folder: Path, *, policy: UrlPolicy, max_bytes: int | None) -> Path:
    raise BlockedSourceError("URL")
