"""A remembered picture is encoded once, and masks of several pictures are decoded together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.world.scenes import draw_scene
from samtok_eval.tokenizer import MaskTokenizer
from samtok_eval.tokenizer.model import ImageState, _together
from samtok_eval.tokenizer.pictures import decode_by_picture, encoder
from samtok_eval.tokenizer.state_cache import StateCache


@pytest.fixture
def tokenizer():
    return MaskTokenizer.from_pretrained(DEMO_CHECKPOINT)


@pytest.fixture
def encoded(tokenizer):
    """How many pictures went through the image encoder at each of its calls."""
    calls = []
    tokenizer.sam.image_encoder.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    return calls


def regions(scene):
    return np.stack([item.mask for item in scene.objects])


def picture(value):
    return np.full((4, 6, 3), value, np.uint8)


def state(numbers):
    """Feature maps of 4 x numbers bytes."""
    return ImageState(torch.zeros(numbers), torch.zeros(0), torch.zeros(0))


def test_a_remembered_picture_is_encoded_once_for_codes_and_masks_whatever_array_holds_it(tokenizer, encoded):
    tokenizer.remember_pictures()
    scene = draw_scene(0)
    codes = encoder(tokenizer)(scene.image, regions(scene))
    tokenizer.embed(scene.image.copy(), regions(scene))
    decode_by_picture(tokenizer, [scene.image.copy()], [codes])
    assert encoded == [1]


def test_nothing_is_remembered_unasked_so_that_weights_may_change(tokenizer, encoded):
    scene = draw_scene(0)
    tokenizer.encode(scene.image, regions(scene))
    tokenizer.encode(scene.image, regions(scene))
    assert encoded == [1, 1]


def test_what_is_remembered_gives_the_same_codes_and_masks(tokenizer):
    scene = draw_scene(0)
    fresh = tokenizer.encode(scene.image, regions(scene))
    masks = tokenizer.decode(scene.image, fresh)
    tokenizer.remember_pictures()
    for _ in range(2):
        assert torch.equal(tokenizer.encode(scene.image, regions(scene)), fresh)
        assert np.array_equal(tokenizer.decode(scene.image, fresh), masks)


def test_masks_of_several_pictures_are_those_of_each_alone(tokenizer):
    scenes = [draw_scene(seed) for seed in range(4)]
    codes = [tokenizer.encode(scene.image, regions(scene)) for scene in scenes]
    codes[2] = codes[2][:0]
    together = tokenizer.decode_pictures([scene.image for scene in scenes], codes)
    assert len(together[2]) == 0
    for scene, some, found in zip(scenes, codes, together, strict=True):
        assert np.array_equal(found, tokenizer.decode(scene.image, some))


@pytest.mark.parametrize(
    ("counts", "most", "groups"),
    [
        ([1, 1, 1], 2, [[0, 1], [2]]),
        ([0, 2, 0, 1], 3, [[1, 3]]),
        ([1, 40, 1], 32, [[0], [1], [2]]),
        ([0, 0], 32, []),
    ],
)
def test_neighbours_are_decoded_together_up_to_a_bound(counts, most, groups):
    assert list(_together(counts, most)) == groups


def test_the_least_recently_used_picture_is_dropped_where_bytes_exceed_the_bound():
    cache, encoded = StateCache(most_bytes=80), []

    def encode(image):
        encoded.append(int(image[0, 0, 0]))
        return state(10)

    for value in (1, 2, 1, 3, 1, 2):
        cache.state(picture(value), encode)
    assert encoded == [1, 2, 3, 2]


def test_a_picture_larger_than_the_bound_is_encoded_and_not_kept():
    cache = StateCache(most_bytes=80)
    cache.state(picture(1), lambda image: state(2))
    assert cache.state(picture(2), lambda image: state(30)).nbytes == 120
    assert cache.state(picture(2), lambda image: state(3)).nbytes == 12


def test_equal_bytes_of_another_shape_are_another_picture():
    cache = StateCache(most_bytes=800)
    cache.state(picture(1), lambda image: state(2))
    assert cache.state(picture(1).reshape(6, 4, 3), lambda image: state(3)).nbytes == 12
