"""Why a metric counts fewer samples than there are, and why two runs count different ones.

In: records and metrics of checked runs. Out: sentences, made of what the samples that are left out have in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from samtok_eval.metrics.cards import card
from samtok_eval.metrics.ratio import Metric, Ratio, Sums
from samtok_eval.prediction import Record
from samtok_eval.reports.runs import ScoredRun
from samtok_eval.reports.summary import metric_order

WITHOUT_TARGET = "without a target"
KINDS: tuple[tuple[str, Callable[[Record], bool]], ...] = (
    (WITHOUT_TARGET, lambda record: record.no_target),
    ("with a target", lambda record: not record.no_target),
    ("whose target has no pixel", lambda record: not record.gt_area),
    ("at which the copied scorer stops", lambda record: record.crashed),
)
"""What samples may have in common that a metric leaves out."""


def counted_notes(run: ScoredRun, protocol: str) -> list[str]:
    """Which samples the metrics of a protocol leave out, metrics that leave out the same in one sentence."""
    records, metrics = run.records[protocol], run.metrics(protocol)
    groups: dict[tuple[int, str], list[str]] = {}
    for name in metric_order(run.task, metrics):
        left_out = _left_out(metrics[name], len(records))
        if left_out is not None and left_out.any():
            rows = np.flatnonzero(left_out).tolist()
            others = np.flatnonzero(~left_out).tolist()
            why = _in_common([records[row] for row in rows], [records[row] for row in others])
            groups.setdefault((len(others), why), []).append(card(name).title)
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
            rows = np.flatnonzero(which).tolist()
            if rows:
                left_out = [other.records[protocol][row] for row in rows]
                kind = f" {WITHOUT_TARGET}" if all(record.no_target for record in left_out) else ""
                status = Counter(record.status for record in left_out)
                reasons = ", ".join(f"{word} ({count})" for word, count in status.most_common())
                verb = "counts" if len(rows) == 1 else "count"
                parts.append(
                    f"{len(rows)}{kind} {verb} for {counting} alone; for {leaving_out} the status is {reasons}"
                )
        found.setdefault("; ".join(parts), []).append(card(name).title)
    return [f"{', '.join(titles)}: n differs. {why[0].upper()}{why[1:]}." for why, titles in found.items()]


def _left_out(metric: Metric, count: int) -> np.ndarray | None:
    """Samples that a metric does not count, (samples,); None where it does not say so."""
    if isinstance(metric, Ratio) and len(metric.denominators) == count:
        return np.asarray(np.asarray(metric.denominators) == 0)
    if isinstance(metric, Sums) and len(metric.statistics) == count and metric.n == count:
        return np.zeros(count, dtype=bool)
    return None


def _in_common(left_out: Sequence[Record], counted: Sequence[Record]) -> str:
    """What tells the samples that are left out from those that count."""
    for what, holds in KINDS:
        if all(map(holds, left_out)) and not any(map(holds, counted)):
            return what
    status = {record.status for record in left_out}
    if not status & {record.status for record in counted}:
        return f"of status {', '.join(sorted(status))}"
    return "that it has no value for"
