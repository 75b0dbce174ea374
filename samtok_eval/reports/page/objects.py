"""Which masks of a card are the same object, so that they have one colour and one number wherever they are drawn.

In: the masks of a sample by side. Out: a number per mask. Answered masks take the number of the reference mask that
they are matched with: the one-to-one assignment with the largest sum of IoUs, pairs below `SAME` left out. What fits no
reference is matched with what the sides before it marked beside the reference, so that no number means two objects.
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
    oracle: Sequence[Rle] = (),
) -> Objects:
    """Numbers of the masks of a sample.

    Args:
        asked: regions in the question, which are numbered by themselves.
        reference: masks that are right.
        prediction: masks that came back.
        baseline: masks that the baseline gave.
        passages: words that stand for masks; their sides are numbered however few masks they have.
        oracle: what the right codes decode to.
    """
    found: dict[Side, tuple[int, ...]] = {}
    meant = {words.side for passage in passages for line in passage.lines for words in line}
    if asked and (len(set(asked)) > 1 or "asked" in meant):
        found["asked"] = _numbered(asked)
    if max(len(set(reference)), len(set(prediction)), len(set(baseline))) > 1 or meant - {None, "asked"}:
        found["reference"] = _numbered(reference)
        if not reference:
            found["asked"] = _numbered(asked)
        # Where the question's regions are all there is, an answer's masks are compared with these.
        true, numbers = (reference, found["reference"]) if reference else (asked, found["asked"])
        own = dict(zip(true, numbers, strict=False))
        beside: dict[Rle, int] = {}
        sides: tuple[tuple[Side, Sequence[Rle]], ...] = (
            ("prediction", prediction),
            ("baseline", baseline),
            ("oracle", oracle),
        )
        for side, rles in sides:
            same = _matched(own, rles)
            rest = [rle for rle in dict.fromkeys(rles) if rle not in same]
            same |= _matched(beside, rest)
            for rle in rest:
                if rle not in same:
                    # Numbers of the reference stay its own, whether or not an answer has them.
                    same[rle] = beside[rle] = len(own) + len(beside)
            found[side] = tuple(same[rle] for rle in rles)
    return {side: numbers for side, numbers in found.items() if numbers}


def _numbered(rles: Sequence[Rle]) -> tuple[int, ...]:
    """A number per mask, the same for equal ones."""
    numbers = {rle: number for number, rle in enumerate(dict.fromkeys(rles))}
    return tuple(numbers[rle] for rle in rles)


def _matched(known: Mapping[Rle, int], answered: Sequence[Rle]) -> dict[Rle, int]:
    """Answered masks with the numbers of the known masks that they are matched with; the others are left out."""
    from scipy.optimize import linear_sum_assignment

    true, given = list(known), list(dict.fromkeys(answered))
    size = {(rle.height, rle.width) for rle in (*true, *given)}
    if not true or not given or len(size) != 1:
        return {}
    ious = iou_matrix(true, given)
    pairs = zip(*linear_sum_assignment(ious, maximize=True), strict=True)
    return {given[int(j)]: known[true[int(i)]] for i, j in pairs if ious[i, j] >= SAME}
