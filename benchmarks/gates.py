"""Simulated gates: how often they are wrong, how often they decide, and how many pictures they ask.

`python -m benchmarks.gates` prints the tables of docs/compare_and_gate.md and docs/statistics.md. Every gate is the
program's own: made-up pictures with a known true difference go through the same statistics and verdicts as answers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import beta
from tabulate import tabulate

from samtok_eval.metrics.gcg import _average_precision_of_ties, average_precision
from samtok_eval.metrics.ratio import Array, Estimate, Pictures, Ranked, Ratio, Sums, mean_of
from samtok_eval.registry import load_tasks
from samtok_eval.reports.gate.early import EarlyVerdicts, Schedule
from samtok_eval.reports.gate.tolerances import Tolerances
from samtok_eval.reports.gate.verdict import Evidence, judge
from samtok_eval.sequential import Looks
from samtok_eval.statistics import PairedStep, compare_metrics, intervals, paired_steps

Generator = np.random.Generator
METRIC = "giou"
"""Under whose card, a share of which more is better, all families are judged."""
TASK = load_tasks()["gres"]
CLASSES = 6


@dataclass(frozen=True)
class Family:
    """A kind of metric, drawn with a known true difference."""

    name: str
    draw: Callable[[Generator, int, float], tuple[Array, Array]]
    """(generator, pictures, true difference) -> statistics of baseline and candidate, a row per picture."""
    metric: Callable[[Array], Estimate]
    """Statistics of some pictures -> the metric."""
    tolerance: float
    """For which the pictures of these simulations have the power to decide."""
    pictures: int = 600
    draws: int = 200
    """Of what is not linear, per look."""


def names(pictures: int) -> list[str]:
    return [str(picture) for picture in range(pictures)]


def _means(rng: Generator, pictures: int, difference: float) -> tuple[Array, Array]:
    """Per-picture scores whose difference has a standard deviation of .112."""
    hard = rng.normal(0.75, 0.1, pictures)
    before, after = (hard + rng.normal(shift, 0.112 / 2**0.5, pictures) for shift in (0, difference))
    return before[:, None], after[:, None]


def _pixels(rng: Generator, pictures: int, difference: float) -> tuple[Array, Array]:
    """Intersections and unions; pictures differ in size."""
    unions = rng.lognormal(6, 0.5, pictures)
    scores = _means(rng, pictures, difference)
    before, after = (np.column_stack([score[:, 0] * unions, unions]) for score in scores)
    return before, after


def _rare(rng: Generator, pictures: int, difference: float) -> tuple[Array, Array]:
    """Nearly always right; what is lost is lost altogether."""
    before = (rng.random(pictures) < 0.97).astype(float)
    after = np.where(rng.random(pictures) < 0.02, rng.random(pictures) < 0.97, before)
    after = np.where(rng.random(pictures) < -difference / 0.97, 0.0, after)
    return before[:, None], after[:, None]


def _captions(rng: Generator, pictures: int, difference: float) -> tuple[Array, Array]:
    """Matched words, words of the caption, words of its reference."""
    hard = rng.normal(0.5, 0.08, pictures)
    sides = []
    for shift in (0, difference):
        words, references = (rng.integers(8, 13, pictures) for _ in range(2))
        matched = 10 * (hard + rng.normal(shift, 0.06, pictures))
        sides.append(np.column_stack([matched, words, references]))
    return sides[0], sides[1]


def _harmonic(sums: Array) -> Array:
    """METEOR without its penalty: 0.85 of the weight is recall's."""
    matched, words, references = sums.T
    found: Array = 1 / (0.15 * words / matched + 0.85 * references / matched)
    return found


def _masks(rng: Generator, pictures: int, difference: float) -> tuple[Array, Array]:
    """Up to four answered masks, right or wrong, and as many true ones; -1 where there is no mask."""
    count = rng.integers(1, 5, pictures)
    there = np.arange(4) < count[:, None]
    # With as many answers as true masks AP50 is near the square of the share of right ones.
    right = 0.8
    shares = (right, (right**2 + difference) ** 0.5)
    luck = rng.random((pictures, 4))
    again = np.where(rng.random((pictures, 4)) < 0.5, luck, rng.random((pictures, 4)))
    before, after = (np.where(there, u < share, -1.0) for u, share in zip((luck, again), shares, strict=True))
    return before, after


