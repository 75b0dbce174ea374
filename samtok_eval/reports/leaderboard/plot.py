"""Where the points of a size-against-score plot lie: model sizes on a logarithmic axis, the main column's values above.

In: a table of the leaderboard. Out: positions in units of the drawing, for the page's template. Rows without an exact
size or a value have no point.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from samtok_eval.reports.leaderboard.table import Table

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 48, 16, 14, 44
"""Room for the axes' labels."""
LEAST_POINTS, LEAST_SIZES = 4, 2
"""Fewer show nothing that the table does not."""
BILLIONS = {"K": 1e-6, "M": 1e-3, "B": 1.0, "T": 1e3}
SIZES = tuple(factor * 10**power for power in range(-3, 4) for factor in (1.0, 2.0, 5.0))
"""Sizes in billions at which the axis may have a label."""
MOST_TICKS = 6


@dataclass(frozen=True)
class Point:
    """One row."""

    row: int
    x: float
    y: float
    size: float
    """In billions."""
    value: float


@dataclass(frozen=True)
class Tick:
    """A label of an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """Everything that is drawn."""

    points: tuple[Point, ...]
    front: tuple[Point, ...]
    """Rows that no smaller or equal model reaches, smallest first."""
    line: str
    """The front as steps: the points of a polyline."""
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


def billions(size: str) -> float | None:
    """Parameters in billions; None where the text does not say exactly."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMBT])", size)
    return float(found[1]) * BILLIONS[found[2]] if found else None


def plot_of(table: Table) -> Plot | None:
    """The plot of a table; None where it would show too little."""
    if not table.columns or not table.columns[table.main].ranked:
        return None
    cells = [row.cells[table.main] for row in table.rows]
    known = [
        (i, size, cell.value)
        for i, (row, cell) in enumerate(zip(table.rows, cells, strict=True))
        if cell is not None and (size := billions(row.size))
    ]
    if len(known) < LEAST_POINTS or len({size for _, size, _ in known}) < LEAST_SIZES:
        return None
    smallest, largest = min(size for _, size, _ in known), max(size for _, size, _ in known)
    low, high, step = _range([value for _, _, value in known])

    def across(size: float) -> float:
        share = math.log(size / smallest) / math.log(largest / smallest)
        return round(LEFT + 12 + share * (WIDTH - LEFT - RIGHT - 24), 1)

    def up(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    points = tuple(Point(i, across(size), up(value), size, value) for i, size, value in known)
    front = _front(points)
    inside = [size for size in SIZES if smallest <= size <= largest]
    # One label alone says nothing of the scale.
    ticks = _thinned(inside) if len(inside) > 1 else [smallest, largest]
    return Plot(
        points,
        front,
        _steps(front),
        tuple(Tick(across(size), _size_text(size)) for size in ticks),
        tuple(Tick(up(low + i * step), f"{low + i * step:g}") for i in range(round((high - low) / step) + 1)),
    )


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    """Lowest and highest label of an axis that holds all values, and the step between labels."""
    spread = max(values) - min(values) or 1.0
    raw = spread / (MOST_TICKS - 2)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= raw)
    low, high = math.floor(min(values) / step), math.ceil(max(values) / step)
    return step * low, step * (high if high > low else low + 1), step


def _front(points: Sequence[Point]) -> tuple[Point, ...]:
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.size, -p.value)):
        if not front or point.value > front[-1].value:
            front.append(point)
    return tuple(front)


def _steps(front: Sequence[Point]) -> str:
    """Right along a value, then up at the size that beats it, to the right end."""
    corners = [(front[0].x, front[0].y)]
    for point in front[1:]:
        corners += [(point.x, corners[-1][1]), (point.x, point.y)]
    corners.append((WIDTH - RIGHT, corners[-1][1]))
    return " ".join(f"{x:g},{y:g}" for x, y in corners)


def _thinned(sizes: Sequence[float]) -> Sequence[float]:
    every = math.ceil(len(sizes) / MOST_TICKS)
    return sizes[::every]


def _size_text(size: float) -> str:
    return f"{size * 1e3:g}M" if size < 1 else f"{size:g}B"
