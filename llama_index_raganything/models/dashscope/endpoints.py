"""Where DashScope is, and the key: hosts, the bases of its two protocols, and the sources of the API key.

Users have full routes (``.../compatible-mode/v1/chat/completions``), bases or hosts. Each model has its own route, so
only the location of the service is taken from a URL.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from llama_index_raganything.errors import ConfigurationError, DashScopeAuthenticationError

logger = logging.getLogger(__name__)
_announced: set[tuple[str, str]] = set()

DEFAULT_REGION: Final = "cn-beijing"

_HOSTS: Final = {
    "cn-beijing": "dashscope.aliyuncs.com",
    "ap-southeast-1": "dashscope-intl.aliyuncs.com",
    "us-east-1": "dashscope-us.aliyuncs.com",
}
"""Hosts that need no workspace. Others are ``{workspace}.{region}.maas.aliyuncs.com`` (dashscope SDK 2.0, env.py)."""

_NATIVE: Final = "/api/v1"
_COMPATIBLE: Final = "/compatible-mode/v1"
COMPATIBLE_API: Final = "/compatible-api/v1"
"""Base of the OpenAI-like rerank route."""

_BASES: Final = (_NATIVE, _COMPATIBLE, COMPATIBLE_API)
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_SLASH_MISSING: Final = re.compile(r"[A-Za-z]+:/(?!/)")
_ROUTE_OF_OPENAI: Final = re.compile(r"/(?:chat/completions|completions|embeddings|reranks?)$")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The two bases of one DashScope service.

    Attributes:
        native: Base of the native protocol, such as ``https://dashscope.aliyuncs.com/api/v1``.
        compatible: Base of the OpenAI-compatible protocol.
    """

    native: str
    compatible: str

    @classmethod
    def resolve(cls, base_url: str | None = None, region: str | None = None, workspace: str | None = None) -> Endpoints:
        """Return the bases for a URL, or for a region and a workspace.

        Args:
            base_url: A host, a base of either protocol, or a full route of any model; takes precedence over the region.
            region: Region of the key, such as ``ap-southeast-1``; Beijing by default.
            workspace: Workspace with its own address; required in regions without a public host.

        Raises:
            ConfigurationError: The URL is unusable, or the region has no host without a workspace.
        """
        if base_url and base_url.strip():
            return cls._of_url(base_url.strip())
        host = _host_of(region or DEFAULT_REGION, workspace)
        return cls(f"https://{host}{_NATIVE}", f"https://{host}{_COMPATIBLE}")

    def beside(self, base: str) -> str:
        """Return another base of the same service.

        Args:
            base: Its path, such as :data:`COMPATIBLE_API`.
        """
        # A user's own gateway has a single base.
        return self.native.removesuffix(_NATIVE) + base if self.native != self.compatible else self.native

    @classmethod
    def _of_url(cls, url: str) -> Endpoints:
        origin, path = _split(url)
        for base in _BASES:
            before, found, after = path.partition(base)
            if found and (not after or after.startswith("/")):
                return cls(f"{origin}{before}{_NATIVE}", f"{origin}{before}{_COMPATIBLE}")
        path = _ROUTE_OF_OPENAI.sub("", path)
        if path.endswith("/v1"):
            # A user's own gateway: its path is its location, not a route of DashScope.
            return cls(f"{origin}{path}", f"{origin}{path}")
        return cls(f"{origin}{path}{_NATIVE}", f"{origin}{path}{_COMPATIBLE}")


def announce_correction(name: str, given: str, used: str) -> None:
    """Log once that another URL than the given one is called.

    Args:
        name: The setting, such as ``ALIYUN_EMBED_URL``.
        used: The URL that is called.
    """
    if given.rstrip("/") in {used, ""} or used.startswith(given.rstrip("/") + "/") or (given, used) in _announced:
        return
    _announced.add((given, used))
    logger.warning("%s=%s does not serve this model; %s is called instead.", name, given, used)


