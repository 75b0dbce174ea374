"""A test that is looked at several times errs as often as it says, and its bounds are the published ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import norm, t

from samtok_eval.sequential import FINEST, Looks, crossing_probabilities, normal_score, shown_score, student_bound


def evenly(looks):
    return tuple((np.arange(looks) + 1) / looks)


def paths(fractions, drift=0.0, repetitions=100_000, seed=0):
    """Statistics at each look, (repetitions, looks)."""
    steps = np.diff([0.0, *fractions])
    moves = np.random.default_rng(seed).normal(drift * steps, np.sqrt(steps), (repetitions, len(steps)))
    return moves.cumsum(axis=1) / np.sqrt(fractions)


@pytest.mark.parametrize(
    ("shape", "looks", "published"),
    [
        (0.5, 2, 2.178), (0.5, 5, 2.413), (0.5, 10, 2.555), (0.5, 20, 2.672),
        (0.0, 2, 1.977), (0.0, 5, 2.040), (0.0, 10, 2.087), (0.0, 20, 2.126),
    ],
)  # fmt: skip
def test_constants_are_those_of_pocock_and_of_o_brien_and_fleming(shape, looks, published):
    """Jennison and Turnbull (2000), tables 2.1 and 2.3: two-sided .05, which is .025 on one side to three digits."""
    assert Looks(evenly(looks), 0.025, shape).bounds[-1] == pytest.approx(published, abs=6e-4)


def test_a_single_look_is_the_usual_test():
    looks = Looks((1.0,), 0.05)
    assert looks.bounds == pytest.approx([norm.ppf(0.95)])
    assert looks.p(0, 1.3) == pytest.approx(norm.sf(1.3))


@pytest.mark.parametrize(
    ("drift", "library"),
    [
        (0.0, [0.0013500, 0.0028152, 0.0072809, 0.0102045, 0.0044798, 0.0164003]),
        (2.5, [0.0135725, 0.0320002, 0.1742965, 0.2636102, 0.0529304, 0.2132886]),
    ],
)
def test_crossing_probabilities_are_those_of_another_program(drift, library):
    """The package gsdesign 0.1.5 (functions h1 and hupdate, 18 points)."""
    found = crossing_probabilities([3.0, 2.7, 2.4, 2.2, 2.1, 1.9], [0.1, 0.15, 0.4, 0.7, 0.72, 1.0], drift)
    assert found == pytest.approx(library, abs=5e-7)


@pytest.mark.parametrize("fractions", [evenly(15), (0.05, 0.07, 0.3, 0.301, 0.9, 1.0)], ids=["even", "uneven"])
@pytest.mark.parametrize("shape", [0.0, 0.25, 0.5])
def test_a_hundred_thousand_simulated_tests_err_as_often_as_alpha(fractions, shape):
    looks = Looks(fractions, 0.05, shape)
    crossed = (paths(fractions) >= looks.bounds).any(axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 100_000) ** 0.5)


def test_power_and_stopping_are_those_of_a_simulation():
    looks = Looks(evenly(15), 0.05)
    exact = crossing_probabilities(looks.bounds, looks.fractions, drift=3.0)
    crossed = paths(looks.fractions, drift=3.0) >= looks.bounds
    first = np.where(crossed.any(axis=1), crossed.argmax(axis=1), 15)
    assert np.bincount(first, minlength=16)[:15] / len(first) == pytest.approx(exact, abs=0.005)


def test_p_is_below_alpha_where_the_test_rejects_and_as_rare_as_it_says_at_any_look():
    fractions = evenly(5)
    looks = Looks(fractions, 0.05)
    assert [looks.p(look, bound) for look, bound in enumerate(looks.bounds)] == pytest.approx([0.05] * 5)
    assert [looks.p(2, x) for x in (-np.inf, -9.0, 9.0, np.inf)] == pytest.approx([1, 1, 0, 0])
    # A walk of five steps is never above 0 with probability (10 over 5) / 2^10 (Sparre Andersen 1953).
    assert looks.p(2, 0.0) == pytest.approx(1 - 252 / 1024)
    smallest = [min(looks.p(look, x) for look, x in enumerate(path)) for path in paths(fractions, repetitions=600)]
    for level in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(np.array(smallest) < level) == pytest.approx(level, abs=3 * (level * (1 - level) / 600) ** 0.5)


def test_the_level_of_a_single_look_is_that_of_its_bound():
    looks = Looks(evenly(3), 0.05)
    assert [looks.level(look) for look in range(3)] == pytest.approx(ndtr(-looks.bounds))
    assert sum(looks.level(look) for look in range(3)) > 0.05


@pytest.mark.parametrize("statistic", [-30.0, -2.5, -0.1, 0.0, 0.3, 2.5, 30.0])
def test_few_pictures_make_a_statistic_less_rare(statistic):
    score = normal_score(statistic, 12)
    # The smaller tail is compared, where neither is rounded.
    assert norm.sf(abs(score)) == pytest.approx(t.sf(abs(statistic), 11), rel=1e-9)
    assert np.sign(score) == np.sign(statistic)
    assert student_bound(score, 12) == pytest.approx(statistic)
    assert normal_score(float("inf"), 12) == float("inf")


@pytest.mark.parametrize(
    ("statistic", "pictures", "expected"),
    [
        # Two pictures that both lose are one of four.
        (np.inf, 2, norm.isf(0.25)),
        (np.inf, 5, norm.isf(0.5**5)),
        (np.inf, 101, 10.0),
        (3.0, 1001, 3 / (1 + 9 / 1000) ** 0.5),
        (-2.0, 12, normal_score(-2.0, 12)),
        (0.0, 2, 0.0),
    ],
)
def test_few_pictures_that_agree_show_little(statistic, pictures, expected):
    assert shown_score(statistic, pictures) == pytest.approx(expected)


def test_the_score_of_a_shown_change_is_never_larger_than_students():
    for statistic in (0.5, 2.0, 4.0, 20.0):
        assert shown_score(statistic, 30) <= normal_score(statistic, 30)


@pytest.mark.parametrize(
    ("fractions", "alpha", "message"),
    [
        ((), 0.05, "end in 1"),
        ((0.5, 0.9), 0.05, "end in 1"),
        ((0.0, 1.0), 0.05, "rise by"),
        ((0.6, 0.6, 1.0), 0.05, "rise by"),
        ((1 - FINEST / 2, 1.0), 0.05, "rise by"),
        ((1.0,), 0.0, "alpha lies"),
        ((1.0,), 1.0, "alpha lies"),
    ],
)
def test_what_are_no_looks_is_refused(fractions, alpha, message):
    with pytest.raises(ValueError, match=message):
        Looks(fractions, alpha)
