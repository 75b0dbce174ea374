"""`evaluate` module: generalized referring expression segmentation under protocol `strict`."""

from __future__ import annotations

from typing import Any

import evaluate

from samtok_eval.metrics.modules import mask_family
from samtok_eval.metrics.referring import ciou, giou, no_target_accuracy, precisions, target_accuracy


class Gres(evaluate.Metric):
    """`ciou`, `giou`, `n_acc`, `t_acc` and `pr@0.5` to `pr@0.9`; an empty reference means that nothing is meant."""

    def _info(self) -> Any:
        return mask_family.info(
            "cIoU, gIoU, no-target and target accuracy and precision at IoU thresholds, as in GRES.", "2306.00968"
        )

    def _compute(self, *, predictions: list[Any], references: list[Any]) -> dict[str, float | None]:
        records = mask_family.region_records(predictions, references)
        return mask_family.values(
            {
                "ciou": ciou(records),
                "giou": giou(records),
                "n_acc": no_target_accuracy(records),
                "t_acc": target_accuracy(records),
                **precisions(records),
            }
        )