def _ranked(rows: Array) -> Ranked:
    items = [[hit for hit in row if hit >= 0] for row in rows.tolist()]
    return Ranked(items, [len(mine) for mine in items], names(len(rows)), average_precision)


def _tied(rows: Array) -> Sums:
    said = (rows >= 0).sum(axis=1)
    columns = np.column_stack([(rows == 1).sum(axis=1), said, said]).astype(float)
    return Sums(columns, names(len(rows)), _average_precision_of_ties)


def _predicates(rng: Generator, pictures: int, difference: float) -> tuple[Array, Array]:
    """Per class the picture's recall, and whether the picture has it; some classes are rare."""
    has = rng.random((pictures, CLASSES)) < np.linspace(0.1, 0.6, CLASSES)
    hard = rng.normal(0.5, 0.1, (pictures, CLASSES))
    before, after = (
        np.hstack([np.where(has, hard + rng.normal(shift, 0.08, has.shape), 0), has]) for shift in (0, difference)
    )
    return before, after


def _mean_recall(sums: Array) -> Array:
    recalls, there = sums[:, :CLASSES], sums[:, CLASSES:]
    found: Array = (recalls / np.maximum(there, 1)).sum(axis=1) / np.maximum((there > 0).sum(axis=1), 1)
    return found


FAMILIES = (
    Family("mean", _means, lambda rows: mean_of(rows[:, 0], names(len(rows))), 0.02),
    Family("ratio", _pixels, lambda rows: Ratio(rows[:, 0], rows[:, 1], names(len(rows))), 0.02),
    Family("rare losses", _rare, lambda rows: mean_of(rows[:, 0], names(len(rows))), 0.03),
    Family("METEOR", _captions, lambda rows: Sums(rows, names(len(rows)), _harmonic), 0.02),
    Family("AP50, ties", _masks, _tied, 0.08),
    Family("AP50, ranked", _masks, _ranked, 0.08, pictures=300, draws=60),
    Family("mean recall", _predicates, lambda rows: Sums(rows, names(len(rows)), _mean_recall), 0.02),
)


def _uneven(rng: Generator, pictures: int, difference: float) -> tuple[Array, Array]:
    """Intersections and unions of very unequal pictures, a tenth of which are missed altogether."""
    unions = rng.lognormal(6, 1, pictures)
    scores = np.where(rng.random(pictures) < 0.1, 0.0, rng.beta(12, 2, pictures))
    rows = np.column_stack([scores * unions, unions])
    return rows, np.column_stack([(scores + difference) * unions, unions])


UNEVEN = Family("ratio, uneven", _uneven, lambda rows: Ratio(rows[:, 0], rows[:, 1], names(len(rows))), 0.02)


@dataclass(frozen=True)
class Outcome:
    """One simulated gate."""

    verdict: str
    pictures: int


def early_gate(family: Family, difference: float, seed: int, looks: int) -> Outcome:
    """A gate that looks several times at pictures with this true difference."""
    before, after = family.draw(np.random.default_rng(seed), family.pictures, difference)

    def step(seen: int) -> PairedStep:
        pair = family.metric(before[:seen]), family.metric(after[:seen])
        return paired_steps({METRIC: pair[0]}, {METRIC: pair[1]}, seed, family.draws)[METRIC]

    return looked_at(step, family.pictures, looks, family.tolerance)


def looked_at(step: Callable[[int], PairedStep], pictures: int, looks: int, tolerance: float) -> Outcome:
    """What a gate says that asks for the difference over the first pictures, again and again."""
    counts = [round(pictures * (look + 1) / looks) for look in range(looks)]
    schedule = Schedule(tuple(count / pictures for count in counts), {look: look for look in range(looks)})
    allowed = Tolerances(tolerance={METRIC: 100 * tolerance})
    state = EarlyVerdicts(TASK, allowed, [METRIC], {METRIC: schedule}, {})
    for look, count in enumerate(counts):
        state.look(look, {METRIC: step(count)})
        if state.is_known("verdict"):
            break
    return Outcome(state.verdicts[METRIC].verdict, count)


