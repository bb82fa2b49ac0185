"""Real Milvus servers without docker, for tests: the newest one on PyPI, and Milvus Lite over TCP.

PyPI's ``milvus`` ends at 2.3.5. It goes into an environment of its own, in the user's cache folder, because it
pins an old pymilvus. It has logins and databases, but no hybrid search and no BM25.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = "2.3.5"
START_SECONDS = 90


class ServerNotAvailableError(RuntimeError):
    """The server cannot be had or started here; the message says why."""


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens on a port."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            message = f"the server ended with code {process.returncode}"
            raise ServerNotAvailableError(message)
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    message = f"nobody listens on port {port} after {START_SECONDS} s"
    raise ServerNotAvailableError(message)


@contextmanager
def running(command: list[str], port: int) -> Iterator[str]:
    """Run a server until the end of the block and yield its URL."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def install() -> Path:
    """Return the folder of the environment's programs, after installing Milvus into it once."""
    uv = shutil.which("uv")
    if uv is None:
        message = "uv is not installed"
        raise ServerNotAvailableError(message)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "llama-index-raganything-tests" / f"milvus-{VERSION}"
    server = folder / "bin" / "milvus-server"
    if not server.exists():
        for command in (
            [uv, "venv", "-q", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "-q", "--python", str(folder / "bin/python"), "--no-deps", f"milvus=={VERSION}"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                message = f"{' '.join(command[:3])} failed: {done.stderr.strip()[-300:]}"
                raise ServerNotAvailableError(message)
    return server.parent


@contextmanager
def milvus(data: Path, *, login: bool) -> Iterator[str]:
    """Run Milvus with or without logins (``root:Milvus``) and yield its URL."""
    port = free_port()
    command = [str(install() / "milvus-server"), "--data", str(data), "--proxy-port", str(port)]
    if login:
        command += ["--extra-config", "common.security.authorizationEnabled=true"]
    with running(command, port) as url:
        yield url


@contextmanager
def milvus_lite(data: Path) -> Iterator[str]:
    """Serve a Milvus Lite directory over TCP and yield its URL."""
    port = free_port()
    program = str(Path(sys.executable).parent / "milvus-lite")
    command = [program, "server", "--data-dir", str(data), "--host", "127.0.0.1", "--port", str(port)]
    with running(command, port) as url:
        yield url
