"""GroundingSuite-Eval: segment what a sentence describes, be it stuff, a part, several things or one.

Paper: arXiv 2503.10596. Official scorer: `evaluate_grounding.py` (modes mask and box). Released SAMTok script:
`projects/samtok/evaluation/qwen3vl/qwen3vl_groundingsuite_infer.py`, which unites all masks of an answer and hands them
to the official scorer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from samtok_eval import masks
from samtok_eval.datasets.grounding_suite import CLASSES, read_grounding_suite
from samtok_eval.errors import DataError
from samtok_eval.masks import Rle
from samtok_eval.metrics.boxes import SAME_BOX, Box, box_iou
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.ratio import Metric, mean_of
from samtok_eval.metrics.referring import ciou, clusters
from samtok_eval.metrics.scoring import answered_masks, score_region
from samtok_eval.prediction import OfficialLine, Prediction, Record
from samtok_eval.prompts import FIND_DESCRIBED, FIND_DESCRIBED_THINKING, Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Sample, Target, Turn
from samtok_eval.task import Task, TaskMetadata

logger = logging.getLogger(__name__)

SEVERAL = "multi"
MOST_PIECES = 10
"""Pieces of a region that the oracle writes; smaller ones hardly count."""
NO_BOX: Box = (0.0, 0.0, 0.0, 0.0)
"""What the released script writes where it found nothing."""
CLASS_METRICS = {name: f"giou_{name}" for name in CLASSES.values()}


@dataclass(frozen=True)
class GroundingRules:
    """How the scorers of sentences differ."""

    lines_alone: bool = False
    """Whether only lines of the prediction file count, for metrics of masks those with one."""
    boxes_of_masks: bool = True
    """Whether a file in the benchmark's own format that has no box is given those of its masks."""


OFFICIAL = GroundingRules(lines_alone=True, boxes_of_masks=False)
"""It counts a line without a box as wrong in any case."""