def fixed_gate(family: Family, difference: float, seed: int) -> Outcome:
    """A gate over two finished runs of pictures with this true difference."""
    rows = family.draw(np.random.default_rng(seed), family.pictures, difference)
    before, after = map(family.metric, rows)
    found = compare_metrics({METRIC: before}, {METRIC: after}, seed, draws=family.draws, permutations=999)[METRIC]
    evidence = Evidence(
        before.value or 0.0, after.value or 0.0, found.low, found.high, found.p_worse, found.margin, found.error,
        found.pictures,
    )  # fmt: skip
    allowed = Tolerances(tolerance={METRIC: 100 * family.tolerance})
    return Outcome(judge(TASK, METRIC, evidence, allowed, 1).verdict, family.pictures)


def normal_gate(difference: float, seed: int) -> Outcome:
    """The gate of docs/compare_and_gate.md: 1,500 pictures, a paired deviation of .112, 1 point, 15 looks."""
    values = np.random.default_rng(seed).normal(difference, 0.112, 1500)

    def step(seen: int) -> PairedStep:
        mine = values[:seen]
        return PairedStep(0.7, 0.7 + float(mine.mean()), float(mine.std(ddof=1)) / seen**0.5, seen)

    return looked_at(step, 1500, 15, 0.01)


def share_of(outcomes: Sequence[Outcome], verdict: str) -> float:
    return sum(outcome.verdict == verdict for outcome in outcomes) / len(outcomes)


def lower_bound(outcomes: Sequence[Outcome], verdict: str, confidence: float = 0.99) -> float:
    """One-sided bound below the true share of a verdict (Clopper and Pearson 1934)."""
    hits = sum(outcome.verdict == verdict for outcome in outcomes)
    return float(beta.ppf(1 - confidence, hits, len(outcomes) - hits + 1)) if hits else 0.0


def gates_table(repetitions: int) -> str:
    """The simulation of the page: what is said, and how many pictures are asked."""
    rows = []
    for points in (0.0, -0.5, -1.0, -2.0, -3.0):
        found = [normal_gate(points / 100, seed) for seed in range(repetitions)]
        false = {0.0: "regression", -1.0: "pass"}.get(points)
        asked = float(np.mean([outcome.pictures for outcome in found]))
        rows.append([
            f"{points:g}", f"{asked:.0f}", f"{100 * asked / 1500:.0f} %",
            *(f"{100 * share_of(found, word):.1f} %" for word in ("pass", "regression", "undecided")),
            f"{100 * lower_bound(found, false):.1f} %" if false else "",
        ])  # fmt: skip
    head = ["true difference", "pictures", "of 1,500", "pass", "regression", "undecided", "false, 99 % lower bound"]
    return tabulate(rows, head, tablefmt="pipe", disable_numparse=True)


def levels_table(repetitions: int) -> str:
    """Per kind of metric the share of false regressions at 0 / of false passes at a loss of the tolerance, in %."""
    rows = []
    for family in FAMILIES:
        row = [family.name]
        for early in (True, False):
            shares = []
            for difference, word in ((0.0, "regression"), (-family.tolerance, "pass")):
                found = [
                    early_gate(family, difference, seed, 5) if early else fixed_gate(family, difference, seed)
                    for seed in range(repetitions)
                ]
                shares.append(f"{100 * share_of(found, word):.1f}")
            row.append(" / ".join(shares))
        rows.append(row)
    return tabulate(rows, ["metric", "five looks", "finished runs"], tablefmt="pipe", disable_numparse=True)


def rules_table(repetitions: int) -> str:
    """The rule of this program beside others at the same level, over the same paths."""
    pictures = np.arange(1, 16) * 100
    shares = pictures / 1500
    steps = np.random.default_rng(0).normal(size=(repetitions, 15)) * (1 / 15) ** 0.5
    chance = steps.cumsum(axis=1) / np.sqrt(shares)
    # A sequential probability ratio test of 0 against the tolerance, with the threshold at which its level is .05.
    drift = 0.01 / 0.112
    ratio = 2.6 / (drift * np.sqrt(pictures)) + drift * np.sqrt(pictures) / 2
    ratio[-1] = 1.95
    bounds = {
        f"Wang-Tsiatis {a:g}, {b:g}": (Looks(tuple(shares), 0.05, a).bounds, Looks(tuple(shares), 0.05, b).bounds)
        for a, b in ((0, 0), (0.25, 0.25), (0.25, 0.4), (0.25, 0.5), (0.4, 0.4), (0.5, 0.5))
    } | {"likelihood ratio": (ratio, ratio)}
    rows = []
    for name, (gain, loss) in bounds.items():
        row = [name]
        for difference in (0.0, -0.01, -0.02):
            statistic = chance + difference / 0.112 * np.sqrt(pictures)
            lost = statistic * 0.112 / np.sqrt(pictures) < -0.01
            passed = _first(statistic + drift * np.sqrt(pictures) >= gain)
            regressed = _first((-statistic >= loss) & lost)
            asked = pictures[np.minimum(np.minimum(passed, regressed), 14)].mean()
            word = 100 * np.array([np.mean((passed < 15) & (passed <= regressed)), np.mean(regressed < passed)])
            row.append(f"{asked:.0f} ({word[0]:.1f} / {word[1]:.1f})")
        rows.append(row)
    head = ["rule (pass, regression)", "at 0: pictures (pass / regression, %)", "at -1", "at -2"]
    return tabulate(rows, head, tablefmt="pipe", disable_numparse=True)


