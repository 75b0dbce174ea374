"""Candidates against a baseline, all runs of one task: values, differences, and where the differences come from.

In: checked runs, the baseline first. Out: a `Comparison`, which the table and the HTML report write in their own ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from heapq import nsmallest

import numpy as np
from numpy.typing import NDArray

from samtok_eval.errors import UsageError
from samtok_eval.metrics.cards import card
from samtok_eval.metrics.ratio import Array, Ratio
from samtok_eval.reports.counted import n_differences
from samtok_eval.reports.leaderboard.build import published_for
from samtok_eval.reports.runs import ScoredRun, check_comparable
from samtok_eval.reports.summary import metric_order
from samtok_eval.run.settings import DEMO
from samtok_eval.run.signature import differences as signature_differences
from samtok_eval.run.slices import rows_of_slices
from samtok_eval.statistics import Difference, compare_metrics, holm

CHANGED_SHOWN = 10
SLICE_MIN = 10
"""Samples below which a slice is not compared: its interval would say nothing."""
KEYS = {"baseline": "first", "candidate": "second"}
"""Keys of the JSON file where they are not the names of the fields."""


@dataclass(frozen=True)
class MetricCell:
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
    """To the baseline; None for the baseline itself."""
    p_corrected: float | None
    """Two-sided p, Holm's correction over the metrics of this run and protocol."""


@dataclass(frozen=True)
class SliceCell:
    """The main metric in one slice, under the baseline and a candidate."""

    run: int
    name: str
    value: str
    n: int
    baseline: float
    candidate: float
    difference: Difference
    p_corrected: float
    """Holm's correction over all slices of this run."""


@dataclass(frozen=True)
class Change:
    """A sample whose score changed."""

    run: int
    id: str
    phrase: str
    baseline: float
    candidate: float


@dataclass(frozen=True)
class PublishedCell:
    """A number from a paper, which stands under the protocol `published` and is compared with nothing."""

    metric: str
    method: str
    value: str
    """As printed."""
    trust: str
    source: str
    via: str
    """Of the digest or copy that was read instead; empty where the source itself was."""


@dataclass(frozen=True)
class Comparison:
    """Runs of one task, split and data set; the first is the baseline."""

    runs: Sequence[ScoredRun]
    seed: int
    warnings: list[str]
    cells: list[MetricCell]
    slices: list[SliceCell]
    """Largest loss first."""
    changes: list[Change]
    """Largest change first, of each run."""
    sample_metric: str | None
    """The metric that slices and changes are about, under the first protocol."""
    published: list[PublishedCell] = field(default_factory=list)
    n_differences: list[tuple[str, str]] = field(default_factory=list)
    """Protocol and sentence, where a metric counts other samples of a candidate than of the baseline."""

    def to_json(self) -> dict[str, object]:
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
            "slices": [_in_file(cell) for cell in self.slices],
            "changes": [_in_file(change) for change in self.changes],
            "published": [asdict(cell) for cell in self.published],
            "n_differences": [{"protocol": protocol, "why": line} for protocol, line in self.n_differences],
        }


def compare(
    runs: Sequence[ScoredRun], seed: int = 0, protocols: Sequence[str] | None = None, published: str | None = None
) -> Comparison:
    """Compare candidates with a baseline.

    Args:
        runs: the baseline, then the candidates; all about the same samples.
        seed: of draws and permutations.
        protocols: all that the baseline has, by default.
        published: also show numbers from papers, of methods with this in their names; empty for all.

    Raises:
        UsageError: the runs are of other tasks, splits or data.
        IncompleteRunError: samples are missing in one of them.
    """
    baseline, candidates = runs[0], runs[1:]
    for candidate in candidates:
        check_comparable(baseline, candidate)
    chosen = [name for name in baseline.protocols if protocols is None or name in protocols]
    cells = [cell for protocol in chosen for cell in _metric_cells(runs, protocol, seed)]
    order = metric_order(baseline.task, [cell.metric for cell in cells])
    cells.sort(key=lambda cell: (chosen.index(cell.protocol), order.index(cell.metric), cell.run))
    metric = sample_metric(baseline, chosen[0])
    slices, changes = [], []
    if metric is not None:
        for index, candidate in enumerate(candidates, start=1):
            slices += _slices(baseline, candidate, index, chosen[0], metric, seed)
            changes += _changes(baseline, candidate, index, chosen[0], metric)
    papers = [] if published is None else _published(baseline, order, published)
    counted = [(p, line) for p in chosen for candidate in candidates for line in n_differences(baseline, candidate, p)]
    return Comparison(runs, seed, _warnings(runs, chosen), cells, slices, changes, metric, papers, counted)


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
    values, counts = _per_sample(run, protocol, metric)
    triples = zip(run.records[protocol].id, values.tolist(), counts.tolist(), strict=True)
    return {name: value for name, value, there in triples if there}


