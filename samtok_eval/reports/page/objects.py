"""Which masks of a card are the same object, so that they have one colour and one number wherever they are drawn.

In: the masks of a sample by side. Out: a number per mask. Answered masks take the number of the reference mask that
they are matched with: the one-to-one assignment with the largest sum of IoUs, pairs below `SAME` left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from samtok_eval.masks import Rle
from samtok_eval.metrics.gcg import IOU_THRESHOLD, iou_matrix
from samtok_eval.passages import Passage, Side

SAME = IOU_THRESHOLD
"""Least IoU of two masks of one object, that of AP50, triplets and Pr@0.5."""
Objects: TypeAlias = Mapping[Side, tuple[int, ...]]
"""By side, a number per mask from 0; a side whose masks need no telling apart is not there."""


def objects_of(
    asked: Sequence[Rle],
    reference: Sequence[Rle],
    prediction: Sequence[Rle],
    baseline: Sequence[Rle],
    passages: Sequence[Passage],
) -> Objects:
    """Numbers of the masks of a sample.

    Args:
        asked: regions in the question, which are numbered by themselves.
        reference: masks that are right.
        prediction: masks that came back.
        baseline: masks that the baseline gave.
        passages: words that stand for masks; their sides are numbered however few masks they have.
    """
    found: dict[Side, tuple[int, ...]] = {}
    meant = {words.side for passage in passages for line in passage.lines for words in line}
    if asked and (len(set(asked)) > 1 or "asked" in meant):
        found["asked"] = _numbered(asked, {})
    if max(len(set(reference)), len(set(prediction)), len(set(baseline))) > 1 or meant - {None, "asked"}:
        found["reference"] = _numbered(reference, {})
        # Where the question's regions are all there is, an answer's masks are compared with these.
        true, numbers = (reference, found["reference"]) if reference else (asked, found.get("asked", ()))
        own = dict(zip(true, numbers, strict=False))
        found["prediction"] = _matched(own, prediction)
        found["baseline"] = _matched(own, baseline)
    return {side: numbers for side, numbers in found.items() if numbers}


def _numbered(rles: Sequence[Rle], known: Mapping[Rle, int]) -> tuple[int, ...]:
    """A number per mask, the same for equal ones, from the first that is free."""
    numbers = dict(known)
    following = max(known.values(), default=-1) + 1
    for rle in rles:
        if rle not in numbers:
            numbers[rle] = following
            following += 1
    return tuple(numbers[rle] for rle in rles)


def _matched(reference: Mapping[Rle, int], answered: Sequence[Rle]) -> tuple[int, ...]:
    """Numbers of an answer's masks, those of the reference masks that they are matched with."""
    from scipy.optimize import linear_sum_assignment

    true, given = list(reference), list(dict.fromkeys(answered))
    size = {(rle.height, rle.width) for rle in (*true, *given)}
    if len(size) != 1:
        return _numbered(answered, {})
    ious = iou_matrix(true, given)
    pairs = zip(*linear_sum_assignment(ious, maximize=True), strict=True)
    same = {given[int(j)]: reference[true[int(i)]] for i, j in pairs if ious[i, j] >= SAME}
    # Numbers of the reference stay its own, whether or not an answer has them.
    following = len(true)
    numbers = dict(same)
    for rle in given:
        if rle not in numbers:
            numbers[rle] = following
            following += 1
    return tuple(numbers[rle] for rle in answered)
