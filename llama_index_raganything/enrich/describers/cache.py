"""Answers of models, kept by what was asked, so that a second run asks nothing."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any, Final

from llama_index_raganything._files import replace_file

logger = logging.getLogger(__name__)

_VERSION: Final = 1
_MAX_IN_MEMORY: Final = 1000


class AnswerCache:
    """Answers by key: one JSON file each below a folder, or in memory.

    Files are written aside and renamed, so a crash leaves no half of one and several processes may share a folder. A
    file that cannot be read counts as not there. Nothing is ever kept of a failure: callers put what they could use.

    Args:
        folder: Where the files go; None keeps the last thousand answers in memory.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else None
        self._memory: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # Restores what __getstate__ describes.

    def get(self, key: str) -> str | None:
        """Return an answer, or None when there is none.

        Args:
            key: Hex digits that stand for what was asked.
        """
        if self.folder is None:
            with self._lock:
                if key in self._memory:
                    self._memory.move_to_end(key)
                return self._memory.get(key)
        try:
            data = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        answer = data.get("answer") if isinstance(data, dict) and data.get("version") == _VERSION else None
        return answer if isinstance(answer, str) else None

    def put(self, key: str, answer: str, model: str = "") -> None:
        """Keep an answer. A folder that cannot be written costs the next run a call, and this one nothing.

        Args:
            key: Hex digits that stand for what was asked.
            model: Who gave it, for people who read the file.
        """
        if self.folder is None:
            with self._lock:
                self._memory[key] = answer
                self._memory.move_to_end(key)
                while len(self._memory) > _MAX_IN_MEMORY:
                    self._memory.popitem(last=False)
            return
        try:
            content = json.dumps({"version": _VERSION, "model": model, "answer": answer}, ensure_ascii=False)
            replace_file(self._path(key), content.encode("utf-8", "replace"))
        except OSError as error:
            logger.warning("An answer of %s could not be kept in %s: %s", model or "a model", self.folder, error)

    def _path(self, key: str) -> Path:
        assert self.folder is not None  # Only called with a folder; told to mypy.
        return self.folder / key[:2] / f"{key}.json"
