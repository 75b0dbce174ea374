"""Region captioning: the model reads a mask and describes what it covers.

Splits: `refcocog-val` and `vg`, captions compared with what people said of the same region of RefCOCOg and of Visual
Genome (METEOR, CIDEr, as in GLaMM, arXiv 2311.03356); `dlc`, DLC-Bench, whose descriptions a judge model questions
(arXiv 2504.16072). Prompts and the zoomed second view are those of SAMTok's script
`projects/samtok/evaluation/qwen3vl/qwen3vl_dam_infer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from samtok_eval.datasets.dlc import read_dlc
from samtok_eval.datasets.refer import Expression, read_expressions
from samtok_eval.datasets.visual_genome import read_visual_genome
from samtok_eval.mask_tokens import Codes
from samtok_eval.masks import Rle
from samtok_eval.metrics.captions import meteor_of, with_scores
from samtok_eval.metrics.cards import MetricKey
from samtok_eval.metrics.dlc import ERROR_MARK, Points, asked, mean_of_both, no_points, official_points, points
from samtok_eval.metrics.gcg import read_paired
from samtok_eval.metrics.judge import Judge
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.ratio import Metric, Ratio, mean_of
from samtok_eval.metrics.referring import clusters
from samtok_eval.prediction import OPEN_PROMPTS, AnswerStatus, Prediction, Record, text_predictions
from samtok_eval.prompts import CAPTION_REGION, CAPTION_REGION_ZOOM, Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.regions import ZoomRule
from samtok_eval.sample import CaptionTarget, Graded, ImageRef, Part, Region, Sample, Turn
from samtok_eval.task import Task, TaskMetadata

ZOOM = ZoomRule(largest_share=0.3)
REFCOCOG, VG, DLC = "refcocog-val", "vg", "dlc"
DAM_QUESTION = "query"
"""The entry of DAM's caption files that holds what the model was asked; no region has such an id."""


@dataclass(frozen=True)
class CaptionRules:
    """How the scorers of captions differ."""

    cleaned: bool
    """Whether reasoning, mask words and other marks leave the caption; otherwise it is the answer as it came."""
    stops: bool
    """Whether nothing is scored where the benchmark's scorer stops at an answer."""
    of_results: bool
    """Whether METEOR and CIDEr are those of the regions that have an answer, as GLaMM's scorer takes its regions from
    the results; otherwise a missing answer is an empty caption."""
    judges_empty: bool
    """Whether the judge is asked about an empty caption; otherwise that is worth nothing."""
    points: Callable[[Sequence[str], Sequence[Graded]], Points | None]
    """Points of the judge's replies to the questions about a region; None where the scorer stops."""


OURS = CaptionRules(cleaned=True, stops=False, of_results=False, judges_empty=False, points=points)
OFFICIAL = CaptionRules(cleaned=False, stops=True, of_results=True, judges_empty=True, points=official_points)


