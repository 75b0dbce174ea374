"""Pictures that are larger, other or less than they say."""

from __future__ import annotations

import random

import numpy as np
import pytest

from samtok_eval.datasets.psg import read_segments
from samtok_eval.errors import DataError
from samtok_eval.images import read_image
from samtok_eval.sample import ImageRef
from tests.support.hostile import png


def test_a_small_file_of_a_large_picture_is_refused_by_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(12_000, 12_000, 4))
    # It lacks most of its pixels, so that reading any of them would be another error.
    with pytest.raises(DataError, match="is 12000x12000, its annotations say 4x4"):
        read_image(ImageRef("1", path, 4, 4))
    with pytest.raises(DataError, match="is 12000x12000, its annotations say 4x4"):
        read_segments(path, 4, 4)
    path.write_bytes(png(60_000, 60_000, 4))
    with pytest.raises(DataError, match="cannot be read"):
        read_image(ImageRef("1", path, 60_000, 60_000))


def test_a_picture_that_would_start_a_program_is_refused(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n(out) (w) file\n%%EOF\n")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(ImageRef("1", path, 4, 4))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_every_changed_byte_of_a_picture_is_read_or_refused(tmp_path, ending):
    from PIL import Image

    path = tmp_path / f"picture.{ending}"
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    rng = random.Random(ending)
    for _ in range(150):
        at = rng.randrange(len(whole))
        path.write_bytes(rng.choice([whole[:at], whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1 :]]))
        try:
            assert read_image(ImageRef("1", path, 8, 8)).shape == (8, 8, 3)
        except DataError as error:
            assert str(path) in str(error)
