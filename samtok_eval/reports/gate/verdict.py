"""What a gate says: a verdict per metric, and what stands beside it.

Two one-sided tests at level alpha, of the same draws. A metric passes when a loss of its tolerance is ruled out. It has
regressed when it lost more than its tolerance and p, Holm-corrected over the metrics of the gate, is below alpha.
Otherwise it is undecided, and the pictures that would decide are named. A loss that is shown but lies within the
tolerance passes, with its size.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from typing import Literal, TypeAlias

from samtok_eval.errors import IncompleteRunError, SamtokError, UsageError
from samtok_eval.metrics.cards import card
from samtok_eval.reports.format import p_value
from samtok_eval.reports.gate.power import pictures_to_find, pictures_to_pass, unseen_rate
from samtok_eval.reports.gate.tolerances import OnUndecided, Tolerances
from samtok_eval.run.signature import differences
from samtok_eval.task import Task

Word: TypeAlias = Literal["pass", "regression", "undecided"]
StoppedBy: TypeAlias = Literal["verdict", "end", "budget"]
"""The verdict is known, nothing is left to ask, or no more may be."""


class RegressionError(SamtokError):
    """The candidate is worse."""

    exit_code = 4


class UndecidedError(SamtokError):
    """The candidate is neither shown to be worse nor shown to be as good, and the caller wants to know it."""

    exit_code = 6


@dataclass(frozen=True)
class Evidence:
    """What two sides have in one metric, and how far chance reaches; shares 0..1."""

    baseline: float
    candidate: float
    low: float | None
    high: float | None
    """95 % interval of the difference."""
    p: float | None
    """One-sided, corrected; None where a stored result has no interval, so that nothing can be said."""
    margin: float | None
    """Loss beyond the one seen that chance may hide, one-sided at alpha."""
    error: float | None
    """Standard error of the difference."""
    pictures: int
    """That count for the metric."""
    counted_in: Literal["pictures", "samples"] = "pictures"
    """What `pictures` are: a stored result knows its samples only."""
    level: float | None = None
    """Of the single test, where several looks share alpha; None where there is one look."""

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline


@dataclass(frozen=True)
class Verdict(Evidence):
    """The verdict on one metric; shares 0..1."""

    # Fields after a default are keywords.
    _: KW_ONLY
    metric: str
    tolerance: float
    tolerance_is_default: bool
    """Whether none was given."""
    verdict: Word
    loss: float
    """Of the candidate, below 0 where it is better."""
    largest_loss: float | None
    """The loss that is not ruled out, one-sided at alpha; below 0 where the candidate is shown to be better."""
    shown_worse: bool
    """Whether chance alone does not explain the loss, however small."""
    pictures_needed: int | None
    """Of an undecided metric: with which this difference and spread would decide; None where no number would."""
    look: int | None = None
    """From 1, at which the verdict was reached, or the last one; None where there is one look."""

    @property
    def regressed(self) -> bool:
        """Whether the metric is worse."""
        return self.verdict == "regression"

    @property
    def reason(self) -> str:
        """Why, in a few words; numbers in points."""
        if self.regressed:
            return f"lost {_points(self.loss)}, p {p_value(self.p)}"
        if self.largest_loss is None:
            return "nothing is known of chance here"
        if self.verdict == "pass":
            small = f"; lost {_points(self.loss)}, p {p_value(self.p)}" if self.shown_worse else ""
            return f"{_bound(self.largest_loss)}{small}"
        if self.loss > self.tolerance:
            return f"lost {_points(self.loss)}, which may be chance; {self._needed}"
        return f"{_bound(self.largest_loss)}; {self._needed}"

    @property
    def _needed(self) -> str:
        if self.pictures_needed is None:
            return f"no number of {self.counted_in} would decide"
        # A spread is an estimate: its further digits would say nothing.
        needed = float(f"{self.pictures_needed:.2g}")
        return f"about {needed:,.0f} {self.counted_in} would decide, here {self.pictures:,}"


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
class Early:
    """How far a gate that asked the candidate itself had to go."""

    looks: int
    """That were made."""
    of_looks: int
    pictures: int
    """That were asked."""
    of_pictures: int
    samples: int
    of_samples: int
    masks: int
    """Decoded masks of the answers so far."""
    masks_reused: int
    """Of those, taken from the baseline instead of decoded."""
    stopped_by: StoppedBy
    path: str
    """Folder of the candidate's run."""
    complete_with: str
    """The command that asks the rest; empty where there is none."""


