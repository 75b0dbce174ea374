"""A run's main metric with and without the pictures that its model may have been trained on.

In: a checked run and an `Overlap` of its split. Out: `Leaks`: per protocol the metric over all pictures, over those
that are not in the training mix, and over those that are. They are computed from the records, as slices are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samtok_eval.datasets.overlap import Overlap
from samtok_eval.errors import UsageError
from samtok_eval.metrics.cards import card
from samtok_eval.records import Rows
from samtok_eval.reports.format import ABSENT, interval, metric_value
from samtok_eval.reports.runs import ScoredRun
from samtok_eval.reports.summary import metric_order
from samtok_eval.run.metrics_file import Entry
from samtok_eval.run.score import entries, interval_method

ALL, UNSEEN, SEEN = "all", "not in the training mix", "in the training mix"


@dataclass(frozen=True)
class LeakScore:
    """A metric over some of the pictures."""

    protocol: str
    metric: str
    kind: str
    """`ALL`, `UNSEEN` or `SEEN`."""
    pictures: int
    entry: Entry

    @property
    def written(self) -> str:
        """Value and interval, e.g. `61.2 [58.9, 63.5]`."""
        ends = interval(self.entry.low, self.entry.high)
        return metric_value(self.metric, self.entry.value) + ("" if ends == ABSENT else f" {ends}")


@dataclass(frozen=True)
class Leaks:
    """What the pictures of a training mix do to the scores of a run."""

    sentence: str
    scores: Sequence[LeakScore]

    def to_json(self) -> list[dict[str, Any]]:
        """The scores, shares 0..1."""
        return [
            {
                "protocol": score.protocol,
                "metric": score.metric,
                "kind": score.kind,
                "pictures": score.pictures,
                **score.entry.model_dump(),
            }
            for score in self.scores
        ]


def leaks(run: ScoredRun, overlap: Overlap, seed: int) -> Leaks:
    """Score a run with and without the pictures that training files hold.

    Args:
        run: the run.
        overlap: of its task and split.
        seed: of the intervals.

    Raises:
        UsageError: the overlap is of another task or split, or does not know the run's pictures.
    """
    _check_same_split(run, overlap)
    scores = [score for protocol in run.protocols for score in _scores(run, protocol, overlap, seed)]
    seen, count = _pictures(run, overlap)
    share = f"{seen} of {count} pictures ({seen / max(count, 1):.1%})"
    sentence = f"{share} of this run of {run.task.metadata.name}:{run.split} are in the training mix"
    if seen and scores:
        whole, unseen = scores[0], scores[1]
        sentence += (
            f"; without them {card(whole.metric).title} under {whole.protocol} is {unseen.written} instead of "
            f"{whole.written}"
        )
    return Leaks(f"{sentence}.", scores)


def _check_same_split(run: ScoredRun, overlap: Overlap) -> None:
    asked, known = f"{run.task.metadata.name}:{run.split}", f"{overlap.task}:{overlap.split}"
    if asked != known:
        raise UsageError(f"--overlap is of {known}, the run of {asked}; write one with `data overlap --task {asked}`")
    unknown = set(run.records[run.protocols[0]].image_id) - set(overlap.pictures)
    if unknown:
        raise UsageError(
            f"--overlap does not know {len(unknown)} pictures of the run, {min(unknown)} first; write it again "
            "with the run's own --data-root"
        )


def _pictures(run: ScoredRun, overlap: Overlap) -> tuple[int, int]:
    found = set(run.records[run.protocols[0]].image_id)
    return len(found & overlap.shared.keys()), len(found)


def _scores(run: ScoredRun, protocol: str, overlap: Overlap, seed: int) -> list[LeakScore]:
    """The main metric of a protocol, over all pictures and both parts; nothing where none was measured."""
    present = run.run.metrics[protocol]
    order = [run.task.metadata.main_metric, *metric_order(run.task, present)]
    metric = next((name for name in order if name in present), None)
    if metric is None:
        return []
    seen = np.array([picture in overlap.shared for picture in run.records[protocol].image_id], dtype=np.bool_)
    parts = {ALL: np.arange(len(seen)), UNSEEN: np.flatnonzero(~seen), SEEN: np.flatnonzero(seen)}
    return [_score(run, protocol, metric, kind, rows, seed) for kind, rows in parts.items()]


def _score(run: ScoredRun, protocol: str, metric: str, kind: str, rows: Rows, seed: int) -> LeakScore:
    members = run.records[protocol].take(rows)
    measured = run.task.measured(members, protocol) if len(rows) else {}
    found = entries({metric: measured[metric]} if metric in measured else {}, interval_method(seed))
    entry = found.get(metric) or Entry(value=None, low=None, high=None, n=0)
    return LeakScore(protocol, metric, kind, len(set(members.image_id)), entry)
