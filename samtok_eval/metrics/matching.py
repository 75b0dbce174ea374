"""Several masks against several: which belong together, and the pixels of each pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from samtok_eval import masks
from samtok_eval.masks import Rle


class Matched(NamedTuple):
    """Masks of an answer, each given to one true mask at most."""

    inter: list[int]
    """Per true mask the pixels that it shares with its own; 0 without one."""
    union: list[int]
    """Per true mask the pixels of either; its own area without one."""
    surplus: list[int]
    """Areas of the answer's masks that belong to no true one."""


def matched(truth: Sequence[Rle], answer: Sequence[Rle]) -> Matched:
    """The one-to-one assignment with the largest sum of IoUs.

    Raises:
        ValueError: masks of different sizes.
    """
    from scipy.optimize import linear_sum_assignment

    pixels = np.array([[masks.intersection_and_union(mask, other) for other in answer] for mask in truth])
    inter, union = [0] * len(truth), [masks.area(mask) for mask in truth]
    left = dict.fromkeys(range(len(answer)))
    if pixels.size:
        ious = pixels[..., 0] / np.maximum(pixels[..., 1], 1)
        for i, j in zip(*linear_sum_assignment(ious, maximize=True), strict=True):
            inter[i], union[i] = pixels[i, j].tolist()
            del left[int(j)]
    return Matched(inter, union, [masks.area(answer[j]) for j in left])
