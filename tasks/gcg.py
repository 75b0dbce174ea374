"""Grounded conversation generation (GranD-f): a caption of the picture whose phrases come with masks.

Paper: GLaMM, arXiv 2311.03356. Official scorer: its `eval/gcg/evaluate.py`. SAMTok's script
(`projects/samtok/evaluation/qwen3vl/qwen3vl_gcg_eval.py`) writes that scorer's files; `official_format/` holds ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from samtok_eval.datasets.gcg import Grounded, read_gcg
from samtok_eval.mask_tokens import GLAMM_MARKS, QWEN_MARKS, Codes, marked_phrase, render
from samtok_eval.masks import Rle
from samtok_eval.metrics.captions import meteor_of, with_scores
from samtok_eval.metrics.gcg import (
    IOU_THRESHOLD,
    SIMILARITY_THRESHOLD,
    Matrix,
    ap50,
    covered_shares,
    iou_matrix,
    pairs,
    ranked_detections,
    read_paired,
    read_released,
    recalled,
)
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.ratio import Metric, Ratio, mean_of
from samtok_eval.metrics.referring import clusters
from samtok_eval.metrics.scoring import found_masks
from samtok_eval.metrics.text_similarity import TextSimilarity
from samtok_eval.passages import Answer, Passage, Words, captioned, in_words, passage
from samtok_eval.prediction import Prediction, Record, of_other_pictures
from samtok_eval.prompts import (
    DESCRIBE_WITH_MASKS,
    DESCRIBE_WITH_MASKS_ONE_BLANK,
    DESCRIBE_WITH_MASKS_RL,
    DETAIL_WITH_MASKS,
    DETAIL_WITH_MASKS_DEMO,
    Prompt,
)
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Sample, Target, Turn
from samtok_eval.task import Task, TaskMetadata, random_codes

RANKED_CATEGORY = 1
"""The category that the official scorer's average precision looks at; its other metrics look at all."""


@dataclass(frozen=True)
class Compared:
    """One answer beside its truth."""

    sample: Sample
    prediction: Prediction | None
    caption: str
    phrases: list[str]
    matrix: Matrix
    """IoU, (true masks, answered masks)."""
    hits: list[bool]
    """Per answered mask that counts for average precision whether it is right."""
    truths: int
    """True masks that count for average precision."""
    crashed: bool

    def close_phrases(self) -> list[str]:
        """Phrases of all pairs whose masks overlap enough for their words to matter."""
        rows, columns = np.nonzero(~(self.matrix < IOU_THRESHOLD))
        true = [self.sample.target.labels[i] for i in rows if i < len(self.sample.target.labels)]
        return true + [self.phrases[j] for j in columns if j < len(self.phrases)]


@dataclass(frozen=True)
class GroundedTarget(Target):
    """Captions with masks; what the official scorer knows of each mask beside its pixels."""

    crowds: tuple[bool, ...] = ()
    """COCO's `iscrowd`: an answer that fits only such a mask is neither right nor wrong to average precision."""
    ranked: tuple[bool, ...] = ()
    """Whether average precision looks at the mask: category 1 alone."""
    credited: tuple[bool, ...] = ()
    """Whether an answer that takes the mask is right: COCO's code takes annotation 0 for none."""

    @property
    def unusual(self) -> tuple[tuple[int, bool, bool, bool], ...]:
        """The three flags of each mask that is no ordinary one."""
        flags = zip(self.crowds, self.ranked, self.credited, strict=True)
        return tuple((i, *three) for i, three in enumerate(flags) if three != (False, True, True))


@dataclass(frozen=True)
class GcgRules:
    """How the scorers of grounded captions differ."""

    marks: tuple[tuple[str, str], ...] | None
    """Marks of phrases, where caption and phrases are read as by SAMTok's script; None takes the caption of the final
    answer, and for each mask the phrase before it."""
    ties: bool
    """Whether average precision takes all masks at once, as one score for all asks for; otherwise in their order."""
    coco_flags: bool
    """Whether average precision passes over crowds and over masks of other categories."""
    both_empty: float
    """IoU of two empty masks."""
    over_masks: bool
    """Whether mean IoU is over all masks, with or without partner; otherwise over pairs, then over pictures."""
    stops: bool
    """Whether a picture's recall ends at the first best pair that fails, at one without a phrase in 0, and the whole
    scorer where no answer has a mask."""


