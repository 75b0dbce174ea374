"""Servers for tests: programs that serve a checkpoint, and a small one that does what a test wants."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from samtok_eval.run.folder import Run


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ModelServer:
    """A program that serves a checkpoint, and can be killed and started again on its port."""

    def __init__(self, *words: str | Path, **variables: str) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._words = [*words, "--host", "127.0.0.1", "--port", str(self._port)]
        self._variables = {**os.environ, "HF_HUB_OFFLINE": "1", **variables}

    def start(self) -> None:
        """Return as soon as it says that it is well."""
        # A session of its own, so that all its processes can be killed at once.
        self._process = subprocess.Popen(self._words, env=self._variables, start_new_session=True)
        while True:
            assert self._process.poll() is None, f"{self._words} ended"
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5):
                return
            time.sleep(0.5)

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def started(server: ModelServer) -> Iterator[ModelServer]:
    """A server that answers."""
    try:
        server.start()
        yield server
    finally:
        server.kill()


def transformers_serve(folder: Path) -> ModelServer:
    """`transformers serve` on a checkpoint."""
    program = Path(sys.executable).with_name("transformers")
    return ModelServer(program, "serve", folder, "--device", "cpu", "--dtype", "float32")


def with_killed_server(server: ModelServer, out: Path, ask: Callable[[], Run]) -> Run:
    """A run whose server is killed after the first batch, and started again.

    Args:
        server: that the run asks.
        out: where the run writes.
        ask: carries the run out.
    """
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(ask)
        while not any(path.stat().st_size for path in out.rglob("part-0.jsonl")):
            assert not run.done(), run.exception()
            time.sleep(0.02)
        server.kill()
        assert not run.done()
        server.start()
        return run.result()


@dataclass
class Reply:
    """What a `ChatServer` sends back."""

    text: str | None = None
    """Of a completion."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Instead of a completion."""
    further: dict[str, Any] = field(default_factory=dict)
    """In the completion's choice."""

    def content(self, model: str) -> bytes:
        """The bytes."""
        if self.body is not None:
            return self.body
        if self.status != 200:
            return json.dumps({"error": {"message": f"status {self.status}"}}).encode()
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop", **self.further}
        whole = {"id": "x", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}
        return json.dumps(whole).encode()


class ChatServer(ThreadingHTTPServer):
    """A chat server in a thread that answers as `behave` says, and keeps what it was asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.behave: Callable[[dict[str, Any]], Reply] = lambda body: Reply("Yes.")
        self.listed: list[dict[str, Any]] = [{"id": "tiny", "object": "model", "created": 1, "owned_by": "us"}]
        self.seen: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.busy = self.most_busy = 0
        """Requests in flight, now and at most."""
        self.lock = threading.Lock()

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is no failure."""

    @property
    def questions(self) -> list[dict[str, Any]]:
        """What was asked with a picture: all but probes."""
        return [body for body in self.seen if "image_url" in json.dumps(body)]


@contextmanager
def running(server: ChatServer) -> Iterator[ChatServer]:
    """A server that takes requests."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        models = json.dumps({"object": "list", "data": self.server.listed}).encode()
        self._send(Reply(body=models) if self.path == "/v1/models" else Reply(status=404))

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.seen.append(body)
            server.keys.add(self.headers["Authorization"])
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
        try:
            self._send(server.behave(body))
        finally:
            with server.lock:
                server.busy -= 1

    def _send(self, reply: Reply) -> None:
        data = reply.content("tiny")
        self.send_response(reply.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass
