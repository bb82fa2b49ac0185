"""The API key of DashScope: from the argument, the environment, or the file of Alibaba Cloud's own SDK."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from llama_index_raganything.errors import DashScopeAuthenticationError

API_KEY_VARIABLE: Final = "DASHSCOPE_API_KEY"

_FILE_VARIABLE: Final = "DASHSCOPE_API_KEY_FILE_PATH"
_PLACEHOLDER: Final = re.compile(r"(?:sk-)?(?:your[ _-].*key|<.*>|[x.*_-]{3,}$|change_?me)", re.IGNORECASE)


def resolve_api_key(api_key: str | SecretStr | None = None) -> SecretStr:
    """Return the API key to use.

    Args:
        api_key: The caller's; else ``DASHSCOPE_API_KEY``, else the key file of the ``dashscope`` SDK
            (``DASHSCOPE_API_KEY_FILE_PATH`` or ``~/.dashscope/api_key``).

    Returns:
        The key.

    Raises:
        DashScopeAuthenticationError: There is none, or it is the placeholder of an example.
    """
    given = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
    key = (given or os.environ.get(API_KEY_VARIABLE) or _key_of_file()).strip().strip("'\"").strip()
    if not key or is_placeholder(key):
        found = "is the placeholder of an example" if key else "was not found"
        message = (
            f"DashScope's API key {found}; put your key into {API_KEY_VARIABLE}, or pass api_key. Keys are made in "
            "Alibaba Cloud Model Studio and work in one region only."
        )
        raise DashScopeAuthenticationError(message)
    if not key.isascii() or not key.isprintable() or " " in key:
        message = f"DashScope's API key holds blanks or signs that no key has; check {API_KEY_VARIABLE}."
        raise DashScopeAuthenticationError(message)
    return SecretStr(key)


def is_placeholder(key: str) -> bool:
    """Return whether a key is what examples write in place of one, such as ``your_api_key_here``.

    Args:
        key: The key as written.
    """
    return bool(_PLACEHOLDER.match(key))


def _key_of_file() -> str:
    """Return the key that the SDK's command line has stored, without importing the SDK, which takes seconds."""
    named = os.environ.get(_FILE_VARIABLE)
    path = Path(named).expanduser() if named else Path.home() / ".dashscope" / "api_key"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError):  # Path.home() raises RuntimeError where there is none.
        return ""
