"""GRES: generalized referring expression segmentation on gRefCOCO. One sentence may mean one object, several, or none.

Paper: arXiv 2306.00968. Official scorer: ReLA, `gres_model/evaluation/refer_evaluation.py`. Released SAMTok scorer:
`projects/samtok/evaluation/qwen3vl/qwen3vl_gres_eval.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from samtok_eval.datasets.refer import read_expressions
from samtok_eval.metrics.ratio import Metric
from samtok_eval.metrics.referring import (
    OFFICIAL_THRESHOLDS,
    ciou,
    giou,
    no_target_accuracy,
    precisions,
    target_accuracy,
)
from samtok_eval.metrics.scoring import score_region
from samtok_eval.prediction import Prediction, Record
from samtok_eval.prompts import SEGMENT_PHRASE
from samtok_eval.sample import Sample, Target, Turn
from samtok_eval.task import Protocol, Task, TaskMetadata


class Gres(Task):
    """cIoU, gIoU, N-acc and T-acc over sentences; all masks of an answer are united."""

    metadata = TaskMetadata(
        name="gres",
        title="GRES (gRefCOCO)",
        version=1,
        paper="arXiv 2306.00968",
        data="https://github.com/henghuiding/gRefCOCO",
        licence="annotations without a licence file, research use; images: COCO terms",
        splits=("val", "testA", "testB", "train"),
        default_split="val",
        sizes={"val": "1,500 images", "testA": "750 images", "testB": "750 images", "train": "the rest of 19,994"},
        files=("grefcoco/grefs(unc).json", "grefcoco/instances.json", "coco/train2014"),
        main_metric="giou",
        metrics=("ciou", "giou", "n_acc", "t_acc", "pr@0.5", "pr@0.6", "pr@0.7", "pr@0.8", "pr@0.9"),
    )
    prompt = SEGMENT_PHRASE
    protocols = (
        Protocol("strict", policy="default", missing_second="skip", errors_fail=True),
        Protocol("official", policy="default", missing_second="skip", errors_fail=False),
        Protocol("samtok", policy="ref_gres", missing_second="zero", errors_fail=False),
    )

    def read(self, data_root: Path, split: str) -> list[Sample]:
        """One sample per sentence; the phrase is lower-cased, as the released script does."""
        folder = data_root / "grefcoco"
        expressions = read_expressions(
            folder / "grefs(unc).json", folder / "instances.json", data_root / "coco" / "train2014", split
        )
        samples = []
        for expression in expressions:
            phrase = expression.sentence.lower()
            count = len(expression.instances)
            slices = {"targets": "none" if count == 0 else "one" if count == 1 else "several"}
            slices["category"] = expression.category
            if expression.kind:
                slices["kind"] = expression.kind
            turns = (Turn("user", (SEGMENT_PHRASE(phrase=phrase),)),)
            samples.append(Sample(expression.id, expression.image, turns, Target(expression.instances), phrase, slices))
        return samples

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol) -> Record:
        """Pixels of the united answer against the united target."""
        return score_region(sample, prediction, protocol)

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """`samtok` differs by its epsilons, `official` reports Pr at fewer thresholds."""
        samtok = protocol == "samtok"
        found: dict[str, Metric] = {
            "ciou": ciou(records, epsilon=1e-10 if samtok else 0.0),
            "giou": giou(records, epsilon=1e-8 if samtok else 0.0),
            "n_acc": no_target_accuracy(records),
            "t_acc": target_accuracy(records),
        }
        if protocol == "strict":
            found |= precisions(records)
        elif protocol == "official":
            found |= precisions(records, OFFICIAL_THRESHOLDS)
        return found


TASKS = (Gres(),)
