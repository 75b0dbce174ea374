"""Region arithmetic against hand-worked masks and plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samtok_eval import masks
from samtok_eval.masks import Rle

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))
SQUARE = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
CORNER = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=bool)


def test_a_case_worked_by_hand():
    square, corner = masks.encode(SQUARE), masks.encode(CORNER)
    assert masks.area(square) == 4
    assert masks.intersection_and_union(square, corner) == (1, 7)
    assert masks.area(masks.union([square, corner], 4, 4)) == 7
    assert masks.box(square) == (1, 1, 2, 2)
    assert masks.box(masks.empty(4, 4)) is None


@given(MASKS)
def test_encode_and_decode_are_inverse(mask):
    assert (masks.decode(masks.encode(mask)) == mask).all()


@given(st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
))  # fmt: skip
def test_counts_equal_numpy_and_are_symmetric(pair):
    one, other = pair
    expected = (int((one & other).sum()), int((one | other).sum()))
    a, b = masks.encode(one), masks.encode(other)
    assert masks.intersection_and_union(a, b) == masks.intersection_and_union(b, a) == expected
    assert (masks.decode(masks.union([a, b], *one.shape)) == (one | other)).all()


@given(MASKS)
def test_compressed_counts_are_checked_against_the_size(mask):
    rle = masks.encode(mask)
    assert Rle.from_coco(rle.to_coco()) == rle
    with pytest.raises(ValueError, match="must sum to"):
        Rle.from_coco({"size": [rle.height + 1, rle.width], "counts": rle.counts})


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"size": [2, 2]},
        {"size": [2], "counts": "04"},
        {"size": [0, 4], "counts": ""},
        {"size": [2, 2], "counts": 5},
        {"size": [2, 2], "counts": [1, 2]},
        {"size": [2, 2], "counts": [-1, 5]},
        {"size": [2, 2], "counts": "é"},
        {"size": [2, 2], "counts": "~"},
        {"size": [2, 2], "counts": "`"},
        None,
    ],
)
def test_broken_run_lengths_are_refused_before_they_reach_the_library(value):
    with pytest.raises(ValueError, match="RLE"):
        Rle.from_coco(value)


def test_segmentations_polygon_and_run_lengths_agree():
    polygon = masks.from_segmentation([[1, 1, 3, 1, 3, 3, 1, 3]], 4, 4)
    runs = masks.from_segmentation({"size": [4, 4], "counts": [5, 2, 2, 2, 5]}, 4, 4)
    assert polygon == runs == masks.encode(SQUARE)


def test_degenerate_polygons_are_dropped_and_leave_an_empty_mask():
    assert masks.area(masks.from_segmentation([[1, 1, 3, 1], [1, 1, 3, 1, 3, 3, 1]], 4, 4)) == 0


def test_run_lengths_of_another_size_are_refused():
    with pytest.raises(ValueError, match="RLE is 4x4 but its picture is 5x4"):
        masks.from_segmentation(masks.encode(SQUARE).to_coco(), 5, 4)


def test_masks_of_different_sizes_are_never_combined():
    with pytest.raises(ValueError, match="different sizes"):
        masks.intersection_and_union(masks.empty(4, 4), masks.empty(5, 4))
    with pytest.raises(ValueError, match="different sizes"):
        masks.union([masks.empty(4, 4)], 5, 4)


def test_boundary_is_the_rim_and_the_picture_border_counts():
    mask = np.ones((7, 7), dtype=bool)
    rim = masks.boundary(mask, share=0.02)
    assert rim.sum() == 49 - 25
    assert not rim[1:-1, 1:-1].any()


def test_large_areas_do_not_wrap():
    full = masks.encode(np.ones((4000, 4000), dtype=bool))
    assert masks.intersection_and_union(full, full) == (16_000_000, 16_000_000)
    assert sum(masks.area(full) for _ in range(300)) == 4_800_000_000


def test_components_are_the_pieces_of_a_mask_largest_first():
    mask = np.zeros((6, 9), dtype=bool)
    mask[0, 0] = mask[1, 1] = True
    mask[3:6, 4:8] = True
    pieces = [masks.decode(piece) for piece in masks.components(masks.encode(mask))]
    assert [int(piece.sum()) for piece in pieces] == [12, 2]
    assert (sum(pieces) == mask).all()
    assert masks.components(masks.empty(4, 5)) == ()


@given(st.lists(MASKS, min_size=1, max_size=8), st.data())
def test_masks_checked_together_are_those_that_pass_one_by_one(found, data):
    rles = [masks.encode(mask) for mask in found]
    sizes = [(rle.height, rle.width) for rle in rles]
    texts = [data.draw(st.sampled_from([rle.counts, f"{rle.counts}1", f"0{rle.counts}"])) for rle in rles]
    assert masks.checked(sizes, texts) == [alone(*pair) for pair in zip(sizes, texts, strict=True)]
    assert masks.checked(sizes, [rle.counts for rle in rles]) == rles


def alone(size, text):
    try:
        return Rle.from_coco({"size": size, "counts": text})
    except ValueError:
        return None


@pytest.mark.parametrize("text", ["", "~", "`"])
def test_what_cannot_be_decoded_is_left_to_be_refused_one_by_one(text):
    assert masks.checked([(2, 2), (2, 2)], [masks.empty(2, 2).counts, text])[1] is None