class RegionCaption(Task):
    """METEOR and CIDEr against references, or points from a judge."""

    metadata = TaskMetadata(
        name="region_caption",
        title="Region captioning (RefCOCOg, Visual Genome, DLC-Bench)",
        version=3,
        paper="arXiv 2504.16072, arXiv 2311.03356",
        data="https://huggingface.co/datasets/nvidia/DLC-Bench, https://github.com/lichengunc/refer, "
        "https://github.com/mbzuai-oryx/groundingLMM/blob/main/docs/datasets.md",
        licence="RefCOCOg: COCO terms for images; Visual Genome: CC BY 4.0; DLC-Bench: see its card",
        splits=(REFCOCOG, VG, DLC),
        default_split=REFCOCOG,
        sizes={REFCOCOG: "2,573 regions", VG: "not stated", DLC: "100 regions, 892 questions"},
        files=("refcocog/refs(umd).p", "refcocog/instances.json", "coco/train2014",
               "visual_genome/test_caption.json", "visual_genome/images", "dlc_bench/annotations.json",
               "dlc_bench/class_names.json", "dlc_bench/qa.json", "dlc_bench/images"),
        main_metric="meteor",
        metrics=("meteor", "cider", "dlc_pos", "dlc_neg", "dlc_avg", "empty"),
        lower_is_better=("empty",),
        max_new_tokens=1024,
        notes="DLC-Bench is scored only with --judge; judges never share a column.",
    )  # fmt: skip
    prompt: Prompt = CAPTION_REGION_ZOOM
    prompts = (CAPTION_REGION,)
    protocols = (
        Protocol("strict", policy="default", missing_second="skip", errors_fail=True, rules=OURS),
        Protocol("official", policy="default", missing_second="skip", errors_fail=False, rules=OFFICIAL),
    )
    answered_in_words = True
    judged = True

    def read(self, data_root: Path, split: str) -> list[Sample]:
        """One sample per region; its id is the annotation's."""
        if split == DLC:
            described = read_dlc(data_root / "dlc_bench")
            return [
                self._sample(r.id, r.image, r.region, CaptionTarget(labels=(r.name,), questions=r.questions,
                                                                    benchmark=DLC), r.name)
                for r in described
            ]  # fmt: skip
        if split == VG:
            captioned = read_visual_genome(data_root / "visual_genome")
            return [
                self._sample(r.id, r.image, r.region, CaptionTarget(texts=(r.caption,), benchmark=VG))
                for r in captioned
            ]
        folder = data_root / "refcocog"
        images = data_root / "coco" / "train2014"
        by_region: dict[int, list[Expression]] = {}
        for said in read_expressions(folder / "refs(umd).p", folder / "instances.json", images, "val"):
            by_region.setdefault(int(said.annotations[0]["id"]), []).append(said)
        return [
            self._sample(
                str(annotation),
                said[0].image,
                said[0].instances[0],
                CaptionTarget(
                    labels=(said[0].category,), texts=tuple(one.sentence for one in said), benchmark=REFCOCOG
                ),
            )
            for annotation, said in by_region.items()
        ]

    def _sample(self, name: str, image: ImageRef, region: Rle, target: CaptionTarget, phrase: str = "") -> Sample:
        return Sample(name, image, self._ask(region), target, phrase=phrase)

    def _ask(self, region: Rle) -> tuple[Turn, ...]:
        """The question, with a second view of a small region unless the prompt is the plain one."""
        view = ZOOM.view(region) if self.prompt is CAPTION_REGION_ZOOM else None
        parts: tuple[Part, ...] = CAPTION_REGION.parts(region=Region(region))
        if view is not None:
            parts = CAPTION_REGION_ZOOM.parts(region=Region(region), view=view, region_in_view=Region(region, view))
        return (Turn("user", parts),)

    def answer(self, sample: Sample, codes: Sequence[Codes]) -> str:
        """The first reference; on DLC-Bench, where there is none, the class and every fact that earns full points."""
        if sample.target.texts:
            return sample.target.texts[0]
        best = [max(question.choices, key=lambda choice: choice[1])[0] for question in sample.target.questions]
        return " ".join([f"{sample.target.labels[0]}.", *best])

    def guess(self, sample: Sample, samples: Sequence[Sample], rng: np.random.Generator) -> str:
        """What is right about another region."""
        others = [other for other in samples if other.id != sample.id]
        return self.answer(others[int(rng.integers(len(others)))], []) if others else "an object"

    def status(self, text: str) -> AnswerStatus:
        """`invalid` for an empty caption."""
        return "ok" if read_paired(text).caption else "invalid"

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[CaptionRules]) -> Record:
        """What can be said without references or a judge: whether there is a caption."""
        status = "missing" if prediction is None else prediction.status
        return Record(
            id=sample.id,
            image_id=sample.image.id,
            protocol=protocol.name,
            status=status,
            failed=protocol.errors_fail and status in ("missing", "error"),
            crashed=protocol.rules.stops and _stops(sample, prediction),
            phrase=sample.phrase,
            values={"empty": float(not _said(prediction, protocol.rules).strip())},
            slices=sample.slices,
        )

    def score_all(
        self,
        samples: Sequence[Sample],
        answers: Mapping[str, Prediction],
        protocol: Protocol[CaptionRules],
        judges: Judges,
    ) -> Sequence[Record]:
        """Records with caption scores where there are references, with points where there are questions."""
        records = super().score_all(samples, answers, protocol, judges)
        captions = [_said(answers.get(sample.id), protocol.rules) for sample in samples]
        left_out = protocol.rules.of_results
        references = [
            () if left_out and _answered(answers.get(sample.id)) is None else sample.target.texts for sample in samples
        ]
        # DLC-Bench has none, and need not wait for METEOR.
        if any(references) and judges.captions is not None:
            records = with_scores(judges.captions, records, captions, references)
        if judges.judge is not None:
            records = _judged(samples, captions, records, judges.judge, protocol.rules)
        return records

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Means over regions; no points as long as the judge owes a reply, or where the official scorer stops."""
        names = clusters(records)
        keys = ["cider"]
        if not any(record.crashed or record.values.get(OPEN_PROMPTS) for record in records):
            keys += sorted({key for record in records for key in record.values if key.startswith("dlc_")})
        means: dict[str, Ratio] = {"empty": mean_of([record.values["empty"] for record in records], names)}
        for key in keys:
            has = [key in record.values for record in records]
            if any(has):
                means[key] = mean_of([record.values.get(key, 0.0) for record in records], names, has)
        found: dict[str, Metric] = {**means}
        for judge in sorted({MetricKey.of(name).judge for name in means}):
            positive, negative, average = (str(MetricKey(f"dlc_{part}", judge)) for part in ("pos", "neg", "avg"))
            if positive in means and negative in means:
                found[average] = mean_of_both(means[positive], means[negative])
        return found | meteor_of(records)

    def stopped(self, records: Sequence[Record], protocol: str) -> str | None:
        """Why the official scorer gives no points."""
        stops = [record.id for record in records if record.crashed]
        if not stops:
            return super().stopped(records, protocol)
        return f"the scorer that {protocol} copies stops at {len(stops)} of {len(records)} regions, {stops[0]} first"

    def foreign(self, content: Any) -> list[Prediction] | None:
        """DLC-Bench's format, `{annotation id: caption}`, in which DAM also keeps its question, or GLaMM's rows."""
        if isinstance(content, list) and all(isinstance(row, dict) and "image_id" in row for row in content):
            return text_predictions([(str(row["image_id"]), row.get("caption")) for row in content], "caption")
        if not isinstance(content, dict):
            return None
        return text_predictions([(name, text) for name, text in content.items() if name != DAM_QUESTION], "caption")

    def export(self, samples: Sequence[Sample], answers: Mapping[str, Prediction]) -> dict[str, Any]:
        """The same formats, `captions.json`; regions without an answer are left out."""
        found = [(sample, _answered(answers.get(sample.id))) for sample in samples]
        texts = [(sample, text) for sample, text in found if text is not None]
        if any(_benchmark(sample) == VG for sample in samples):
            return {"captions.json": [{"image_id": int(sample.id), "caption": text} for sample, text in texts]}
        return {"captions.json": {sample.id: text for sample, text in texts}}


def _benchmark(sample: Sample) -> str:
    return sample.target.benchmark if isinstance(sample.target, CaptionTarget) else ""


def _stops(sample: Sample, prediction: Prediction | None) -> bool:
    """Whether the official scorer stops at an answer: DLC-Bench's looks every region up, and wants a caption."""
    if not sample.target.questions:
        return False
    text = _answered(prediction)
    return text is None or text.startswith(ERROR_MARK)


