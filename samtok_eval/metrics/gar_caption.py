"""GAR-Bench's captions: a judge looks at the picture and says whether a caption is true.

Rules, prompts and views: `evaluation/GAR-Bench/eval_detailed.py` and `eval_simple.py` of Grasp-Any-Region (arXiv
2510.18876). The judge sees the whole picture, then of each region a view three times as wide and high as its box and
the mask in that view, then the text, and answers True or False. Accuracy is the share of True.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from samtok_eval import masks
from samtok_eval.images import read_image
from samtok_eval.masks import Rle
from samtok_eval.metrics.judge import JudgePrompt, Picture
from samtok_eval.metrics.judging import Judgement, Judging
from samtok_eval.metrics.ratio import Metric, Ratio
from samtok_eval.prompts import Prompt
from samtok_eval.regions import as_png
from samtok_eval.sample import CaptionTarget, ImageRef, Sample

LEAST_SIDE = 56
"""A box is taken to be at least so many pixels wide and high."""
MAX_TOKENS = 1000
ACCURACY = "judge_accuracy"


class Verdicts(Judging):
    """One question per caption, answered by True or False."""

    given = (ACCURACY,)

    def __init__(self, text: Prompt) -> None:
        """Keep the text.

        Args:
            text: with blanks for the words of the sample's target and for `model_output`.
        """
        self.text = text

    def prompts(self, sample: Sample, caption: str) -> Sequence[JudgePrompt]:
        """The picture, each region's view and mask, and the text."""
        target = CaptionTarget.of(sample)
        parts: list[str | Picture] = ["\n1. The original image:\n", whole_picture(sample.image)]
        for number, region in enumerate(target.shown):
            view = seen_box(region)
            parts += [f"\n{2 * number + 2}. <Prompt{number}>:\n", view_of(sample.image, view)]
            parts += [f"\n{2 * number + 3}. The mask of <Prompt{number}>:\n", mask_in(region, view)]
        text = self.text(**target.words, model_output=caption)
        return [JudgePrompt((*parts, text), max_tokens=MAX_TOKENS, about=(sample.id, caption))]

    def judgement(self, sample: Sample, replies: Sequence[str], *, original: bool) -> Judgement:
        """Right or wrong. The original counts the reply `True` alone, letter for letter; a strange reply is wrong."""
        verdict = replies[0] == "True" if original else meant_verdict(replies[0])
        return Judgement({ACCURACY: float(bool(verdict))}, unread=int(verdict is None))

    def of_empty(self, sample: Sample) -> Judgement:
        """Wrong."""
        return Judgement({ACCURACY: 0.0})

    def metrics(self, statistics: Mapping[str, Ratio]) -> Mapping[str, Metric]:
        """The share of captions that are right."""
        return {ACCURACY: statistics[ACCURACY]} if ACCURACY in statistics else {}


def meant_verdict(reply: str) -> bool | None:
    """Whether a reply means True, None where it says neither; case, blanks, quotes and full stops do not count."""
    return {"true": True, "false": False}.get(reply.strip().strip("\"'`*.").strip().lower())


def seen_box(region: Rle) -> tuple[int, int, int, int]:
    """What the judge sees of a region: its box, at least 56 pixels a side, grown to three times that and clipped.

    Args:
        region: not empty.

    Returns:
        x1 y1 x2 y2 in pixels, the last row and column not included.

    Raises:
        ValueError: the region is empty.
    """
    box = masks.box(region)
    if box is None:
        raise ValueError("an empty region cannot be shown")
    x1, x2 = _grown(box[0], box[2] + 1, region.width)
    y1, y2 = _grown(box[1], box[3] + 1, region.height)
    return x1, y1, x2, y2


def _grown(start: int, stop: int, limit: int) -> tuple[int, int]:
    length = max(stop - start, LEAST_SIDE)
    # Cut off towards zero, as the original's `int` does, also where it is negative.
    first = int(start + (stop - start) / 2 - length / 2)
    return max(first - length, 0), min(first + 2 * length, limit)


def whole_picture(image: ImageRef) -> Picture:
    """The picture as it is."""
    return Picture(image.id, lambda: as_png(read_image(image)))


def view_of(image: ImageRef, box: tuple[int, int, int, int]) -> Picture:
    """A part of the picture."""
    x1, y1, x2, y2 = box
    return Picture(f"{image.id} {x1} {y1} {x2} {y2}", lambda: as_png(read_image(image)[y1:y2, x1:x2]))


def mask_in(region: Rle, box: tuple[int, int, int, int]) -> Picture:
    """A part of a mask, white on black."""
    x1, y1, x2, y2 = box
    short = hashlib.sha256(region.counts.encode()).hexdigest()[:12]
    name = f"mask {short} {x1} {y1} {x2} {y2}"
    return Picture(name, lambda: as_png(masks.decode(region)[y1:y2, x1:x2].astype(np.uint8) * np.uint8(255)))
