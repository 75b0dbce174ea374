"""How sure a number is: intervals, paired comparisons and corrections, all from metrics over Records.

Expressions of one picture are not independent, so whole pictures are drawn or swapped, never single samples. The
bootstrap is the percentile bootstrap over clusters (Efron and Tibshirani 1993; Field and Welsh 2007); for few pictures
Student's t with the error of the jackknife over clusters (Tukey 1958) takes its place. The paired test swaps the two
runs picture by picture (a sign-flip permutation test), McNemar's is exact, corrections are Holm's (1979). Everything is
seeded, and nothing but numpy and scipy is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

import numpy as np
from scipy.special import stdtrit

from samtok_eval.metrics.ratio import Array, Description, Estimate, Metric, Pictures, Ranked, Ratio

DRAWS = 1000
"""Of the bootstrap."""
PERMUTATIONS = 5000
CONFIDENCE = 0.95
FEW = 40
"""Pictures below which the percentile bootstrap is too narrow, see docs/statistics.md."""
ALPHA = 0.05
"""Level of a one-sided test."""
CHUNK_NUMBERS = 1_000_000
"""Weights in memory at once, 8 MB."""
TIE = 1e-12
"""Values closer than this are equal: rounding must not decide a permutation."""

Interval = tuple[float, float]
Test = Literal["sign-flip", "mcnemar", "bootstrap"]


@dataclass(frozen=True)
class Difference:
    """How a second run differs from a first one in one metric; shares 0..1."""

    value: float
    """Second minus first."""
    low: float
    high: float
    """95 % interval of the paired bootstrap."""
    p: float
    """Two-sided, under "the two runs are interchangeable"."""
    p_worse: float
    """One-sided: how likely a change for the worse of this size or more is under the same."""
    test: Test
    wins: int | None
    """Samples on which the second is better; None where the metric has no value per sample."""
    ties: int | None
    losses: int | None
    margin: float | None
    """Change for the better that chance alone exceeds with less than alpha; None where the draws are too few to say.

    Of the same draws as `p_worse`: the run is better than a loss of t, at level alpha, when its gain + t is larger.
    """
    error: float
    """Standard error under the same."""
    pictures: int
    """That count in either run."""


@dataclass(frozen=True)
class PairedStep:
    """How far a second run is from a first one in one metric, and how sure that is; shares 0..1."""

    baseline: float
    candidate: float
    error: float
    """Standard error of their difference over pictures."""
    pictures: int
    """That count in either run."""

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline


def intervals(
    metrics: Mapping[str, Metric], seed: int, draws: int = DRAWS, confidence: float = CONFIDENCE, few: int = FEW
) -> dict[str, Interval | None]:
    """Intervals of several metrics: percentiles over the same draws of pictures, Student's t where there are few.

    Args:
        metrics: by name.
        seed: of the draws.
        draws: number of bootstrap draws.
        confidence: share of draws within the interval.
        few: pictures below which Student's t takes the place of the draws; 0 for draws alone.

    Returns:
        (low, high) by name; None for descriptions and with fewer than two pictures that count.
    """
    return intervals_of_families([("", metrics)], seed, draws, confidence, few)[""]


def intervals_of_families(
    families: Iterable[tuple[str, Mapping[str, Metric]]],
    seed: int,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    few: int = FEW,
) -> dict[str, dict[str, Interval | None]]:
    """`intervals` of families of metrics, such as those of protocols; those about the same pictures share draws.

    Args:
        families: name and metrics of each, taken one after the other; of each only sums per picture are kept.
        seed: of the draws, which begin anew for every family.
        draws: number of bootstrap draws.
        confidence: share of draws within the interval.
        few: pictures below which the interval is Student's.
    """
    found: dict[str, dict[str, Interval | None]] = {}
    groups: list[tuple[Pictures, list[tuple[dict[str, Interval | None], str, Callable[[Array], Array]]]]] = []
    for family, metrics in families:
        mine = found[family] = dict.fromkeys(metrics)
        estimates = [(name, each) for name, each in metrics.items() if not isinstance(each, Description)]
        pictures = Pictures(metric.clusters for _, metric in estimates)
        same = next((group for group in groups if list(group[0]) == list(pictures)), None)
        if same is None:
            groups.append(same := (pictures, []))
        pictures, members = same
        for name, metric in estimates:
            count, draw = _count(metric, pictures), _drawer(metric, pictures)
            if 1 < count < few:
                mine[name] = _of_few(metric, draw, pictures, confidence)
            elif count > 1:
                members.append((mine, name, draw))
        # Those of the next family take their room.
        del metrics, estimates
    for pictures, members in groups:
        values: list[list[Array]] = [[] for _ in members]
        for weights in _weights(len(pictures), seed, draws) if members else ():
            for drawn, (_, _, draw) in zip(values, members, strict=True):
                drawn.append(draw(weights))
        for drawn, (mine, name, _) in zip(values, members, strict=True):
            mine[name] = _interval(np.concatenate(drawn), confidence)
    return found


def compare_metrics(
    first: Mapping[str, Metric],
    second: Mapping[str, Metric],
    seed: int,
    draws: int = DRAWS,
    permutations: int = PERMUTATIONS,
    lower_is_better: Collection[str] = (),
    alpha: float = ALPHA,
) -> dict[str, Difference]:
    """Paired comparison of two runs on the same pictures, for every metric that both have.

    Args:
        first: metrics of the first run.
        second: metrics of the second run, over the same samples in the same order.
        seed: of draws and permutations.
        draws: of the bootstrap.
        permutations: of the sign-flip test; p is never below 1 / (permutations + 1).
        lower_is_better: names of metrics that count failures.
        alpha: level of the margin, one-sided.

    Returns:
        By name; metrics that are absent from one run, or have no value there, are left out.

    Raises:
        ValueError: the runs are about other pictures.
    """
    pairs = _pairs(first, second)
    observed = {name: _value(other) - _value(one) for name, (one, other) in pairs.items()}
    pictures = _pictures_of_pairs(pairs)
    differences = _bootstrap_differences(pairs, pictures, seed, draws)
    flips = _sign_flips(pairs, pictures, seed, permutations)
    found = {}
    for name, (one, other) in pairs.items():
        step = observed[name]
        counted = counting_pictures(one) | counting_pictures(other)
        if 1 < len(counted) < FEW:
            low, high = _student(step, [_drawer(one, pictures), _drawer(other, pictures)], pictures, counted)
        else:
            low, high = _interval(differences[name]) or (step, step)
        sign = -1 if name in lower_is_better else 1
        wins, ties, losses = _wins(one, other, sign)
        test: Test = "sign-flip" if name in flips else "bootstrap"
        null = flips[name] if name in flips else differences[name] - step
        p, p_worse = _share(np.abs(null), abs(step)), _share(-sign * null, -sign * step)
        if wins is not None and losses is not None and _is_independent_accuracy(one, other):
            test, p, p_worse = "mcnemar", mcnemar(wins, losses), mcnemar(wins, losses, "less")
        margin, error = _margin(sign * null, alpha), float(np.nanstd(null))
        found[name] = Difference(step, low, high, p, p_worse, test, wins, ties, losses, margin, error, len(counted))
    return found


def paired_steps(
    baseline: Mapping[str, Metric], candidate: Mapping[str, Metric], seed: int, draws: int = DRAWS
) -> dict[str, PairedStep]:
    """Differences of two runs on the same pictures with their standard errors, for every metric that both have.

    A ratio is linear in its pictures but for terms that vanish with their number, so its error is that of a mean.
    Other formulas of sums are computed again for pictures that are swapped at random, rankings for pictures that are
    drawn again.

    Args:
        baseline: metrics of the one run.
        candidate: metrics of the other, over the same samples in the same order.
        seed: of swaps and draws.
        draws: how many of either.

    Returns:
        By name; metrics without a value in either run, or with fewer than two pictures that count, are left out.

    Raises:
        ValueError: the runs are about other pictures.
    """
    pairs = _pairs(baseline, candidate)
    pictures = _pictures_of_pairs(pairs)
    errors = {name: _linear_error(*pair, pictures) for name, pair in pairs.items() if _are_ratios(pair)}
    others = {name: pair for name, pair in pairs.items() if name not in errors}
    null = _sign_flips(others, pictures, seed, draws) if others else {}
    null |= _bootstrap_differences({k: pair for k, pair in others.items() if k not in null}, pictures, seed, draws)
    errors |= {name: float(np.nanstd(values)) for name, values in null.items()}
    counted = {name: len(counting_pictures(a) | counting_pictures(b)) for name, (a, b) in pairs.items()}
    return {
        name: PairedStep(_value(one), _value(other), errors[name], counted[name])
        for name, (one, other) in pairs.items()
        if counted[name] > 1
    }


def linear_terms(metric: Ratio, pictures: Pictures) -> Array:
    """What each picture adds to a ratio's distance from its own value, (pictures,); they add up to 0.

    With numerator a, denominator b and value r these are (a_i - r b_i) / sum of b, the derivative of the ratio to the
    weight of picture i.
    """
    totals = metric.totals(pictures)
    above, below = totals.sum(axis=0)
    terms: Array = (totals[:, 0] - above / below * totals[:, 1]) / below
    return terms


def mcnemar(wins: int, losses: int, alternative: Literal["two-sided", "less"] = "two-sided") -> float:
    """Exact p of McNemar's test.

    Args:
        wins: samples that only the second run has right.
        losses: samples that only the first run has right.
        alternative: `less` asks whether the second run is worse.
    """
    # Imported here because it takes a second, which every command would pay.
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses, 0.5, alternative).pvalue) if wins + losses else 1.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: p values of which all below alpha keep the family's error at alpha."""
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    found, highest = {}, 0.0
    for rank, (name, p) in enumerate(ordered):
        highest = max(highest, min(1.0, p * (len(ordered) - rank)))
        found[name] = highest
    return {name: found[name] for name in p_values}


