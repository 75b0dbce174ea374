"""Codes and masks of several pictures: how asking, the oracle and rewards in training use a mask tokenizer.

In: pictures with masks or codes. Out: codes, or masks as arrays or run lengths. A picture is encoded once however many
masks of it are wanted, and codes are decoded once however many answers name them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samtok_eval import masks
from samtok_eval.mask_tokens import Codes
from samtok_eval.masks import Rle

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer

MaskOrRle = NDArray[np.bool_] | Rle
"""A mask: bool (H, W) or run lengths."""


def encoder(tokenizer: MaskTokenizer) -> Callable[[NDArray[np.uint8], NDArray[np.bool_]], list[Codes]]:
    """The function that gives `messages` the codes of masks bool (N, H, W) in a picture uint8 (H, W, 3)."""

    def encode(image: NDArray[np.uint8], regions: NDArray[np.bool_]) -> list[Codes]:
        return [Codes(*entries) for entries in tokenizer.encode(image, regions).tolist()]

    return encode


def decode_by_picture(
    tokenizer: MaskTokenizer, pictures: Sequence[NDArray[np.uint8]], wanted: Sequence[Sequence[Codes]]
) -> list[dict[Codes, NDArray[np.bool_]]]:
    """Decoded masks of answers, each distinct picture encoded once.

    Args:
        tokenizer: decodes; an absent code adds nothing.
        pictures: uint8 (H, W, 3) of each answer; one that answers share is the same array.
        wanted: codes of each answer.

    Returns:
        Per answer the mask bool (H, W) of each of its codes, in their order; one that answers share is the same array.
    """
    members_of: dict[int, list[int]] = {}
    for i, picture in enumerate(pictures):
        members_of.setdefault(id(picture), []).append(i)
    distinct = [list(dict.fromkeys(codes for i in members for codes in wanted[i])) for members in members_of.values()]
    asked = [(members, codes) for members, codes in zip(members_of.values(), distinct, strict=True) if codes]
    decoded = tokenizer.decode_pictures(
        [pictures[members[0]] for members, _ in asked], [np.array(codes) for _, codes in asked]
    )
    found: list[dict[Codes, NDArray[np.bool_]]] = [{} for _ in pictures]
    for (members, codes), regions in zip(asked, decoded, strict=True):
        region_of = dict(zip(codes, regions, strict=True))
        for i in members:
            found[i] = {entry: region_of[entry] for entry in wanted[i]}
    return found


class RunLengths:
    """Run lengths of the masks of a batch, made once of each array however many answers share it."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[MaskOrRle, Rle]] = {}
        """By the id of the array, which is kept so that no other gets the same id."""

    def of(self, region: MaskOrRle) -> Rle:
        """Run lengths of a mask."""
        if isinstance(region, Rle):
            return region
        if id(region) not in self._made:
            self._made[id(region)] = region, masks.encode(region)
        return self._made[id(region)][1]
