"""The hash of a checkpoint folder, computed once and kept in the user's cache.

In: a folder. Out: one hash of all files that can change an answer. Hashing 16 GB takes 8 to 32 s, so the result is kept
beside what the system says of each file (size, times, inode), and is computed anew when any of that differs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import cache_folder, read_object, write_json

CHECKPOINT_FILES = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.txt", "*.model")
NO_PART_OF_A_MODEL = ("training.json", "card.json")
READ_CHUNK = 1 << 20
SETTLED_NS = 2 * 10**9
"""A file that changed less than this ago could change again without another time; file systems count in ticks."""


def folder_sha256(folder: Path) -> str:
    """Hash of everything in a checkpoint folder that can change an answer: weights, tokenizer, configs.

    Args:
        folder: of the checkpoint; nothing is written there.
    """
    paths = checkpoint_files(folder)
    kept = _kept(folder)
    before = [_state(path) for path in paths]
    known = _known(kept, before)
    if known is not None:
        return known
    sha256 = _hashed(paths)
    if before == [_state(path) for path in paths] and all(_settled(state) for state in before):
        # A cache that cannot be written costs the next run its time, nothing else.
        with suppress(UsageError):
            write_json(kept, {"folder": str(folder.resolve()), "files": before, "sha256": sha256})
    return sha256


def checkpoint_files(folder: Path) -> list[Path]:
    """What is hashed, in its order."""
    found = {path for pattern in CHECKPOINT_FILES for path in folder.glob(pattern)}
    return sorted(path for path in found if path.name not in NO_PART_OF_A_MODEL)


def _hashed(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while chunk := file.read(READ_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _kept(folder: Path) -> Path:
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return cache_folder() / "fingerprints" / f"{name}.json"


def _known(kept: Path, files: list[list[Any]]) -> str | None:
    """The hash that was kept of files in this state."""
    try:
        content = read_object(kept)
    except DataError:
        return None
    sha256 = content.get("sha256")
    return sha256 if content.get("files") == files and isinstance(sha256, str) else None


def _state(path: Path) -> list[Any]:
    """What changes when the file does; the time of the inode, too, since the other can be set to anything."""
    stat = path.stat()
    return [path.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _settled(state: Sequence[Any]) -> bool:
    return bool(max(state[2], state[3]) + SETTLED_NS < time.time_ns())
