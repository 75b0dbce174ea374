"""Rewards on masks instead of words: IoU of what the answer's codes and the right answer's codes decode to.

In: answers, right answers and their picture. Out: 0..1. Different codes may decode to nearly the same mask, which a
reward on words cannot see. They need the mask tokenizer in training, but no annotated masks. The released code has a
reward on masks too and does not use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment

from samtok_eval.mask_tokens import masks_of
from samtok_eval.masks import Rle
from samtok_eval.metrics.gcg import iou_matrix
from samtok_eval.metrics.scoring import region_counts
from samtok_eval.tokenizer.pictures import RunLengths, decode_by_picture

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer

Agreement = Callable[[Sequence[Rle], Sequence[Rle]], float]
"""(answered, true), neither empty -> 0..1."""


def united_iou(answered: Sequence[Rle], true: Sequence[Rle]) -> float:
    """IoU of the united masks, what GRES counts; 1 when both are empty."""
    counts = region_counts(answered, true, true[0].height, true[0].width)
    return counts.inter / counts.union if counts.union else 1.0


def matched_iou(answered: Sequence[Rle], true: Sequence[Rle]) -> float:
    """Sum of the IoUs of the best one-to-one matching / larger number of masks: missing and surplus ones count as 0."""
    matrix = iou_matrix(true, answered, both_empty=1.0)
    return float(matrix[linear_sum_assignment(matrix, maximize=True)].sum()) / max(len(answered), len(true))


DECODED: Mapping[str, Agreement] = {"decoded_iou": united_iou, "decoded_matched_iou": matched_iou}
"""Rewards on masks by name."""


def decoded_rewards(
    agreement: Agreement,
    answers: Sequence[str],
    references: Sequence[str],
    images: Sequence[Image.Image],
    tokenizer: MaskTokenizer,
) -> list[float]:
    """Agreement of decoded masks, every picture encoded once.

    Args:
        agreement: one of `DECODED`.
        answers: texts; the final part of think/answer replies counts.
        references: right answers.
        images: the picture of each.
        tokenizer: decodes.

    Returns:
        0..1 each; 1 where neither names a mask, 0 where only one does.
    """
    distinct: dict[bytes, NDArray[np.uint8]] = {}
    pictures = [distinct.setdefault(image.tobytes(), np.asarray(image.convert("RGB"))) for image in images]
    layout = tokenizer.config.layout
    pairs = [[masks_of(text, "final", layout) for text in both] for both in zip(answers, references, strict=True)]
    decoded = decode_by_picture(tokenizer, pictures, [[*answered, *right] for answered, right in pairs])
    run_lengths = RunLengths()
    return [
        agreement(*([run_lengths.of(regions[codes]) for codes in side] for side in both))
        if all(both)
        else float(not any(both))
        for both, regions in zip(pairs, decoded, strict=True)
    ]
