"""What a gate says: a verdict per metric, and what stands beside it.

A metric has regressed when it is worse by more than its tolerance and the one-sided p, Holm-corrected over the metrics
of the gate, is below alpha.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field

from samtok_eval.errors import IncompleteRunError, SamtokError, UsageError
from samtok_eval.reports.gate.tolerances import Tolerances
from samtok_eval.run.signature import differences
from samtok_eval.task import Task


class RegressionError(SamtokError):
    """The candidate is worse."""

    exit_code = 4


@dataclass(frozen=True)
class Verdict:
    """One metric; shares 0..1."""

    metric: str
    baseline: float
    candidate: float
    low: float | None
    high: float | None
    """95 % interval of the difference."""
    tolerance: float
    p: float | None
    """One-sided, corrected; None where a stored result has no interval, so that nothing can be said."""
    regressed: bool

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline


@dataclass(frozen=True)
class Changed:
    """How many answers changed, at three depths; each holds the next."""

    samples: int
    text: int
    codes: int
    masks: int


@dataclass(frozen=True)
class Fall:
    """A sample that the candidate does worse on."""

    id: str
    baseline: float
    candidate: float


@dataclass(frozen=True)
class GateResult:
    """The verdict on one task and split."""

    task: str
    split: str
    protocol: str
    alpha: float
    names: tuple[str, str]
    """Models of baseline and candidate."""
    paired: bool
    """Compared sample by sample, not by intervals."""
    verdicts: list[Verdict]
    changed: Changed | None
    """None where the answers are not at hand."""
    falls: list[Fall] = field(default_factory=list)
    """The samples that lost most in `sample_metric`."""
    sample_metric: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def regressed(self) -> list[Verdict]:
        """Metrics that are worse."""
        return [verdict for verdict in self.verdicts if verdict.regressed]

    def to_json(self) -> dict[str, object]:
        """Everything, as plain values."""
        rows = [asdict(verdict) | {"difference": verdict.difference} for verdict in self.verdicts]
        return asdict(self) | {"verdicts": rows, "passed": not self.regressed}


def judge(
    task: Task,
    metric: str,
    values: tuple[float, float],
    interval: tuple[float | None, float | None],
    p: float | None,
    tolerances: Tolerances,
) -> Verdict:
    """The verdict on one metric.

    Args:
        task: says whether less of the metric is better.
        metric: its name.
        values: of baseline and candidate, shares 0..1.
        interval: of the difference; None where it is not known.
        p: one-sided and corrected; None where it is not known.
        tolerances: what may be lost.
    """
    tolerance = tolerances.of(task.metadata.name, metric)
    baseline, candidate = values
    loss = candidate - baseline if metric in task.metadata.lower_is_better else baseline - candidate
    regressed = p is not None and loss > tolerance and p < tolerances.alpha
    return Verdict(metric, baseline, candidate, *interval, tolerance, p, regressed)


def choose_protocol(shared: Sequence[str], asked: str | None, where: str) -> str:
    """The protocol to judge by.

    Args:
        shared: those that both sides have, in the task's order.
        asked: the one that the user named; None for the first.
        where: what the error names.

    Raises:
        UsageError: not both sides have it.
    """
    if asked is None and shared:
        return shared[0]
    if asked is None or asked not in shared:
        raise UsageError(f"{where}: both sides have the protocols {', '.join(shared) or 'none'}, not {asked}")
    return asked


def check_measured(baseline: Collection[str], candidate: Collection[str], name: str) -> None:
    """Refuse a candidate that lacks a metric: it was not measured, which is no pass.

    Args:
        baseline: metrics of the baseline.
        candidate: metrics of the candidate.
        name: the candidate's.

    Raises:
        IncompleteRunError: which metrics are missing.
    """
    lacking = sorted(set(baseline) - set(candidate))
    if lacking:
        raise IncompleteRunError(
            f"{name} has no {', '.join(lacking)}, which the baseline has; score it with the same tools installed"
        )


def disagreements(baseline: str, candidate: str) -> list[str]:
    """What else than the model two signatures differ in, as warnings."""
    return [
        f"not only the model differs: {name} is {found}, in the baseline {expected}"
        for name, (expected, found) in differences(baseline, candidate).items()
    ]
