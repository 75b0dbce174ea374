"""`evaluate` module: mean IoU, cumulative IoU and Pr@k of one mask per sample."""

from __future__ import annotations

from typing import Any

import evaluate

from samtok_eval.metrics.modules import mask_family
from samtok_eval.metrics.referring import ciou, giou, precisions


class MaskIou(evaluate.Metric):
    """`giou` (mean of per-sample IoU), `ciou` and `pr@0.5` to `pr@0.9`."""

    def _info(self) -> Any:
        return mask_family.info("Mean IoU, cumulative IoU and precision at IoU thresholds of masks.", "2306.00968")

    def _compute(self, *, predictions: list[Any], references: list[Any]) -> dict[str, float | None]:
        records = mask_family.region_records(predictions, references)
        return mask_family.values({"giou": giou(records), "ciou": ciou(records), **precisions(records)})
