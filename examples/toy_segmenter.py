"""A back end of one's own: a toy that segments what has the color that the question names.

It writes no mask words; its answers bring their masks. Try it:

    samtok-eval run --task gres --model python:examples/toy_segmenter.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samtok_eval.models.backend import Answer, Picture, Request
from samtok_eval.run.settings import RunSettings

COLORS = {
    "red": (215, 45, 45),
    "green": (50, 165, 65),
    "blue": (50, 85, 215),
    "yellow": (235, 215, 55),
    "purple": (150, 60, 180),
    "orange": (240, 140, 35),
}
"""RGB of each color, as a question names it."""
FAR = 90.0
"""Distance in RGB from which on a pixel has another color."""


class ToySegmenter:
    """Answers with the pixels near the first color that is named, or with no mask where none is."""

    name = "toy-segmenter"

    def __init__(self, settings: RunSettings) -> None:
        """A real one would load its model here, on `settings.device`."""

    def identity(self) -> dict[str, Any]:
        """What changes an answer beside this file: for a real one the hash or revision of its weights."""
        return {"far": FAR}

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """One answer per request, in their order."""
        return [answer(request.images[0], words_of(request)) for request in requests]


def words_of(request: Request) -> list[str]:
    """Words of the last message."""
    text = " ".join(part for part in request.messages[-1].parts if isinstance(part, str))
    return text.lower().replace(".", " ").split()


def answer(picture: Picture, words: Sequence[str]) -> Answer:
    """The mask of a picture uint8 (H, W, 3) that the words ask for."""
    named = next((COLORS[word] for word in words if word in COLORS), None)
    masks = [near(picture, named)] if named else []
    return Answer("Here it is." if masks else "There is none.", masks=masks)


def near(picture: Picture, color: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Pixels bool (H, W) of about that color."""
    found: NDArray[np.bool_] = np.linalg.norm(picture.astype(float) - color, axis=2) < FAR
    return found


BACKEND = ToySegmenter
