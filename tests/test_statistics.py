"""Intervals cover, tests keep their level, and pictures, not samples, are what is drawn."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from scipy.stats import bootstrap, kstest, permutation_test
from scipy.stats import t as scipy_t

from samtok_eval import statistics
from samtok_eval.metrics.gcg import ap50
from samtok_eval.metrics.ratio import Description, Pictures, Ratio, Sums, mean_of
from samtok_eval.prediction import Record
from samtok_eval.statistics import compare_metrics, holm, intervals, mcnemar, paired_steps


def pixels(rng, pictures=60, each=3, shift=0.0):
    """A cumulative IoU whose samples depend on their picture; its true value is (0.6 + shift)."""
    clusters = [str(picture) for picture in range(pictures) for _ in range(each)]
    hardness = np.repeat(rng.normal(0, 0.15, pictures), each)
    unions = rng.integers(100, 2000, pictures * each).astype(float)
    shares = np.clip(0.6 + shift + hardness + rng.normal(0, 0.05, pictures * each), 0, 1)
    return Ratio((shares * unions).tolist(), unions.tolist(), clusters)


def test_the_interval_of_ciou_covers_the_truth():
    covered = 0
    for seed in range(500):
        low, high = intervals({"ciou": pixels(np.random.default_rng(seed))}, seed)["ciou"]
        covered += low <= 0.6 <= high
    assert 0.92 <= covered / 500 <= 0.98


def test_pictures_are_drawn_not_samples():
    metric = pixels(np.random.default_rng(0), pictures=40, each=20)
    alone = Ratio(metric.numerators, metric.denominators, [str(i) for i in range(800)])
    (low, high), (near_low, near_high) = (intervals({"m": m}, 0)["m"] for m in (metric, alone))
    assert high - low > 2 * (near_high - near_low)


def test_values_of_a_draw_are_those_of_the_repeated_samples():
    metric = pixels(np.random.default_rng(1), pictures=7, each=2)
    pictures = Pictures([[str(picture) for picture in range(7)]])
    weights = next(statistics._weights(7, seed=3, draws=5))
    for times, value in zip(weights, metric.formula(weights @ metric.totals(pictures)), strict=True):
        rows = [i for i, name in enumerate(metric.clusters) for _ in range(int(times[pictures[name]]))]
        repeated = mean_of([0] * len(rows), [""] * len(rows))
        repeated = Ratio(
            [metric.numerators[i] for i in rows], [metric.denominators[i] for i in rows], repeated.clusters
        )
        assert value == pytest.approx(repeated.value)


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        (mean_of([1.0, 0.0], ["a", "a"]), "one picture"),
        (mean_of([1.0, 0.0], ["a", "b"], [True, False]), "one picture that counts"),
        (mean_of([], []), "nothing"),
        (Description(12.0, 30), "a description"),
    ],
)
def test_there_is_no_interval_of(metric, why):
    assert intervals({"m": metric}, 0) == {"m": None}, why


def test_the_same_seed_gives_the_same_interval_in_any_company():
    metric = pixels(np.random.default_rng(0))
    together = intervals({"a": metric, "b": mean_of(metric.numerators, metric.clusters)}, 5)["a"]
    assert intervals({"a": metric}, 5)["a"] == together != intervals({"a": metric}, 6)["a"]


def test_numbers_of_a_family_have_left_memory_when_the_next_is_made():
    numbers = []

    def families():
        for name in ("strict", "official", "samtok"):
            assert all(number() is None for number in numbers)
            values = np.linspace(0, 1, 200)
            numbers.append(weakref.ref(values))
            ratio = mean_of(values, [str(i % 50) for i in range(200)])
            sums = Sums(np.column_stack([values, values]), ratio.clusters, lambda sums: sums[:, 0])
            yield name, {"ratio": ratio, "sums": sums}
            del values, ratio, sums

    found = statistics.intervals_of_families(families(), seed=0, draws=20)
    assert found["strict"] == found["samtok"]
    assert len(numbers) == 3


def test_chunks_change_nothing(monkeypatch):
    metric, other = (pixels(np.random.default_rng(seed)) for seed in (0, 1))
    whole = intervals({"m": metric}, 0), compare_metrics({"m": metric}, {"m": other}, 0)
    monkeypatch.setattr(statistics, "CHUNK_NUMBERS", 60 * 7)
    assert (intervals({"m": metric}, 0), compare_metrics({"m": metric}, {"m": other}, 0)) == whole


@pytest.mark.parametrize("ties", [True, False])
def test_average_precision_has_an_interval_and_a_comparison(ties):
    rng = np.random.default_rng(0)

    def run(share):
        hits = [[float(rng.random() < share) for _ in range(4)] for _ in range(30)]
        records = [
            Record(str(i), str(i), "strict", "ok", values={"truths": 4.0}, series={"hits": h})
            for i, h in enumerate(hits)
        ]
        return {"ap50": ap50(records, ties=ties)}

    better, worse = run(0.8), run(0.4)
    low, high = intervals(better, 0)["ap50"]
    assert low < better["ap50"].value < high
    found = compare_metrics(better, worse, 0)["ap50"]
    assert found.high < 0 and found.p < 0.01 and found.p_worse < 0.01
    assert found.test == ("sign-flip" if ties else "bootstrap")


def test_a_run_does_not_differ_from_itself():
    metric = pixels(np.random.default_rng(0))
    found = compare_metrics({"m": metric}, {"m": metric}, 0)["m"]
    assert (found.value, found.low, found.high, found.p, found.p_worse) == (0, 0, 0, 1, 1)
    assert (found.wins, found.ties, found.losses) == (0, 180, 0)


def test_p_values_of_equal_runs_are_uniform():
    def p(seed):
        rng = np.random.default_rng(seed)
        hardness = rng.normal(0.6, 0.2, 80)
        runs = [mean_of((hardness + rng.normal(0, 0.1, 80)).tolist(), [str(i) for i in range(80)]) for _ in range(2)]
        return compare_metrics({"m": runs[0]}, {"m": runs[1]}, seed, draws=10, permutations=400)["m"].p

    assert kstest([p(seed) for seed in range(300)], "uniform").pvalue > 0.01


def test_a_fall_is_worse_and_a_rise_is_not():
    one, lower = pixels(np.random.default_rng(0)), pixels(np.random.default_rng(0), shift=-0.05)
    fall = compare_metrics({"m": one}, {"m": lower}, 0)["m"]
    rise = compare_metrics({"m": lower}, {"m": one}, 0)["m"]
    assert fall.value == pytest.approx(-rise.value) and fall.losses == rise.wins == 180 - fall.ties - fall.wins
    assert fall.p_worse < 0.001 < 0.99 < rise.p_worse
    assert fall.low < fall.value < fall.high < 0


def test_lower_values_can_be_the_better_ones():
    pictures = [str(i) for i in range(20)]
    few, many = mean_of([0.0] * 20, pictures), mean_of([0.0] * 8 + [1.0] * 12, pictures)
    found = compare_metrics({"failures": few}, {"failures": many}, 0, lower_is_better=("failures",))["failures"]
    assert found.value == 0.6 and found.losses == 12 and found.p_worse < 0.001


def test_accuracy_with_one_question_a_picture_is_compared_with_mcnemar():
    pictures = [str(i) for i in range(20)]
    one, other = (
        mean_of([1.0] * 14 + [0.0] * 6, pictures),
        mean_of([1.0] * 4 + [0.0] * 10 + [1.0] * 2 + [0.0] * 4, pictures),
    )
    found = compare_metrics({"accuracy": one}, {"accuracy": other}, 0)["accuracy"]
    assert (found.test, found.wins, found.ties, found.losses) == ("mcnemar", 2, 8, 10)
    # 2 of 12 discordant pairs: (1 + 12 + 66) / 2^12 on one side.
    assert found.p_worse == pytest.approx(79 / 4096)
    assert found.p == pytest.approx(2 * 79 / 4096)


def test_accuracy_with_several_questions_a_picture_is_not():
    pictures = [str(i // 2) for i in range(20)]
    runs = [mean_of([1.0] * 14 + [0.0] * 6, pictures), mean_of([0.0] * 20, pictures)]
    assert compare_metrics({"a": runs[0]}, {"a": runs[1]}, 0)["a"].test == "sign-flip"


def test_mcnemar_without_a_discordant_pair_is_one():
    assert mcnemar(0, 0) == 1


def test_runs_about_other_pictures_are_refused():
    with pytest.raises(ValueError, match="different pictures"):
        compare_metrics({"m": mean_of([1.0], ["a"])}, {"m": mean_of([1.0], ["b"])}, 0)


def test_metrics_without_a_value_or_in_one_run_only_are_left_out():
    empty = mean_of([1.0], ["a"], [False])
    one = {"x": mean_of([1.0], ["a"]), "n_acc": empty, "used": Description(3.0, 1), "y": mean_of([1.0], ["a"])}
    other = {"x": mean_of([1.0], ["a"]), "n_acc": empty, "used": Description(3.0, 1)}
    assert list(compare_metrics(one, other, 0)) == ["x"]


def test_a_formula_of_sums_is_resampled_like_the_ratio_that_it_is():
    ratio = pixels(np.random.default_rng(0))
    columns = np.column_stack([ratio.numerators, ratio.denominators])
    sums = Sums(columns, ratio.clusters, lambda sums: sums[:, 0] / sums[:, 1])
    assert intervals({"m": sums}, 0)["m"] == pytest.approx(intervals({"m": ratio}, 0)["m"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"a": 0.01, "b": 0.04, "c": 0.03}, {"a": 0.03, "b": 0.06, "c": 0.06}),
        ({"a": 0.5, "b": 0.6}, {"a": 1.0, "b": 1.0}),
        ({}, {}),
    ],
)
def test_holm(given, expected):
    assert holm(given) == pytest.approx(expected)


def test_few_pictures_have_the_interval_of_students_t():
    values = np.random.default_rng(3).normal(0.6, 0.1, 12)
    metric = mean_of(values, [str(i) for i in range(12)])
    expected = scipy_t.interval(0.95, 11, values.mean(), values.std(ddof=1) / 12**0.5)
    assert intervals({"m": metric}, 0)["m"] == pytest.approx(expected)
    found = compare_metrics({"m": mean_of(np.zeros(12), metric.clusters)}, {"m": metric}, 0)["m"]
    assert (found.low, found.high) == pytest.approx(expected)


def test_the_jackknife_of_a_ratio_and_of_a_formula_that_is_one_agree():
    metric = pixels(np.random.default_rng(2), pictures=15)
    sums = Sums(np.column_stack([metric.numerators, metric.denominators]), metric.clusters, metric.formula)
    assert intervals({"m": sums}, 0)["m"] == pytest.approx(intervals({"m": metric}, 0)["m"])
    low, high = intervals({"m": metric}, 0, few=0)["m"]
    wide_low, wide_high = intervals({"m": metric}, 0)["m"]
    assert wide_low < low < high < wide_high


@pytest.mark.parametrize("pictures", [statistics.FEW - 1, statistics.FEW])
def test_many_pictures_keep_the_percentiles(pictures):
    metric = pixels(np.random.default_rng(2), pictures=pictures)
    same = intervals({"m": metric}, 0)["m"] == intervals({"m": metric}, 0, few=0)["m"]
    assert same is (pictures == statistics.FEW)


def test_what_few_pictures_agree_on_may_still_be_otherwise():
    pictures = [str(i) for i in range(10)]
    right, wrong = (mean_of([share] * 10, pictures) for share in (1.0, 0.0))
    # 0.025 is (1 - 0.308)^10.
    assert intervals({"m": right}, 0)["m"] == pytest.approx((1 - 0.3085, 1), abs=1e-4)
    assert intervals({"m": wrong}, 0)["m"] == pytest.approx((0, 0.3085), abs=1e-4)


def test_statistics_are_those_of_scipy():
    values = np.random.default_rng(5).beta(5, 2, 200)
    ours = intervals({"m": mean_of(values, [str(i) for i in range(200)])}, 0, draws=4000)["m"]
    drawn = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
    assert ours == pytest.approx(tuple(drawn.confidence_interval), abs=0.002)
    other = values + np.random.default_rng(6).normal(-0.02, 0.1, 200)
    pair = ({"m": mean_of(side, [str(i) for i in range(200)])} for side in (values, other))
    flips = permutation_test(
        (other - values,), np.mean, permutation_type="samples", n_resamples=5000, alternative="less",
        rng=np.random.default_rng(2),
    )  # fmt: skip
    assert compare_metrics(*pair, seed=0)["m"].p_worse == pytest.approx(flips.pvalue, abs=0.005)


def test_statistics_are_those_of_statsmodels():
    pytest.importorskip("statsmodels", reason="a package of the extra dev")
    from statsmodels.api import OLS
    from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.proportion import proportion_confint

    p_values = np.random.default_rng(0).random(9) ** 3
    ours = holm({str(i): p for i, p in enumerate(p_values)})
    assert list(ours.values()) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert mcnemar(3, 11) == pytest.approx(their_mcnemar([[0, 3], [11, 0]], exact=True).pvalue)
    everything_right = mean_of([1.0] * 12, [str(i) for i in range(12)])
    assert intervals({"m": everything_right}, 0)["m"] == pytest.approx(proportion_confint(12, 12, method="beta"))
    # The error of a mean over samples of several per picture is that of a regression with clusters.
    metric = pixels(np.random.default_rng(1), pictures=30, each=4)
    scores = np.array(metric.per_sample()[0])
    before, after = mean_of(np.zeros(120), metric.clusters), mean_of(scores, metric.clusters)
    groups = np.array([int(name) for name in metric.clusters])
    fit = OLS(scores, np.ones(120)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True})
    assert paired_steps({"m": before}, {"m": after}, 0)["m"].error == pytest.approx(fit.cov_params()[0, 0] ** 0.5)


def test_a_step_has_the_error_of_what_changes_it():
    """Ratios by their linear terms, other sums by swaps, rankings by draws: all agree where all can be used."""
    rng = np.random.default_rng(0)
    before, after = pixels(rng, pictures=300, each=1), pixels(np.random.default_rng(1), pictures=300, each=1)
    columns = [np.column_stack([m.numerators, m.denominators]) for m in (before, after)]
    sums = [Sums(rows, before.clusters, before.formula) for rows in columns]
    linear, swapped = (
        paired_steps({"m": one}, {"m": other}, 0, draws=4000)["m"] for one, other in ((before, after), sums)
    )
    assert swapped.error == pytest.approx(linear.error, rel=0.05)
    assert (swapped.difference, swapped.pictures) == (pytest.approx(linear.difference), 300)
    pictures = statistics.Pictures([before.clusters])
    assert statistics.linear_terms(before, pictures).sum() == pytest.approx(0)


def test_steps_of_metrics_without_two_pictures_or_a_value_are_left_out():
    one = mean_of([1.0, 0.0], ["a", "b"], [True, False])
    assert paired_steps({"m": one, "d": Description(1.0, 2)}, {"m": one, "d": Description(1.0, 2)}, 0) == {}
    two = mean_of([1.0, 0.0], ["a", "b"])
    assert list(paired_steps({"m": two, "n": two}, {"m": two}, 0)) == ["m"]
