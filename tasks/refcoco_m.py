"""RefCOCO-M: RefCOCO's val with masks drawn anew, so that fine outlines count.

Data and rule: the card of the Hub data set `moondream/refcoco-m`; its paper, arXiv 2604.02593, also gives cIoU. No
SAMTok script reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import ClassVar

from samtok_eval.datasets.refcoco_m import each_expression
from samtok_eval.metrics.ratio import Metric
from samtok_eval.metrics.referring import ciou, giou
from samtok_eval.metrics.scoring import score_region
from samtok_eval.prediction import Prediction, Record
from samtok_eval.prompts import SEGMENT_PHRASE, SEGMENT_PHRASE_THINKING, Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Sample, Target, Turn
from samtok_eval.task import Task, TaskMetadata


class RefCocoM(Task):
    """Mean IoU over sentences; all masks of an answer are united."""

    metadata = TaskMetadata(
        name="refcoco-m",
        title="RefCOCO-M",
        version=1,
        paper="arXiv 2604.02593",
        data="https://huggingface.co/datasets/moondream/refcoco-m",
        licence="MIT; images: COCO terms",
        splits=("val",),
        default_split="val",
        sizes={"val": "5,598 sentences about 2,080 masks in 1,190 images"},
        files=("refcoco-m/data", "coco/train2014"),
        main_metric="giou",
        metrics=("giou", "ciou"),
        max_new_tokens=128,
    )
    prompt: Prompt = SEGMENT_PHRASE
    prompts = (SEGMENT_PHRASE_THINKING,)
    prompt_tokens: ClassVar[Mapping[str, int]] = {SEGMENT_PHRASE_THINKING.id: 2048}
    protocols = (
        Protocol("strict", policy="final", missing_second="skip", errors_fail=True),
        Protocol("official", policy="final", missing_second="skip", errors_fail=False),
    )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per sentence, the sentence as the file has it."""
        expressions = each_expression(data_root / "refcoco-m", data_root / "coco" / "train2014")
        return [
            Sample(
                said.id,
                said.image,
                (Turn("user", (self.prompt(phrase=said.sentence),)),),
                Target((said.mask,)),
                said.sentence,
                {"category": said.category},
            )
            for said in islice(expressions, limit)
        ]

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[None]) -> Record:
        """Pixels of the united answer."""
        return score_region(sample, prediction, protocol)

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """The mean over sentences, and the ratio of all pixels."""
        return {"giou": giou(records), "ciou": ciou(records)}


TASKS = (RefCocoM(),)