def announce_unused_region(url: str | None, region: str | None) -> None:
    """Log once that a region is ignored because a URL names another: a key works in one region only.

    Args:
        url: The URL, which takes precedence.
    """
    if not url or not url.strip() or not region:
        return
    host = urlsplit(Endpoints.resolve(url).native).hostname or ""
    if host not in _HOSTS.values() or host == _HOSTS.get(region) or (region, host) in _announced:
        return
    _announced.add((region, host))
    logger.warning(
        "DASHSCOPE_API_REGION=%s is not used where a URL is given, and one names %s; leave out ALIYUN_LLM_URL, "
        "ALIYUN_VLM_URL and ALIYUN_EMBED_URL to use the region.",
        region,
        host,
    )


def _split(url: str) -> tuple[str, str]:
    """Return the origin and the path of a URL, without a trailing slash."""
    written = url if "://" in url else f"https://{url}"
    if "://" not in url and _SLASH_MISSING.match(url):
        message = f"The DashScope URL {url[:200]!r} lacks a slash after its scheme; write https://..."
        raise ConfigurationError(message)
    try:
        parts = urlsplit(written)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        message = (
            f"The DashScope URL {url[:200]!r} cannot be read ({error}); give one like https://{_HOSTS[DEFAULT_REGION]}."
        )
        raise ConfigurationError(message) from error
    if parts.username or parts.password:
        message = f"The DashScope URL of {host!r} holds a user name or password; give the key as DASHSCOPE_API_KEY."
        raise ConfigurationError(message)
    if parts.scheme not in {"http", "https"} or not host:
        message = f"The DashScope URL {url[:200]!r} must begin with https:// and name a host."
        raise ConfigurationError(message)
    scheme = "https" if host.endswith(".aliyuncs.com") else parts.scheme  # Keys are never sent there in clear text.
    port = None if scheme != parts.scheme and port == 80 else port
    if scheme == "http" and not _is_near(host) and (scheme, host) not in _announced:
        _announced.add((scheme, host))
        logger.warning("The key is sent to %s in clear text; use https:// where the host has it.", host)
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}{f':{port}' if port else ''}", parts.path.rstrip("/")


def _is_near(host: str) -> bool:
    """Return whether a host is this machine or in a private network."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".localhost", ".internal", ".lan"))


def _host_of(region: str, workspace: str | None) -> str:
    for label, what in ((region, "region"), (workspace or "w", "workspace")):
        if not _LABEL.fullmatch(label):
            message = f"The DashScope {what} {label[:100]!r} must be a name of letters, digits and hyphens."
            raise ConfigurationError(message)
    if workspace:
        return f"{workspace}.{region}.maas.aliyuncs.com"
    if region not in _HOSTS:
        message = (
            f"The region {region!r} has no DashScope host without a workspace; name the workspace "
            f"(DASHSCOPE_WORKSPACE_ID), a base URL, or one of {', '.join(_HOSTS)}."
        )
        raise ConfigurationError(message)
    return _HOSTS[region]


API_KEY_VARIABLE: Final = "DASHSCOPE_API_KEY"

_FILE_VARIABLE: Final = "DASHSCOPE_API_KEY_FILE_PATH"
_PLACEHOLDER: Final = re.compile(r"(?:sk-)?(?:your[ _-].*key|<.*>|[x.*_-]{3,}$|change_?me)", re.IGNORECASE)


def resolve_api_key(api_key: str | SecretStr | None = None) -> SecretStr:
    """Return the API key to use.

    Args:
        api_key: By default ``DASHSCOPE_API_KEY``, else the key file of the ``dashscope`` SDK
            (``DASHSCOPE_API_KEY_FILE_PATH`` or ``~/.dashscope/api_key``).

    Raises:
        DashScopeAuthenticationError: There is none, or it is an example's placeholder.
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
        message = f"DashScope's API key contains characters that no key has; check {API_KEY_VARIABLE}."
        raise DashScopeAuthenticationError(message)
    return SecretStr(key)


def is_placeholder(key: str) -> bool:
    """Return whether a key is a placeholder from an example, such as ``your_api_key_here``."""
    return bool(_PLACEHOLDER.match(key))


def _key_of_file() -> str:
    """Return the key stored by the SDK's command line, without importing the SDK, which takes seconds."""
    named = os.environ.get(_FILE_VARIABLE)
    path = Path(named).expanduser() if named else Path.home() / ".dashscope" / "api_key"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError):  # Path.home() raises RuntimeError where there is none.
        return ""
