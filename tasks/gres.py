"""GRES: generalized referring expression segmentation on gRefCOCO. One sentence may mean one object, several, or none.

Paper: arXiv 2306.00968. Official scorer: ReLA, `gres_model/evaluation/refer_evaluation.py`. Released SAMTok scorer:
`projects/samtok/evaluation/qwen3vl/qwen3vl_gres_eval.py`, after RL `qwen25vl_rl/qwen25vl_gres_eval.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np

from samtok_eval.datasets.refer import Expression, each_expression, sentence_samples
from samtok_eval.masks import Rle, usable_polygons
from samtok_eval.metrics.confusion import Confusion, confusion
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.ratio import Description, Metric
from samtok_eval.metrics.referring import (
    OFFICIAL_THRESHOLDS,
    THRESHOLDS,
    Meant,
    ciou,
    giou,
    has_pixels,
    is_named,
    no_target_accuracy,
    precisions,
    target_accuracy,
)
from samtok_eval.metrics.scoring import score_region, score_regions
from samtok_eval.prediction import Prediction, Record
from samtok_eval.prompts import SEGMENT_PHRASE, SEGMENT_PHRASE_THINKING, Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.records import Records
from samtok_eval.sample import Sample, Target
from samtok_eval.sample_table import Common
from samtok_eval.task import Task, TaskMetadata

MEANT, NOT_MEANT = "target", "no target"
MARKED, NOT_MARKED, FAILED = "marked", "not marked", "failed"


def _all_masks(expression: Expression) -> tuple[Rle, ...]:
    return expression.instances


def _rela_masks(expression: Expression) -> tuple[Rle, ...] | None:
    """All but crowds; None where one of the others has no mask, or none is left of a sentence with a target."""
    pairs = zip(expression.instances, expression.annotations, strict=True)
    kept = [(mask, row["segmentation"]) for mask, row in pairs if not row.get("iscrowd")]
    whole = all(parts if isinstance(parts, dict) else usable_polygons(parts) for _, parts in kept)
    return tuple(mask for mask, _ in kept) if whole and (kept or expression.no_target) else None


def _samtok_masks(expression: Expression) -> tuple[Rle, ...] | None:
    """All masks, or None where the loader stops.

    It wants run lengths as lists, and one valid polygon among several objects. A lone object without a valid polygon
    shifts the masks of all later sentences of its picture there; that is not copied.
    """
    parts = [row["segmentation"] for row in expression.annotations]
    listed = all(isinstance(part["counts"], list) for part in parts if isinstance(part, dict))
    drawn = [part for part in parts if not part or isinstance(part, dict) or usable_polygons(part)]
    readable = listed and (bool(drawn) or len(parts) == 1 or expression.no_target)
    return expression.instances if readable else None


@dataclass(frozen=True)
class GresRules:
    """How the scorers of GRES differ."""

    masks: Callable[[Expression], tuple[Rle, ...] | None] = _all_masks
    """The target as the loader makes it of the annotations; None where it stops at them."""
    meant: Meant = has_pixels
    """Whether a sentence has a target."""
    sum_epsilon: float = 0.0
    """Added to the sum of unions, for cIoU."""
    mean_epsilon: float = 0.0
    """Added to each union, for gIoU."""
    thresholds: tuple[float, ...] = THRESHOLDS
    """Of Pr@k."""
    divides_by: tuple[bool, ...] = ()
    """Kinds of sentences (with a target or without) without which the scorer divides by 0 and stops."""
    accuracies_default_to_zero: bool = False
    """Whether N-acc and T-acc are 0 where no sentence is without a target."""


RELA = GresRules(
    masks=_rela_masks,
    meant=is_named,
    thresholds=OFFICIAL_THRESHOLDS,
    divides_by=(True,),
    accuracies_default_to_zero=True,
)
RELEASED = GresRules(masks=_samtok_masks, sum_epsilon=1e-10, mean_epsilon=1e-8, thresholds=(), divides_by=(True, False))
"""SAMTok's scripts share loader and scorer, and differ in how they read an answer."""


