"""Several runs of one task in one table: values, differences to the first run, and where they come from.

In: checked runs. Out: a `Comparison`, which the table, the gate and the HTML report write in their own ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from samtok_eval.errors import UsageError
from samtok_eval.metrics.cards import card
from samtok_eval.metrics.ratio import Ratio
from samtok_eval.reports.leaderboard.build import published_for
from samtok_eval.reports.runs import ScoredRun, check_comparable
from samtok_eval.reports.table import metric_order
from samtok_eval.run.settings import DEMO
from samtok_eval.run.signature import differences
from samtok_eval.run.slices import sliced
from samtok_eval.statistics import Difference, compare_metrics, holm

CHANGED_SHOWN = 10
SLICE_MIN = 10
"""Samples below which a slice is not compared: its interval would say nothing."""


@dataclass(frozen=True)
class Cell:
    """One metric of one run under one protocol; shares 0..1."""

    protocol: str
    metric: str
    run: int
    """Index of the run."""
    value: float | None
    low: float | None
    high: float | None
    n: int
    difference: Difference | None
    """To the first run; None for the first run itself."""
    p_corrected: float | None
    """Two-sided p, Holm's correction over the metrics of this run and protocol."""


@dataclass(frozen=True)
class SliceCell:
    """The main metric in one slice, first run against another."""

    run: int
    name: str
    value: str
    n: int
    first: float
    second: float
    difference: Difference
    p_corrected: float
    """Holm's correction over all slices of this run."""


@dataclass(frozen=True)
class Change:
    """A sample whose score changed."""

    run: int
    id: str
    phrase: str
    first: float
    second: float


@dataclass(frozen=True)
class PublishedCell:
    """A number from a paper, which stands under the protocol `published` and is compared with nothing."""

    metric: str
    method: str
    value: str
    """As printed."""
    trust: str
    source: str


