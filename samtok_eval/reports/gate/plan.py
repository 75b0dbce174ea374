"""How many pictures a gate will need, before the candidate is run.

In: a finished run, and another where there is one. Out: a row per metric with the pictures from which a candidate that
lost nothing passes, and the loss that is then found as well. The spread of the difference comes from the two runs; of
one run it is assumed to be that of the metric itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from scipy.special import ndtri, stdtrit

from samtok_eval.errors import UsageError
from samtok_eval.metrics.cards import card
from samtok_eval.metrics.ratio import Description
from samtok_eval.reports.format import points
from samtok_eval.reports.gate.power import pictures_to_pass
from samtok_eval.reports.gate.stored import standard_errors
from samtok_eval.reports.gate.tolerances import Tolerances
from samtok_eval.reports.gate.verdict import choose_protocol
from samtok_eval.reports.runs import ScoredRun, check_comparable
from samtok_eval.reports.summary import metric_order
from samtok_eval.reports.table import Table, aligned_text, left, right
from samtok_eval.run.score import FEW_OF_METHOD
from samtok_eval.statistics import CONFIDENCE, compare_metrics, counting_pictures


@dataclass(frozen=True)
class PlannedMetric:
    """One metric; shares 0..1."""

    metric: str
    tolerance: float
    spread: float
    """Standard deviation of the difference over pictures."""
    pictures: int
    """That count for the metric in the baseline."""
    pictures_needed: int | None
    """From which a candidate that lost nothing passes, with the power; None for a tolerance of 0, which has none."""
    loss_found: float | None
    """Loss that so many pictures find, with the power."""

    @property
    def enough(self) -> bool:
        """Whether the baseline's pictures suffice."""
        return self.pictures_needed is not None and self.pictures >= self.pictures_needed


@dataclass(frozen=True)
class Plan:
    """What a gate of one task and split needs."""

    task: str
    split: str
    protocol: str
    alpha: float
    power: float
    measured: bool
    """Whether the spread is that of two runs, not the assumed one."""
    metrics: Sequence[PlannedMetric]

    @property
    def assumption(self) -> str:
        """Where the spread comes from."""
        if self.measured:
            return "Spread: of the difference between the two runs, picture by picture."
        return (
            "Spread: ASSUMED, that of the metric itself, since one run shows no difference. A candidate whose "
            "difference spreads half as much needs a quarter of the pictures; --candidate RUN measures it."
        )

    def to_json(self) -> dict[str, object]:
        """Everything, as plain values."""
        rows = [asdict(row) | {"enough": row.enough} for row in self.metrics]
        return asdict(self) | {"metrics": rows, "assumption": self.assumption}


def plan(
    baseline: ScoredRun,
    candidate: ScoredRun | None,
    tolerances: Tolerances,
    power: float,
    protocol: str | None = None,
    seed: int = 0,
) -> Plan:
    """Pictures that each metric of a gate needs.

    Args:
        baseline: a run.
        candidate: another of the same questions, whose difference is like that of the candidates to come.
        tolerances: what may be lost, and the level of the tests.
        power: probability with which a verdict shall be reached.
        protocol: the rules to judge by; the task's first by default.
        seed: of draws and permutations.

    Raises:
        UsageError: the two answered different questions, there is no such protocol, or no metric has an interval.
        IncompleteRunError: samples are missing in one of the two.
    """
    name = choose_protocol(baseline.protocols, protocol, str(baseline.run.path))
    spreads = _spread_of_metrics(baseline, name)
    if candidate is not None:
        check_comparable(baseline, candidate)
        choose_protocol(candidate.protocols, name, str(candidate.run.path))
        spreads = _spread_of_differences(baseline, candidate, name, seed)
    if not spreads:
        raise UsageError(f"{baseline.run.path}: no metric of {name} has an interval; give a run of more pictures")
    tests = len(spreads)
    rows = [
        _planned(baseline.task.metadata.name, metric, *spreads[metric], tolerances, power, tests)
        for metric in metric_order(baseline.task, spreads)
    ]
    measured = candidate is not None
    return Plan(baseline.task.metadata.name, baseline.split, name, tolerances.alpha, power, measured, rows)


def _spread_of_metrics(run: ScoredRun, protocol: str) -> Mapping[str, tuple[float, int]]:
    """Spread of each metric over the pictures that count for it, and their number, from its interval."""
    found, method = {}, run.run.metrics.intervals
    few = FEW_OF_METHOD.get(method.method, 0) if method else 0
    for name, metric in run.metrics(protocol).items():
        value = run.run.metrics[protocol][name]
        if not isinstance(metric, Description) and value["low"] is not None and value["high"] is not None:
            pictures = len(counting_pictures(metric))
            if pictures < few:
                # A share's interval ends at 0 and 1, so its longer half tells.
                half = max(value["value"] - value["low"], value["high"] - value["value"])
                error = half / float(stdtrit(pictures - 1, (1 + CONFIDENCE) / 2))
            else:
                error = (value["high"] - value["low"]) / 2 / standard_errors(CONFIDENCE)
            found[name] = (error * pictures**0.5, pictures)
    return found


def _spread_of_differences(
    baseline: ScoredRun, candidate: ScoredRun, protocol: str, seed: int
) -> Mapping[str, tuple[float, int]]:
    differences = compare_metrics(baseline.metrics(protocol), candidate.metrics(protocol), seed)
    return {name: (d.error * d.pictures**0.5, d.pictures) for name, d in differences.items()}


def _planned(
    task: str, metric: str, spread: float, pictures: int, tolerances: Tolerances, power: float, tests: int
) -> PlannedMetric:
    tolerance, alpha = tolerances.of(task, metric), tolerances.alpha
    if tolerance == 0:
        return PlannedMetric(metric, tolerance, spread, pictures, None, None)
    needed = pictures_to_pass(spread, tolerance, alpha, card(metric).highest or 1.0, power)
    # A regression is both: larger than the tolerance as seen, and beyond chance after Holm's correction.
    reach = spread / needed**0.5
    found = reach * float(ndtri(power)) + max(tolerance, reach * float(ndtri(1 - alpha / tests)))
    return PlannedMetric(metric, tolerance, spread, pictures, needed, found)


def plan_table(found: Plan) -> str:
    """A row per metric, and where the spread comes from."""
    rows = [
        [
            card(row.metric).title,
            f"{100 * row.tolerance:.2f}",
            points(row.spread),
            f"{row.pictures:,}",
            "never" if row.pictures_needed is None else f"{row.pictures_needed:,}",
            "yes" if row.enough else "no",
            "-" if row.loss_found is None else f"{100 * row.loss_found:.2f}",
        ]
        for row in found.metrics
    ]
    heading = (
        f"Plan: {found.task}:{found.split}, protocol {found.protocol}, one-sided alpha {found.alpha:g}, power "
        f"{found.power:g}. Values x 100; pictures are those that count for the metric."
    )
    columns = [*left("metric"), *right("tolerance", "spread", "pictures here", "pictures needed")]
    table = Table([*columns, *left("enough"), *right("loss found")], rows, [heading], [found.assumption])
    return aligned_text(table)
