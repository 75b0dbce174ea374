"""Which checkpoints a training run has finished writing.

In: the folder into which a `transformers` or `trl` trainer writes `checkpoint-STEP`. Out: those that are whole. The
trainer writes weights, processor, optimizer and random states, and `trainer_state.json` last, so a folder with that
file is whole. One without it (made by hand, or thinned out) counts once nothing in it has changed for a minute. In both
cases all files must keep their sizes between two looks, since a copy over a network may write them in any order.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import read_object

NAME = re.compile(r"checkpoint-(\d+)")
WRITTEN_LAST, CONFIG, ADAPTER = "trainer_state.json", "config.json", "adapter_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
"""Ending of the file that names the parts of weights in several files."""
SETTLE_SECONDS = 0.5
"""Between the two looks at the sizes."""
QUIET_SECONDS = 60.0
"""Without a change, after which a folder without `trainer_state.json` is whole."""

Sizes = dict[str, tuple[int, int]]
"""Bytes and time of change (ns) of each file."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is whole."""

    step: int
    path: Path
    files: str
    """Hash of names, sizes and times of its weights and settings: a checkpoint that was written anew has another."""


def whole_checkpoints(folder: Path) -> list[Checkpoint]:
    """The whole checkpoints of a folder, in the order of their steps.

    Args:
        folder: may hold none yet, or not exist yet.

    Raises:
        UsageError: a checkpoint holds an adapter alone.
    """
    before = {path: _sizes(path) for path in _candidates(folder)}
    likely = {path: sizes for path, sizes in before.items() if _is_written(path, sizes)}
    if not likely:
        return []
    time.sleep(SETTLE_SECONDS)
    found = [
        Checkpoint(int(path.name.partition("-")[2]), path, _hash(sizes))
        for path, sizes in likely.items()
        if _sizes(path) == sizes
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def _candidates(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir()]


def _sizes(folder: Path) -> Sizes:
    """What lies in a checkpoint; a trainer may be deleting it."""
    found: Sizes = {}
    for path in folder.rglob("*"):
        try:
            told = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = (told.st_size, told.st_mtime_ns)
    return found


def _is_written(folder: Path, sizes: Sizes) -> bool:
    if ADAPTER in sizes and CONFIG not in sizes:
        raise UsageError(
            f"{folder} holds an adapter alone, which cannot be asked; train all weights, or merge the "
            "adapter and gate the merged checkpoint"
        )
    if CONFIG not in sizes or not _has_weights(folder, sizes):
        return False
    newest = max(changed for _, changed in sizes.values()) / 1e9
    return WRITTEN_LAST in sizes or time.time() - newest > QUIET_SECONDS


def _has_weights(folder: Path, sizes: Sizes) -> bool:
    if any(name in sizes for name in WEIGHTS):
        return True
    for name in (weights + INDEX for weights in WEIGHTS):
        if name in sizes:
            try:
                parts = read_object(folder / name).get("weight_map")
            except DataError:
                # Half of the index is written.
                return False
            return isinstance(parts, dict) and all(part in sizes for part in parts.values())
    return False


def _hash(sizes: Sizes) -> str:
    shown: Sequence[str] = [
        f"{name} {size} {changed}"
        for name, (size, changed) in sorted(sizes.items())
        if name == CONFIG or name.endswith((".safetensors", ".bin"))
    ]
    return hashlib.sha256("\n".join(shown).encode()).hexdigest()[:16]