@dataclass(frozen=True)
class Comparison:
    """Runs of one task, split and data set; the first is the baseline."""

    runs: Sequence[ScoredRun]
    seed: int
    warnings: list[str]
    cells: list[Cell]
    slices: list[SliceCell]
    """Largest loss first."""
    changes: list[Change]
    """Largest change first, of each run."""
    sample_metric: str | None
    """The metric that slices and changes are about, under the first protocol."""
    published: list[PublishedCell] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything but the records."""
        manifests = [run.run.manifest for run in self.runs]
        return {
            "task": manifests[0].task,
            "split": manifests[0].split,
            "seed": self.seed,
            "runs": [{"model": m.model.name, "signature": m.signature} for m in manifests],
            "warnings": self.warnings,
            "cells": [asdict(cell) for cell in self.cells],
            "sample_metric": self.sample_metric,
            "slices": [asdict(cell) for cell in self.slices],
            "changes": [asdict(change) for change in self.changes],
            "published": [asdict(cell) for cell in self.published],
        }


def compare(
    runs: Sequence[ScoredRun], seed: int = 0, protocols: Sequence[str] | None = None, published: str | None = None
) -> Comparison:
    """Compare runs with the first of them.

    Args:
        runs: at least one; all about the same samples.
        seed: of draws and permutations.
        protocols: all that the first run has, by default.
        published: also show numbers from papers, of methods with this in their names; empty for all.

    Raises:
        UsageError: the runs are of other tasks, splits or data.
        IncompleteRunError: samples are missing in one of them.
    """
    first = runs[0]
    for other in runs[1:]:
        check_comparable(first, other)
    task = first.task
    chosen = [name for name in first.protocols if protocols is None or name in protocols]
    cells = []
    for protocol in chosen:
        base = first.metrics(protocol)
        for index, run in enumerate(runs):
            if protocol not in run.records:
                continue
            metrics = run.metrics(protocol)
            found: dict[str, Difference] = {}
            if index:
                found = compare_metrics(base, metrics, seed, lower_is_better=task.metadata.lower_is_better)
            corrected = holm({name: difference.p for name, difference in found.items()})
            values = run.run.metrics[protocol]
            for name in metric_order(task, values):
                difference, p = found.get(name), corrected.get(name)
                cells.append(Cell(protocol, name, index, **values[name], difference=difference, p_corrected=p))
    order = metric_order(task, [cell.metric for cell in cells])
    cells.sort(key=lambda cell: (chosen.index(cell.protocol), order.index(cell.metric), cell.run))
    metric = sample_metric(first, chosen[0])
    slices, changes = [], []
    if metric is not None:
        for index, run in enumerate(runs[1:], start=1):
            slices += _slices(first, run, index, chosen[0], metric, seed)
            changes += _changes(first, run, index, chosen[0], metric)
    papers = [] if published is None else _published(first, order, published)
    return Comparison(runs, seed, _warnings(runs, chosen), cells, slices, changes, metric, papers)


def sample_metric(run: ScoredRun, protocol: str) -> str | None:
    """The first metric, the main one before all others, that has a value per sample; None without any."""
    metrics = run.metrics(protocol)
    order = [run.task.metadata.main_metric, *metric_order(run.task, metrics)]
    for name in order:
        metric = metrics.get(name)
        if isinstance(metric, Ratio) and len(metric.numerators) == len(run.records[protocol]) and metric.n:
            return name
    return None


def sample_values(run: ScoredRun, protocol: str, metric: str) -> dict[str, float]:
    """Value of `sample_metric` by sample id, samples that do not count left out."""
    found = run.metrics(protocol)[metric]
    if not isinstance(found, Ratio):
        raise TypeError(f"{metric} has no value per sample")
    pairs = zip(run.records[protocol], found.per_sample(), strict=True)
    return {record.id: value for record, value in pairs if value is not None}


def _published(run: ScoredRun, metrics: Sequence[str], method: str) -> list[PublishedCell]:
    """Numbers from papers for the metrics of the runs.

    Raises:
        UsageError: nothing was published for this task and split, or the runs are of the demo.
    """
    task, split = run.task.metadata.name, run.split
    if run.run.manifest.dataset.root == DEMO:
        raise UsageError("published numbers are about the benchmark, these runs about the demo; compare real runs")
    titles = {card(metric).title.casefold(): metric for metric in metrics}
    rows = [row for row in published_for(task, split, method) if row.metric.casefold() in titles]
    if not rows:
        raise UsageError(
            f"no published number of {task}:{split} has {method!r} in its method; see leaderboards/README.md"
        )
    rows.sort(key=lambda row: metrics.index(titles[row.metric.casefold()]))
    return [PublishedCell(titles[r.metric.casefold()], r.method, r.value, r.trust, r.source) for r in rows]


def _warnings(runs: Sequence[ScoredRun], protocols: Sequence[str]) -> list[str]:
    """What else than the model differs, samples that were scored without an answer, and each run's notes."""
    found = []
    first = runs[0].run.manifest.signature[protocols[0]]
    for run in runs[1:]:
        signature = run.run.manifest.signature.get(protocols[0], "")
        for name, (one, other) in differences(first, signature).items():
            found.append(f"{run.name} differs from {runs[0].name} in {name}: {other} instead of {one}")
    for run in runs:
        missing = run.run.metrics["counters"]["missing"]
        if missing:
            found.append(f"{run.name} ({run.run.path}) has no answer to {missing} samples; they were scored by rule")
        found += run.notes
    return found


def _slices(first: ScoredRun, run: ScoredRun, index: int, protocol: str, metric: str, seed: int) -> list[SliceCell]:
    """Differences of one metric in every slice that the first run's records define, and that is large enough."""
    others = {record.id: record for record in run.records[protocol]}
    found = []
    for name, values in sliced(first.records[protocol]).items():
        for value, members in values.items():
            if len(members) < SLICE_MIN:
                continue
            mine = first.task.measured(members, protocol)
            theirs = first.task.measured([others[record.id] for record in members], protocol)
            pair = ({metric: mine[metric]}, {metric: theirs[metric]})
            difference = compare_metrics(*pair, seed, lower_is_better=first.task.metadata.lower_is_better).get(metric)
            one, other = mine[metric].value, theirs[metric].value
            if difference is not None and one is not None and other is not None:
                found.append((name, value, len(members), one, other, difference))
    corrected = holm({f"{name} {value}": difference.p for name, value, _, _, _, difference in found})
    cells = [
        SliceCell(index, name, value, n, one, other, difference, corrected[f"{name} {value}"])
        for name, value, n, one, other, difference in found
    ]
    sign = -1 if metric in first.task.metadata.lower_is_better else 1
    return sorted(cells, key=lambda cell: sign * cell.difference.value * cell.n)


def _changes(first: ScoredRun, run: ScoredRun, index: int, protocol: str, metric: str) -> list[Change]:
    one, other = (sample_values(each, protocol, metric) for each in (first, run))
    phrases = {record.id: record.phrase for record in first.records[protocol]}
    changed = [name for name in one if name in other and one[name] != other[name]]
    changed.sort(key=lambda name: (-abs(other[name] - one[name]), name))
    return [Change(index, name, phrases[name], one[name], other[name]) for name in changed[:CHANGED_SHOWN]]
