"""Two stored results, compared by their intervals alone, as if the two had seen different pictures.

Without records nothing can be paired, so only larger differences are found than between two runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import ndtr, ndtri

from samtok_eval.errors import UsageError
from samtok_eval.metrics.cards import card
from samtok_eval.reports.gate.tolerances import Tolerances
from samtok_eval.reports.gate.verdict import Evidence, GateResult, check_measured, choose_protocol, disagreements, judge
from samtok_eval.reports.result_file import MetricValue, ResultFile
from samtok_eval.reports.summary import metric_order
from samtok_eval.run.signature import HASH_SHOWN
from samtok_eval.statistics import CONFIDENCE, holm
from samtok_eval.task import Task


@dataclass(frozen=True)
class Step:
    """One metric on both sides; shares 0..1."""

    baseline: float
    candidate: float
    error: float | None
    """Standard error of the difference; None where one side has no interval."""
    samples: int
    """That count on the side with fewer."""

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """Of the difference."""
        if self.error is None:
            return None, None
        width = standard_errors(CONFIDENCE) * self.error
        return self.difference - width, self.difference + width

    def p_worse(self, *, lower_is_better: bool) -> float | None:
        """How likely a change for the worse of this size or more is by chance."""
        if self.error is None:
            return None
        gain = -self.difference if lower_is_better else self.difference
        if self.error == 0:
            return 1.0 if gain >= 0 else 0.0
        return float(ndtr(gain / self.error))

    def evidence(self, p: float | None, alpha: float) -> Evidence:
        """What a verdict rests on, with the corrected p."""
        margin = None if self.error is None else float(ndtri(1 - alpha)) * self.error
        values = (self.baseline, self.candidate, *self.interval)
        return Evidence(*values, p, margin, self.error, self.samples, counted_in="samples")


def gate_results(
    task: Task,
    baseline: ResultFile,
    candidate: ResultFile,
    names: tuple[str, str],
    tolerances: Tolerances,
    protocol: str | None,
) -> GateResult:
    """Judge one stored result against another.

    Args:
        task: that both are of.
        baseline: a result.
        candidate: a result on the same data.
        names: of baseline and candidate, as they are shown.
        tolerances: what may be lost.
        protocol: the rules to judge by; the first that both have by default.

    Raises:
        UsageError: other data, or no such protocol on both sides.
        IncompleteRunError: the candidate lacks a metric.
    """
    _check_same_data(baseline, candidate)
    shared = [p.name for p in task.protocols if p.name in baseline.protocols and p.name in candidate.protocols]
    name = choose_protocol(shared, protocol, baseline.task)
    check_measured(baseline.protocols[name], candidate.protocols[name], names[1])
    steps = _steps(task, baseline, candidate, name)
    p_values = {
        metric: step.p_worse(lower_is_better=metric in task.metadata.lower_is_better) for metric, step in steps.items()
    }
    corrected = holm({metric: p for metric, p in p_values.items() if p is not None})
    return GateResult(
        task=baseline.task,
        split=baseline.split,
        protocol=name,
        alpha=tolerances.alpha,
        on_undecided=tolerances.on_undecided,
        names=names,
        paired=False,
        verdicts=[
            judge(
                task, metric, step.evidence(corrected.get(metric), tolerances.alpha), tolerances, max(1, len(corrected))
            )
            for metric, step in steps.items()
        ],
        changed=None,
        warnings=_warnings(baseline, candidate, name),
    )


def standard_errors(confidence: float) -> float:
    """How many standard errors half of an interval holds."""
    return float(ndtri((1 + confidence) / 2))


def _check_same_data(baseline: ResultFile, candidate: ResultFile) -> None:
    hashes = [result.dataset.sha256 for result in (baseline, candidate)]
    if hashes[0] != hashes[1]:
        shown = " and ".join(sha256[:HASH_SHOWN] for sha256 in hashes)
        raise UsageError(f"baseline and candidate saw different data ({shown}); use the same files")


def _steps(task: Task, baseline: ResultFile, candidate: ResultFile, protocol: str) -> dict[str, Step]:
    """The metrics that have a value on both sides, in the order of tables; counts cannot be worse."""
    before, after = baseline.protocols[protocol], candidate.protocols[protocol]
    steps = {}
    for metric in metric_order(task, before):
        values = (before[metric].value, after[metric].value)
        if values[0] is not None and values[1] is not None and not card(metric).is_count:
            errors = (_standard_error(baseline, before[metric]), _standard_error(candidate, after[metric]))
            known = errors[0] is not None and errors[1] is not None
            error = sum(error**2 for error in errors if error is not None) ** 0.5 if known else None
            samples = min(before[metric].n, after[metric].n)
            steps[metric] = Step(values[0], values[1], error, samples)
    return steps


def _standard_error(result: ResultFile, value: MetricValue) -> float | None:
    if value.low is None or value.high is None:
        return None
    confidence = result.intervals.confidence if result.intervals else CONFIDENCE
    return (value.high - value.low) / 2 / standard_errors(confidence)


def _warnings(baseline: ResultFile, candidate: ResultFile, protocol: str) -> list[str]:
    warnings = ["stored results are compared by their intervals alone, which finds only larger differences"]
    methods = [result.intervals.method for result in (baseline, candidate) if result.intervals]
    if len(set(methods)) > 1:
        warnings.append(f"the intervals were made in different ways: {' and '.join(methods)}")
    return warnings + disagreements(baseline.signature[protocol], candidate.signature[protocol])
