"""Small pictures for report pages: a photograph as JPEG, masks as transparent PNG layers of the same size.

Colours are Okabe and Ito's, which people with any kind of colour vision can tell apart: blue for pixels that both have,
vermilion for those that only the prediction has, yellow for those that only the reference has.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samtok_eval import masks
from samtok_eval.masks import Rle

SIDE = 360
"""Pixels of the longer side."""
QUALITY = 78
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = (0, 114, 178), (213, 94, 0), (240, 228, 66)
INSTANCES = ((0, 158, 115), (230, 159, 0), (86, 180, 233), (204, 121, 167), (0, 114, 178), (213, 94, 0), (240, 228, 66))
"""One after another, for masks that stand side by side; `templates/cards.css` has the same."""
OF_SIDE = {"asked": 1, "reference": 0, "prediction": 5, "baseline": 2, "oracle": 3}
"""The colour of all masks of a side, where they need no telling apart."""
CHIP = 0.05
"""Radius of a mask's number, as a share of the picture's longer side."""
OPACITY = 190
"""Of 255, inside a mask; its outline is opaque."""

Bools = NDArray[np.bool_]


def fitted(height: int, width: int) -> tuple[int, int]:
    """Height and width of a picture that is shown, never larger than the picture itself."""
    scale = min(1.0, SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def photograph(pixels: NDArray[np.uint8]) -> str:
    """A picture as a JPEG data address.

    Args:
        pixels: (H, W, 3) RGB.
    """
    height, width = fitted(*pixels.shape[:2])
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return _address(image, "JPEG", quality=QUALITY)


class Chip(NamedTuple):
    """Where the number of a mask stands in a shown picture, in its pixels."""

    number: int
    """From 1."""
    x: int
    y: int


def instances_layer(rles: Sequence[Rle], height: int, width: int, numbers: Sequence[int] | None = None) -> str:
    """Masks in the colours of `INSTANCES`, as a PNG data address.

    Args:
        rles: masks of a picture.
        height: of the picture.
        width: of the picture.
        numbers: a colour per mask, counted round; one after another by default.
    """
    size = fitted(height, width)
    layer = np.zeros(size, dtype=np.uint8)
    for number, rle in zip(range(len(rles)) if numbers is None else numbers, rles, strict=True):
        layer[_small(rle, size)] = 1 + number % len(INSTANCES)
    return _layer(layer, INSTANCES)


def chips(rles: Sequence[Rle], height: int, width: int, numbers: Sequence[int]) -> list[Chip]:
    """A number in each mask, as near its middle as the numbers before it let it; none where there is no room.

    Args:
        rles: masks of a picture.
        height: of the picture.
        width: of the picture.
        numbers: of the masks, from 0; each is shown once.
    """
    size = fitted(height, width)
    apart = 2 * CHIP * max(size)
    placed: dict[int, tuple[int, int]] = {}
    for number, rle in zip(numbers, rles, strict=True):
        pixels = np.argwhere(_small(rle, size))
        middle = pixels.mean(axis=0) if len(pixels) else 0
        if number in placed or not len(pixels):
            continue
        for other in placed.values():
            pixels = pixels[((pixels - other) ** 2).sum(axis=1) >= apart**2]
        if len(pixels):
            nearest = ((pixels - middle) ** 2).sum(axis=1).argmin()
            placed[number] = (int(pixels[nearest][0]), int(pixels[nearest][1]))
    return [Chip(number + 1, x, y) for number, (y, x) in placed.items()]


def difference_layer(reference: Sequence[Rle], prediction: Sequence[Rle], height: int, width: int) -> str:
    """United prediction against united reference, as a PNG data address.

    Args:
        reference: masks that are right.
        prediction: masks that came back.
        height: of the picture.
        width: of the picture.
    """
    size = fitted(height, width)
    right, marked = (_small(masks.union(rles, height, width), size) for rles in (reference, prediction))
    layer = np.zeros(size, dtype=np.uint8)
    layer[right & marked] = 1
    layer[marked & ~right] = 2
    layer[right & ~marked] = 3
    return _layer(layer, (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE))


def _small(rle: Rle, size: tuple[int, int]) -> Bools:
    """A mask at the shown size; small objects keep at least the pixels whose centres they cover."""
    mask = Image.fromarray(masks.decode(rle))
    return np.asarray(mask.resize((size[1], size[0]), Image.Resampling.NEAREST), dtype=bool)


def _layer(classes: NDArray[np.uint8], colours: Sequence[tuple[int, int, int]]) -> str:
    """Classes 1, 2, ... as half-transparent areas with opaque outlines; 0 is clear."""
    count = len(colours)
    indexed = classes.copy()
    indexed[_outline(classes)] += count
    indexed[classes == 0] = 0
    image = Image.fromarray(indexed)
    palette = [0, 0, 0, *(channel for _ in range(2) for colour in colours for channel in colour)]
    image.putpalette(palette)
    clear = bytes([0] + [OPACITY] * count + [255] * count)
    return _address(image, "PNG", transparency=clear, optimize=True)


def _outline(classes: NDArray[np.uint8]) -> Bools:
    """Pixels whose left or upper neighbour, or right or lower one, is of another class."""
    padded = np.pad(classes, 1)
    middle = padded[1:-1, 1:-1]
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    edge: Bools = np.any([neighbour != middle for neighbour in around], axis=0)
    return edge


def _address(image: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