class Gres(Task):
    """cIoU, gIoU, N-acc and T-acc over sentences; all masks of an answer are united."""

    metadata = TaskMetadata(
        name="gres",
        title="GRES (gRefCOCO)",
        version=2,
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
    prompt: Prompt = SEGMENT_PHRASE
    prompts = (SEGMENT_PHRASE_THINKING,)
    prompt_tokens: ClassVar[Mapping[str, int]] = {SEGMENT_PHRASE_THINKING.id: 1024}
    protocols = (
        Protocol("strict", policy="final", missing_second="skip", errors_fail=True, rules=GresRules()),
        Protocol("official", policy="final", missing_second="skip", errors_fail=False, rules=RELA),
        Protocol("samtok", policy="ref_gres", missing_second="zero", errors_fail=False, rules=RELEASED),
        Protocol("samtok_rl", policy="ref_rl_gres", missing_second="zero", errors_fail=False, rules=RELEASED),
    )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> Sequence[Sample]:
        """One sample per sentence; the phrase is lower-cased, as the released script does."""
        folder = data_root / "grefcoco"
        expressions = each_expression(
            folder / "grefs(unc).json",
            folder / "instances.json",
            data_root / "coco" / "train2014",
            split,
            no_targets=True,
        )
        return sentence_samples(islice(expressions, limit), self.prompt, _common, written=str.lower)

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[GresRules]) -> Record:
        """Pixels of the united answer against the united target."""
        return score_region(sample, prediction, protocol)

    def score_under(
        self,
        samples: Sequence[Sample],
        answers: Mapping[str, Prediction],
        protocols: Sequence[Protocol[GresRules]],
        judges: Judges,
    ) -> Mapping[str, Records]:
        """The same of several samples, each answer read once."""
        del judges
        return score_regions(samples, answers, protocols)

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """cIoU, gIoU, the two accuracies and Pr@k."""
        rules: GresRules = self.protocol(protocol).rules
        found: dict[str, Metric] = {
            "ciou": ciou(records, rules.sum_epsilon),
            "giou": giou(records, rules.mean_epsilon, rules.meant),
            "n_acc": no_target_accuracy(records, rules.meant),
            "t_acc": target_accuracy(records, rules.meant),
        }
        if rules.accuracies_default_to_zero and not found["n_acc"].n:
            found |= {"n_acc": Description(0.0, 0), "t_acc": Description(0.0, 0)}
        return found | precisions(records, rules.thresholds, rules.meant)

    def confusion(
        self, samples: Mapping[str, Sample], answers: Mapping[str, Prediction], records: Sequence[Record], protocol: str
    ) -> Confusion | None:
        """Whether something is meant against whether something was marked: the counts of T-acc and N-acc."""
        rules: GresRules = self.protocol(protocol).rules
        mine = Records.of(records)
        meant = np.where(rules.meant(mine), MEANT, NOT_MEANT).tolist()
        given = np.where(mine.pred_area > 0, MARKED, np.where(mine.failed, FAILED, NOT_MARKED)).tolist()
        right = {MEANT: MARKED, NOT_MEANT: NOT_MARKED}
        return confusion("targets", zip(meant, given, strict=True), [MARKED, NOT_MARKED, FAILED], right)

    def stopped(self, records: Sequence[Record], protocol: str) -> str | None:
        """ReLA divides by the number of sentences with a target, the released scripts by that of either kind.

        Where one of them is 0 the numbers that do not need it are given all the same.
        """
        rules: GresRules = self.protocol(protocol).rules
        kinds = set(np.asarray(rules.meant(Records.of(records))).tolist())
        lacking = [kind for kind in rules.divides_by if kind not in kinds]
        if records and lacking:
            kind = "with" if lacking[0] else "without"
            return f"the scorer that {protocol} copies divides by the number of sentences {kind} a target, which is 0"
        return super().stopped(records, protocol)


def _common(expression: Expression) -> Common:
    """What the sentences about the same objects share."""
    count = len(expression.instances)
    slices = {"targets": "none" if count == 0 else "one" if count == 1 else "several", "category": expression.category}
    if expression.kind:
        slices["kind"] = expression.kind
    return Common(expression.image, Target(expression.instances, other_masks=_other_masks(expression)), slices)


def _other_masks(expression: Expression) -> dict[str, tuple[Rle, ...] | None]:
    """Targets by protocol, where its loader makes others than the union of all annotations."""
    # Those of the class: a layout may leave protocols out, but the hash of the data holds the targets of all.
    views = {protocol.rules.masks for protocol in Gres.protocols}
    seen = {view: view(expression) for view in views}
    found = {protocol.name: seen[protocol.rules.masks] for protocol in Gres.protocols}
    return {name: masks for name, masks in found.items() if masks != expression.instances}


TASKS = (Gres(),)
