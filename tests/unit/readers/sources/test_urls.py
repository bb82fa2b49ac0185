"""Fetching from the web: a real server on loopback, and every way to reach what must not be reached."""

from __future__ import annotations

import contextlib
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llama_index_raganything.documents.packing import document_elements
from llama_index_raganything.errors import BlockedSourceError, FileTooLargeError, SourceError
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.readers.sources import urls
from llama_index_raganything.readers.sources.urls import UrlFetcher, UrlPolicy, fetch_url

LOOPBACK = UrlPolicy(allow=True, allow_private=True, timeout_s=5)
PUBLIC = UrlPolicy(allow=True, timeout_s=5)


class Handler(BaseHTTPRequestHandler):
    hits: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        Handler.hits.append(self.path)
        path = self.path.split("?")[0]
        if path.startswith("/redirect/"):
            self.send_response(302)
            self.send_header("Location", {"ok": "/notes.md", "file": "file:///etc/passwd", "loop": "/redirect/loop"}
                             .get(path.rpartition("/")[2], "http://10.0.0.1/"))  # fmt: skip
            self.end_headers()
            return
        if path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"broken off")
            return
        if path == "/slow.txt":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # The client has enough after a while.
                for _ in range(50):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.1)
            return
        types = {"/page": "text/html; charset=utf-8", "/big.txt": "text/plain", "/blob": "application/octet-stream"}
        if path in {"/notes.md", "/page", "/big.txt", "/blob", "/", "/a%20%E4%BD%A0.md"}:
            body = b"x" * 5000 if path == "/big.txt" else b"# Harbour\n\nfrom " + self.headers["Host"].encode()
            if path == "/page":
                body = b"<html><body><h1>Harbour</h1></body></html>"
            self.send_response(200)
            self.send_header("Content-Type", types.get(path, "text/plain"))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_error(404)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(autouse=True)
def no_hits() -> None:
    Handler.hits.clear()


def test_a_file_is_fetched_under_a_fitting_name(server: str, tmp_path: Path) -> None:
    assert fetch_url(f"{server}/notes.md?x=1", tmp_path, policy=LOOPBACK, max_bytes=None).name == "notes.md"
    assert fetch_url(f"{server}/page", tmp_path, policy=LOOPBACK, max_bytes=None).name == "page.html"
    assert fetch_url(f"{server}/", tmp_path, policy=LOOPBACK, max_bytes=None).name == "page.txt"
    assert fetch_url(f"{server}/a%20%E4%BD%A0.md", tmp_path, policy=LOOPBACK, max_bytes=None).name == "a 你.md"


def test_redirects_are_followed(server: str, tmp_path: Path) -> None:
    path = fetch_url(f"{server}/redirect/ok", tmp_path, policy=LOOPBACK, max_bytes=None)
    assert path.read_text().startswith("# Harbour")
    assert Handler.hits == ["/redirect/ok", "/notes.md"]


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("/redirect/file", BlockedSourceError, "not http"),
        ("/redirect/loop", SourceError, "redirects more than"),
        ("/gone", SourceError, "404"),
        ("/short", SourceError, "broke off"),
    ],
)
def test_bad_answers(server: str, tmp_path: Path, path: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        fetch_url(server + path, tmp_path, policy=LOOPBACK, max_bytes=None)


def test_size_limit(server: str, tmp_path: Path) -> None:
    with pytest.raises(FileTooLargeError, match="4,999"):
        fetch_url(f"{server}/big.txt", tmp_path, policy=LOOPBACK, max_bytes=4999)
    assert fetch_url(f"{server}/big.txt", tmp_path, policy=LOOPBACK, max_bytes=5000).stat().st_size == 5000


def test_time_limit_counts_the_whole_fetch(server: str, tmp_path: Path) -> None:
    policy = UrlPolicy(allow=True, allow_private=True, timeout_s=0.5)
    with pytest.raises(SourceError, match="too long"):
        fetch_url(f"{server}/slow.txt", tmp_path, policy=policy, max_bytes=None)


def test_private_addresses_are_refused_before_a_byte_is_sent(server: str, tmp_path: Path) -> None:
    port = server.rpartition(":")[2]
    for host in (
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f000001",
        "[::ffff:127.0.0.1]",
    ):
        with pytest.raises(SourceError):
            fetch_url(f"http://{host}:{port}/notes.md", tmp_path, policy=PUBLIC, max_bytes=None)
    assert Handler.hits == []


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
    ],
)
def test_addresses_that_are_not_public(tmp_path: Path, address: str) -> None:
    with pytest.raises(BlockedSourceError, match="private address"):
        fetch_url(f"http://{address}/", tmp_path, policy=PUBLIC, max_bytes=None)


