"""Encoded pictures that are kept for later calls, so that one picture is encoded once for codes, regions and masks.

In: a picture and how to encode it. Out: its feature maps. The least recently used ones are dropped where their bytes
exceed a bound; a picture is known by its bytes, so that two arrays of one picture are the same.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import ImageState


class StateCache:
    """Feature maps by picture, bounded by bytes; weights that gave them must not change."""

    def __init__(self, most_bytes: int) -> None:
        """Start empty.

        Args:
            most_bytes: kept together; a single larger picture is not kept.
        """
        self._most_bytes = most_bytes
        self._kept: OrderedDict[bytes, ImageState] = OrderedDict()
        self._bytes = 0

    def state(self, image: NDArray[np.uint8], encode: Callable[[NDArray[np.uint8]], ImageState]) -> ImageState:
        """Feature maps of a picture.

        Args:
            image: uint8 (H, W, 3).
            encode: gives them where they are not kept.
        """
        key = hashlib.blake2b(str(image.shape).encode() + image.tobytes(), digest_size=16).digest()
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        state = encode(image)
        self._kept[key] = state
        self._bytes += state.nbytes
        while self._bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
        return state
