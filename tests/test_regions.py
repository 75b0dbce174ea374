"""Zoomed views: when a region gets one, what it shows, and the quirks of the released captioning scripts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samtok_eval import masks
from samtok_eval.regions import ZoomRule, as_jpeg, cut_mask, cut_picture
from samtok_eval.sample import Crop

RULE = ZoomRule(largest_share=0.3)


def mask(height, width, y1, y2, x1, x2):
    found = np.zeros((height, width), dtype=bool)
    found[y1:y2, x1:x2] = True
    return found


def view(array, rule=RULE):
    return rule.view(masks.encode(array))


def test_a_box_that_needs_no_growing_loses_its_last_row_and_column():
    """A region of 201 x 300 pixels keeps 200 x 299; the released scripts cut the inclusive corner off."""
    region = mask(1000, 1000, 100, 301, 100, 400)
    assert region.sum() == 60300
    found = view(region)
    assert found.box == (100, 100, 399, 300)
    assert cut_mask(region, Crop(found.box, 200, 299)).sum() == 59800
    whole = view(region, ZoomRule(0.3, inclusive=True))
    assert whole.box == (100, 100, 400, 301)
    assert cut_mask(region, Crop(whole.box, 201, 300)).sum() == 60300


@pytest.mark.parametrize(
    ("share", "zoomed"),
    # The box of a 61 x 51 region covers 60 * 50 / 10,000 of the picture by the scripts' measure.
    [(0.3, False), (0.3001, True), (0.2, False), (0.0, False)],
)
def test_the_share_is_measured_on_the_box_corners(share, zoomed):
    assert (view(mask(100, 100, 0, 51, 0, 61), ZoomRule(share)) is not None) == zoomed


def test_small_boxes_grow_to_140_pixels_around_their_middle():
    found = view(mask(1000, 1000, 500, 511, 600, 621))
    x1, y1, x2, y2 = found.box
    assert (x2 - x1, y2 - y1) == (140, 140)
    assert (x1 + x2) // 2 == 610
    assert (y1 + y2) // 2 == 505
    assert (found.height, found.width) == (280, 280)


def test_boxes_grow_only_inside_the_picture():
    found = view(mask(1000, 1000, 0, 11, 989, 1000))
    assert found.box == (924, 0, 1000, 75)


def test_both_sides_grow_alike_so_that_an_odd_lack_leaves_139_pixels():
    """The box of an 18 x 17 region is 17 x 16 by the scripts' measure: it lacks 123 and 124 pixels."""
    found = view(mask(1000, 1000, 500, 517, 600, 618))
    assert found.box == (600 - 61, 500 - 62, 617 + 61, 516 + 62)
    assert (found.height, found.width) == (282, 280)


def test_the_shorter_side_of_an_enlarged_view_is_280_exactly_and_the_longer_one_is_cut_off():
    """275 * (280 / 275) is less than 280 in floating point."""
    for side in range(140, 280):
        found = view(mask(2000, 2000, 0, side + 1, 0, 280))
        assert (found.height, found.width) == (280, int(279 * (280 / side)))


def test_only_views_whose_longer_side_is_short_are_enlarged():
    """Up to 279 pixels the shorter side is brought to 280; from 280 on nothing is."""
    assert (view(mask(2000, 2000, 0, 201, 0, 280)).height, view(mask(2000, 2000, 0, 201, 0, 280)).width) == (280, 390)
    kept = view(mask(2000, 2000, 0, 201, 0, 281))
    assert (kept.height, kept.width) == (200, 280)


def test_a_picture_smaller_than_the_window_is_shown_whole_and_enlarged():
    found = view(mask(100, 120, 40, 61, 40, 61))
    assert found == Crop((0, 0, 120, 100), 280, 336)


def test_a_region_one_pixel_thin_that_does_not_grow_keeps_its_pixel():
    assert view(mask(100, 100, 40, 41, 20, 81), ZoomRule(0.3, least_side=1)).box == (20, 40, 80, 41)


@pytest.mark.parametrize("region", [np.zeros((50, 60), dtype=bool), np.ones((50, 60), dtype=bool)])
def test_empty_and_full_regions_get_no_view(region):
    assert view(region) is None


@given(st.data())
def test_every_view_lies_in_the_picture_and_shows_some_of_its_region(data):
    height, width = (data.draw(st.integers(1, 400)) for _ in range(2))
    y1, x1 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y2, x2 = data.draw(st.integers(y1 + 1, height)), data.draw(st.integers(x1 + 1, width))
    region = mask(height, width, y1, y2, x1, x2)
    found = view(region, ZoomRule(1.1))
    left, top, right, bottom = found.box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert region[top:bottom, left:right].any()
    assert cut_mask(region, found).shape == (found.height, found.width)


def test_pictures_and_masks_are_cut_alike():
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    crop = Crop((10, 20, 40, 50), 30, 30)
    assert (cut_picture(picture, crop) == picture[20:50, 10:40]).all()
    large = Crop((10, 20, 40, 50), 60, 60)
    assert cut_picture(picture, large).shape == (60, 60, 3)
    half = mask(60, 80, 20, 50, 10, 25)
    assert cut_mask(half, large).mean() == pytest.approx(0.5, abs=0.04)


def test_the_language_model_gets_the_view_after_a_jpeg_round_trip():
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    sent = as_jpeg(picture)
    assert sent.shape == picture.shape
    assert (sent != picture).any()