def _first(hits: np.ndarray) -> np.ndarray:
    return np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1])


def truth_of(family: Family) -> float:
    """The true value, from very many pictures."""
    rows, _ = family.draw(np.random.default_rng(0), 200_000, 0.0)
    return family.metric(rows).value or 0.0


def coverage(family: Family, pictures: int, repetitions: int, few: int | None) -> float:
    """Share of simulated runs of so many pictures whose 95 % interval holds the true value.

    Args:
        family: that has a value without an order of its pictures.
        pictures: of each run.
        repetitions: simulated runs.
        few: below how many pictures Student's t is used; None for the bias-corrected bootstrap.
    """
    truth, held = truth_of(family), 0
    for seed in range(repetitions):
        mine, _ = family.draw(np.random.default_rng([seed, 7]), pictures, 0.0)
        metric = family.metric(mine)
        found = corrected(metric, seed) if few is None else intervals({METRIC: metric}, seed, 400, few=few)[METRIC]
        held += found is not None and found[0] <= truth <= found[1]
    return held / repetitions


def corrected(metric: Estimate, seed: int, draws: int = 400) -> tuple[float, float]:
    """Percentiles corrected for bias and skewness (BCa, Efron 1987), one picture per sample."""
    number = len(metric.clusters)
    if isinstance(metric, Ranked) or metric.value is None:
        raise TypeError("expected a metric of sums")
    totals = metric.totals(Pictures([metric.clusters]))
    weights = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=draws)
    drawn = metric.formula(weights @ totals)
    without = metric.formula(totals.sum(axis=0) - totals)
    below = (np.mean(drawn < metric.value) + np.mean(drawn <= metric.value)) / 2
    bias = ndtri(np.clip(below, 0.5 / draws, 1 - 0.5 / draws))
    steps = without.mean() - without
    skew = (steps**3).sum() / 6 / max(float((steps**2).sum()) ** 1.5, 1e-300)
    moved = bias + ndtri(np.array([0.025, 0.975]))
    low, high = np.quantile(drawn, ndtr(bias + moved / (1 - skew * moved)))
    return float(low), float(high)


def coverage_table(repetitions: int) -> str:
    """Per number of pictures the coverage of percentiles / of corrected ones / of Student's t, in %."""
    numbers = (10, 15, 20, 30, 39)
    rows = []
    for family in (*(family for family in FAMILIES if family.metric is not _ranked), UNEVEN):
        row = [family.name]
        for pictures in numbers:
            shares = [coverage(family, pictures, repetitions, few) for few in (0, None, pictures + 1)]
            row.append(" / ".join(f"{100 * share:.1f}" for share in shares))
        rows.append(row)
    return tabulate(rows, ["metric", *map(str, numbers)], tablefmt="pipe", disable_numparse=True)


def main() -> None:
    """Write all tables."""
    for title, table in (
        ("1,000 simulated gates: 1,500 pictures, deviation .112, tolerance 1 point, 15 looks", gates_table(1000)),
        ("False regressions / false passes in % of 1,000 gates each", levels_table(1000)),
        ("Other rules at the same level, 100,000 paths each", rules_table(100_000)),
        ("Coverage of 95 % intervals, 1,000 simulated runs each", coverage_table(1000)),
    ):
        sys.stdout.write(f"{title}\n\n{table}\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
