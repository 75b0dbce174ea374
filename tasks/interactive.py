"""Interactive segmentation in several rounds: MR-RefCOCO, MR-RefCOCO+, MR-RefCOCOg and MR-PACO.

Paper: SegLLM, arXiv 2410.18923. Released SAMTok scripts: `projects/samtok/evaluation/qwen3vl/qwen3vl_mrrefcoco_eval.py`
and its three siblings, which show the true masks of earlier rounds as mask words (`--history gt`). SegLLM's own numbers
feed the model's earlier masks back (`--history pred`); the two must not be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from samtok_eval.datasets.segllm import read_conversations
from samtok_eval.metrics.ratio import Metric
from samtok_eval.metrics.referring import ciou, giou, giou_with_epsilon
from samtok_eval.metrics.scoring import Combine, score_region
from samtok_eval.prediction import Prediction, Record
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Sample, Target
from samtok_eval.task import Task, TaskMetadata


@dataclass(frozen=True)
class InteractiveRules:
    """How the scorers of rounds differ."""

    combine: Combine = "union"
    """Which masks of an answer count."""
    targets: int | None = None
    """How many of the target's masks count, the first ones; all by default."""
    sum_epsilon: float = 0.0
    """Added to the sum of unions, for cIoU."""
    mean_epsilon: float | None = None
    """Added to each union for gIoU, an empty one counting as 1; by default gIoU is that of GRES."""


RELEASED = InteractiveRules(combine="last", targets=1, sum_epsilon=1e-10, mean_epsilon=1e-5)


class Interactive(Task):
    """cIoU and gIoU, per round and pooled."""

    metadata = TaskMetadata(
        name="interactive",
        title="Multi-round interactive segmentation (MR-RefCOCO/+/g, MR-PACO)",
        version=2,
        paper="arXiv 2410.18923",
        data="https://huggingface.co/datasets/Marlo-Z/SegLLM_dataset, as it is or as the SAMTok evaluation re-packs it",
        licence="no licence file at the source; images: COCO terms",
        splits=("refcoco", "refcoco+", "refcocog", "paco"),
        default_split="refcoco",
        sizes={"refcoco": "6,678", "refcoco+": "6,655", "refcocog": "3,746", "paco": "9,281 questions, all rounds"},
        files=(
            *(f"segllm/mr_{name}_val_sampled.json" for name in ("refcoco", "refcoco+", "refcocog", "paco")),
            "segllm/conversation_folder",
            "segllm/annotation_folder",
            "coco/train2014",
            "coco/train2017",
        ),
        main_metric="giou",
        metrics=("ciou", "giou"),
        notes="`--history gt` shows the right masks of earlier rounds, `pred` the model's own.",
    )
    prompt = None
    protocols = (
        Protocol("strict", policy="final", missing_second="skip", errors_fail=True, rules=InteractiveRules()),
        Protocol("samtok", policy="ref_last", missing_second="zero", errors_fail=False, rules=RELEASED),
    )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per round of a conversation; texts verbatim but for the picture's mark and blanks around it."""
        return [
            Sample(
                id=f"{row.round}-{row.index}",
                image=row.image,
                turns=row.turns,
                target=Target(row.targets),
                phrase=row.turns[-1].text,
                slices={"round": row.round, "mask_round": str(row.first_mask)},
            )
            for row in read_conversations(data_root, f"mr_{split}", limit)
        ]

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[InteractiveRules]) -> Record:
        """Pixels of the masks that count on either side."""
        meant = replace(sample, target=Target(sample.target.masks[: protocol.rules.targets]))
        return score_region(meant, prediction, protocol, protocol.rules.combine)

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Over all questions, whatever their round."""
        rules: InteractiveRules = self.protocol(protocol).rules
        mean = giou(records) if rules.mean_epsilon is None else giou_with_epsilon(records, rules.mean_epsilon)
        return {"ciou": ciou(records, rules.sum_epsilon), "giou": mean}


TASKS = (Interactive(),)
