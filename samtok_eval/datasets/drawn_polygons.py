"""Polygons as OpenCV draws them: `polylines` and `fillPoly` of whole pixels, eight neighbours.

Annotations that are drawn so differ by up to a pixel all around from COCO's polygons. Rule: OpenCV's
`modules/imgproc/src/drawing.cpp`. An outline is a Bresenham line per edge, from its left end; the inside is what lies
between every second edge of a row. Lines that leave the picture are not clipped first, which may move a pixel at its
border.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from samtok_eval import masks

Whole = NDArray[np.int64]


def drawn(points: Sequence[Sequence[float]], height: int, width: int) -> NDArray[np.bool_]:
    """A polygon with its outline.

    Args:
        points: corners `[x, y]` in pixels, cut off to whole ones.
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Returns:
        bool (H, W).

    Raises:
        ValueError: no polygon, or one that is no picture's, see `masks.check_polygons`.
    """
    if not points or any(len(point) != 2 for point in points):
        raise ValueError("a polygon must be a list of corners [x, y]")
    masks.check_polygons([[number for point in points for number in point]], height, width)
    corners = [(int(x), int(y)) for x, y in points]
    mask = np.zeros((height, width), dtype=np.bool_)
    for start, end in pairwise([corners[-1], *corners]):
        x, y = _line(start, end)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        mask[y[inside], x[inside]] = True
    _fill(mask, corners)
    return mask


def _line(start: tuple[int, int], end: tuple[int, int]) -> tuple[Whole, Whole]:
    """Columns and rows of a line's pixels."""
    (x1, y1), (x2, y2) = (start, end) if start[0] <= end[0] else (end, start)
    across, down, step = x2 - x1, abs(y2 - y1), 1 if y2 >= y1 else -1
    longer, shorter = max(across, down), min(across, down)
    along = np.arange(longer + 1)
    aside = -((longer - 2 * shorter * along) // max(2 * longer, 1))
    return (x1 + along, y1 + step * aside) if across >= down else (x1 + aside, y1 + step * along)


def _fill(mask: NDArray[np.bool_], corners: Sequence[tuple[int, int]]) -> None:
    """Set the pixels between every second edge of a row; an edge ends above its lower corner."""
    edges = np.array([
        (x1, y1, x2, y2) if y1 < y2 else (x2, y2, x1, y1)
        for (x1, y1), (x2, y2) in pairwise([corners[-1], *corners])
        if y1 != y2
    ])  # fmt: skip
    if not len(edges):
        return
    left, top, right, bottom = edges.T
    slope = (right - left) / (bottom - top)
    for row in range(max(int(top.min()), 0), min(int(bottom.max()), len(mask))):
        crossed = (top <= row) & (row < bottom)
        crossings = np.sort((left + slope * (row - top))[crossed])
        for first, last in zip(crossings[::2], crossings[1::2], strict=True):
            mask[row, max(int(np.ceil(first)), 0) : max(int(last) + 1, 0)] = True
