"""RefCOCO, RefCOCO+ and RefCOCOg: every sentence means exactly one object.

Papers: arXiv 1608.00272 (RefCOCO, RefCOCO+), 1511.02283 (RefCOCOg). Standard scorer: cIoU over sentences, as in LISA's
`train_ds.py`. Released SAMTok scorer: `qwen3vl_refcoco_padt_style_eval.py`, whose "RES CIoU" is a mean of per-sample
IoU over (picture, phrase) keys; here it is called `giou_by_phrase`. Two more, which add pixels up over sentences:
`qwen3vl/qwen3vl_refcoco_eval.py` and `qwen25vl_refcoco_eval.py` of CycleGRPO's `projects/vlm/tokenmask/evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

from samtok_eval.datasets.refer import Expression, each_expression, each_hub_expression, sentence_samples
from samtok_eval.datasets.refer_hub import hub_parts
from samtok_eval.masks import Rle, covered_once
from samtok_eval.metrics.boxes import SAME_BOX
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.ratio import Metric, Ratio, mean_of
from samtok_eval.metrics.referring import THRESHOLDS, by_phrase, ciou, giou, giou_with_epsilon, precisions
from samtok_eval.metrics.scoring import Combine, score_region, score_regions
from samtok_eval.prediction import Prediction, Record
from samtok_eval.prompts import SEGMENT_PHRASE, SEGMENT_PHRASE_THINKING, Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.records import Records
from samtok_eval.sample import Sample, Target
from samtok_eval.sample_table import Common
from samtok_eval.task import Task, TaskMetadata

OFFICIAL_EPSILON = 1e-5
"""LISA adds it to every union, and counts an empty one as 1; the cumulative scripts do, too."""


def _lisa_masks(expression: Expression) -> tuple[Rle, ...] | None:
    """The target as LISA sees it, which adds the parts of an annotation up; None where its reader stops.

    It takes lists only, and RLEs in them only as text.
    """
    image, (annotation, *_) = expression.image, expression.annotations
    parts = annotation["segmentation"]
    if not isinstance(parts, list) or any(
        isinstance(part, dict) and isinstance(part["counts"], list) for part in parts
    ):
        return None
    if not parts:
        return expression.instances if expression.sentence else None
    try:
        return (covered_once(parts, image.height, image.width),)
    except ValueError:
        # COCO's library refuses them there, too.
        return None


@dataclass(frozen=True)
class ReferringRules:
    """How the scorers of referring segmentation differ."""

    masks: Callable[[Expression], tuple[Rle, ...] | None] | None = None
    """The target as the loader makes it of the annotation, None where it stops; by default the annotation's mask."""
    combine: Combine = "union"
    """Which masks of an answer count."""
    per_sentence: bool = True
    """Whether cIoU and gIoU are given."""
    sum_epsilon: float = 0.0
    """Added to the sum of unions, for cIoU."""
    epsilon: float | None = None
    """Added to each union for gIoU, an empty one counting as 1; by default gIoU is that of GRES."""
    thresholds: tuple[float, ...] = ()
    """Of Pr@k."""
    per_phrase: bool = False
    """Whether mean IoU and box accuracy over (picture, phrase) keys are given."""


PLAIN = ReferringRules(thresholds=THRESHOLDS)
LISA = ReferringRules(masks=_lisa_masks, epsilon=OFFICIAL_EPSILON)
RELEASED = ReferringRules(combine="last", per_sentence=False, per_phrase=True)
REINFORCED = ReferringRules(epsilon=OFFICIAL_EPSILON, per_phrase=True)
"""Two families of scripts read the answers after reinforcement, one with either pair of numbers."""
CUMULATIVE = ReferringRules(sum_epsilon=1e-10, epsilon=OFFICIAL_EPSILON)


