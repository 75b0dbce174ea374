"""Opening pictures: RGB, EXIF orientation applied once for both the language model and the mask tokenizer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from samtok_eval.errors import DataError
from samtok_eval.sample import ImageRef


def read_image(image: ImageRef) -> NDArray[np.uint8]:
    """The picture as uint8 (H, W, 3) RGB.

    Raises:
        DataError: missing, unreadable, or of another size than the annotations say.
    """
    try:
        with Image.open(image.path) as file:
            pixels = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"image {image.path} cannot be read ({error}); download it again") from error
    if pixels.shape[:2] != (image.height, image.width):
        raise DataError(
            f"image {image.path} is {pixels.shape[0]}x{pixels.shape[1]}, its annotations say "
            f"{image.height}x{image.width}; image and annotations are of different releases"
        )
    return pixels
