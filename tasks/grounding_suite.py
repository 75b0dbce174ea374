"""GroundingSuite-Eval: segment what a sentence describes, be it stuff, a part, several things or one.

Paper: arXiv 2503.10596. Official scorer: `evaluate_grounding.py` (modes mask and box). Released SAMTok script:
`projects/samtok/evaluation/qwen3vl/qwen3vl_groundingsuite_infer.py`, which unites all masks of an answer and hands them
to the official scorer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from samtok_eval import masks
from samtok_eval.datasets.grounding_suite import CLASSES, read_grounding_suite
from samtok_eval.errors import DataError
from samtok_eval.masks import Rle
from samtok_eval.metrics.boxes import Box, box_iou
from samtok_eval.metrics.ratio import Metric, mean_of
from samtok_eval.metrics.referring import ciou, clusters
from samtok_eval.metrics.scoring import answered_masks, score_region
from samtok_eval.prediction import CocoRle, Prediction, Record
from samtok_eval.prompts import FIND_DESCRIBED
from samtok_eval.sample import Sample, Target, Turn
from samtok_eval.task import Protocol, Task, TaskMetadata

BOX_THRESHOLD = 0.5
SEVERAL = "multi"
MOST_PIECES = 10
"""Pieces of a region that the oracle writes; smaller ones hardly count."""
CLASS_METRICS = {name: f"giou_{name}" for name in CLASSES.values()}


class GroundingSuite(Task):
    """gIoU by class and overall, and box accuracy."""

    metadata = TaskMetadata(
        name="grounding_suite",
        title="GroundingSuite-Eval",
        version=1,
        paper="arXiv 2503.10596",
        data="https://github.com/hustvl/GroundingSuite",
        licence="Apache-2.0; images: COCO terms",
        splits=("eval",),
        default_split="eval",
        sizes={"eval": "3,715 sentences (the paper says 3,800)"},
        files=("grounding_suite/GroundingSuite-Eval.jsonl", "grounding_suite/unlabeled2017"),
        main_metric="giou",
        metrics=(*CLASS_METRICS.values(), "giou", "ciou", "box_acc@0.5"),
        max_new_tokens=512,
    )
    prompt = FIND_DESCRIBED
    protocols = (
        Protocol("strict", policy="default", missing_second="skip", errors_fail=True),
        Protocol("official", policy="default", missing_second="skip", errors_fail=False),
        Protocol("samtok", policy="ref_gres", missing_second="zero", errors_fail=False),
    )

    def read(self, data_root: Path, split: str) -> list[Sample]:
        """One sample per line."""
        return [
            Sample(
                id=str(row.index),
                image=row.image,
                turns=(Turn("user", (FIND_DESCRIBED(caption=row.caption),)),),
                target=Target(masks=(row.region,), box=row.box),
                phrase=row.caption,
                slices={"class": row.kind},
            )
            for row in read_grounding_suite(data_root / "grounding_suite")
        ]

    def written(self, sample: Sample) -> tuple[Rle, ...]:
        """The file unites all objects of a sentence; a code pair means one, so several are written piece by piece."""
        if sample.slices["class"] != SEVERAL:
            return sample.target.masks
        return masks.components(sample.target.masks[0])[:MOST_PIECES] or sample.target.masks

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol) -> Record:
        """Pixels of the united answer, and its box against the file's; `official` leaves unanswered lines out."""
        record = score_region(sample, prediction, protocol)
        found = answered_masks(sample, prediction, protocol)
        box = masks.box(masks.union(found, sample.image.height, sample.image.width))
        values = {
            "box_iou": box_iou(_corners(box), sample.target.box) if box and sample.target.box else 0.0,
            "counts": float(protocol.name != "official" or prediction is not None),
        }
        return Record(**{**record.__dict__, "values": values})

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Means over lines; an empty union is 0, here and in the official scorer."""
        kept = [record for record in records if record.values["counts"]]
        found = {
            "giou": mean_of([record.iou for record in kept], clusters(kept)),
            "ciou": ciou(kept),
            "box_acc@0.5": mean_of([float(r.values["box_iou"] >= BOX_THRESHOLD) for r in kept], clusters(kept)),
        }
        for name, metric in CLASS_METRICS.items():
            mine = [record for record in kept if record.slices["class"] == name]
            if mine:
                found[metric] = mean_of([record.iou for record in mine], clusters(mine))
        return found

    def foreign(self, content: Any) -> list[Prediction] | None:
        """The official scorer's input as a JSON list: `{"idx", "predicted_segmentation", ...}`."""
        if not isinstance(content, list) or not all(isinstance(row, dict) and "idx" in row for row in content):
            return None
        found = []
        for row in content:
            rle = row.get("predicted_segmentation")
            try:
                answered = [CocoRle.model_validate(rle)] if rle else []
            except ValidationError as error:
                raise DataError(f"idx {row['idx']}: predicted_segmentation must be an RLE, got {rle!r:.80}") from error
            found.append(Prediction(id=str(row["idx"]), masks=answered))
        return found

    def export(self, samples: Sequence[Sample], answers: Mapping[str, Prediction]) -> dict[str, Any]:
        """The same format, `predictions.json`; a flat box, since the official scorer misreads a nested one."""
        rows = []
        for sample in samples:
            if sample.id in answers:
                found = answered_masks(sample, answers[sample.id], self.protocols[0])
                united = masks.union(found, sample.image.height, sample.image.width)
                rows.append(
                    {
                        "idx": int(sample.id),
                        "image_path": sample.image.id,
                        "predicted_box": list(_corners(masks.box(united) or (0, 0, -1, -1))),
                        "predicted_segmentation": united.to_coco(),
                    }
                )
        return {"predictions.json": rows}


def _corners(box: tuple[int, int, int, int]) -> Box:
    """Inclusive pixel corners as a continuous box, like the file's."""
    return float(box[0]), float(box[1]), float(box[2] + 1), float(box[3] + 1)


TASKS = (GroundingSuite(),)
