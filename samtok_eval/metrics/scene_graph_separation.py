"""What separates the three protocols of scene graphs on the same answers, in steps that add up.

In: records of the three protocols. Out: a `Separation` of recall at a rank. From `strict` to `official`: the pictures
that count, then names and hits. From `official` to `samtok`: the pictures that count, the answers that stop the
scripts, then what the scripts do to an answer one after another (names, duplicates, merged nodes), whose hits the
scorer keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samtok_eval.metrics.scene_graph import RANKS, answered
from samtok_eval.metrics.scene_graph_samtok import is_written
from samtok_eval.metrics.separation import Separation, Step
from samtok_eval.prediction import Record

STRICT, OFFICIAL, SAMTOK = "strict", "official", "samtok"
STAGES = ("known", "deduplicated")
"""Triplets of the scripts before the last stage; `first_hit_<stage>` holds their hits."""
RANK = RANKS[0]
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


def separation(records: Mapping[str, Sequence[Record]], rank: int = RANK) -> Separation | None:
    """The steps between the protocols; None where one was not scored, or the scorer kept no stages.

    Args:
        records: by protocol, of the same pictures in the same order.
        rank: K of recall@K.
    """
    if not {STRICT, OFFICIAL, SAMTOK} <= set(records):
        return None
    strict, official, samtok = ([*records[name]] for name in (STRICT, OFFICIAL, SAMTOK))
    counted = {
        STRICT: np.ones(len(strict), dtype=np.bool_),
        OFFICIAL: np.array([answered(record) for record in official], dtype=np.bool_),
        SAMTOK: np.array([is_written(record) for record in samtok], dtype=np.bool_),
    }
    whole = [record for record in samtok if is_written(record) and not record.crashed]
    if not all(f"first_hit_{stage}" in record.series for record in whole for stage in STAGES):
        return None
    steps = (*_to_official(strict, official, counted, rank), *_to_samtok(official, samtok, counted, rank))
    shown = (*(f"recall@{k}" for k in RANKS), f"mean_recall@{rank}", f"mean_recall_repaired@{rank}")
    pictures = {name: int(flags.sum()) for name, flags in counted.items()}
    return Separation(f"recall@{rank}", shown, pictures, steps)


def recalls(records: Sequence[Record], rank: int, series: str = "first_hit") -> Values:
    """Recall of each picture, (n,); 0 where the series is not there."""
    return np.array(
        [
            sum(0 <= hit < rank for hit in record.series.get(series, ())) / len(record.series["first_hit"])
            for record in records
        ],
        dtype=np.float64,
    )


def _to_official(
    strict: Sequence[Record], official: Sequence[Record], counted: Mapping[str, Flags], rank: int
) -> list[Step]:
    before, after, kept = recalls(strict, rank), recalls(official, rank), counted[OFFICIAL]
    changed = kept & (before != after)
    left_out = ("pictures without a predicted triplet are left out", int((~kept).sum()), len(kept), "pictures")
    names = ("names as written, and every fitting triplet is hit", int(changed.sum()), int(kept.sum()), "pictures")
    return [
        Step(STRICT, OFFICIAL, *left_out, _mean(before, kept) - _mean(before, counted[STRICT])),
        Step(STRICT, OFFICIAL, *names, _mean(after, kept) - _mean(before, kept)),
    ]


def _to_samtok(
    official: Sequence[Record], samtok: Sequence[Record], counted: Mapping[str, Flags], rank: int
) -> list[Step]:
    before, kept = recalls(official, rank), counted[SAMTOK]
    # What OpenPSG skips hits nothing there, so that it may be counted as 0 from here on.
    before = np.where(counted[OFFICIAL], before, 0.0)
    both = kept & counted[OFFICIAL]
    crashed = np.array([record.crashed for record in samtok], dtype=np.bool_)
    stages = [before, np.where(crashed, 0.0, before)]
    stages += [recalls(samtok, rank, f"first_hit_{stage}") for stage in STAGES] + [recalls(samtok, rank)]
    means = [_mean(values, kept) for values in stages]

    def total(name: str) -> int:
        return int(sum(record.values.get(name, 0.0) for record in samtok))

    listed, pictures = total("listed"), int(kept.sum())
    steps: list[tuple[Any, ...]] = [
        ("dropped answers", int((~kept).sum()), len(kept), "answers",
         _mean(before, both) - _mean(before, counted[OFFICIAL])),
        ("answers without a triplet count as 0", int((kept & ~both).sum()), pictures, "answers",
         means[0] - _mean(before, both)),
        ("answers that stop the scripts count as 0", int((kept & crashed).sum()), pictures, "answers",
         means[1] - means[0]),
        ("names that the file does not have, and other reading", total("unknown"), listed, "triplets",
         means[2] - means[1]),
        ("duplicate triplets", total("duplicates"), listed, "triplets", means[3] - means[2]),
        ("merged nodes", total("changed"), total("nodes"), "nodes", means[4] - means[3]),
    ]  # fmt: skip
    return [Step(OFFICIAL, SAMTOK, *step) for step in steps]


def _mean(values: Values, kept: Flags) -> float:
    return float(values[kept].mean()) if kept.any() else 0.0
