"""Polygons, run lengths and sizes of masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pycocotools import mask as coco

from samtok_eval import masks
from samtok_eval.masks import MAX_PIXELS, Rle
from tests.support.hostile import HUGE, bounded

SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]


@pytest.mark.parametrize("corner", [1e9, -1e9, 1e15, 1e300, HUGE, -HUGE, math.inf, -math.inf, math.nan])
def test_a_polygon_far_outside_its_picture_is_refused_before_it_is_drawn(corner):
    with pytest.raises(ValueError, match="far outside its picture"):
        masks.from_segmentation([[*SQUARE, corner, 2]], 4, 4)


@pytest.mark.parametrize("corner", ["1", None, True, [1], {}])
def test_a_polygon_of_anything_but_numbers_is_refused(corner):
    with pytest.raises(ValueError, match="must be numbers"):
        masks.from_segmentation([[*SQUARE, corner, 2]], 4, 4)


def test_a_polygon_that_goes_back_and_forth_without_end_is_refused():
    with pytest.raises(ValueError, match="outlines"):
        masks.from_segmentation([[0, 0, 60_000, 60_000] * 10_000], 60_000, 4)


def test_a_polygon_may_leave_its_picture_a_little():
    assert masks.area(masks.from_segmentation([[-4.5, -3, 9, -3, 9, 9.25, -4.5, 9.25]], 4, 4)) == 16


def test_what_is_inside_a_list_of_polygons_but_no_polygon_is_dropped():
    assert masks.from_segmentation([SQUARE, "x" * 8, None, 7, [[[]]]], 4, 4) == masks.from_segmentation([SQUARE], 4, 4)


@pytest.mark.parametrize("parts", [[SQUARE], [SQUARE, [2, 2, 4, 2, 4, 4, 2, 4]], [SQUARE, [1, 1], []], [SQUARE[:5]]])
def test_parts_are_added_up_as_coco_reads_them(parts):
    total = coco.decode(coco.frPyObjects([part for part in parts if part], 4, 5)).sum(axis=2)
    assert (masks.decode(masks.covered_once(parts, 4, 5)) == (total == 1)).all()


@pytest.mark.parametrize(
    "parts",
    [[[1, 1]], [[]], [[1, 1, 2]], [[1, 1, 2, 2]], [[1, 1, 2, 2], SQUARE], [SQUARE, "x"], [7], [[*SQUARE, 1e15]],
     [[*SQUARE, 1e9, 1]], ["abcdefg"],
     [[*SQUARE, "2"]], [[*SQUARE, HUGE]], [[*SQUARE, math.nan]]],
)  # fmt: skip
def test_parts_that_coco_must_not_be_given_are_refused(parts):
    with pytest.raises(ValueError, match=r"polygon|segmentation"):
        masks.covered_once(parts, 4, 5)


def test_an_empty_mask_of_the_largest_picture_costs_nothing():
    # Days, if its pixels were looked at.
    for _ in range(10_000):
        assert masks.area(masks.empty(2**14, 2**14)) == 0
    assert masks.empty(3, 5) == masks.encode(np.zeros((3, 5), dtype=bool))


SIDES = [0, -1, 1.5, HUGE, -HUGE, math.nan, math.inf, "4", True, None, [4], 2**16 + 1]


@pytest.mark.parametrize("side", SIDES)
def test_a_picture_has_two_whole_sides(side):
    for size in ((side, 4), (4, side)):
        with pytest.raises(ValueError, match="side must be a whole number"):
            masks.from_segmentation([SQUARE], *size)
        with pytest.raises(ValueError, match="RLE's size"):
            Rle.from_coco({"size": list(size), "counts": "04"})


def test_a_picture_of_more_pixels_than_fit_is_refused():
    with pytest.raises(ValueError, match=f"more than {MAX_PIXELS} pixels"):
        masks.from_segmentation([SQUARE], 2**15, 2**14)
    assert masks.area(masks.from_segmentation([SQUARE], 2**14, 2**14)) == 4


@pytest.mark.parametrize("size", [None, 4, "44", {}, [4], [4, 4, 4], [[4], [4]]])
def test_a_size_of_another_form_is_refused(size):
    with pytest.raises(ValueError, match="RLE's size"):
        Rle.from_coco({"size": size, "counts": [16]})


@pytest.mark.parametrize(
    "counts",
    [
        [1.5, 14.5],
        [16.0],
        ["16"],
        [True] * 16,
        [None, 16],
        [math.nan],
        [HUGE],
        [HUGE, 16 - HUGE],
        [-HUGE, HUGE + 16],
        [2**32, 16 - 2**32],
        [2**64 + 16],
        [[16]],
        {},
        16,
        None,
    ],
)
def test_runs_that_are_no_lengths_are_refused(counts):
    with pytest.raises(ValueError, match="RLE"):
        Rle.from_coco({"size": [4, 4], "counts": counts})


def compressed(runs: list[int]) -> str:
    """Run lengths as COCO writes them, whatever their size."""
    text = []
    for i, run in enumerate(runs):
        rest, more = run - (runs[i - 2] if i > 2 else 0), True
        while more:
            bits, rest = rest & 31, rest >> 5
            more = rest != (-1 if bits & 16 else 0)
            text.append(chr((bits | 32 if more else bits) + 48))
    return "".join(text)


def test_compressed_runs_that_only_fit_after_an_overflow_are_refused():
    assert Rle.from_coco({"size": [4, 4], "counts": compressed([3, 4, 9])}) == Rle(4, 4, compressed([3, 4, 9]))
    for runs in ([2**32 + 16], [2**64 + 16], [2**50] * 2**14 + [16], [0, 2**32 + 16], [2**62, 2**62, 2**62, 2**62, 16]):
        with pytest.raises(ValueError, match="RLE"):
            Rle.from_coco({"size": [4, 4], "counts": compressed(runs)})


def test_compressed_runs_of_the_largest_picture_are_read():
    side = 2**14
    assert masks.area(Rle.from_coco({"size": [side, side], "counts": compressed([1, side * side - 1])})) == side**2 - 1


def test_polygons_that_once_ended_the_process_are_an_error():
    code = (
        "import sys; from samtok_eval import masks\n"
        "for far in (1e9, 1e15, float('nan')):\n"
        "    try:\n        masks.from_segmentation([[0, 0, far, 0, far, far, 0, far]], 480, 640)\n"
        "    except ValueError as error:\n        print('refused', error)\n"
    )
    done = bounded(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused") == 3
