"""From a sample's turns to messages: masks become mask words, views become pictures.

The one place where regions are rendered; captioning, question answering, multi-round tasks and training data share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samtok_eval import masks
from samtok_eval.images import read_image
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout, render
from samtok_eval.regions import as_jpeg, cut_mask, cut_picture
from samtok_eval.sample import Crop, Frame, ImageRef, Region, Turn

Encode = Callable[[NDArray[np.uint8], NDArray[np.bool_]], Sequence[Sequence[int]]]
"""Picture uint8 (H, W, 3) and masks bool (N, H, W) -> codes of N masks, one per book."""


@dataclass(frozen=True)
class Message:
    """One turn as a language model gets it."""

    role: str
    parts: tuple[str | NDArray[np.uint8], ...]
    """Texts and pictures uint8 (h, w, 3), in order."""


def messages(
    turns: Sequence[Turn], image: NDArray[np.uint8], encode: Encode, layout: Layout = DEFAULT_LAYOUT
) -> tuple[Message, ...]:
    """Render turns; the picture stands before the first text.

    Args:
        turns: the conversation before the answer.
        image: uint8 (H, W, 3).
        encode: gives the codes of a mask in a picture or view.
        layout: of these codes.

    Returns:
        One message per turn. The full picture is the given array itself, so that equal pictures can be told by `is`.

    Raises:
        DataError: a further picture cannot be read.
    """
    shown = [part.image for turn in turns for part in turn.parts if isinstance(part, Frame)]
    further = {ref: read_image(ref) for ref in dict.fromkeys(shown)}
    words = _mask_words(turns, image, further, encode, layout)
    found: list[Message] = []
    for turn in turns:
        parts: list[str | NDArray[np.uint8]] = [] if found else [image]
        said: list[str] = []
        for part in turn.parts:
            if isinstance(part, Crop | Frame):
                parts += ["".join(said)] if said else []
                parts.append(as_jpeg(cut_picture(image, part)) if isinstance(part, Crop) else further[part.image])
                said = []
            else:
                said.append(part if isinstance(part, str) else words[part])
        parts += ["".join(said)] if said else []
        found.append(Message(turn.role, tuple(parts)))
    return tuple(found)


def _mask_words(
    turns: Sequence[Turn],
    image: NDArray[np.uint8],
    further: Mapping[ImageRef, NDArray[np.uint8]],
    encode: Encode,
    layout: Layout,
) -> dict[Region, str]:
    """Mask words of every region, each picture or view encoded once."""
    regions = dict.fromkeys(part for turn in turns for part in turn.parts if isinstance(part, Region))
    by_view: dict[Crop | Frame | None, list[Region]] = {}
    for region in regions:
        by_view.setdefault(region.view, []).append(region)
    words: dict[Region, str] = {}
    for view, members in by_view.items():
        shown = image
        full = [masks.decode(region.mask) for region in members]
        if isinstance(view, Crop):
            shown, full = cut_picture(image, view), [cut_mask(mask, view) for mask in full]
        elif view is not None:
            shown = further[view.image]
        stacked = np.stack(full)
        for region, codes in zip(members, encode(shown, stacked), strict=True):
            words[region] = render([codes], layout)
    return words
