"""`--offline`: no connection but to this machine; in processes of their own, since the hook stays until one ends."""

from __future__ import annotations

import subprocess
import sys

TRIES = """
import asyncio, os, socket, threading, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from samtok_eval.metrics.judge import OpenAIJudge
from samtok_eval.models.openai.address import Address
from samtok_eval.models.openai.client import Server
from samtok_eval.models.openai.retry import Patience
from samtok_eval.offline import OfflineError, go_offline

class Here(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *words):
        pass

go_offline()
server = HTTPServer(("127.0.0.1", 0), Here)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("here", urllib.request.urlopen(f"http://localhost:{server.server_port}", timeout=9).read().decode())
pair = socket.socketpair()
pair[0].sendall(b"x")

def asked(what, ask):
    try:
        ask()
    except OfflineError as error:
        print("refused", what, error)
    else:
        print("ASKED", what)

def socket_of(kind, family=socket.AF_INET):
    found = socket.socket(family, kind)
    found.settimeout(1)
    return found

asked("name", lambda: socket.getaddrinfo("example.org", 80))
asked("old name", lambda: socket.gethostbyname("example.org"))
asked("address", lambda: socket_of(socket.SOCK_STREAM).connect(("192.0.2.1", 80)))
asked("address again", lambda: socket_of(socket.SOCK_STREAM).connect_ex(("192.0.2.1", 80)))
asked("six", lambda: socket_of(socket.SOCK_STREAM, socket.AF_INET6).connect(("2001:db8::1", 80)))
asked("datagram", lambda: socket_of(socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)))
asked("page", lambda: urllib.request.urlopen("http://example.org", timeout=1))
asked("task", lambda: asyncio.run(asyncio.open_connection("example.org", 80)))

def served():
    server = Server(Address.of("openai:http://192.0.2.1/v1#x"), Patience())
    server.run(server.complete({"messages": []}))

asked("server", served)
asked("judge", lambda: OpenAIJudge("http://192.0.2.1/v1", "x", None).replies(["prompt"]))
print("hub", os.environ["HF_HUB_OFFLINE"])
"""
REFUSED = ("name", "old name", "address", "address again", "six", "datagram", "page", "task", "server", "judge")


def test_only_this_machine_is_reached():
    done = subprocess.run([sys.executable, "-c", TRIES], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "here ok" and lines[-1] == "hub 1"
    assert [line.partition(" --offline")[0] for line in lines[1:-1]] == [f"refused {name}" for name in REFUSED]
    assert all("is not this machine" in line for line in lines[1:-1])


def test_a_command_that_needs_another_machine_says_so_in_one_line(tmp_path):
    words = ["--offline", "data", "fetch", "--task", "gres", "--data-root", "data"]
    command = [sys.executable, "-m", "samtok_eval", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: --offline: huggingface.co is not this machine")
