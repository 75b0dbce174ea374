"""MMR: questions about several objects and parts at once, each with a mask of its own.

SAMTok's script: `qwen25vl_mmr_eval.py` of CycleGRPO's `projects/vlm/tokenmask/evaluation`. True masks and those of an
answer are matched one to one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from samtok_eval.datasets.mmr import read_mmr
from samtok_eval.masks import area
from samtok_eval.metrics.matching import Matched, matched
from samtok_eval.metrics.ratio import Metric, Ratio
from samtok_eval.metrics.referring import ciou, clusters
from samtok_eval.metrics.scoring import found_masks
from samtok_eval.prediction import Prediction, Record, of_other_pictures
from samtok_eval.prompts import SEGMENT_IMPLIED, SEGMENT_IMPLIED_THINKING, Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Sample, Target, Turn
from samtok_eval.task import Task, TaskMetadata


@dataclass(frozen=True)
class MmrRules:
    """How the scorers of several masks differ."""

    counts_surplus: bool = True
    """Whether masks that belong to no true one are wrong, and a question without an answer is right when nothing is
    answered; otherwise they cost nothing, and such a question stops the scorer."""
    sums_parts: bool = False
    """Whether the parts of a true mask are added up where it and the answer's are compared as the only ones."""
    sum_epsilon: float = 0.0
    """Added to the sum of unions, for cIoU."""
    mean_epsilon: float = 0.0
    """Added to each union, for gIoU."""


RELEASED = MmrRules(counts_surplus=False, sums_parts=True, sum_epsilon=1e-10, mean_epsilon=1e-5)


class Mmr(Task):
    """gIoU over true masks and cIoU over all pixels."""

    metadata = TaskMetadata(
        name="mmr",
        title="MMR (several targets and parts)",
        version=1,
        paper="arXiv 2503.13881",
        data="https://github.com/jdg900/MMR",
        licence="not stated here; images: COCO terms",
        splits=("val",),
        default_split="val",
        sizes={"val": "not counted here"},
        files=("mmr/MMR_val.json", "coco/train2017", "coco/val2017"),
        main_metric="giou",
        metrics=("giou", "ciou"),
        max_new_tokens=512,
    )
    prompt: Prompt = SEGMENT_IMPLIED
    prompts = (SEGMENT_IMPLIED_THINKING,)
    prompt_tokens: ClassVar[Mapping[str, int]] = {SEGMENT_IMPLIED_THINKING.id: 1024}
    protocols = (
        Protocol("strict", policy="final", missing_second="skip", errors_fail=True, rules=MmrRules()),
        Protocol("samtok", policy="ref_gcg", missing_second="zero", errors_fail=False, rules=RELEASED),
    )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per question."""
        samples = []
        for question in read_mmr(data_root / "mmr" / f"MMR_{split}.json", data_root / "coco", limit):
            summed = {name: question.summed for name in _SUMMING if question.summed != question.objects}
            count = len(question.objects)
            slices = {"targets": "none" if count == 0 else "one" if count == 1 else "several"}
            turns = (Turn("user", (self.prompt(question=question.text),)),)
            target = Target(question.objects, other_masks=summed)
            samples.append(Sample(question.id, question.image, turns, target, question.text, slices))
        return samples

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[MmrRules]) -> Record:
        """Pixels of every true mask and of the one that is matched with it."""
        rules = protocol.rules
        found = [] if prediction is None else found_masks(sample, prediction, protocol)
        truth, answer = sample.target.masks, found or []
        if rules.sums_parts and len(truth) == len(answer) == 1:
            truth = sample.target.masks_under(protocol.name) or truth
        try:
            pairs = matched(truth, answer)
        except ValueError as error:
            raise of_other_pictures(sample.id, error) from error
        status = "missing" if prediction is None else prediction.status
        failed = protocol.errors_fail and status in ("missing", "error", "invalid")
        ious = _ious(pairs, rules)
        inter, union, gt_area = sum(pairs.inter), sum(pairs.union), sum(map(area, truth))
        if rules.counts_surplus:
            union += sum(pairs.surplus)
        return Record(
            id=sample.id,
            image_id=sample.image.id,
            protocol=protocol.name,
            inter=inter,
            union=union,
            gt_area=gt_area,
            pred_area=union + inter - gt_area,
            no_target=sample.target.no_target,
            status=status,
            failed=failed,
            crashed=found is None or not ious,
            phrase=sample.phrase,
            values={"iou_sum": 0.0 if failed else sum(ious), "iou_count": float(len(ious))},
            slices=sample.slices,
        )

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """The mean over true masks, under `strict` over surplus ones as well, and the ratio of all pixels."""
        rules: MmrRules = self.protocol(protocol).rules
        sums, counts = ([record.values[name] for record in records] for name in ("iou_sum", "iou_count"))
        return {"giou": Ratio(sums, counts, clusters(records)), "ciou": ciou(records, rules.sum_epsilon)}


def _ious(pairs: Matched, rules: MmrRules) -> list[float]:
    """IoU of every true mask, two empty ones 1, and 0 of every surplus one that counts."""
    found = [
        inter / (union + rules.mean_epsilon) if union else 1.0
        for inter, union in zip(pairs.inter, pairs.union, strict=True)
    ]
    if not rules.counts_surplus:
        return found
    return [*found, *[0.0] * len(pairs.surplus)] or [1.0]


_SUMMING = tuple(protocol.name for protocol in Mmr.protocols if protocol.rules.sums_parts)
TASKS = (Mmr(),)