def test_a_redirect_into_the_network_is_refused(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first hop counts as public here; the redirect to 10.0.0.1 is checked like any other.
    real = urls._is_public
    monkeypatch.setattr(urls, "_is_public", lambda address: address == "127.0.0.1" or real(address))
    with pytest.raises(BlockedSourceError, match=r"10\.0\.0\.1"):
        fetch_url(f"{server}/redirect/inside", tmp_path, policy=PUBLIC, max_bytes=None)


def test_the_name_is_resolved_once(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A second DNS answer could lead elsewhere (DNS rebinding), so there must not be a second question.
    port = int(server.rpartition(":")[2])
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host, *args, **kwargs):
        asked.append(host)
        return real("127.0.0.1" if host == "rebind.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    path = fetch_url(f"http://rebind.example:{port}/notes.md", tmp_path, policy=LOOPBACK, max_bytes=None)
    assert asked.count("rebind.example") == 1
    assert f"rebind.example:{port}" in path.read_text()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/x",
        "gopher://x",
        "http://",
        "http:///x",
        "http://[::1",
        "http://a:b/",
        "http://example.org/a b",
        "http://example.org/\r\nHost: x",
        "http://user:secret@example.org/",
    ],
)
def test_urls_that_are_no_plain_web_addresses(tmp_path: Path, url: str) -> None:
    with pytest.raises(SourceError) as caught:
        fetch_url(url, tmp_path, policy=LOOPBACK, max_bytes=None)
    assert "secret" not in str(caught.value)


def test_hosts_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="resolved"):
        fetch_url("http://no-such-host.invalid/", tmp_path, policy=PUBLIC, max_bytes=None)


def test_the_reader_fetches_only_when_allowed(server: str, tmp_path: Path) -> None:
    url = f"{server}/notes.md"
    with pytest.raises(BlockedSourceError, match="allow_urls"):
        RAGAnythingReader(working_dir=str(tmp_path)).load_data(url)
    assert Handler.hits == []
    reader = RAGAnythingReader(working_dir=str(tmp_path), allow_urls=True, allow_private_urls=True)
    (document,) = reader.load_data(url)
    assert document.metadata["source"] == url
    assert document.metadata["file_name"] == "notes.md"
    assert document_elements(document)[0].text == "Harbour"


def test_other_schemes_need_a_file_system(tmp_path: Path) -> None:
    reader = RAGAnythingReader(working_dir=str(tmp_path), allow_urls=True)
    for url in ("s3://bucket/a.pdf", "file:///etc/hostname", "ftp://example.org/a.pdf"):
        with pytest.raises(BlockedSourceError, match="fs="):
            reader.load_data(url)


def test_a_fetcher_returns_bytes_within_its_policy(server: str) -> None:
    assert UrlFetcher(LOOPBACK)(f"{server}/notes.md").startswith(b"# Harbour")
    with pytest.raises(BlockedSourceError, match="private address"):
        UrlFetcher()(f"{server}/notes.md")
    with pytest.raises(FileTooLargeError):
        UrlFetcher(LOOPBACK, max_bytes=1000)(f"{server}/big.txt")
    assert pickle.loads(pickle.dumps(UrlFetcher(LOOPBACK))) == UrlFetcher(LOOPBACK)
