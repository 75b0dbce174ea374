"""GRES: generalized referring expression segmentation on gRefCOCO. One sentence may mean one object, several, or none.

Paper: arXiv 2306.00968. Official scorer: ReLA, `gres_model/evaluation/refer_evaluation.py`. Released SAMTok scorer:
`projects/samtok/evaluation/qwen3vl/qwen3vl_gres_eval.py`, after RL `qwen25vl_rl/qwen25vl_gres_eval.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from samtok_eval.datasets.refer import Expression, read_expressions
from samtok_eval.masks import Rle, usable_polygons
from samtok_eval.metrics.ratio import Description, Metric
from samtok_eval.metrics.referring import (
    OFFICIAL_THRESHOLDS,
    THRESHOLDS,
    ciou,
    giou,
    has_pixels,
    is_named,
    no_target_accuracy,
    precisions,
    target_accuracy,
)
from samtok_eval.metrics.scoring import score_region
from samtok_eval.prediction import Prediction, Record
from samtok_eval.prompts import SEGMENT_PHRASE, SEGMENT_PHRASE_THINKING, Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Sample, Target, Turn
from samtok_eval.task import Task, TaskMetadata

RELEASED = ("samtok", "samtok_rl")
"""Protocols of SAMTok's scripts, which share loader and scorer and differ in how they read an answer."""


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
        Protocol("strict", policy="final", missing_second="skip", errors_fail=True),
        Protocol("official", policy="final", missing_second="skip", errors_fail=False),
        Protocol("samtok", policy="ref_gres", missing_second="zero", errors_fail=False),
        Protocol("samtok_rl", policy="ref_rl_gres", missing_second="zero", errors_fail=False),
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
            turns = (Turn("user", (self.prompt(phrase=phrase),)),)
            target = Target(expression.instances, other_masks=_other_masks(expression))
            samples.append(Sample(expression.id, expression.image, turns, target, phrase, slices))
        return samples

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol) -> Record:
        """Pixels of the united answer against the united target."""
        return score_region(sample, prediction, protocol)

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """The released scripts differ by their epsilons; `official` believes the reference and has fewer Pr@k."""
        official, released = protocol == "official", protocol in RELEASED
        meant = is_named if official else has_pixels
        found: dict[str, Metric] = {
            "ciou": ciou(records, epsilon=1e-10 if released else 0.0),
            "giou": giou(records, epsilon=1e-8 if released else 0.0, meant=meant),
            "n_acc": no_target_accuracy(records, meant),
            "t_acc": target_accuracy(records, meant),
        }
        if official and not found["n_acc"].n:
            # ReLA gives both accuracies as 0 there.
            found |= {"n_acc": Description(0.0, 0), "t_acc": Description(0.0, 0)}
        if not released:
            found |= precisions(records, OFFICIAL_THRESHOLDS if official else THRESHOLDS, meant)
        return found

    def stopped(self, records: Sequence[Record], protocol: str) -> str | None:
        """ReLA divides by the number of sentences with a target, the released scripts by that of either kind.

        Where one of them is 0 the numbers that do not need it are given all the same.
        """
        meant = is_named if protocol == "official" else has_pixels
        kinds = {meant(record) for record in records}
        needed = (True,) if protocol == "official" else (True, False) if protocol in RELEASED else ()
        lacking = [kind for kind in needed if kind not in kinds]
        if records and lacking:
            kind = "with" if lacking[0] else "without"
            return f"the scorer that {protocol} copies divides by the number of sentences {kind} a target, which is 0"
        return super().stopped(records, protocol)


def _other_masks(expression: Expression) -> dict[str, tuple[Rle, ...] | None]:
    """Targets as ReLA's and SAMTok's loaders make them, where they differ from the union of all annotations."""
    found: dict[str, tuple[Rle, ...] | None] = {"official": _rela_masks(expression)}
    found |= dict.fromkeys(RELEASED, expression.instances if _samtok_reads(expression) else None)
    return {name: masks for name, masks in found.items() if masks != expression.instances}


def _rela_masks(expression: Expression) -> tuple[Rle, ...] | None:
    """All but crowds; None where one of the others has no mask, or none is left of a sentence with a target."""
    pairs = zip(expression.instances, expression.annotations, strict=True)
    kept = [(mask, row["segmentation"]) for mask, row in pairs if not row.get("iscrowd")]
    whole = all(parts if isinstance(parts, dict) else usable_polygons(parts) for _, parts in kept)
    return tuple(mask for mask, _ in kept) if whole and (kept or expression.no_target) else None


def _samtok_reads(expression: Expression) -> bool:
    """Whether SAMTok's loader gets through: it wants run lengths as lists, and one valid polygon among several objects.

    A lone object without a valid polygon shifts the masks of all later sentences of its picture there; that is not
    copied.
    """
    parts = [row["segmentation"] for row in expression.annotations]
    listed = all(isinstance(part["counts"], list) for part in parts if isinstance(part, dict))
    drawn = [part for part in parts if not part or isinstance(part, dict) or usable_polygons(part)]
    return listed and (bool(drawn) or len(parts) == 1 or expression.no_target)


TASKS = (Gres(),)
