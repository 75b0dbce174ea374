"""Metrics of referring segmentation as ratios over Records.

Formulas: cIoU and gIoU of LISA and ReLA (`gres_model/evaluation/refer_evaluation.py`), N-acc and T-acc of GRES
(arXiv 2306.00968), the released SAMTok scripts for their own variants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from samtok_eval.metrics.ratio import Ratio, mean_of
from samtok_eval.prediction import Record

Meant = Callable[[Record], bool]
"""Whether a sample has a target: scorers look at the mask's pixels or at what the reference says."""
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
OFFICIAL_THRESHOLDS = (0.7, 0.8, 0.9)
"""The thresholds that ReLA's scorer reports."""


def clusters(records: Sequence[Record]) -> list[str]:
    """The picture of each record."""
    return [record.image_id for record in records]


def ciou(records: Sequence[Record], epsilon: float = 0.0) -> Ratio:
    """Sum of intersections / sum of unions; `epsilon` is added once below, as some scorers do."""
    unions: list[float] = [record.union for record in records]
    if epsilon and unions:
        unions[0] += epsilon
    return Ratio([record.inter for record in records], unions, clusters(records))


def has_pixels(record: Record) -> bool:
    """Whether the target's masks have a pixel."""
    return record.gt_area > 0


def is_named(record: Record) -> bool:
    """Whether the reference names something, be its mask empty or not."""
    return not record.no_target


def sample_iou(record: Record, epsilon: float = 0.0, meant: Meant = has_pixels) -> float:
    """IoU of one sample under GRES: without a target 1 for an empty answer, else 0; a failure is 0.

    Args:
        record: pixels of the sample.
        epsilon: added to the union, as some scorers do.
        meant: whether the sample has a target.
    """
    if record.failed:
        return 0.0
    if not meant(record):
        return 1.0 if record.pred_area == 0 else 0.0
    return record.inter / (record.union + epsilon) if record.union else 0.0


def giou(records: Sequence[Record], epsilon: float = 0.0, meant: Meant = has_pixels) -> Ratio:
    """Mean of `sample_iou`; never the box "generalised IoU"."""
    return mean_of([sample_iou(record, epsilon, meant) for record in records], clusters(records))


def giou_with_epsilon(records: Sequence[Record], epsilon: float) -> Ratio:
    """Mean of I / (U + epsilon), 1 where both masks are empty: the meter of LISA, SegLLM and several SAMTok scripts."""
    terms = [record.inter / (record.union + epsilon) + (record.union == 0) for record in records]
    return mean_of(terms, clusters(records))


def no_target_accuracy(records: Sequence[Record], meant: Meant = has_pixels) -> Ratio:
    """N-acc: share of no-target samples answered with an empty mask."""
    right = [float(record.pred_area == 0 and not record.failed) for record in records]
    return mean_of(right, clusters(records), [not meant(record) for record in records])


def target_accuracy(records: Sequence[Record], meant: Meant = has_pixels) -> Ratio:
    """T-acc: share of target samples answered with a non-empty mask."""
    right = [float(record.pred_area > 0) for record in records]
    return mean_of(right, clusters(records), [meant(record) for record in records])


def precision_at(records: Sequence[Record], threshold: float, meant: Meant = has_pixels) -> Ratio:
    """Pr@k: share of target samples whose IoU is at least the threshold."""
    right = [float(sample_iou(record, meant=meant) >= threshold) for record in records]
    return mean_of(right, clusters(records), [meant(record) for record in records])


def precisions(
    records: Sequence[Record], thresholds: Sequence[float] = THRESHOLDS, meant: Meant = has_pixels
) -> dict[str, Ratio]:
    """Pr@k at several thresholds, by name."""
    return {f"pr@{threshold}": precision_at(records, threshold, meant) for threshold in thresholds}


def by_phrase(records: Sequence[Record]) -> list[Record]:
    """One record per (picture, phrase) as the released RefCOCO scripts keep them.

    Repeated keys keep the largest mask IoU but the last box IoU (their dictionary is reset before every box maximum).
    """
    kept: dict[tuple[str, str], tuple[Record, float]] = {}
    for record in records:
        key = (record.image_id, record.phrase)
        best = kept[key][0] if key in kept and kept[key][0].iou >= record.iou else record
        kept[key] = (best, record.values["box_iou"])
    return [
        Record(**{**record.__dict__, "values": {**record.values, "box_iou": box_iou}})
        for record, box_iou in kept.values()
    ]