def largest_changes(
    baseline: ScoredRun, candidate: ScoredRun, protocol: str, metric: str, count: int, sign: int = 0
) -> list[tuple[str, str, float, float]]:
    """The samples whose values differ most: id, phrase, value of the baseline and of the candidate.

    Args:
        baseline: a run.
        candidate: a run of the same samples in the same order.
        protocol: of both.
        metric: a `sample_metric`.
        count: how many at most; largest first, by id where several are as large.
        sign: 1 or -1 for the largest losses alone of a metric of which more or less is better.
    """
    records = baseline.records[protocol]
    (before, counts), (after, also) = (_per_sample(run, protocol, metric) for run in (baseline, candidate))
    steps = after - before
    sizes = -sign * steps if sign else np.abs(steps)
    rows = np.flatnonzero(counts & also & (sizes > 0))
    if len(rows) > count:
        rows = rows[sizes[rows] >= np.partition(sizes[rows], -count)[-count]]
    found = nsmallest(count, zip(-sizes[rows], records.id[rows], rows.tolist(), strict=True))
    return [(name, records.phrase[row], float(before[row]), float(after[row])) for _, name, row in found]


def _per_sample(run: ScoredRun, protocol: str, metric: str) -> tuple[Array, NDArray[np.bool_]]:
    found = run.metrics(protocol)[metric]
    if not isinstance(found, Ratio):
        raise TypeError(f"{metric} has no value per sample")
    return found.per_sample()


def _metric_cells(runs: Sequence[ScoredRun], protocol: str, seed: int) -> Iterator[MetricCell]:
    """Every metric of the runs under one protocol, candidates with their differences to the baseline."""
    task, baseline = runs[0].task, runs[0].metrics(protocol)
    for index, run in enumerate(runs):
        if protocol not in run.records:
            continue
        differences: dict[str, Difference] = {}
        if index:
            lower = task.metadata.lower_is_better
            differences = compare_metrics(baseline, run.metrics(protocol), seed, lower_is_better=lower)
        corrected = holm({name: difference.p for name, difference in differences.items()})
        values = run.run.metrics[protocol]
        for name in metric_order(task, values):
            difference, p = differences.get(name), corrected.get(name)
            yield MetricCell(protocol, name, index, **values[name], difference=difference, p_corrected=p)


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
    return [PublishedCell(titles[r.metric.casefold()], r.method, r.value, r.trust, r.source, r.via) for r in rows]


def _warnings(runs: Sequence[ScoredRun], protocols: Sequence[str]) -> list[str]:
    """What else than the model differs, samples that were scored without an answer, and each run's notes."""
    warnings = []
    baseline = runs[0].run.manifest.signature[protocols[0]]
    for run in runs[1:]:
        candidate = run.run.manifest.signature.get(protocols[0], "")
        for name, (expected, found) in signature_differences(baseline, candidate).items():
            warnings.append(f"{run.name} differs from {runs[0].name} in {name}: {found} instead of {expected}")
    for run in runs:
        missing = run.run.metrics["counters"]["missing"]
        if missing:
            warnings.append(f"{run.name} ({run.run.path}) has no answer to {missing} samples; they were scored by rule")
        warnings += run.notes
    return warnings


def _slices(
    baseline: ScoredRun, candidate: ScoredRun, index: int, protocol: str, metric: str, seed: int
) -> list[SliceCell]:
    """Differences of one metric in every slice that the baseline's records define, and that is large enough."""
    # Both hold the same samples in the same order, see `check_comparable`.
    records, answered = baseline.records[protocol], candidate.records[protocol]
    lower = baseline.task.metadata.lower_is_better
    cells = []
    for name, value, rows in rows_of_slices(records):
        if len(rows) < SLICE_MIN:
            continue
        before, after = (baseline.task.measured(mine.take(rows), protocol)[metric] for mine in (records, answered))
        difference = compare_metrics({metric: before}, {metric: after}, seed, lower_is_better=lower).get(metric)
        if difference is not None and before.value is not None and after.value is not None:
            place = (index, name, value, len(rows))
            cells.append(SliceCell(*place, before.value, after.value, difference, difference.p))
    corrected = holm({f"{cell.name} {cell.value}": cell.difference.p for cell in cells})
    cells = [replace(cell, p_corrected=corrected[f"{cell.name} {cell.value}"]) for cell in cells]
    sign = -1 if metric in lower else 1
    return sorted(cells, key=lambda cell: sign * cell.difference.value * cell.n)


def _changes(baseline: ScoredRun, candidate: ScoredRun, index: int, protocol: str, metric: str) -> list[Change]:
    return [Change(index, *row) for row in largest_changes(baseline, candidate, protocol, metric, CHANGED_SHOWN)]


def _in_file(row: SliceCell | Change) -> dict[str, object]:
    return {KEYS.get(name, name): value for name, value in asdict(row).items()}