OURS = GcgRules(marks=None, ties=True, coco_flags=False, both_empty=0.0, over_masks=True, stops=False)
GLAMM = GcgRules(
    marks=(QWEN_MARKS, GLAMM_MARKS), ties=False, coco_flags=True, both_empty=math.nan, over_masks=False, stops=True
)
SAMTOK = replace(GLAMM, marks=(QWEN_MARKS,))


class Gcg(Task):
    """Masks by AP50, IoU and recall of phrases; the caption by METEOR and CIDEr."""

    metadata = TaskMetadata(
        name="gcg",
        title="Grounded conversation generation (GranD-f)",
        version=2,
        paper="arXiv 2311.03356",
        data="https://huggingface.co/datasets/MBZUAI/GranD-f",
        licence="annotations: see the GranD-f card; images: SA-1B terms",
        splits=("val", "test"),
        default_split="val",
        sizes={"val": "2.5k captions", "test": "5k captions"},
        files=("gcg/val_gcg_coco_mask_gt.json", "gcg/val_gcg_coco_caption_gt.json",
               "gcg/test_gcg_coco_mask_gt.json", "gcg/test_gcg_coco_caption_gt.json", "gcg/images"),
        main_metric="ap50",
        metrics=("ap50", "miou_gcg", "recall_gcg", "recall_gcg_minilm", "meteor", "cider"),
        max_new_tokens=512,
        notes="CIDEr weighs words by the references of the pictures that are scored; a --limit changes it.",
    )  # fmt: skip
    prompt: Prompt = DESCRIBE_WITH_MASKS
    prompts = (DESCRIBE_WITH_MASKS_ONE_BLANK, DETAIL_WITH_MASKS, DETAIL_WITH_MASKS_DEMO, DESCRIBE_WITH_MASKS_RL)
    prompt_tokens: ClassVar[Mapping[str, int]] = {DESCRIBE_WITH_MASKS_RL.id: 2048}
    protocols = (
        Protocol("strict", policy="final", missing_second="skip", errors_fail=True, rules=OURS),
        Protocol("official", policy="default", missing_second="skip", errors_fail=False, rules=GLAMM),
        Protocol("samtok", policy="ref_gcg", missing_second="zero", errors_fail=False, rules=SAMTOK),
    )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per picture, in the official scorer's order, as average precision without scores needs."""
        turns = (Turn("user", (self.prompt(),)),)
        items = read_gcg(data_root / "gcg", split, limit)
        return [Sample(item.image.id, item.image, turns, _target(item)) for item in items]

    def answer(self, sample: Sample, codes: Sequence[Codes]) -> str:
        """The first reference with its phrases marked, each followed by its mask words."""
        found, rest = "", next(iter(sample.target.texts), "")
        spans = [render([entries], self.layout) for entries in codes]
        for phrase, words in zip(sample.target.labels, spans, strict=False):
            marked = marked_phrase(phrase, words)
            before, here, after = rest.partition(phrase)
            # A phrase that the caption does not contain word for word comes before what is left of it.
            found, rest = (f"{found}{before}{marked}", after) if here else (f"{found}{marked} ", rest)
        return found + rest + "".join(spans[len(sample.target.labels) :])

    def guess(self, sample: Sample, samples: Sequence[Sample], rng: np.random.Generator) -> str:
        """The caption of another picture with random masks."""
        others = [other for other in samples if other.id != sample.id]
        if not others:
            return render([random_codes(rng, self.layout)], self.layout)
        other = others[int(rng.integers(len(others)))]
        return self.answer(other, [random_codes(rng, self.layout) for _ in other.target.masks])

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[GcgRules]) -> Record:
        """Everything but what needs a text model."""
        return _record(_compare(sample, prediction, protocol), protocol, None)

    def score_all(
        self,
        samples: Sequence[Sample],
        answers: Mapping[str, Prediction],
        protocol: Protocol[GcgRules],
        judges: Judges,
    ) -> list[Record]:
        """All records, with phrase recall and caption scores where their models are installed."""
        compared = [_compare(sample, answers.get(sample.id), protocol) for sample in samples]
        if judges.similarity is not None:
            judges.similarity.embed([phrase for one in compared for phrase in one.close_phrases()])
        records = [_record(one, protocol, judges.similarity) for one in compared]
        if judges.captions is not None:
            references = [sample.target.texts for sample in samples]
            records = with_scores(judges.captions, records, [one.caption for one in compared], references)
        return records

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Masks by average precision, IoU and recall, captions by METEOR and CIDEr where these were asked for."""
        rules: GcgRules = self.protocol(protocol).rules
        if self.stopped(records, protocol):
            return {}
        names = clusters(records)
        found: dict[str, Metric] = {"ap50": ap50(records, rules.ties)}
        paired, counts = ([record.values[name] for record in records] for name in ("paired_iou", "pairs"))
        if rules.over_masks:
            masks = [max(record.values["true_masks"], record.values["answers"]) for record in records]
            found["miou_gcg"] = Ratio(paired, masks, names)
        else:
            found["miou_gcg"] = mean_of([p / max(n, 1) for p, n in zip(paired, counts, strict=True)], names)
        for suffix in ("", "_minilm"):
            if any(f"recalled{suffix}" in record.values for record in records):
                hits = [record.values[f"recalled{suffix}"] for record in records]
                found[f"recall_gcg{suffix}"] = Ratio(hits, [record.values["phrases"] for record in records], names)
        told = ["cider" in record.values for record in records]
        if any(told):
            found["cider"] = mean_of([record.values.get("cider", 0.0) for record in records], names, told)
        return found | meteor_of(records)

    def stopped(self, records: Sequence[Record], protocol: str) -> str | None:
        """COCO's reader of results stops at an empty list, that is where no picture has a mask."""
        rules: GcgRules = self.protocol(protocol).rules
        if rules.stops and not any(record.values["answers"] for record in records):
            return "the official scorer stops where no answer has a mask"
        return super().stopped(records, protocol)

    def passages(
        self, sample: Sample, answers: Sequence[Answer], record: Record, protocol: Protocol[GcgRules]
    ) -> list[Passage]:
        """The captions, phrases standing for their masks."""
        target = sample.target
        first = captioned(next(iter(target.texts), ""), target.labels, "reference")
        found = passage("reference", [*first, *[(Words(text),) for text in target.texts[1:]]])
        for answer in answers:
            phrases = answer.prediction.phrases if answer.prediction else None
            if phrases is None:
                lines = [in_words(answer, self.layout)]
            else:
                lines = captioned(answer.text, phrases[: len(answer.masks)], answer.side)
            found += passage(answer.title, lines)
        return found

    def foreign(self, content: Any) -> list[Prediction] | None:
        """GLaMM's own files, one per picture or a list of them: `{"image_id", "caption", "phrases", "pred_masks"}`."""
        rows = content if isinstance(content, list) else [content]
        if not all(isinstance(row, dict) and {"image_id", "caption", "phrases", "pred_masks"} <= set(row)
                   for row in rows):  # fmt: skip
            return None
        return [
            Prediction.model_validate(
                {
                    "id": str(row["image_id"]),
                    "text": row["caption"],
                    "phrases": row["phrases"],
                    "masks": [{"size": mask["size"], "counts": mask["counts"]} for mask in row["pred_masks"]],
                }
            )
            for row in rows
        ]

    def export(self, samples: Sequence[Sample], answers: Mapping[str, Prediction]) -> dict[str, Any]:
        """The same files, `<image id>.json`."""
        found = {}
        for sample in samples:
            if sample.id in answers:
                caption, phrases, masks, _ = _answered(sample, answers[sample.id], self.protocol("official"))
                found[f"{sample.id}.json"] = {
                    "image_id": sample.id,
                    "caption": caption,
                    "phrases": phrases,
                    "pred_masks": [mask.to_coco() for mask in masks],
                }
        return found


