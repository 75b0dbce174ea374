"""A picture with numbered boxes, as the judge of MDVP-Bench sees it.

In: a picture and boxes with numbers. Out: the picture, darkened, with green frames and white numbers on black. Rules
and pixels are those of `paint_util.py` of Draw-and-Understand (28a1bd1) under OpenCV 4.11, whose drawing is written
out here, so that OpenCV need not be installed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DARKENED = 0.8
GREEN, BLACK, WHITE = (0, 255, 0), (0, 0, 0), (255, 255, 255)
ORIGIN = (4, 20)
"""From a box's upper left corner to the lower left corner of its number: right, down."""
TEXT_HEIGHT, BASELINE, ADVANCE = 15, 7, 13
"""Of a digit of OpenCV's plain font at scale 0.65 and thickness 2, in pixels."""
DIGITS = {
    "0": (192, 2040, 4092, 3900, 3612, 7182, 7182, 7182, 7182, 7182, 7182, 7182, 7710, 3612, 4092, 2040, 480),
    "1": (128, 448, 480, 504, 504, 464, 448, 448, 448, 448, 448, 448, 448, 448, 448, 448, 128),
    "2": (480, 2040, 4092, 3900, 3612, 3612, 3592, 3840, 1792, 896, 448, 240, 120, 60, 4094, 8190, 4092),
    "3": (2040, 4092, 4088, 1792, 1920, 960, 1984, 4064, 4032, 7168, 7168, 7172, 7182, 3614, 4092, 2040, 496),
    "4": (256, 896, 896, 960, 992, 992, 1008, 1016, 952, 8188, 16382, 8188, 896, 896, 896, 896, 256),
    "5": (2040, 4092, 2044, 28, 28, 508, 2044, 4092, 3592, 7168, 7168, 7172, 7182, 3614, 4092, 2040, 496),
    "6": (448, 2032, 4088, 3964, 1084, 28, 2044, 4092, 4092, 7708, 7196, 7196, 7196, 3644, 4088, 2032, 480),
    "7": (4092, 8190, 8188, 3584, 3584, 3840, 1792, 1920, 896, 960, 448, 480, 224, 240, 112, 112, 32),
    "8": (480, 2040, 4092, 3900, 3612, 3612, 4092, 2040, 4092, 3900, 7710, 7182, 7182, 7710, 4092, 2040, 1008),
    "9": (192, 1016, 2044, 4028, 3614, 3598, 3598, 3598, 3900, 4092, 4088, 3776, 3592, 3868, 2044, 1020, 496),
}
"""Rows of each digit from 15 above its lower left corner to 1 below; the lowest bit is the leftmost column."""


def marked(image: NDArray[np.uint8], boxes: Sequence[tuple[int, tuple[int, int, int, int]]]) -> NDArray[np.uint8]:
    """A picture with numbered boxes; a later one covers an earlier one.

    Args:
        image: uint8 (H, W, 3).
        boxes: numbers and x1 y1 x2 y2 in pixels, the frame's own row and column.

    Returns:
        uint8 (H, W, 3).
    """
    painted: NDArray[np.uint8] = np.rint(image * DARKENED).astype(np.uint8)
    for number, (x1, y1, x2, y2) in boxes:
        # A frame two pixels thick covers one pixel to each side, and no corner.
        for x in (x1, x2):
            _fill(painted, x - 1, y1, x + 1, y2, GREEN)
            _fill(painted, x, y1 - 1, x, y2 + 1, GREEN)
        for y in (y1, y2):
            _fill(painted, x1, y - 1, x2, y + 1, GREEN)
            _fill(painted, x1 - 1, y, x2 + 1, y, GREEN)
        left, base = x1 + ORIGIN[0], y1 + ORIGIN[1]
        width = ADVANCE * len(str(number)) + 2
        _fill(painted, left, base - TEXT_HEIGHT - BASELINE, left + width, base + BASELINE, BLACK)
        for place, digit in enumerate(str(number)):
            _write(painted, digit, left + place * ADVANCE, base)
    return painted


def _fill(image: NDArray[np.uint8], x1: int, y1: int, x2: int, y2: int, color: tuple[int, int, int]) -> None:
    """A rectangle, its last row and column included, as far as it lies in the picture."""
    image[max(y1, 0) : max(y2 + 1, 0), max(x1, 0) : max(x2 + 1, 0)] = color


def _write(image: NDArray[np.uint8], digit: str, left: int, base: int) -> None:
    height, width, _ = image.shape
    for row, bits in enumerate(DIGITS[digit]):
        y = base - TEXT_HEIGHT + row
        if 0 <= y < height:
            columns = [left + column for column in range(bits.bit_length()) if bits >> column & 1]
            image[y, [x for x in columns if 0 <= x < width]] = WHITE
