"""From turns to messages: further pictures stand where they are named, and a region in one is encoded there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import render
from samtok_eval.masks import encode
from samtok_eval.messages import messages
from samtok_eval.run.fingerprints import images_sha256
from samtok_eval.run.predict import _picture_key, _read_pictures
from samtok_eval.run.samples import missing_pictures
from samtok_eval.sample import Frame, ImageRef, Region, Sample, Target, Turn


def picture(folder, name, height, width, shade):
    path = folder / f"{name}.png"
    Image.new("RGB", (width, height), (shade, 0, 0)).save(path)
    return ImageRef(name, path, height, width)


def whole(image):
    return encode(np.ones((image.height, image.width), dtype=bool))


@pytest.fixture
def shown(tmp_path):
    """A picture, two further ones of other sizes, and a turn that shows them and names the region of each."""
    first, second, third = (picture(tmp_path, name, *size) for name, size in
                            (("a", (4, 6, 10)), ("b", (5, 7, 20)), ("c", (3, 3, 30))))  # fmt: skip
    frames = Frame(second), Frame(third)
    regions = Region(whole(first)), *(Region(whole(frame.image), frame) for frame in frames)
    turn = Turn("user", (*frames, "What are ", regions[0], ", ", regions[1], ", ", regions[2], "?"))
    return Sample("1", first, (turn,), Target())


def test_further_pictures_follow_the_first_and_each_region_is_encoded_in_its_own(shown):
    encoded = []

    def encode_all(image, stacked):
        encoded.append((image.shape[:2], int(image[0, 0, 0]), stacked.shape))
        return [(int(image[0, 0, 0]), 1)] * len(stacked)

    image = np.full((4, 6, 3), 10, dtype=np.uint8)
    (message,) = messages(shown.turns, image, encode_all)
    pictures, text = message.parts[:-1], message.parts[-1]
    assert pictures[0] is image
    assert [part.shape[:2] for part in pictures] == [(4, 6), (5, 7), (3, 3)]
    assert sorted(encoded) == [((3, 3), 30, (1, 3, 3)), ((4, 6), 10, (1, 4, 6)), ((5, 7), 20, (1, 5, 7))]
    assert text == f"What are {render([(10, 1)])}, {render([(20, 1)])}, {render([(30, 1)])}?"


def test_further_pictures_count_as_pictures_of_the_sample(shown):
    assert [image.id for image in shown.pictures] == ["a", "b", "c"]
    before = images_sha256([shown])
    Image.new("RGB", (7, 5), (99, 0, 0)).save(shown.pictures[1].path)
    assert images_sha256([shown]) != before
    shown.pictures[2].path.unlink()
    assert missing_pictures([shown]) == [shown.pictures[2].path]
    with pytest.raises(DataError, match=r"c\.png"):
        messages(shown.turns, np.zeros((4, 6, 3), dtype=np.uint8), lambda image, stacked: [(1, 1)] * len(stacked))


def test_two_frames_of_a_video_are_two_pictures_though_they_share_its_id(tmp_path):
    shades = [picture(tmp_path, str(shade), 2, 2, shade) for shade in (10, 20)]
    frames = [replace(image, id="clip") for image in shades]
    samples = [Sample(str(i), image, (Turn("user", ("What?",)),), Target()) for i, image in enumerate(frames)]
    pictures = _read_pictures(samples, grouped=True)
    assert [int(pictures[_picture_key(sample, True)][0, 0, 0]) for sample in samples] == [10, 20]


def test_a_picture_is_held_against_the_size_that_each_of_its_samples_expects(tmp_path):
    right = picture(tmp_path, "a", 4, 6, 10)
    images = right, replace(right, height=5), right
    samples = [Sample(str(i), image, (Turn("user", ("What?",)),), Target()) for i, image in enumerate(images)]
    pictures = _read_pictures(samples, grouped=True)
    first, second, third = (pictures[_picture_key(sample, True)] for sample in samples)
    assert isinstance(second, DataError)
    assert first is third
