"""`evaluate` module: mean IoU of the pixels along the edges of one mask per sample."""

from __future__ import annotations

from typing import Any

import evaluate

from samtok_eval.metrics.modules import mask_family
from samtok_eval.metrics.referring import giou


class BoundaryIou(evaluate.Metric):
    """`boundary_iou`, the mean over samples of the IoU of both boundary bands."""

    def _info(self) -> Any:
        return mask_family.info("Mean IoU of the boundary bands of masks.", "2103.16562")

    def _compute(self, *, predictions: list[Any], references: list[Any]) -> dict[str, float | None]:
        return mask_family.values({"boundary_iou": giou(mask_family.boundary_records(predictions, references))})