class GroundingSuite(Task):
    """gIoU by class and overall, and box accuracy."""

    metadata = TaskMetadata(
        name="grounding_suite",
        title="GroundingSuite-Eval",
        version=2,
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
    prompt: Prompt = FIND_DESCRIBED
    prompts = (FIND_DESCRIBED_THINKING,)
    prompt_tokens: ClassVar[Mapping[str, int]] = {FIND_DESCRIBED_THINKING.id: 1024}
    protocols = (
        Protocol("strict", policy="final", missing_second="skip", errors_fail=True, rules=GroundingRules()),
        Protocol("official", policy="final", missing_second="skip", errors_fail=False, rules=OFFICIAL),
        Protocol("samtok", policy="ref_gres", missing_second="zero", errors_fail=False, rules=GroundingRules()),
    )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per line."""
        return [
            Sample(
                id=str(row.index),
                image=row.image,
                turns=(Turn("user", (self.prompt(caption=row.caption),)),),
                target=Target(masks=(row.region,), box=row.box),
                phrase=row.caption,
                slices={"class": row.kind},
            )
            for row in read_grounding_suite(data_root / "grounding_suite", limit)
        ]

    def written(self, sample: Sample) -> tuple[Rle, ...]:
        """The file unites all objects of a sentence; a code pair means one, so several are written piece by piece."""
        if sample.slices["class"] != SEVERAL:
            return sample.target.masks
        return masks.components(sample.target.masks[0])[:MOST_PIECES] or sample.target.masks

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[GroundingRules]) -> Record:
        """One answer, as if it were the whole prediction file."""
        return self._scored([sample], {} if prediction is None else {sample.id: prediction}, protocol)[0]

    def score_all(
        self,
        samples: Sequence[Sample],
        answers: Mapping[str, Prediction],
        protocol: Protocol[GroundingRules],
        judges: Judges,
    ) -> list[Record]:
        """Pixels of the united answers, and their boxes against the file's.

        Whether a file brings masks, boxes or both decides which metrics it has.
        """
        del judges
        return self._scored(samples, answers, protocol)

    def _scored(
        self, samples: Sequence[Sample], answers: Mapping[str, Prediction], protocol: Protocol[GroundingRules]
    ) -> list[Record]:
        lines_alone = protocol.rules.lines_alone
        boxes_given = _boxes_given(answers)
        boxes_alone = boxes_given and not any(map(_brings_mask, answers.values()))
        records = []
        for sample in samples:
            prediction = answers.get(sample.id)
            record = score_region(sample, prediction, protocol)
            box = None if prediction is None else _answered_box(sample, prediction, protocol, boxes_given)
            values = {
                "box_iou": box_iou(box, sample.target.box) if box and sample.target.box else 0.0,
                "counts_mask": float(_brings_mask(prediction) if lines_alone else not boxes_alone),
                "counts_box": float(not lines_alone or prediction is not None),
            }
            records.append(replace(record, values=values))
        return records

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Means over lines; an empty union is 0, here and in the official scorer.

        Metrics of masks are absent where no line counts for them, as in a file of boxes alone.
        """
        masked = [record for record in records if record.values["counts_mask"]]
        boxed = [record for record in records if record.values["counts_box"]]
        found: dict[str, Metric] = {}
        if masked:
            found |= {"giou": mean_of([record.iou for record in masked], clusters(masked)), "ciou": ciou(masked)}
        if boxed:
            right = [float(record.values["box_iou"] >= SAME_BOX) for record in boxed]
            found["box_acc@0.5"] = mean_of(right, clusters(boxed))
        for name, metric in CLASS_METRICS.items():
            mine = [record for record in masked if record.slices["class"] == name]
            if mine:
                found[metric] = mean_of([record.iou for record in mine], clusters(mine))
        return found

    def foreign(self, content: Any) -> list[Prediction] | None:
        """The official scorer's input: lines `{"idx", "image_path", "predicted_segmentation", "predicted_box"}`.

        Also one line alone, as the released SAMTok script writes each to a file of its own. The id of a line is its
        idx, or its picture in a file without any idx; in a file where some lines have one, the others are left out.

        Raises:
            DataError: a mask is no RLE, or a box is not x1 y1 x2 y2.
        """
        rows = content if isinstance(content, list) else [content]
        if not rows or not all(isinstance(row, dict) and row.keys() & {"idx", "image_path"} for row in rows):
            return None
        key = "idx" if any(row.get("idx") is not None for row in rows) else "image_path"
        found: list[Prediction] = [_line(row, key) for row in rows if row.get(key) is not None]
        if len(found) < len(rows):
            logger.warning("%d of %d lines have no %s and are left out", len(rows) - len(found), len(rows), key)
        return found

    def assigned(self, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> Sequence[Prediction]:
        """Official lines by idx, else by picture; the last of several holds, and those of no sentence are left out.

        Raises:
            DataError: no line belongs to a sentence.
        """
        official = [line for line in predictions if isinstance(line, OfficialLine)]
        if not official:
            return predictions
        lines = {line.id: line for line in official}
        keys = {sample.id: sample.id if sample.id in lines else sample.image.id for sample in samples}
        found = [lines[key].model_copy(update={"id": name}) for name, key in keys.items() if key in lines]
        if not found:
            raise DataError(
                f"none of {len(official)} lines belongs to a sentence, {official[0].id!r} first; "
                "correct idx or image_path, --limit or --data-root"
            )
        if len(lines) < len(official):
            logger.warning("%d lines are repeated; the last of each holds", len(official) - len(lines))
        unknown = sorted(lines.keys() - keys.values())
        if unknown:
            logger.warning("%d lines belong to no sentence and are left out, %r first", len(unknown), unknown[0])
        return [*(line for line in predictions if not isinstance(line, OfficialLine)), *found]

    def answered(self, prediction: Prediction) -> bool:
        """A box alone is an answer too."""
        return prediction.box is not None or super().answered(prediction)

    def export(self, samples: Sequence[Sample], answers: Mapping[str, Prediction]) -> dict[str, Any]:
        """The same format, `predictions.json`; a flat box, since the official scorer misreads a nested one."""
        boxes_given = _boxes_given(answers)
        rows = []
        for sample in samples:
            if sample.id in answers:
                answer = answers[sample.id]
                box = _answered_box(sample, answer, self.protocols[0], boxes_given)
                if _brings_mask(answer) and not boxes_given:
                    box = box or NO_BOX
                united = _united(sample, answer, self.protocols[0]).to_coco() if _brings_mask(answer) else None
                rows.append(
                    {
                        "idx": int(sample.id),
                        "image_path": sample.image.id,
                        "predicted_box": list(box) if box else None,
                        "predicted_segmentation": united,
                    }
                )
        return {"predictions.json": rows}


def _line(row: Mapping[str, Any], key: str) -> OfficialLine:
    """One line under its `idx` or `image_path`."""
    rle = row.get("segmentation") or row.get("predicted_segmentation")
    box = row.get("box") or row.get("predicted_box")
    # The released SAMTok script nests its box.
    if isinstance(box, list) and len(box) == 1:
        box = box[0]
    name = row[key]
    if isinstance(name, float) and name.is_integer():
        name = int(name)
    try:
        return OfficialLine.model_validate({"id": str(name), "masks": [rle] if rle else None, "box": box or None})
    except ValidationError as error:
        if error.errors()[0]["loc"][0] == "box":
            raise DataError(f"{key} {name}: predicted_box must be x1 y1 x2 y2, got {box!r:.80}") from error
        raise DataError(f"{key} {name}: predicted_segmentation must be an RLE, got {rle!r:.80}") from error


def _brings_mask(prediction: Prediction | None) -> bool:
    """Whether an answer has a mask to compare; the text of a model always has, be it the zero mask."""
    return prediction is not None and (prediction.text is not None or prediction.masks is not None)


def _boxes_given(answers: Mapping[str, Prediction]) -> bool:
    """Whether a prediction file has boxes of its own."""
    return any(prediction.box for prediction in answers.values())


def _answered_box(
    sample: Sample, prediction: Prediction, protocol: Protocol[GroundingRules], boxes_given: bool
) -> Box | None:
    """The box that is scored: the line's own, else that of the mask where the whole file has no box."""
    if prediction.box or boxes_given:
        return prediction.box
    if isinstance(prediction, OfficialLine) and not protocol.rules.boxes_of_masks:
        return None
    corners = masks.box(_united(sample, prediction, protocol))
    return _corners(corners) if corners else None


def _united(sample: Sample, prediction: Prediction, protocol: Protocol) -> Rle:
    return masks.union(answered_masks(sample, prediction, protocol), sample.image.height, sample.image.width)


def _corners(box: tuple[int, int, int, int]) -> Box:
    """Inclusive pixel corners as a continuous box, like the file's."""
    return float(box[0]), float(box[1]), float(box[2] + 1), float(box[3] + 1)


TASKS = (GroundingSuite(),)