def _answered(
    sample: Sample, prediction: Prediction | None, protocol: Protocol[GcgRules]
) -> tuple[str, list[str], list[Rle], bool]:
    """Caption, phrases, masks, and whether the reference scripts would have stopped."""
    if prediction is None or prediction.status == "error":
        return "", [], [], prediction is None and not protocol.errors_fail
    masks = found_masks(sample, prediction, protocol)
    if masks is None:
        return "", [], [], True
    text, marks = prediction.text or "", protocol.rules.marks
    if marks is None:
        caption, phrases = read_paired(text, protocol.layout)
    elif prediction.phrases is None:
        caption, phrases = read_released(text, marks)
    else:
        # A prediction file is past the script that cleans captions.
        caption, phrases = text, []
    if prediction.phrases is not None:
        phrases = list(prediction.phrases)
    return caption, phrases, masks, False


def _target(item: Grounded) -> GroundedTarget:
    rows = item.annotations
    return GroundedTarget(
        masks=item.regions,
        labels=item.phrases,
        texts=item.captions,
        crowds=tuple(bool(row.get("iscrowd")) for row in rows),
        ranked=tuple(row.get("category_id") == RANKED_CATEGORY for row in rows),
        credited=tuple(row.get("id") != 0 for row in rows),
    )


def _compare(sample: Sample, prediction: Prediction | None, protocol: Protocol[GcgRules]) -> Compared:
    caption, phrases, masks, crashed = _answered(sample, prediction, protocol)
    size = (sample.image.height, sample.image.width)
    for mask in masks:
        if (mask.height, mask.width) != size:
            problem = f"a mask is {mask.height}x{mask.width}, the picture {size[0]}x{size[1]}"
            raise of_other_pictures(sample.id, problem)
    matrix = iou_matrix(sample.target.masks, masks, protocol.rules.both_empty)
    hits, truths = _ranked(sample.target, masks, matrix, protocol.rules.coco_flags)
    return Compared(sample, prediction, caption, phrases, matrix, hits, truths, crashed)