def _answered(prediction: Prediction | None) -> str | None:
    """The answer as it came; None where there is none."""
    return None if prediction is None or prediction.status == "error" else prediction.text


def _said(prediction: Prediction | None, rules: CaptionRules) -> str:
    """The caption."""
    text = _answered(prediction) or ""
    return read_paired(text).caption if rules.cleaned else text


def _judged(
    samples: Sequence[Sample], captions: Sequence[str], records: Sequence[Record], judge: Judge, rules: CaptionRules
) -> list[Record]:
    """Records with points."""
    prompts = {
        i: asked(caption, sample.target.labels[0], sample.target.questions)
        for i, (sample, caption, record) in enumerate(zip(samples, captions, records, strict=True))
        if sample.target.questions and not record.crashed and (caption or rules.judges_empty)
    }
    replies = judge.replies([prompt for several in prompts.values() for prompt in several])
    found = []
    for i, (sample, record) in enumerate(zip(samples, records, strict=True)):
        questions = sample.target.questions
        if not questions or record.crashed:
            found.append(record)
        elif i not in prompts:
            found.append(_with_points(record, no_points(questions), judge))
        elif missing := sum(prompt not in replies for prompt in prompts[i]):
            found.append(replace(record, values={**record.values, OPEN_PROMPTS: float(missing)}))
        else:
            said = [replies[prompt] for prompt in prompts[i]]
            found.append(_with_points(record, rules.points(said, questions), judge))
    return found


def _with_points(record: Record, worth: Points | None, judge: Judge) -> Record:
    if worth is None:
        return replace(record, crashed=True)
    by_metric = {"dlc_pos": worth.positive, "dlc_neg": worth.negative}
    values = {str(MetricKey(metric, judge.name)): value for metric, value in by_metric.items() if value is not None}
    return replace(record, values={**record.values, **values, "judge_unread": float(worth.unread)})


TASKS = (RegionCaption(),)
