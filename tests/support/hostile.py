"""What tests of hostile input share: values that no file should hold, and code that runs with bounded memory."""

from __future__ import annotations

import math
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

from samtok_eval.errors import DataError

HUGE = 10**30
GIGABYTE = 2**30


def bounded(code: str, *words: str | Path, memory: int = 4 * GIGABYTE) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own that may not take more memory; it prints what it met."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, preexec_fn=limit)


HOSTILE = [
    math.nan, math.inf, -math.inf, HUGE, -HUGE, -1, 0, 1.5, True, None, "", "x", "9" * 25, "\ud800", "../../x",
    "/etc/hostname", [], {}, [[]], [HUGE], [math.nan] * 6, [[1e15] * 8], {"size": [HUGE, HUGE], "counts": "04"},
    {"size": [128, 128], "counts": [HUGE]}, "{" * 5000, "(" * 5000, "-" * 100_000 + "1",
]  # fmt: skip


def places(value):
    """Containers and keys of everything in a JSON value, however deep."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def read_or_refused(task, root, split):
    """Whether a split was refused; an error is one line of bounded length."""
    try:
        samples = task.read(root, split)
    except DataError as error:
        assert len(str(error)) < 1000 and "\n" not in str(error)
        return True
    assert all(m.height == s.image.height for s in samples for m in s.target.masks)
    return False


def png(width: int, height: int, rows: int) -> bytes:
    """A PNG whose header says more than it holds."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * (1 + 3 * width) * rows, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
