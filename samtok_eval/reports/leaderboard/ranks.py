"""What a rank is worth: the places that a row may have, given the intervals of the numbers.

A row's first place is one behind the rows that are better than it beyond noise, its last place one before those that
are worse. A row is better beyond noise where the 95 % interval of the paired difference lies above zero, or, where only
the two results are at hand, where their own intervals do not overlap, which asks for more. Pairs are judged one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from samtok_eval.reports.result_file import ResultFile
from samtok_eval.reports.table import BEST, SECOND

Range: TypeAlias = tuple[int, int]
"""First and last place that a row may have, from 1."""
Interval: TypeAlias = tuple[float | None, float | None]
Paired: TypeAlias = Callable[[ResultFile, ResultFile, str, str], tuple[float, float] | None]
"""(first, second, protocol, metric) -> 95 % interval of second minus first over the same questions, None if unknown."""


def unpaired(_first: ResultFile, _second: ResultFile, _protocol: str, _metric: str) -> None:
    """No pair of results has its records at hand."""
    return


def rank_ranges(count: int, is_better: Callable[[int, int], bool]) -> list[Range]:
    """The places that each of some rows may have.

    Args:
        count: of rows.
        is_better: whether a row is better than another beyond noise.
    """
    rows = range(count)
    return [
        (1 + sum(is_better(other, row) for other in rows), count - sum(is_better(row, other) for other in rows))
        for row in rows
    ]


def is_apart(first: Interval, second: Interval) -> bool:
    """Whether the first interval lies above the second one; unknown ends say nothing."""
    low, high = first[0], second[1]
    return low is not None and high is not None and low > high


def marks_of(ranges: Sequence[Range | None]) -> list[str]:
    """`best` and `second` where no other row may have the place; a lone row has none."""
    places = {(1, 1): BEST, (2, 2): SECOND}
    if sum(found is not None for found in ranges) < 2:
        return [""] * len(ranges)
    return ["" if found is None else places.get(found, "") for found in ranges]


def rank_text(found: Range | None) -> str:
    """`1`, `2-4`, or empty."""
    if found is None:
        return ""
    first, last = found
    return str(first) if first == last else f"{first}-{last}"
