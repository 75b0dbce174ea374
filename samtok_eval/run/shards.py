"""Which shards of a run lie in a folder, so that parts that do not make up the run are never scored as one.

Beside its part, the process of `--shard I/N` leaves an empty file `shard-I-of-N`, which is copied with the part. A run
without `--shard` removes these files: it asks whatever is missing, so its folder needs no shard any more.
"""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.files import writing
from samtok_eval.run.ranks import Shard

_MARK = re.compile(r"shard-(\d+)-of-(\d+)")
SHOWN = 8
"""Shards that a message names."""


def mark_shard(predictions: Path, shard: Shard) -> None:
    """Leave the mark of a shard that begins.

    Args:
        predictions: folder of the parts.
        shard: that appends to one of them.

    Raises:
        UsageError: the folder holds shards of another N, or the system refuses.
    """
    path = predictions / f"shard-{shard.part}-of-{shard.count}"
    with writing(path):
        path.touch()
    others = sorted(count for count in _marked(predictions) if count != shard.count)
    if others:
        # Left before looking, so that of two that begin at once at least one is told.
        path.unlink(missing_ok=True)
        raise UsageError(
            f"--shard {shard.part}/{shard.count}: {predictions} was begun with shards of {others[0]}; give "
            f"--shard I/{others[0]}, leave --shard out to ask all that is missing, or choose another --out"
        )


def check_shards(predictions: Path) -> None:
    """Refuse a folder in which shards do not make up one run.

    Args:
        predictions: folder of the parts; one without marks is that of a run without shards.

    Raises:
        DataError: their N differ.
        IncompleteRunError: some are missing.
    """
    marked = _marked(predictions)
    if len(marked) > 1:
        first, second, *_ = sorted(marked)
        raise DataError(
            f"{predictions} holds shards of different runs: {min(marked[first])}/{first} and "
            f"{min(marked[second])}/{second} share the questions otherwise; keep the parts of one N, and run the same "
            "command without --shard to ask what is missing"
        )
    for count, indices in marked.items():
        lacking = count - len(indices)
        if lacking:
            names = [f"{i}/{count}" for i in islice((i for i in range(count) if i not in indices), SHOWN)]
            more = f" and {lacking - SHOWN} more" if lacking > SHOWN else ""
            raise IncompleteRunError(
                f"{predictions} lacks shard {', '.join(names)}{more}; copy what was written elsewhere, ask it with "
                "--shard, or run the same command without --shard"
            )


def forget_shards(predictions: Path) -> None:
    """Remove the marks, since a run without shards goes on here.

    Raises:
        UsageError: the system refuses.
    """
    with writing(predictions):
        for count, indices in _marked(predictions).items():
            for index in indices:
                (predictions / f"shard-{index}-of-{count}").unlink(missing_ok=True)


def _marked(predictions: Path) -> dict[int, set[int]]:
    """Indices of the shards that were begun, by their N."""
    found: dict[int, set[int]] = {}
    for path in predictions.glob("shard-*-of-*"):
        mark = _MARK.fullmatch(path.name)
        if mark and int(mark[1]) < int(mark[2]):
            found.setdefault(int(mark[2]), set()).add(int(mark[1]))
    return found
