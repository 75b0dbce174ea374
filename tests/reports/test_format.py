"""Every number is written in one way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from samtok_eval.reports import format as written
from samtok_eval.statistics import Difference

DIFFERENCE = Difference(
    value=-0.0234,
    low=-0.04,
    high=0.001,
    p=0.02,
    p_worse=0.01,
    test="sign-flip",
    wins=3,
    ties=4,
    losses=5,
    margin=0.02,
    error=0.011,
    pictures=12,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (written.points(0.6125), "61.3"),
        (written.points(None), "-"),
        (written.signed_points(0.05), "+5.0"),
        (written.signed_points(-0.0234), "-2.3"),
        (written.signed_points(None), "-"),
        (written.interval(0.5, 0.75), "[50.0, 75.0]"),
        (written.interval(None, 0.75), "-"),
        (written.difference_interval(DIFFERENCE), "[-4.0, +0.1]"),
        (written.difference_interval(None), "-"),
        (written.outcomes(DIFFERENCE), "3/4/5"),
        (written.outcomes(replace(DIFFERENCE, wins=None)), "-"),
        (written.outcomes(None), "-"),
        (written.p_value(0.0009), "<0.001"),
        (written.p_value(0.001), "0.001"),
        (written.p_value(None), "-"),
        (written.metric_value("giou", 0.5), "50.0"),
        (written.metric_value("cider", 1.25), "125.0"),
        (written.metric_value("used_1", 53.0), "53"),
        (written.metric_value("giou", None), "-"),
        (written.estimate("giou", 0.5, 0.45, 0.6), "50.0 ±7.5"),
        (written.estimate("giou", 0.5, None, None), "50.0"),
        (written.estimate("used_1", 53.0, 50.0, 60.0), "53"),
        (written.estimate("giou", None, None, None), "-"),
    ],
)
def test_numbers_as_they_stand_in_tables(text, expected):
    assert text == expected
