"""Codes and masks of several pictures: how asking, the oracle and rewards in training use a mask tokenizer.

In: pictures with masks or codes. Out: codes, or masks as run lengths. A picture is encoded once however many masks
of it are wanted, and codes are decoded once however many answers name them.
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


def encoder(tokenizer: MaskTokenizer) -> Callable[[NDArray[np.uint8], NDArray[np.bool_]], list[Codes]]:
    """The function that gives `messages` the codes of masks bool (N, H, W) in a picture uint8 (H, W, 3)."""

    def encode(image: NDArray[np.uint8], regions: NDArray[np.bool_]) -> list[Codes]:
        return [Codes(*entries) for entries in tokenizer.encode(image, regions).tolist()]

    return encode


def decode_by_picture(
    tokenizer: MaskTokenizer, pictures: Sequence[NDArray[np.uint8]], wanted: Sequence[Sequence[Codes]]
) -> list[dict[Codes, Rle]]:
    """Decoded masks of answers, each distinct picture encoded once.

    Args:
        tokenizer: decodes; an absent code adds nothing.
        pictures: uint8 (H, W, 3) of each answer; one that answers share is the same array.
        wanted: codes of each answer.

    Returns:
        Per answer the mask of each of its codes, in their order.
    """
    members_of: dict[int, list[int]] = {}
    for i, picture in enumerate(pictures):
        members_of.setdefault(id(picture), []).append(i)
    distinct = [list(dict.fromkeys(codes for i in members for codes in wanted[i])) for members in members_of.values()]
    asked = [(members, codes) for members, codes in zip(members_of.values(), distinct, strict=True) if codes]
    decoded = tokenizer.decode_pictures(
        [pictures[members[0]] for members, _ in asked], [np.array(codes) for _, codes in asked]
    )
    found: list[dict[Codes, Rle]] = [{} for _ in pictures]
    for (members, codes), regions in zip(asked, decoded, strict=True):
        rles = dict(zip(codes, map(masks.encode, regions), strict=True))
        for i in members:
            found[i] = {entry: rles[entry] for entry in wanted[i]}
    return found
