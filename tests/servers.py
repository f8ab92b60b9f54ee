"""Servers for remote sets: nginx as it is, slowed; S3; and one that misbehaves on purpose."""

import os
import shutil
import socket
import socketserver
import subprocess
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import data.remote.transports.s3


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, "the server did not start"
        time.sleep(0.1)
    raise AssertionError("the server does not listen")


@contextmanager
def nginx(root: Path, scratch: Path, rate: str = "0", port: int | None = None) -> Iterator[str]:
    """Serves a folder. rate: bytes a second of each connection, as nginx writes it (200k); 0: no limit."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if binary is None:
        pytest.skip("no nginx (apt-get install nginx-light)")
    port = port or free_port()
    scratch.mkdir(parents=True, exist_ok=True)
    config = scratch / "nginx.conf"
    config.write_text(
        f"""
        daemon off; pid {scratch}/pid; error_log {scratch}/errors; worker_processes 1;
        {"user root;" if os.geteuid() == 0 else ""}
        events {{ worker_connections 64; }}
        http {{
            access_log {scratch}/access; client_body_temp_path {scratch}; proxy_temp_path {scratch};
            fastcgi_temp_path {scratch}; uwsgi_temp_path {scratch}; scgi_temp_path {scratch};
            server {{ listen 127.0.0.1:{port}; root {root}; limit_rate {rate}; }}
        }}
        """
    )
    process = subprocess.Popen([binary, "-c", str(config), "-e", str(scratch / "errors")], cwd=scratch)
    try:
        wait_until_it_listens(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def s3_bucket(environment: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a real S3 server with an empty bucket, `bucket`, to which s3:// addresses lead meanwhile."""
    pytest.importorskip("moto", reason="no S3 server (pip install -c constraints.txt 'moto[s3]' flask flask-cors)")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    given = {"ENDPOINT_URL": f"http://127.0.0.1:{port}", "ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "secret"}
    try:
        wait_until_it_listens(port, process)
        for name, value in given.items():
            environment.setenv(f"AWS_{name}", value)
        data.remote.transports.s3.client.cache_clear()
        client = data.remote.transports.s3.client()
        client.create_bucket(Bucket="bucket")
        yield client
    finally:
        data.remote.transports.s3.client.cache_clear()
        process.terminate()
        process.wait(20)


class Liar:
    """Serves files from memory. What is in `behaviour[name]` is done to the next requests for it, one after the other:

    a number: closes the connection after so many bytes; "503", "404": answers that; "html": a friendly page;
    "altered": one other byte; "longer", "shorter": another file; "no range": sends everything; "other range": sends
    what it was not asked for; "unusual range": says so in words of its own; "no length": drops half way without having
    said how much was to come; "length DIGITS": declares that; "gzip": says that it is; "headers": sends 200;
    "to URL": a redirect; "endless": bytes without end; "drip": a byte each 0.2 s.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.behaviour: defaultdict[str, deque[str | int]] = defaultdict(deque)
        self.requests: list[tuple[str, str | None]] = []  # name, Range
        self.stall_after: int | None = None  # bytes of each answer
        liar = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                liar._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}/set"

    def __enter__(self) -> "Liar":
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        name, asked = handler.path.partition("?")[0].rpartition("/")[2], handler.headers.get("Range")
        self.requests.append((name, asked))
        does = self.behaviour[name].popleft() if self.behaviour[name] else None
        handler.close_connection = True
        if does in ("503", "404") or name not in self.files:
            handler.send_error(int(does or 404))
            return
        words = does if isinstance(does, str) else ""
        if words.startswith("to "):
            handler.send_response(302)
            handler.send_header("Location", words.removeprefix("to "))
            handler.end_headers()
            return
        data = self.files[name]
        if does == "html":
            data = b"<html>please log in</html>"
        elif does == "altered":
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif does == "longer":
            data += b"more"
        elif does == "shorter":
            data = data[: len(data) // 2]
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and does != "no range" else 0
        if start >= len(data) > 0:
            handler.send_error(416)
            return
        start = start - 1 if does == "other range" else start
        handler.send_response(206 if asked and does != "no range" else 200)
        if does == "unusual range":
            handler.send_header("Content-Range", "the rest")
        elif asked and does != "no range":
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        for number in range(200 if does == "headers" else 0):
            handler.send_header(f"X-{number}", "x")
        if does == "gzip":
            handler.send_header("Content-Encoding", "gzip")
        if does not in ("no length", "endless"):
            length = words.removeprefix("length ") if words.startswith("length ") else str(len(data) - start)
            handler.send_header("Content-Length", length)
        handler.end_headers()
        end = start + does if isinstance(does, int) else (start + len(data)) // 2 if does == "no length" else len(data)
        with suppress(OSError):  # the other side may have heard enough
            while does in ("endless", "drip"):
                handler.wfile.write(data if does == "endless" else b"x")
                time.sleep(0 if does == "endless" else 0.2)
            if self.stall_after is not None:
                handler.wfile.write(data[start : min(end, start + self.stall_after)])
                time.sleep(5)
                return
            handler.wfile.write(data[start:end])


@contextmanager
def speaker(first: bytes, again: bytes = b"", pause_s: float = 0) -> Iterator[str]:
    """A server that answers each request with `first`, then with `again` for ever. Yields an address."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):  # the other side may have heard enough
                self.request.recv(1 << 16)
                self.request.sendall(first)
                while again:
                    self.request.sendall(again)
                    time.sleep(pause_s)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/set"
        server.shutdown()
