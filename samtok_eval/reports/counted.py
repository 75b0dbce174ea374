"""Why a metric counts fewer samples than there are, and why two runs count different ones.

In: records and metrics of checked runs. Out: sentences, made of what the samples that are left out have in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from samtok_eval.metrics.cards import card
from samtok_eval.metrics.ratio import Metric, Ratio, Sums
from samtok_eval.records import Flags, Records
from samtok_eval.reports.runs import ScoredRun
from samtok_eval.reports.summary import metric_order

WITHOUT_TARGET = "without a target"
KINDS: tuple[tuple[str, Callable[[Records], Flags]], ...] = (
    (WITHOUT_TARGET, lambda records: records.no_target),
    ("with a target", lambda records: ~records.no_target),
    ("whose target has no pixel", lambda records: records.gt_area == 0),
    ("at which the copied scorer stops", lambda records: records.crashed),
)
"""What samples may have in common that a metric leaves out."""


def counted_notes(run: ScoredRun, protocol: str) -> list[str]:
    """Which samples the metrics of a protocol leave out, metrics that leave out the same in one sentence."""
    records, metrics = run.records[protocol], run.metrics(protocol)
    groups: dict[tuple[int, str], list[str]] = {}
    for name in metric_order(run.task, metrics):
        left_out = _left_out(metrics[name], len(records))
        if left_out is not None and left_out.any():
            counted = len(records) - int(left_out.sum())
            groups.setdefault((counted, _in_common(records, left_out)), []).append(card(name).title)
    return [
        f"{', '.join(titles)}: n counts {n} of {len(records)} samples, not the {len(records) - n} {why}."
        for (n, why), titles in groups.items()
    ]


def n_differences(baseline: ScoredRun, candidate: ScoredRun, protocol: str) -> list[str]:
    """Where a metric counts other samples of the candidate than of the baseline, and what came back for these."""
    if protocol not in candidate.records:
        return []
    before, after = baseline.metrics(protocol), candidate.metrics(protocol)
    names = (baseline.name, candidate.name)
    if baseline.name == candidate.name:
        names = ("the baseline", "the candidate")
    found: dict[str, list[str]] = {}
    for name in metric_order(baseline.task, before):
        if name not in after:
            continue
        total = len(baseline.records[protocol])
        mine, theirs = (_left_out(metric, total) for metric in (before[name], after[name]))
        if mine is None or theirs is None or (mine == theirs).all():
            continue
        parts = []
        sides = ((theirs & ~mine, names, candidate), (mine & ~theirs, names[::-1], baseline))
        for which, (counting, leaving_out), other in sides:
            count = int(which.sum())
            if count:
                records = other.records[protocol]
                kind = f" {WITHOUT_TARGET}" if records.no_target[which].all() else ""
                status = Counter(records.status[which].tolist())
                reasons = ", ".join(f"{word} ({times})" for word, times in status.most_common())
                verb = "counts" if count == 1 else "count"
                parts.append(f"{count}{kind} {verb} for {counting} alone; for {leaving_out} the status is {reasons}")
        found.setdefault("; ".join(parts), []).append(card(name).title)
    return [f"{', '.join(titles)}: n differs. {why[0].upper()}{why[1:]}." for why, titles in found.items()]


def _left_out(metric: Metric, count: int) -> Flags | None:
    """Samples that a metric does not count, (samples,); None where it does not say so."""
    if isinstance(metric, Ratio) and len(metric.denominators) == count:
        return np.asarray(np.asarray(metric.denominators) == 0)
    if isinstance(metric, Sums) and len(metric.statistics) == count and metric.n == count:
        return np.zeros(count, dtype=bool)
    return None


def _in_common(records: Records, left_out: Flags) -> str:
    """What tells the samples that are left out from those that count."""
    for what, holds in KINDS:
        if np.array_equal(holds(records), left_out):
            return what
    status = set(records.status[left_out].tolist())
    if not status & set(records.status[~left_out].tolist()):
        return f"of status {', '.join(sorted(status))}"
    return "that it has no value for"
