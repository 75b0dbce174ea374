"""Metrics of referring segmentation as ratios over Records.

Formulas: cIoU and gIoU of LISA and ReLA (`gres_model/evaluation/refer_evaluation.py`), N-acc and T-acc of GRES
(arXiv 2306.00968), the released SAMTok scripts for their own variants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samtok_eval.metrics.ratio import Array, Names, Ratio, mean_of
from samtok_eval.prediction import Record
from samtok_eval.records import Records

Meant = Callable[[Any], Any]
"""Whether each of some `Records`, or a `Record`, has a target: scorers look at the mask's pixels or at what the
reference says."""
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
OFFICIAL_THRESHOLDS = (0.7, 0.8, 0.9)
"""The thresholds that ReLA's scorer reports."""


def clusters(records: Sequence[Record]) -> Names:
    """The picture of each record."""
    return Records.of(records).image_id


def ciou(records: Sequence[Record], epsilon: float = 0.0) -> Ratio:
    """Sum of intersections / sum of unions; `epsilon` is added once below, as some scorers do."""
    mine = Records.of(records)
    unions: NDArray[Any] = mine.union
    if epsilon and len(mine):
        unions = unions.astype(np.float64)
        unions[0] += epsilon
    return Ratio(mine.inter, unions, mine.image_id)


def has_pixels(records: Any) -> Any:
    """Whether the target's masks have a pixel."""
    return records.gt_area > 0


def is_named(records: Any) -> Any:
    """Whether the reference names something, be its mask empty or not."""
    return np.logical_not(records.no_target)


def sample_iou(record: Record, epsilon: float = 0.0, meant: Meant = has_pixels) -> float:
    """IoU of one sample under GRES, see `sample_ious`."""
    return float(sample_ious([record], epsilon, meant)[0])


def sample_ious(records: Sequence[Record], epsilon: float = 0.0, meant: Meant = has_pixels) -> Array:
    """IoU of each sample under GRES: without a target 1 for an empty answer, else 0; a failure is 0.

    Args:
        records: pixels of the samples.
        epsilon: added to the unions, as some scorers do.
        meant: whether a sample has a target.

    Returns:
        float64 (n,), 0..1.
    """
    mine = Records.of(records)
    found = quotient(mine.inter, mine.union + epsilon, mine.union != 0)
    np.copyto(found, mine.pred_area == 0, where=np.logical_not(meant(mine)))
    found[mine.failed] = 0.0
    return found


def quotient(above: NDArray[Any], below: NDArray[Any], where: NDArray[np.bool_]) -> Array:
    """One array divided by another, 0 where it is not to be."""
    values: Array = np.divide(above, below, out=np.zeros(len(above)), where=where)
    return values


def giou(records: Sequence[Record], epsilon: float = 0.0, meant: Meant = has_pixels) -> Ratio:
    """Mean of `sample_ious`; never the box "generalised IoU"."""
    return mean_of(sample_ious(records, epsilon, meant), clusters(records))


def giou_with_epsilon(records: Sequence[Record], epsilon: float) -> Ratio:
    """Mean of I / (U + epsilon), 1 where both masks are empty: the meter of LISA, SegLLM and several SAMTok scripts."""
    mine = Records.of(records)
    return mean_of(mine.inter / (mine.union + epsilon) + (mine.union == 0), mine.image_id)


def no_target_accuracy(records: Sequence[Record], meant: Meant = has_pixels) -> Ratio:
    """N-acc: share of no-target samples answered with an empty mask."""
    mine = Records.of(records)
    return mean_of((mine.pred_area == 0) & ~mine.failed, mine.image_id, np.logical_not(meant(mine)))


def target_accuracy(records: Sequence[Record], meant: Meant = has_pixels) -> Ratio:
    """T-acc: share of target samples answered with a non-empty mask."""
    mine = Records.of(records)
    return mean_of(mine.pred_area > 0, mine.image_id, meant(mine))


def precisions(
    records: Sequence[Record], thresholds: Sequence[float] = THRESHOLDS, meant: Meant = has_pixels
) -> dict[str, Ratio]:
    """Pr@k, the share of target samples whose IoU is at least a threshold, at several of them, by name."""
    mine = Records.of(records)
    ious, counts = sample_ious(mine, meant=meant), meant(mine)
    return {f"pr@{threshold}": mean_of(ious >= threshold, mine.image_id, counts) for threshold in thresholds}


def by_phrase(records: Sequence[Record]) -> list[Record]:
    """One record per (picture, phrase) as the released RefCOCO scripts keep them.

    Repeated keys keep the largest mask IoU but the last box IoU (their dictionary is reset before every box maximum).
    """
    kept: dict[tuple[str, str], tuple[Record, float]] = {}
    for record in records:
        key = (record.image_id, record.phrase)
        best = kept[key][0] if key in kept and kept[key][0].iou >= record.iou else record
        kept[key] = (best, record.values["box_iou"])
    return [replace(record, values={**record.values, "box_iou": box_iou}) for record, box_iou in kept.values()]
