"""A plan says how many pictures a verdict takes, and where it knows the spread from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from samtok_eval.errors import UsageError
from samtok_eval.metrics.ratio import Pictures
from samtok_eval.reports.gate.plan import plan, plan_table
from samtok_eval.reports.gate.tolerances import parse_tolerances
from samtok_eval.reports.runs import read_scored
from samtok_eval.statistics import FEW, linear_terms
from tests.conftest import right, shifted
from tests.support.command import command


@pytest.fixture
def pair(make_run):
    return [read_scored(make_run(name, masks)) for name, masks in (("before", shifted(2)), ("after", shifted(9)))]


def giou(baseline, candidate, words=("giou=0.5",), power=0.9):
    return next(
        row for row in plan(baseline, candidate, parse_tolerances(words), power).metrics if row.metric == "giou"
    )


def test_twice_the_tolerance_takes_a_quarter_of_the_pictures(pair):
    strict, lenient = (giou(*pair, [f"giou={points}"]).pictures_needed for points in (0.5, 1.0))
    assert strict == pytest.approx(4 * lenient, abs=4)
    assert giou(*pair, power=0.95).pictures_needed > strict


def test_the_loss_that_is_found_lies_beyond_the_tolerance(pair):
    row = giou(*pair)
    assert row.tolerance == 0.005 < row.loss_found < 3 * row.tolerance and not row.enough


def test_runs_that_do_not_differ_still_need_the_rule_of_three(pair):
    assert giou(pair[0], pair[0]).pictures_needed == 600


def test_one_run_shows_no_difference_so_its_spread_is_assumed(pair):
    alone, both = (plan(pair[0], candidate, parse_tolerances(["giou=0.5"]), 0.9) for candidate in (None, pair[1]))
    assert "ASSUMED" in plan_table(alone) and "ASSUMED" not in plan_table(both)
    assert not alone.measured and all(row.spread >= 0 for row in alone.metrics)


def test_the_assumed_spread_of_few_pictures_is_that_of_the_metric_over_them(pair):
    metric = pair[0].metrics("strict")["giou"]
    pictures = Pictures([metric.clusters])
    number = len(pictures)
    assert number < FEW
    error = (np.sum(linear_terms(metric, pictures) ** 2) * number / (number - 1)) ** 0.5
    assert giou(pair[0], None).spread == pytest.approx(error * number**0.5, rel=0.05)


def test_no_number_of_pictures_shows_equality(pair):
    assert giou(*pair, ["giou=0"]).pictures_needed is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("giou", "expected METRIC=POINTS"),
        ("giou=much", "expected METRIC=POINTS"),
        ("giuo=1", "no metric 'giuo'; did you mean giou"),
        ("giou=-1", "greater than or equal to 0"),
    ],
)
def test_a_wrong_tolerance_is_refused(word, message):
    with pytest.raises(UsageError, match=message):
        parse_tolerances([word])


def test_the_command_writes_table_and_json(make_run, tmp_path):
    run = make_run("run", right)
    done = command("plan", "--baseline", run, "--tolerance", "giou=0.5", "--json", tmp_path / "plan.json")
    assert done.returncode == 0 and "Plan: gres:val" in done.stdout, done.stderr
    (row,) = [row for row in json.loads((tmp_path / "plan.json").read_text())["metrics"] if row["metric"] == "giou"]
    assert row["tolerance"] == 0.005 and row["pictures_needed"] > row["pictures"] and row["enough"] is False
