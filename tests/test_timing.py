"""The measure of growth that tests of linear time rest on."""

from __future__ import annotations

from tests.support.timing import LINEAR, growth


def steps(count):
    return lambda: sum(range(count))


def test_work_in_proportion_to_its_size_passes():
    assert growth(lambda size: steps(100 * size), 1_000) < LINEAR


def test_work_that_grows_with_the_square_is_caught():
    assert growth(lambda size: steps(size * size), 600) > LINEAR


def test_a_leap_between_two_sizes_is_no_growth():
    assert growth(lambda size: steps(100 * size * (5 if size >= 2_000 else 1)), 1_000) < LINEAR
    assert growth(lambda size: steps(100 * size * (5 if size >= 4_000 else 1)), 1_000) < LINEAR