def _ranked(target: Target, answered: Sequence[Rle], matrix: Matrix, coco_flags: bool) -> tuple[list[bool], int]:
    """Which answers are right to average precision, those that do not count left out; and how many masks there are."""
    flags = target if isinstance(target, GroundedTarget) else GroundedTarget()
    if not (coco_flags and flags.crowds):
        return ranked_detections(matrix, matrix[:0], [True] * len(matrix)), len(matrix)
    single = [i for i, crowd in enumerate(flags.crowds) if flags.ranked[i] and not crowd]
    crowds = [target.masks[i] for i, crowd in enumerate(flags.crowds) if flags.ranked[i] and crowd]
    shares = covered_shares(crowds, answered) if crowds and answered else np.zeros((0, len(answered)))
    return ranked_detections(matrix[single], shares, [flags.credited[i] for i in single]), len(single)


def _record(compared: Compared, protocol: Protocol[GcgRules], similarity: TextSimilarity | None) -> Record:
    sample, prediction, matrix = compared.sample, compared.prediction, compared.matrix
    status = "missing" if prediction is None else prediction.status
    paired = pairs(matrix)
    values = {
        "truths": float(compared.truths),
        "true_masks": float(matrix.shape[0]),
        "answers": float(matrix.shape[1]),
        "phrases": float(len(sample.target.labels)),
        "paired_iou": float(sum(paired)),
        "pairs": float(len(paired)),
        "without_phrase": float(max(matrix.shape[1] - sum(map(bool, compared.phrases)), 0)),
    }
    if similarity is not None:
        values[f"recalled{similarity.suffix}"] = float(_recalled(compared, similarity, protocol.rules.stops))
    return Record(
        id=sample.id,
        image_id=sample.image.id,
        protocol=protocol.name,
        status=status,
        failed=protocol.errors_fail and status in ("missing", "error"),
        crashed=compared.crashed,
        values=values,
        series={"hits": [int(hit) for hit in compared.hits]},
        slices=sample.slices,
    )


def _recalled(compared: Compared, similarity: TextSimilarity, stops: bool) -> int:
    """Phrases found; 0 where the official scorer meets a pair without a phrase."""
    true, said = compared.sample.target.labels, compared.phrases

    def similar(row: int, column: int) -> bool:
        if not stops and (row >= len(true) or column >= len(said) or not said[column]):
            return False
        return similarity(true[row], said[column]) >= SIMILARITY_THRESHOLD

    try:
        return recalled(compared.matrix, similar, stops)
    except IndexError:
        return 0


TASKS = (Gcg(),)
