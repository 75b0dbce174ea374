"""Regions inside questions: the zoomed view of a small region, and the pixels of a view.

In: a mask and a rule. Out: the rectangle that a second view shows, and that view cut out of picture and mask. Rule and
numbers follow the released captioning scripts (`projects/samtok/evaluation/qwen3vl/qwen3vl_dam_infer.py`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samtok_eval import masks
from samtok_eval.masks import Rle
from samtok_eval.sample import Crop

JPEG_QUALITY = 75
"""Pillow's default, with which the released scripts send the view; the mask tokenizer sees the view uncompressed."""


@dataclass(frozen=True)
class ZoomRule:
    """When a region gets a view of its own, and what that view shows."""

    largest_share: float
    """Regions whose box covers less than this share of the picture are shown again; 0 never does."""
    least_side: int = 140
    """The box is grown to this many pixels on both axes, or one less, before it is clipped to the picture."""
    short_side: int = 280
    """A view whose longer side is below this is enlarged until its shorter side reaches it."""
    inclusive: bool = False
    """Keep the box's last row and column, which the released scripts cut off where the box needs no growing."""

    def view(self, region: Rle) -> Crop | None:
        """The view of a region, None when it needs none or is empty.

        Args:
            region: mask at the picture's size.
        """
        box = masks.box(region)
        if box is None:
            return None
        x1, y1, x2, y2 = box
        if (x2 - x1) * (y2 - y1) / (region.height * region.width) >= self.largest_share:
            return None
        x1, x2 = self._grown(x1, x2, region.width)
        y1, y2 = self._grown(y1, y2, region.height)
        return Crop((x1, y1, x2, y2), *self._enlarged(y2 - y1, x2 - x1))

    def _grown(self, first: int, last: int, limit: int) -> tuple[int, int]:
        end = last + 1 if self.inclusive else last
        # Both sides grow alike, as in the released scripts: an odd lack leaves the view one pixel short.
        margin = max(self.least_side - (end - first), 0) // 2
        start, stop = max(first - margin, 0), min(end + margin, limit)
        # The scripts have no pixel left, and stop, where a region one pixel thin does not grow.
        return start, max(stop, start + 1)

    def _enlarged(self, height: int, width: int) -> tuple[int, int]:
        if max(height, width) >= self.short_side:
            return height, width
        if width >= height:
            return self.short_side, int(width * (self.short_side / height))
        return int(height * (self.short_side / width)), self.short_side


def cut_picture(image: NDArray[np.uint8], view: Crop) -> NDArray[np.uint8]:
    """A view's pixels, enlarged with Lanczos.

    Args:
        image: uint8 (H, W, 3).
        view: what to show.

    Returns:
        uint8 (view.height, view.width, 3).
    """
    x1, y1, x2, y2 = view.box
    cut = Image.fromarray(image[y1:y2, x1:x2])
    if cut.size != (view.width, view.height):
        cut = cut.resize((view.width, view.height), Image.Resampling.LANCZOS)
    return np.asarray(cut)


def cut_mask(mask: NDArray[np.bool_], view: Crop) -> NDArray[np.bool_]:
    """A mask inside a view, enlarged bilinearly and rounded.

    Args:
        mask: bool (H, W).
        view: what to show.

    Returns:
        bool (view.height, view.width).
    """
    x1, y1, x2, y2 = view.box
    cut = Image.fromarray(mask[y1:y2, x1:x2].astype(np.uint8))
    if cut.size != (view.width, view.height):
        cut = cut.resize((view.width, view.height), Image.Resampling.BILINEAR)
    return np.asarray(cut) > 0


def as_jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture after one JPEG round trip, as a language model gets it from the released scripts."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as file:
        return np.asarray(file.convert("RGB"))


def as_png(image: NDArray[np.uint8]) -> bytes:
    """A picture as the bytes of a PNG file.

    Args:
        image: uint8 (H, W, 3), or (H, W) for shades of grey.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
