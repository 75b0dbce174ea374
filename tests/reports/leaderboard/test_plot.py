"""Where the points of a size-against-score plot lie."""

from __future__ import annotations

import pytest

from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, plot_of
from samtok_eval.reports.leaderboard.published_file import PublishedValue
from samtok_eval.reports.leaderboard.table import sections
from tests.support.results import PAPER


def table_of(*rows, metric="cIoU"):
    """Of RefCOCO val: (size, value) of m0, m1, ..."""
    values = [
        PublishedValue("RefCOCO", "val", metric, f"m{i}", size, number, "own", PAPER)
        for i, (size, number) in enumerate(rows)
    ]
    return sections(values, [], load_tasks())[0].tables[0]


FOUR = (("1B", "60.0"), ("10B", "80.0"), ("100B", "70.0"), ("1B", "50.0"))


def test_sizes_are_logarithmic_and_values_are_not():
    table = table_of(*FOUR)
    points = {table.rows[point.row].name: point for point in plot_of(table).points}
    one, ten, hundred = (points[name].x for name in ("m0", "m1", "m2"))
    assert ten - one == pytest.approx(hundred - ten, abs=0.2)
    assert points["m0"].y - points["m2"].y == pytest.approx(points["m2"].y - points["m1"].y, abs=0.2)
    assert points["m1"].y < points["m0"].y, "more is higher"
    assert all(LEFT <= p.x <= WIDTH - RIGHT and TOP <= p.y <= HEIGHT - BOTTOM for p in points.values())


def test_the_front_holds_what_no_smaller_or_equal_model_reaches():
    table = table_of(*FOUR)
    plot = plot_of(table)
    assert [table.rows[point.row].name for point in plot.front] == ["m0", "m1"]
    x, y = ([getattr(point, axis) for point in plot.front] for axis in "xy")
    assert plot.line == f"{x[0]:g},{y[0]:g} {x[1]:g},{y[0]:g} {x[1]:g},{y[1]:g} {WIDTH - RIGHT},{y[1]:g}"


def test_labels_enclose_the_values_in_round_steps():
    plot = plot_of(table_of(("1B", "61.3"), ("2B", "62.1"), ("3B", "64.9"), ("5B", "70.2")))
    assert [tick.text for tick in plot.up] == ["60", "65", "70", "75"]
    assert [tick.text for tick in plot.across] == ["1B", "2B", "5B"]


def test_an_axis_with_one_round_size_has_its_ends_labelled():
    plot = plot_of(table_of(("3B", "61"), ("4B", "62"), ("7B", "64"), ("8B", "70")))
    assert [tick.text for tick in plot.across] == ["3B", "8B"]


def test_small_models_are_labelled_in_millions():
    plot = plot_of(table_of(("3.0M", "1"), ("20M", "2"), ("500M", "3"), ("1B", "4")))
    assert [tick.text for tick in plot.across] == ["5M", "20M", "100M", "500M"]


@pytest.mark.parametrize(
    "rows",
    [
        FOUR[:3],
        (*FOUR[:3], ("<=8B", "75.0")),
        (*FOUR[:3], ("", "75.0")),
        (("7B", "1.0"), ("7B", "2.0"), ("7B", "3.0"), ("7B", "4.0")),
        (),
    ],
)
def test_few_points_one_size_or_no_exact_sizes_are_not_drawn(rows):
    assert plot_of(table_of(*(rows or [("", "1.0")]))) is None


def test_equal_values_are_drawn():
    plot = plot_of(table_of(("1B", "5.0"), ("2B", "5.0"), ("3B", "5.0"), ("4B", "5.0")))
    assert len({point.y for point in plot.points}) == 1 and len(plot.front) == 1


def test_what_is_better_when_smaller_is_not_drawn():
    assert plot_of(table_of(*FOUR, metric="#tuples")) is None