class Referring(Task):
    """cIoU, gIoU and Pr@k over sentences."""

    prompt: Prompt = SEGMENT_PHRASE
    prompts = (SEGMENT_PHRASE_THINKING,)
    prompt_tokens: ClassVar[Mapping[str, int]] = {SEGMENT_PHRASE_THINKING.id: 2048}
    protocols = (
        Protocol("strict", policy="final", missing_second="skip", errors_fail=True, rules=PLAIN),
        Protocol("official", policy="final", missing_second="skip", errors_fail=False, rules=LISA),
        Protocol("samtok", policy="ref_last", missing_second="zero", errors_fail=False, rules=RELEASED),
        Protocol("samtok_rl", policy="ref_rl_gres", missing_second="zero", errors_fail=False, rules=REINFORCED),
        Protocol("samtok_cumulative", policy="ref_gres", missing_second="zero", errors_fail=False, rules=CUMULATIVE),
        Protocol(
            "samtok_cumulative_qwen25",
            policy="ref_last",
            missing_second="zero",
            errors_fail=False,
            rules=replace(CUMULATIVE, combine="last"),
        ),
    )

    def __init__(
        self, name: str, title: str, paper: str, sizes: dict[str, str], sources: dict[str, tuple[str, str]]
    ) -> None:
        """Describe one of the three.

        Args:
            name: task name, also the folder under the data root.
            title: for tables.
            paper: arXiv number.
            sizes: published size per split.
            sources: per split, the refs file and the split's name in it.
        """
        self.sources = sources
        files = tuple(dict.fromkeys(f"{name}/{file}" for file, _ in sources.values()))
        self.metadata = TaskMetadata(
            name=name,
            title=title,
            version=2,
            paper=paper,
            data="https://github.com/lichengunc/refer",
            licence="Apache-2.0 (API and annotations); images: COCO terms",
            splits=tuple(sources),
            default_split="val",
            sizes=sizes,
            files=(*files, f"{name}/instances.json", "coco/train2014"),
            main_metric="ciou",
            metrics=("ciou", "giou", "pr@0.5", "pr@0.6", "pr@0.7", "pr@0.8", "pr@0.9", "giou_by_phrase", "box_acc@0.5"),
        )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> Sequence[Sample]:
        """One sample per sentence, the sentence as the file has it."""
        file, name = self.sources[split]
        folder, images = data_root / self.metadata.name, data_root / "coco" / "train2014"
        if parts := hub_parts(folder, file, name):
            expressions = each_hub_expression(parts, images, name)
        else:
            expressions = each_expression(folder / file, folder / "instances.json", images, name)
        return sentence_samples(islice(expressions, limit), self.prompt, _common)

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[ReferringRules]) -> Record:
        """Pixels of the answer, and its box where numbers per phrase are given."""
        return score_region(sample, prediction, protocol, protocol.rules.combine, box_iou=protocol.rules.per_phrase)

    def score_under(
        self,
        samples: Sequence[Sample],
        answers: Mapping[str, Prediction],
        protocols: Sequence[Protocol[ReferringRules]],
        judges: Judges,
    ) -> Mapping[str, Records]:
        """The same of several samples, each answer read once."""
        del judges
        return score_regions(
            samples, answers, protocols, lambda each: each.rules.combine, lambda each: each.rules.per_phrase
        )

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """cIoU, gIoU and Pr@k over sentences, and the released scripts' two numbers over phrases."""
        rules: ReferringRules = self.protocol(protocol).rules
        found: dict[str, Metric] = {}
        if rules.per_sentence:
            mean = giou(records) if rules.epsilon is None else giou_with_epsilon(records, rules.epsilon)
            found |= {"ciou": ciou(records, rules.sum_epsilon), "giou": mean}
        found |= precisions(records, rules.thresholds)
        return found | (released_view(by_phrase(records)) if rules.per_phrase else {})


def released_view(kept: Sequence[Record], rows: Sequence[tuple[str, str]] | None = None) -> dict[str, Ratio]:
    """The released script's mask and box numbers over records already keyed by picture and phrase.

    Args:
        kept: one record per key.
        rows: keys (picture id, phrase) of a second list, e.g. VLM-R1's; a key without record counts 0, a repeated one
            repeatedly. By default the keys of `kept`, once each.
    """
    by_key = {(record.image_id, record.phrase): record for record in kept}
    found = [by_key.get(key) for key in (by_key if rows is None else rows)]
    pictures = [image for image, _ in (by_key if rows is None else rows)]
    boxes = [float(record is not None and record.values["box_iou"] >= SAME_BOX) for record in found]
    return {
        "giou_by_phrase": mean_of([record.iou if record else 0.0 for record in found], pictures),
        "box_acc@0.5": mean_of(boxes, pictures),
    }


def _common(expression: Expression) -> Common:
    """What the sentences about the same object share."""
    slices = {"category": expression.category} | ({"kind": expression.kind} if expression.kind else {})
    return Common(expression.image, Target(expression.instances, other_masks=_other_masks(expression)), slices)


def _other_masks(expression: Expression) -> dict[str, tuple[Rle, ...] | None]:
    """Targets by protocol, where its loader makes another than the annotation's mask."""
    # Those of the class: a layout may leave protocols out, but the hash of the data holds the targets of all.
    views = {protocol.name: protocol.rules.masks for protocol in Referring.protocols}
    found = {name: view(expression) for name, view in views.items() if view is not None}
    return {name: masks for name, masks in found.items() if masks != expression.instances}


UNC = "refs(unc).p"
TASKS = (
    Referring(
        "refcoco",
        "RefCOCO",
        "arXiv 1608.00272",
        {"val": "10,834 sentences", "testA": "5,657 sentences", "testB": "5,095 sentences", "train": "42,404 refs"},
        {split: (UNC, split) for split in ("val", "testA", "testB", "train")},
    ),
    Referring(
        "refcoco+",
        "RefCOCO+",
        "arXiv 1608.00272",
        {
            "val": "10,758 sentences",
            "testA": "5,726 sentences",
            "testB": "4,889 sentences",
            "train": "not counted here",
        },
        {split: (UNC, split) for split in ("val", "testA", "testB", "train")},
    ),
    Referring(
        "refcocog",
        "RefCOCOg",
        "arXiv 1511.02283",
        {
            "val": "4,896 sentences (umd)",
            "test": "9,602 sentences (umd)",
            "google-val": "google split",
            "train": "not counted here (umd)",
        },
        {
            "val": ("refs(umd).p", "val"),
            "test": ("refs(umd).p", "test"),
            "google-val": ("refs(google).p", "val"),
            "train": ("refs(umd).p", "train"),
        },
    ),
)
