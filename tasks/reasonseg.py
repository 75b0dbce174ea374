"""ReasonSeg: segment what a question or a name implies. Areas of a picture may be ignored.

Paper: LISA, arXiv 2308.00692; its scorer, `train_ds.py`, leaves ignored areas out. SAMTok's scripts,
`qwen25vl_reasonseg_eval.py` and `eval_cold_start/qwen25vl_reasonseg_eval.py` of CycleGRPO's
`projects/vlm/tokenmask/evaluation`, take them for background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from samtok_eval import masks
from samtok_eval.datasets.reasonseg import PartlyIgnored, read_reasonseg
from samtok_eval.metrics.ratio import Metric
from samtok_eval.metrics.referring import ciou, giou, giou_with_epsilon
from samtok_eval.metrics.scoring import answered_masks, score_region
from samtok_eval.prediction import Prediction, Record
from samtok_eval.prompts import (
    SEGMENT_IMPLIED,
    SEGMENT_IMPLIED_THINKING,
    SEGMENT_NAMED,
    SEGMENT_NAMED_THINKING,
    Prompt,
)
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Sample, Turn
from samtok_eval.task import Task, TaskMetadata


@dataclass(frozen=True)
class ReasonRules:
    """How the scorers of ReasonSeg differ."""

    leaves_out: bool = True
    """Whether the answer's pixels in ignored areas are left out; otherwise they are wrong."""
    sum_epsilon: float = 0.0
    """Added to the sum of unions, for cIoU."""
    mean_epsilon: float | None = None
    """Added to each union for gIoU, an empty one counting as 1; by default gIoU is that of GRES."""


LISA = ReasonRules(sum_epsilon=1e-10, mean_epsilon=1e-5)
RELEASED = replace(LISA, leaves_out=False)


class ReasonSeg(Task):
    """gIoU and cIoU over pictures; all masks of an answer are united."""

    metadata = TaskMetadata(
        name="reasonseg",
        title="ReasonSeg",
        version=1,
        paper="arXiv 2308.00692",
        data="https://github.com/dvlab-research/LISA",
        licence="code Apache-2.0, annotations without a licence of their own; images: OpenImages and ScanNet terms",
        splits=("val", "test", "train"),
        default_split="val",
        sizes={"val": "200 images", "test": "779 images", "train": "239 images"},
        files=("reasonseg/val", "reasonseg/test", "reasonseg/train"),
        main_metric="giou",
        metrics=("giou", "ciou"),
        max_new_tokens=512,
    )
    prompt: Prompt = SEGMENT_IMPLIED
    prompts = (SEGMENT_IMPLIED_THINKING,)
    prompt_tokens: ClassVar[Mapping[str, int]] = {SEGMENT_IMPLIED_THINKING.id: 1024}
    protocols = (
        Protocol("strict", policy="final", missing_second="skip", errors_fail=True, rules=ReasonRules()),
        Protocol("official", policy="final", missing_second="skip", errors_fail=False, rules=LISA),
        Protocol("samtok", policy="ref_gres", missing_second="zero", errors_fail=False, rules=RELEASED),
        Protocol("samtok_rl", policy="ref_rl_gres", missing_second="zero", errors_fail=False, rules=RELEASED),
    )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per picture, asked with the first of its wordings."""
        samples = []
        named = SEGMENT_NAMED_THINKING if self.prompt is SEGMENT_IMPLIED_THINKING else SEGMENT_NAMED
        for query in read_reasonseg(data_root / "reasonseg" / split, limit):
            name = query.text.lower()
            question = self.prompt(question=query.text) if query.is_sentence else named(name=name)
            slices = {"query": "long" if query.is_sentence else "short"}
            turns = (Turn("user", (question,)),)
            samples.append(Sample(query.image.id, query.image, turns, query.target, query.text, slices))
        return samples

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[ReasonRules]) -> Record:
        """Pixels of the united answer, those of ignored areas as the protocol takes them."""
        record, target = score_region(sample, prediction, protocol), sample.target
        if not protocol.rules.leaves_out or not isinstance(target, PartlyIgnored) or target.ignored is None:
            return record
        answer = masks.union(answered_masks(sample, prediction, protocol), sample.image.height, sample.image.width)
        beyond, _ = masks.intersection_and_union(answer, target.ignored)
        return replace(record, union=record.union - beyond, pred_area=record.pred_area - beyond)

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """The mean over pictures, and the ratio of all pixels."""
        rules: ReasonRules = self.protocol(protocol).rules
        mean = giou(records) if rules.mean_epsilon is None else giou_with_epsilon(records, rules.mean_epsilon)
        return {"giou": mean, "ciou": ciou(records, rules.sum_epsilon)}


TASKS = (ReasonSeg(),)
