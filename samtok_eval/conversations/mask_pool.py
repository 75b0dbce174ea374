"""Masks of several pictures to codes, pictures in batches, each picture and each of its masks once.

In: pictures or views and masks on them, in any number of portions. Out: codes of each mask. Batches depend only on what
was added and in which order, so that the same portions give the same codes in every process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from samtok_eval.mask_tokens import Codes

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer


class Place(NamedTuple):
    """Where the codes of one mask will be found."""

    picture: int
    mask: int


@dataclass
class _Canvas:
    """A picture or view, and the masks on it."""

    picture: NDArray[np.uint8]
    masks: list[NDArray[np.bool_]] = field(default_factory=list)
    known: dict[bytes, int] = field(default_factory=dict)
    """Packed bits of a mask -> its index."""

    def place(self, mask: NDArray[np.bool_]) -> int:
        bits = np.packbits(mask).tobytes()
        if bits not in self.known:
            self.known[bits] = len(self.masks)
            self.masks.append(mask)
        return self.known[bits]


class MaskPool:
    """Masks that wait for their codes."""

    def __init__(self, tokenizer: MaskTokenizer, batch_size: int) -> None:
        """An empty pool.

        Args:
            tokenizer: encodes.
            batch_size: pictures that go through its image encoder together.
        """
        self.tokenizer, self.batch_size = tokenizer, batch_size
        self._canvases: list[_Canvas] = []
        self._index: dict[int, int] = {}
        self._codes: list[list[Codes]] = []

    def add(self, picture: NDArray[np.uint8], masks: NDArray[np.bool_]) -> list[Place]:
        """Leave masks to be encoded.

        Args:
            picture: uint8 (H, W, 3) RGB; the same array object is the same picture.
            masks: bool (N, H, W).
        """
        if not len(masks):
            return []
        # The canvas keeps the array alive, so that no other one can get its id.
        i = self._index.setdefault(id(picture), len(self._canvases))
        if i == len(self._canvases):
            self._canvases.append(_Canvas(picture))
        return [Place(i, self._canvases[i].place(mask)) for mask in masks]

    def encode(self) -> None:
        """Encode everything that was added."""
        self._codes = []
        for first in range(0, len(self._canvases), self.batch_size):
            several = self._canvases[first : first + self.batch_size]
            found = encode_pictures(self.tokenizer, [c.picture for c in several], [np.stack(c.masks) for c in several])
            self._codes += [[Codes(*entries) for entries in codes.tolist()] for codes in found]

    def codes(self, places: Sequence[Place]) -> list[Codes]:
        """Codes of masks, after `encode`."""
        return [self._codes[place.picture][place.mask] for place in places]


@torch.inference_mode()
def encode_pictures(
    tokenizer: MaskTokenizer, pictures: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.bool_]]
) -> list[torch.Tensor]:
    """Codes of the masks on several pictures, which go through the image encoder together.

    Args:
        tokenizer: encodes.
        pictures: uint8 (H, W, 3) RGB each, sizes may differ.
        masks: bool (N, H, W) each, at the size of its picture.

    Returns:
        int64 (N, depth) on the CPU, for each picture.
    """
    from samtok_eval.tokenizer.model import MASKS_AT_ONCE, normalised_boxes

    state = tokenizer.encode_pixels(tokenizer.pixels(list(pictures)))
    boxes = torch.from_numpy(np.concatenate([normalised_boxes(several) for several in masks])).to(tokenizer.device)
    # Shrunk at once: masks at the size of a photograph do not fit the device by the hundred.
    prompts = torch.cat(
        [
            tokenizer.mask_prompt(
                torch.from_numpy(several[i : i + MASKS_AT_ONCE].astype(np.uint8)).to(tokenizer.device)
            )
            for several in masks
            for i in range(0, len(several), MASKS_AT_ONCE)
        ]
    )
    counts = [len(several) for several in masks]
    owner = torch.arange(len(pictures)).repeat_interleave(torch.tensor(counts)).to(tokenizer.device)
    vectors = [
        tokenizer.embed_regions(state, *some)
        for some in zip(*(torch.split(t, MASKS_AT_ONCE) for t in (owner, prompts, boxes)), strict=True)
    ]
    return list(torch.split(tokenizer.quantizer.encode(torch.cat(vectors)).cpu(), counts))