@dataclass(frozen=True)
class GateResult:
    """The verdict on one task and split."""

    task: str
    split: str
    protocol: str
    alpha: float
    on_undecided: OnUndecided
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
    early: Early | None = None
    """None of two finished runs."""
    repeated: float | None = None
    """Share of the batches on which the baseline's model was asked again, so that its noise is in the intervals."""
    unseen: list[str] = field(default_factory=list)
    """Metrics for which no picture counted when the gate stopped, so that they are undecided."""
    left_out: list[str] = field(default_factory=list)
    """Metrics of a judge, which a gate that asks does not gate."""
    n_differences: list[str] = field(default_factory=list)
    """Why metrics count other samples of the candidate than of the baseline; stored results do not say."""

    @property
    def regressed(self) -> list[Verdict]:
        """Metrics that are worse."""
        return [verdict for verdict in self.verdicts if verdict.regressed]

    @property
    def undecided(self) -> list[Verdict]:
        """Metrics of which neither was shown."""
        return [verdict for verdict in self.verdicts if verdict.verdict == "undecided"]

    @property
    def verdict(self) -> Word:
        """The worst of the metrics'; what undecided ones do is said by `passed`."""
        if self.regressed:
            return "regression"
        return "undecided" if self.undecided or self.unseen else "pass"

    @property
    def passed(self) -> bool:
        """Whether the command ends well."""
        return not self.regressed and not (self.verdict == "undecided" and self.on_undecided == "fail")

    @property
    def passed_by_option(self) -> bool:
        """Whether it is undecided, and passes because the caller said that undecided metrics do."""
        return self.verdict == "undecided" and self.on_undecided == "pass"

    def to_json(self) -> dict[str, object]:
        """Everything, as plain values."""
        rows = [
            asdict(v) | {"difference": v.difference, "regressed": v.regressed, "reason": v.reason}
            for v in self.verdicts
        ]
        return asdict(self) | {"verdicts": rows, "verdict": self.verdict, "passed": self.passed}


def judge(
    task: Task, metric: str, evidence: Evidence, tolerances: Tolerances, tests: int, look: int | None = None
) -> Verdict:
    """The verdict on one metric.

    Args:
        task: says whether less of the metric is better.
        metric: its name.
        evidence: what was measured of it.
        tolerances: what may be lost, and the level of the tests.
        tests: metrics of the gate, over which p was corrected.
        look: at which it was measured, from 1.
    """
    name, alpha = task.metadata.name, tolerances.alpha
    tolerance = tolerances.of(name, metric)
    loss = evidence.difference if metric in task.metadata.lower_is_better else -evidence.difference
    shown_worse = evidence.p is not None and loss > 0 and evidence.p < alpha
    largest = None
    if evidence.margin is not None:
        # Too few pictures may hide a rare total loss, of which the spread of the others knows nothing.
        lost = evidence.pictures * max(loss, 0.0) / _highest(metric)
        unseen = unseen_rate(evidence.pictures, evidence.level or alpha, lost)
        largest = loss + max(evidence.margin, _highest(metric) * unseen)
    word: Word = "undecided"
    if largest is not None and largest < tolerance:
        word = "pass"
    elif shown_worse and loss > tolerance:
        word = "regression"
    return Verdict(
        **vars(evidence),
        metric=metric,
        tolerance=tolerance,
        tolerance_is_default=tolerances.given(name, metric) is None,
        verdict=word,
        loss=loss,
        largest_loss=largest,
        shown_worse=shown_worse,
        pictures_needed=_pictures_needed(metric, evidence, loss, tolerance, alpha, tests)
        if word == "undecided"
        else None,
        look=look,
    )


def _pictures_needed(
    metric: str, evidence: Evidence, loss: float, tolerance: float, alpha: float, tests: int
) -> int | None:
    """With which the difference and spread seen would most probably decide."""
    if evidence.error is None or loss == tolerance:
        return None
    spread, alpha = evidence.error * evidence.pictures**0.5, evidence.level or alpha
    if loss > tolerance:
        found = pictures_to_find(spread, loss, alpha / tests)
    else:
        found = pictures_to_pass(spread, tolerance - loss, alpha, _highest(metric))
    return max(found, evidence.pictures + 1)


def _highest(metric: str) -> float:
    return card(metric).highest or 1.0


def _bound(largest_loss: float) -> str:
    return f"loss below {_points(largest_loss)}" if largest_loss > 0 else f"better by over {_points(-largest_loss)}"


def _points(share: float) -> str:
    # Two digits: a bound is compared with a tolerance of one.
    return f"{100 * share:.2f}"


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
