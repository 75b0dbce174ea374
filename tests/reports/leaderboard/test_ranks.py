"""What a rank is worth: places that noise leaves open, and no mark for a difference that is noise."""

from __future__ import annotations

import csv

import pytest

from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard.page import html_page
from samtok_eval.reports.leaderboard.ranks import is_apart, marks_of, rank_ranges, rank_text, unpaired
from samtok_eval.reports.leaderboard.table import sections
from samtok_eval.reports.leaderboard.text import csv_text, latex, markdown
from tests.support.results import printed, result, value


def table_of(*numbers, paired=None, metric="giou"):
    """The table of models m0, m1, ... with these values; intervals are 2 points to either side."""
    options = {"task": "someones_own"} if metric != "giou" else {}
    results = [
        result(f"o/m{i}", protocols={"strict": {metric: value(number)}}, **options) for i, number in enumerate(numbers)
    ]
    return sections([], results, load_tasks(), paired or unpaired)[0].tables[0]


def ranks(table):
    return {row.name: table.rank(row) for row in table.rows}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0.50, 0.60, 0.70], [(3, 3), (2, 2), (1, 1)]),
        ([0.70, 0.69, 0.60], [(1, 2), (1, 2), (3, 3)]),
        # The ends of a chain are apart, each is near the middle.
        ([0.70, 0.67, 0.64], [(1, 2), (1, 3), (2, 3)]),
        ([0.70, 0.70], [(1, 2), (1, 2)]),
        ([0.70], [None]),
    ],
)
def test_places_are_open_where_intervals_overlap(numbers, expected):
    assert ranks(table_of(*numbers)) == {f"o/m{i}": place for i, place in enumerate(expected)}


def test_intervals_that_touch_are_not_apart():
    assert ranks(table_of(0.70, 0.66))["o/m0"] == (1, 2)
    assert is_apart((0.68, 0.72), (0.60, 0.64)) and not is_apart((0.68, 0.72), (0.64, 0.68))
    assert not is_apart((None, None), (0.1, 0.2)) and not is_apart((0.1, 0.2), (None, None))


def test_a_pair_with_records_counts_more_than_intervals():
    """m0 and m1 overlap, and the same pictures still show which is better; of m2 no records are kept."""
    asked = []

    def paired(first, second, protocol, metric):
        asked.append((protocol, metric))
        names = [first.model.name, second.model.name]
        if "o/m2" in names:
            return None
        return (0.001, 0.019) if names == ["o/m1", "o/m0"] else (-0.019, -0.001)

    assert ranks(table_of(0.70, 0.69, 0.68, paired=paired)) == {"o/m0": (1, 2), "o/m1": (2, 3), "o/m2": (1, 3)}
    assert set(asked) == {("strict", "giou")}


def test_every_row_keeps_a_place_and_all_places_are_taken():
    order = [3, 1, 2, 0]
    assert rank_ranges(4, lambda one, other: order[one] < order[other]) == [(4, 4), (2, 2), (3, 3), (1, 1)]
    assert rank_ranges(3, lambda one, other: False) == [(1, 3)] * 3


@pytest.mark.parametrize(
    ("ranges", "marks"),
    [
        ([(1, 1), (2, 2), (3, 3)], ["best", "second", ""]),
        ([(1, 2), (1, 2), (3, 3)], ["", "", ""]),
        ([(1, 1), None, (2, 3), (2, 3)], ["best", "", "", ""]),
        ([(1, 1)], [""]),
        ([None, None], ["", ""]),
    ],
)
def test_only_a_place_that_nobody_else_may_have_is_marked(ranges, marks):
    assert marks_of(ranges) == marks


def test_noise_is_not_bold_and_a_real_difference_is():
    near, far = table_of(0.70, 0.69), table_of(0.70, 0.60)
    assert [row.cells[0].mark for row in near.rows] == ["", ""]
    assert [row.cells[0].mark for row in far.rows] == ["best", "second"]


def test_more_failures_have_no_rank():
    table = table_of(0.2, 0.1, metric="empty")
    assert not table.ranked and not any(row.cells[0].mark for row in table.rows)


def test_rows_without_the_main_metric_come_last_and_unranked():
    first, second = {"giou": value(0.6)}, {"ciou": value(0.9)}
    results = [result("o/a", protocols={"strict": second}), result("o/b", protocols={"strict": first})]
    table = sections([], results, load_tasks())[0].tables[0]
    assert [(row.name, table.rank(row)) for row in table.rows] == [("o/b", None), ("o/a", None)]


@pytest.mark.parametrize(("place", "text"), [((1, 1), "1"), ((2, 4), "2-4"), (None, "")])
def test_a_place_is_written(place, text):
    assert rank_text(place) == text


def test_ranks_stand_in_every_form_and_not_beside_published_numbers():
    results = [result("o/a", protocols={"strict": {"ciou": value(0.7)}}, task="refcoco")]
    results.append(result("o/b", protocols={"strict": {"ciou": value(0.5)}}, task="refcoco"))
    found = sections(printed(("A", "70.0")), results, load_tasks())
    text, page = markdown(found), html_page(found)
    assert "| 1 | o/a @ abc123 |" in text and "| 2 | o/b @ abc123 |" in text and "| A |  | 70.0 | 1 |" in text
    assert (
        '<td data-label="rank" data-value="2">1</td>' in page and '<td data-label="rank" data-value="4">2</td>' in page
    )
    assert page.count(">rank</th>") == 1
    assert r"1 & o/a @ abc123" in latex(found[0])
    lines = csv.DictReader(csv_text(found).splitlines())
    assert [(line["rank_first"], line["rank_last"]) for line in lines] == [("", ""), ("1", "1"), ("2", "2")]
