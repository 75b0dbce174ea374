"""Opening pictures: RGB, EXIF orientation applied once for both the language model and the mask tokenizer.

A picture is data of a stranger: only formats that Pillow reads by itself are opened (EPS would start Ghostscript), and
the size that the header declares is compared with the expected one before a pixel is read.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from samtok_eval.errors import DataError, MissingPictureError
from samtok_eval.files import shortened
from samtok_eval.masks import picture_size
from samtok_eval.sample import ImageRef

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for a file that is no picture, or a damaged one."""


def open_image(path: Path | str | BytesIO) -> Image.Image:
    """A picture on disk or in memory, its pixels not yet read; to be closed by the caller.

    Raises:
        OSError: missing, or not in one of `FORMATS`. Reading its pixels may raise anything in `UNREADABLE`.
    """
    return Image.open(path, formats=FORMATS)


def declared_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture as its header says, for annotations that do not.

    Raises:
        MissingPictureError: it is missing.
        DataError: it is no picture, or of no possible size.
    """
    try:
        with open_image(path) as file:
            return picture_size(file.height, file.width)
    except FileNotFoundError as error:
        raise MissingPictureError(f"{path} is missing, and its size is needed; put it there", path) from error
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read for its size ({shortened(error)}); download it again") from error


def read_image(image: ImageRef) -> NDArray[np.uint8]:
    """The picture as uint8 (H, W, 3) RGB.

    Raises:
        DataError: missing, unreadable, or of another size than the annotations say.
    """
    expected = (image.width, image.height)
    try:
        with open_image(image.path) as file:
            width, height = file.size
            if sorted(file.size) == sorted(expected):
                pixels = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
                height, width, _ = pixels.shape
    except UNREADABLE as error:
        raise DataError(f"image {image.path} cannot be read ({error}); download it again") from error
    if (width, height) != expected:
        raise DataError(
            f"image {image.path} is {height}x{width}, its annotations say "
            f"{image.height}x{image.width}; image and annotations are of different releases"
        )
    return pixels