def _pairs(first: Mapping[str, Metric], second: Mapping[str, Metric]) -> dict[str, tuple[Estimate, Estimate]]:
    """Metrics that both have, with a value in both, in the order of the first."""
    found: dict[str, tuple[Estimate, Estimate]] = {}
    for name, one in first.items():
        other = second.get(name)
        if isinstance(one, Description) or other is None or isinstance(other, Description):
            continue
        if one.value is not None and other.value is not None:
            found[name] = (one, other)
    return found


def _pictures_of_pairs(pairs: Mapping[str, tuple[Estimate, Estimate]]) -> Pictures:
    pictures = Pictures(one.clusters for one, _ in pairs.values())
    if Pictures(other.clusters for _, other in pairs.values()).keys() != pictures.keys():
        raise ValueError("the two runs are about different pictures; compare runs on the same data")
    return pictures


def _value(metric: Estimate) -> float:
    """The value of a metric that has one."""
    found = metric.value
    if found is None:
        raise ValueError("the metric has no value")
    return found


def _are_ratios(pair: tuple[Estimate, Estimate]) -> TypeGuard[tuple[Ratio, Ratio]]:
    return isinstance(pair[0], Ratio) and isinstance(pair[1], Ratio)


def _linear_error(first: Ratio, second: Ratio, pictures: Pictures) -> float:
    terms = linear_terms(second, pictures) - linear_terms(first, pictures)
    counted = len(counting_pictures(first) | counting_pictures(second))
    return math.sqrt(math.fsum(terms**2) * counted / max(counted - 1, 1))


