"""A file server on this machine that can misbehave in the ways that servers do."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class FileServer:
    """Serves `files` (path -> bytes) with ranges and tags; `faults` (path -> what to do instead, once per entry)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Callable[[BaseHTTPRequestHandler], None]]] = {}
        self.asked: Counter[str] = Counter()
        self.ranges: list[str | None] = []
        self.tags, self.knows_ranges = True, True
        self.most_at_once = 0
        self._now, self._lock = 0, threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with outer._lock:
                    outer._now += 1
                    outer.most_at_once = max(outer.most_at_once, outer._now)
                try:
                    outer._answer(self)
                finally:
                    with outer._lock:
                        outer._now -= 1

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        # A short poll, so that closing it takes no half second.
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(handler.path).path)
        self.asked[path] += 1
        self.ranges.append(handler.headers.get("Range"))
        if self.faults.get(path):
            self.faults[path].pop(0)(handler)
        elif path in self.files:
            self.send(handler, self.files[path])
        else:
            reply(handler, 404, b"<html>no</html>", {"Content-Type": "text/html"})

    def send(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"ETag": tag} if self.tags else {}
        wanted = handler.headers.get("Range")
        if wanted and self.knows_ranges and handler.headers.get("If-Range", tag) == tag:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(body):
                reply(handler, 416, b"", headers | {"Content-Range": f"bytes */{len(body)}"})
                return
            headers |= {"Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"}
            reply(handler, 206, body[begin:], headers)
            return
        reply(handler, 200, body, headers)


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def breaks_after(count: int, body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """The connection ends after some bytes of what was announced."""

    def fault(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()[:16]}"')
        handler.end_headers()
        handler.wfile.write(body[:count])
        handler.close_connection = True

    return fault


def answers(status: int, body: bytes = b"", **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Another answer than the file."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: reply(handler, status, body, named)


def hub_answer(files: dict[str, bytes], commit: str, large: tuple[str, ...] = ()) -> bytes:
    """What a Hub says of a data set; `large` are the files that it keeps by SHA-256."""
    rows = [
        {
            "rfilename": name,
            "size": len(body),
            "blobId": hashlib.sha1(f"blob {len(body)}\0".encode() + body).hexdigest(),
            **({"lfs": {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}} if name in large else {}),
        }
        for name, body in files.items()
    ]
    return json.dumps({"sha": commit, "siblings": rows}).encode()
