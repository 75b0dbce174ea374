"""Gates over made-up pictures with a known true difference: how often they are wrong, and that they decide.

`make test-statistics` repeats each a thousand times; `make test` a few times, which shows a gate that is broken.
"""

from __future__ import annotations

import pytest
from scipy.stats import binom

from benchmarks.gates import FAMILIES, coverage, early_gate, fixed_gate, lower_bound, normal_gate, share_of

ALPHA = 0.05
LOOKS = 5
FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
RULE = pytest.mark.parametrize("early", [True, False], ids=["early", "fixed"])


def outcomes(family, difference, early, repetitions, looks=LOOKS):
    if early:
        return [early_gate(family, difference, seed, looks) for seed in range(repetitions)]
    return [fixed_gate(family, difference, seed) for seed in range(repetitions)]


def at_most(repetitions):
    """Hits that a share of alpha exceeds in one of a thousand simulations."""
    return int(binom.ppf(0.999, repetitions, ALPHA))


def hits(found, verdict):
    return sum(outcome.verdict == verdict for outcome in found)


@FAMILY
def test_a_few_early_gates_are_seldom_wrong_and_mostly_decide(family):
    few = 12
    equal, worse = (outcomes(family, d * family.tolerance, True, few, looks=3) for d in (0, -1))
    assert hits(equal, "regression") <= at_most(few) and hits(worse, "pass") <= at_most(few)
    assert hits(equal, "pass") >= few / 2


@pytest.mark.statistics
@RULE
@FAMILY
def test_the_level_holds_at_no_difference_and_at_a_loss_of_the_tolerance(family, early):
    repetitions = 1000
    equal = outcomes(family, 0.0, early, repetitions)
    worse = outcomes(family, -family.tolerance, early, repetitions)
    assert hits(equal, "regression") <= at_most(repetitions)
    assert hits(worse, "pass") <= at_most(repetitions)


@pytest.mark.statistics
@RULE
@FAMILY
def test_equal_candidates_pass_and_clear_losses_are_found(family, early):
    repetitions = 1000
    assert share_of(outcomes(family, 0.0, early, repetitions), "pass") >= 0.75
    assert share_of(outcomes(family, -2 * family.tolerance, early, repetitions), "regression") >= 0.9


@pytest.mark.statistics
def test_a_thousand_gates_of_1500_pictures_err_as_alpha_allows_and_ask_half_or_a_fifth():
    runs = {points: [normal_gate(points / 100, seed) for seed in range(1000)] for points in (0.0, -1.0, -2.0)}
    assert lower_bound(runs[0.0], "regression") <= ALPHA and lower_bound(runs[-1.0], "pass") <= ALPHA
    pictures = {points: sum(o.pictures for o in found) / 1000 / 1500 for points, found in runs.items()}
    assert pictures[0.0] <= 0.55 and pictures[-2.0] <= 0.30
    assert share_of(runs[0.0], "pass") >= 0.9 and share_of(runs[-2.0], "regression") >= 0.97


def test_a_few_gates_of_1500_pictures_save_half_or_more():
    equal, worse = ([normal_gate(points / 100, seed) for seed in range(15)] for points in (0.0, -2.0))
    assert sum(o.pictures for o in equal) / 15 <= 0.65 * 1500 and sum(o.pictures for o in worse) / 15 <= 0.3 * 1500
    assert hits(equal, "regression") <= at_most(15) and hits(worse, "regression") >= 14


@pytest.mark.statistics
@pytest.mark.parametrize("pictures", [10, 15, 20, 30, 39])
@pytest.mark.parametrize("family", [f for f in FAMILIES if f.name not in ("rare losses", "AP50, ranked")],
                         ids=lambda family: family.name)  # fmt: skip
def test_intervals_of_few_pictures_cover_the_true_value(family, pictures):
    held = coverage(family, pictures, 1000, few=pictures + 1)
    assert 0.915 <= held <= 0.975
    assert held >= coverage(family, pictures, 1000, few=0) - 0.01


@pytest.mark.parametrize("family", FAMILIES[:2], ids=lambda family: family.name)
def test_intervals_of_ten_pictures_cover_better_than_percentiles(family):
    held, percentiles = (coverage(family, 10, 150, few) for few in (11, 0))
    assert held >= 0.9 and held > percentiles
