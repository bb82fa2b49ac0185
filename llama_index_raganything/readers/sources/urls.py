"""Fetch a file from the web, only when asked to, and never from inside the network.

A URL may come from anyone, so it must not reach services that only this machine can
(server-side request forgery, OWASP A10:2021). Every host is resolved once, all its addresses are
checked, and the connection goes to the address that was checked, so that a second DNS answer
cannot change the target. Redirects are followed by hand and checked again. Proxies are not used.
"""

from __future__ import annotations

import http.client
import ipaddress
import mimetypes
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from llama_index_raganything.errors import BlockedSourceError, FileTooLargeError, SourceError
from llama_index_raganything.readers.sources.formats import KIND_OF_SUFFIX

MAX_REDIRECTS: Final = 5
_CHUNK_BYTES: Final = 1 << 16
_USER_AGENT: Final = "llama-index-raganything"
_SUFFIX_OF_TYPE: Final = {
    "application/pdf": ".pdf",
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "application/json": ".json",
    "application/epub+zip": ".epub",
    "message/rfc822": ".eml",
}


@dataclass(frozen=True)
class UrlPolicy:
    """What may be fetched.

    Attributes:
        allow: Whether anything may be fetched at all.
        allow_private: Whether private, loopback and link-local addresses may be reached.
        timeout_s: Seconds that one fetch may take, redirects included.
    """

    allow: bool = False
    allow_private: bool = False
    timeout_s: float = 30.0


def fetch_url(url: str, folder: Path, *, policy: UrlPolicy, max_bytes: int | None) -> Path:
    """Fetch a URL into a folder.

    Args:
        url: An http or https URL.
        folder: Where the file goes.
        policy: What may be fetched.
        max_bytes: Size limit in bytes; None for none.

    Returns:
        The file, named after the URL, with an extension that fits its content type.

    Raises:
        BlockedSourceError: The policy refuses the URL or a redirect of it.
        FileTooLargeError: The answer is larger than ``max_bytes``.
        SourceError: The URL cannot be fetched.
    """
    if not policy.allow:
        msg = f"{url!r} is a URL and fetching is off; pass allow_urls=True to allow it."
        raise BlockedSourceError(msg)
    deadline = time.monotonic() + policy.timeout_s
    current = url
    for _ in range(MAX_REDIRECTS + 1):
        with _get(current, policy, deadline) as response:
            if response.status in {301, 302, 303, 307, 308}:
                current = urljoin(current, response.headers.get("Location", ""))
                continue
            if response.status != http.client.OK:
                msg = f"{url!r} answered {response.status} {response.reason}; check the address."
                raise SourceError(msg)
            target = folder / _file_name(current, response.headers)
            _save(response, target, url, max_bytes, deadline)
            return target
    msg = f"{url!r} redirects more than {MAX_REDIRECTS} times; give the final address."
    raise SourceError(msg)


@dataclass(frozen=True)
class UrlFetcher:
    """Returns the content of a URL; the ``fetch`` of parts that read remote images only when asked to.

    Attributes:
        policy: What may be fetched.
        max_bytes: Size limit in bytes.
    """

    policy: UrlPolicy = UrlPolicy(allow=True)
    max_bytes: int = 50_000_000

    def __call__(self, url: str) -> bytes:
        """Fetch a URL.

        Args:
            url: An http or https URL.

        Returns:
            The bytes.

        Raises:
            RAGAnythingError: As :func:`fetch_url`.
        """
        with tempfile.TemporaryDirectory() as folder:
            return fetch_url(url, Path(folder), policy=self.policy, max_bytes=self.max_bytes).read_bytes()


@contextmanager
def _get(url: str, policy: UrlPolicy, deadline: float) -> Iterator[http.client.HTTPResponse]:
    parts = _split(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _checked_address(url, host, port, policy)
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    connection = _connection(parts.scheme, host, port, address, _left(url, deadline))
    try:
        connection.request("GET", _ascii(target), headers={"User-Agent": _USER_AGENT, "Accept": "*/*"})
        yield connection.getresponse()
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        if isinstance(error, SourceError):
            raise
        message = f"{url!r} could not be fetched ({type(error).__name__}: {error}); check the address and the network."
        raise SourceError(message) from error
    finally:
        connection.close()


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        msg = f"{url!r} is not a valid URL ({error}); check the address."
        raise SourceError(msg) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = f"{url!r} is not http or https; download the file and pass its path."
        raise BlockedSourceError(msg)
    if parts.username or parts.password:
        raise BlockedSourceError("The URL holds a user name or password; download the file and pass its path.")
    if any(ord(letter) < 33 for letter in url):
        msg = f"{url!r} holds blanks or control characters; check the address."
        raise BlockedSourceError(msg)
    return parts


def _checked_address(url: str, host: str, port: int, policy: UrlPolicy) -> str:
    """Resolve a host once and return an address, after checking all that the name has."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        message = f"The host of {url!r} cannot be resolved ({error}); check the address and the network."
        raise SourceError(message) from error
    addresses = [str(entry[4][0]) for entry in found]
    refused = [address for address in addresses if not _is_public(address)]
    if refused and not policy.allow_private:
        message = f"{url!r} leads to the private address {refused[0]}; pass allow_private_urls=True to allow it."
        raise BlockedSourceError(message)
    return addresses[0]


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.split("%")[0])
    embedded = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    ip = embedded or ip
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _connection(scheme: str, host: str, port: int, address: str, timeout: float) -> http.client.HTTPConnection:
    """Make a connection that names the host but goes to the checked address."""
    connection: http.client.HTTPConnection
    if scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)

    def connect(_named: tuple[str, int], seconds: float, _source: object = None) -> socket.socket:
        return socket.create_connection((address, port), seconds)

    # The hook of http.client; it keeps the Host header and the certificate check on the name.
    connection._create_connection = connect  # type: ignore[attr-defined]
    return connection


def _save(response: http.client.HTTPResponse, target: Path, url: str, max_bytes: int | None, deadline: float) -> None:
    size = 0
    with target.open("wb") as stream:
        while chunk := response.read1(_CHUNK_BYTES):
            size += len(chunk)
            if max_bytes is not None and size > max_bytes:
                message = f"{url!r} is over the limit of {max_bytes:,} bytes; raise max_file_bytes to read it."
                raise FileTooLargeError(message, url)
            _left(url, deadline)
            stream.write(chunk)
    expected = response.headers.get("Content-Length", "")
    if expected.isdecimal() and size < int(expected):
        msg = f"{url!r} broke off after {size:,} of {int(expected):,} bytes; try again."
        raise SourceError(msg)


def _left(url: str, deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        msg = f"{url!r} took too long; raise url_timeout_s or download the file first."
        raise SourceError(msg)
    return seconds


def _file_name(url: str, headers: Message) -> str:
    """Return a safe file name: the URL's last part, with the extension that its content type asks for."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    # os.path.basename of hostile names ("..", "a\\b", NUL) must stay one plain name.
    name = "".join(letter for letter in name if letter.isalnum() or letter in " ._-()").strip(". ")[-120:] or "page"
    content_type = headers.get_content_type()
    suffix = _SUFFIX_OF_TYPE.get(content_type) or mimetypes.guess_extension(content_type) or ""
    own = PurePosixPath(name).suffix.lower()
    # Servers call Markdown, CSV and code text/plain, and anything application/octet-stream.
    if own in KIND_OF_SUFFIX and suffix not in {".html", ".pdf"}:
        return name
    return name if own == suffix or suffix not in KIND_OF_SUFFIX else f"{name}{suffix}"


def _ascii(target: str) -> str:
    return "".join(letter if letter.isascii() else "".join(f"%{b:02X}" for b in letter.encode()) for letter in target)
