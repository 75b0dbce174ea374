"""From a prediction to the Record of one sample: parse, combine, count pixels.

Shared by every task whose answer is one region of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.masks import Rle
from samtok_eval.metrics.boxes import box_iou as iou_of_boxes
from samtok_eval.prediction import Prediction, Record
from samtok_eval.protocol import Protocol
from samtok_eval.records import NOTHING, Records
from samtok_eval.sample import Sample

Combine = Literal["union", "last"]


class Counts(NamedTuple):
    """Pixels of two regions."""

    inter: int
    union: int
    gt_area: int
    pred_area: int
    answer: Rle
    truth: Rle


def region_counts(answer: Sequence[Rle], truth: Sequence[Rle], height: int, width: int) -> Counts:
    """Compare the unions of two sets of masks; protocols that read an answer alike share the work.

    Raises:
        ValueError: the sizes differ.
    """
    return _kept_counts(tuple(answer), tuple(truth), height, width)


@lru_cache(maxsize=1 << 14)
def _kept_counts(answer: tuple[Rle, ...], truth: tuple[Rle, ...], height: int, width: int) -> Counts:
    united, target = masks.union(answer, height, width), masks.union(truth, height, width)
    inter, union = masks.intersection_and_union(united, target)
    gt_area = masks.area(target)
    return Counts(inter, union, gt_area, union + inter - gt_area, united, target)


def score_regions(
    samples: Sequence[Sample],
    answers: Mapping[str, Prediction],
    protocol: Protocol,
    combine: Combine = "union",
    box_iou: bool = False,
) -> Records:
    """`score_region` of many samples as columns, at half the cost of as many records.

    Raises:
        DataError: as `score_region`.
    """
    return Records.of_rows([_row(sample, answers.get(sample.id), protocol, combine, box_iou) for sample in samples])


def score_region(
    sample: Sample,
    prediction: Prediction | None,
    protocol: Protocol,
    combine: Combine = "union",
    box_iou: bool = False,
) -> Record:
    """Count the pixels of one answer against the union of the target's masks, as the protocol sees them.

    `values["stops"]` marks a sample at whose annotations the scorer that the protocol copies stops.

    Args:
        sample: the question.
        prediction: the answer; None is scored as an empty answer and marked missing.
        protocol: how the answer is read.
        combine: `union` of all masks of the answer, or the `last` one.
        box_iou: also compare mask-derived boxes.

    Raises:
        DataError: a mask of the prediction has another size than the picture, or the decoded mask of a code pair that
            this protocol needs is not in the prediction file.
    """
    return Record(*_row(sample, prediction, protocol, combine, box_iou))


def _row(
    sample: Sample, prediction: Prediction | None, protocol: Protocol, combine: Combine, box_iou: bool
) -> tuple[Any, ...]:
    """The fields of a `Record` in their order."""
    height, width = sample.image.height, sample.image.width
    crashed = False
    answered: list[Rle] = []
    if prediction is not None:
        found = found_masks(sample, prediction, protocol)
        crashed, answered = found is None, found or []
    if combine == "last":
        answered = answered[-1:]
    target = sample.target.masks_under(protocol.name)
    try:
        counts = region_counts(answered, sample.target.masks if target is None else target, height, width)
    except ValueError as error:
        raise DataError(f"prediction {sample.id}: {error}; it was made for other pictures") from error
    status = "missing" if prediction is None else prediction.status
    values: dict[str, float] = {"box_iou": _mask_box_iou(counts.answer, counts.truth)} if box_iou else {}
    if target is None:
        values["stops"] = 1.0
    return (
        sample.id,
        sample.image.id,
        protocol.name,
        status,
        counts.inter,
        counts.union,
        counts.gt_area,
        counts.pred_area,
        sample.target.no_target,
        protocol.errors_fail and status in ("missing", "error", "invalid"),
        crashed,
        sample.phrase,
        values,
        NOTHING,
        sample.slices,
    )


def answered_masks(sample: Sample, prediction: Prediction | None, protocol: Protocol) -> list[Rle]:
    """`found_masks`, none for a missing answer or one on which the reference script would have stopped."""
    return [] if prediction is None else found_masks(sample, prediction, protocol) or []


def found_masks(sample: Sample, prediction: Prediction, protocol: Protocol) -> list[Rle] | None:
    """The answer's masks in order of mention; None where the reference script would have stopped.

    Raises:
        DataError: a mask is broken, or the decoded mask of a code pair is not in the prediction file.
    """
    try:
        if prediction.masks is not None:
            return [mask.rle() for mask in prediction.masks]
        codes = protocol.codes_or_none(prediction.text or "")
        if codes is None:
            return None
        return [prediction.decoded[pair.key].rle() for pair in codes]
    except KeyError as error:
        raise DataError(
            f"prediction {sample.id}: no decoded mask for the codes {error}; run `predict` again, or give masks"
        ) from error
    except ValueError as error:
        raise DataError(f"prediction {sample.id}: {error}") from error


def _mask_box_iou(first: Rle, second: Rle) -> float:
    """IoU of mask-derived boxes as the released scripts measure it: width = x2 - x1, an empty mask is 0 0 0 0."""
    one, other = (masks.box(rle) or (0, 0, 0, 0) for rle in (first, second))
    return iou_of_boxes(one, other)