def _drawer(metric: Estimate, pictures: Pictures) -> Callable[[Array], Array]:
    if isinstance(metric, Ranked):
        return lambda weights: metric.drawn(pictures, weights)
    # Of a metric that is kept its numbers of every sample would be kept, too.
    totals, formula = metric.totals(pictures), metric.formula
    return lambda weights: formula(weights @ totals)


def _weights(pictures: int, seed: int, draws: int) -> Iterator[Array]:
    """How often each picture is drawn, (some draws, pictures), all `draws` of them in turn."""
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK_NUMBERS // pictures)
    for start in range(0, draws, rows):
        some = min(rows, draws - start)
        drawn = rng.integers(pictures, size=(some, pictures), dtype=np.int32)
        drawn += (np.arange(some, dtype=np.int32) * pictures)[:, None]
        yield np.bincount(drawn.ravel(), minlength=some * pictures).reshape(some, pictures).astype(np.float64)


def _signs(pictures: int, seed: int, draws: int) -> Iterator[Array]:
    """1 or -1 for each picture, (some draws, pictures), all `draws` of them in turn."""
    # Another stream than the bootstrap's.
    rng = np.random.default_rng([seed, 1])
    rows = max(1, CHUNK_NUMBERS // pictures)
    for start in range(0, draws, rows):
        some = min(rows, draws - start)
        yield rng.integers(2, size=(some, pictures), dtype=np.int8).astype(np.float64) * 2 - 1


def _bootstrap_differences(
    pairs: Mapping[str, tuple[Estimate, Estimate]], pictures: Pictures, seed: int, draws: int
) -> dict[str, Array]:
    drawers = {name: [_drawer(metric, pictures) for metric in pair] for name, pair in pairs.items()}
    found: dict[str, list[Array]] = {name: [] for name in pairs}
    for weights in _weights(len(pictures), seed, draws) if pairs else ():
        for name, (one, other) in drawers.items():
            found[name].append(other(weights) - one(weights))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _sign_flips(
    pairs: Mapping[str, tuple[Estimate, Estimate]], pictures: Pictures, seed: int, permutations: int
) -> dict[str, Array]:
    """Differences after swapping the two runs in a random half of the pictures, for metrics of sums."""
    halves = {}
    for name, (one, other) in pairs.items():
        if not isinstance(one, Ranked) and not isinstance(other, Ranked):
            a, b = one.totals(pictures), other.totals(pictures)
            halves[name] = (one.formula, (a.sum(axis=0) + b.sum(axis=0)) / 2, (b - a) / 2)
    found: dict[str, list[Array]] = {name: [] for name in halves}
    for signs in _signs(len(pictures), seed, permutations) if halves else ():
        for name, (formula, middle, half) in halves.items():
            swing = signs @ half
            found[name].append(formula(middle + swing) - formula(middle - swing))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _interval(values: Array, confidence: float = CONFIDENCE) -> Interval | None:
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _student(
    value: float,
    drawers: Sequence[Callable[[Array], Array]],
    pictures: Pictures,
    counted: Collection[str],
    confidence: float = CONFIDENCE,
) -> Interval:
    """The interval of Student's t around a value, with the error of the jackknife.

    Args:
        value: of the metric, or second minus first of two.
        drawers: of the metric, or of the two.
        pictures: all.
        counted: those that count, at least two.
        confidence: of the interval.
    """
    number = len(counted)
    without = np.ones((number, len(pictures)))
    without[np.arange(number), [pictures[name] for name in sorted(counted)]] = 0
    values = drawers[-1](without) - (drawers[0](without) if len(drawers) > 1 else 0.0)
    # Where the only picture of a kind is left out, there may be no value.
    values = values[~np.isnan(values)]
    error = float(np.sqrt((number - 1) * np.var(values))) if len(values) else 0.0
    width = float(stdtrit(number - 1, (1 + confidence) / 2)) * error
    return value - width, value + width


def _beyond_agreement(metric: Estimate, counted: int, confidence: float) -> Interval | None:
    """The interval of a share where all pictures are all right or all wrong, exactly that of a binomial share.

    Such pictures have no spread, and what they do not show may still happen (Clopper and Pearson 1934).
    """
    if not isinstance(metric, Ratio) or np.any(np.asarray(metric.denominators) < 0):
        return None
    above, below = (np.asarray(column, dtype=np.float64) for column in (metric.numerators, metric.denominators))
    unseen = 1 - ((1 - confidence) / 2) ** (1 / counted)
    if np.array_equal(above, below):
        return 1 - unseen, 1.0
    return None if above.any() else (0.0, unseen)


def _share(draws: Array, observed: float) -> float:
    """Share of draws at least as high as the observed value, which is one of them."""
    return float((1 + np.sum(draws >= observed - TIE)) / (1 + len(draws)))


def _margin(draws: Array, alpha: float) -> float | None:
    """The least value above which `_share` is below alpha; None where no share of so few draws is."""
    exceeding = math.ceil(alpha * (1 + len(draws))) - 1
    return float(np.sort(draws[~np.isnan(draws)])[-exceeding]) if exceeding else None


def counting_pictures(metric: Estimate) -> set[str]:
    """Pictures that a metric looks at."""
    names = np.asarray(metric.clusters, dtype=np.object_)
    return set((names[np.asarray(metric.denominators) != 0] if isinstance(metric, Ratio) else names).tolist())


def _count(metric: Estimate, pictures: Pictures) -> int:
    """How many pictures a metric looks at."""
    rows = pictures.rows(metric.clusters)
    if isinstance(metric, Ratio):
        rows = rows[np.asarray(metric.denominators) != 0]
    return int(np.count_nonzero(np.bincount(rows, minlength=len(pictures))))


def _of_few(metric: Estimate, draw: Callable[[Array], Array], pictures: Pictures, confidence: float) -> Interval:
    counted = counting_pictures(metric)
    exact = _beyond_agreement(metric, len(counted), confidence)
    return exact or _student(_value(metric), [draw], pictures, counted, confidence)


def _wins(first: Estimate, second: Estimate, sign: int) -> tuple[int, int, int] | tuple[None, None, None]:
    """Samples on which the second is better, equal, worse."""
    if not (isinstance(first, Ratio) and isinstance(second, Ratio) and np.array_equal(first.clusters, second.clusters)):
        return None, None, None
    (before, counted), (after, also_counted) = first.per_sample(), second.per_sample()
    steps = sign * (after - before)[counted & also_counted]
    wins, losses = int(np.count_nonzero(steps > TIE)), int(np.count_nonzero(steps < -TIE))
    return wins, len(steps) - wins - losses, losses


def _is_independent_accuracy(first: Estimate, second: Estimate) -> bool:
    """Whether both are shares of right answers to the same samples, one per picture: what McNemar's test is for."""
    if not isinstance(first, Ratio) or not isinstance(second, Ratio):
        return False
    columns = first.denominators, first.numerators, second.numerators
    return (
        np.array_equal(first.denominators, second.denominators)
        and bool(np.all(np.isin(np.concatenate(columns), (0, 1))))
        and len(counting_pictures(first)) == first.n
    )
