"""A reward on masks instead of words: the IoU of what the answer's codes and the right answer's codes decode to.

In: answers, right answers and their picture. Out: 0..1. Different codes may decode to nearly the same mask, which a
reward on words cannot see. It needs the mask tokenizer in training, but no annotated masks. The released code has a
reward on masks too and does not use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from samtok_eval import masks
from samtok_eval.mask_tokens import Codes, masks_of, split_thinking
from samtok_eval.metrics.scoring import region_counts

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer

DECODED_IOU = "decoded_iou"
"""Its name among the weights of rewards."""


@torch.no_grad()
def decoded_ious(
    answers: Sequence[str], references: Sequence[str], images: Sequence[Image.Image], tokenizer: MaskTokenizer
) -> list[float]:
    """IoU of the united masks, every picture encoded once.

    Args:
        answers: texts; the final part of think/answer replies counts.
        references: right answers.
        images: the picture of each.
        tokenizer: decodes.

    Returns:
        0..1 each; 1 where neither names a mask, 0 where only one does.
    """
    by_picture: dict[bytes, list[int]] = {}
    for i, image in enumerate(images):
        by_picture.setdefault(image.tobytes(), []).append(i)
    found = [0.0] * len(answers)
    for members in by_picture.values():
        picture = np.asarray(images[members[0]].convert("RGB"))
        pairs = {i: (_codes(answers[i]), _codes(references[i])) for i in members}
        distinct = list(dict.fromkeys(codes for both in pairs.values() for side in both for codes in side))
        if distinct:
            decoded = tokenizer.decode(picture, torch.tensor(distinct), missing_second="skip")
            rles = {codes: masks.encode(mask) for codes, mask in zip(distinct, decoded, strict=True)}
        for i, (said, true) in pairs.items():
            if not said or not true:
                found[i] = float(not said and not true)
                continue
            one, other = (tuple(rles[codes] for codes in side) for side in (said, true))
            counts = region_counts(one, other, *picture.shape[:2])
            found[i] = counts.inter / counts.union if counts.union else 1.0
    return found


def _codes(text: str) -> list[Codes]:
    final = split_thinking(text)[1]
    return masks_of(text if final is None else final)
