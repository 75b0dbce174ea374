"""Region captioning: the model reads a mask and describes what it covers.

Splits: `refcocog-val`, captions compared with RefCOCOg's sentences about the same object (METEOR, CIDEr, as in GLaMM,
arXiv 2311.03356); `dlc`, DLC-Bench, whose descriptions a judge model questions (arXiv 2504.16072). Prompts and the
zoomed second view are those of SAMTok's script `projects/samtok/evaluation/qwen3vl/qwen3vl_dam_infer.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from samtok_eval.datasets.dlc import read_dlc
from samtok_eval.datasets.refer import Expression, read_expressions
from samtok_eval.mask_tokens import Codes
from samtok_eval.masks import Rle
from samtok_eval.metrics.captions import meteor_of, with_scores
from samtok_eval.metrics.dlc import asked, mean_of_both, points
from samtok_eval.metrics.gcg import read_paired
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.ratio import Metric, Ratio, mean_of
from samtok_eval.metrics.referring import clusters
from samtok_eval.prediction import AnswerStatus, Prediction, Record
from samtok_eval.prompts import CAPTION_REGION, CAPTION_REGION_ZOOM, Prompt
from samtok_eval.regions import ZoomRule
from samtok_eval.sample import Part, Region, Sample, Target, Turn
from samtok_eval.task import Protocol, Task, TaskMetadata

ZOOM = ZoomRule(largest_share=0.3)
DLC = "dlc"


class RegionCaption(Task):
    """METEOR and CIDEr against references, or points from a judge."""

    metadata = TaskMetadata(
        name="region_caption",
        title="Region captioning (RefCOCOg, DLC-Bench)",
        version=2,
        paper="arXiv 2504.16072",
        data="https://huggingface.co/datasets/nvidia/DLC-Bench, https://github.com/lichengunc/refer",
        licence="RefCOCOg: COCO terms for images; DLC-Bench: see its card",
        splits=("refcocog-val", DLC),
        default_split="refcocog-val",
        sizes={"refcocog-val": "2,573 regions", DLC: "100 regions, 892 questions"},
        files=("refcocog/refs(umd).p", "refcocog/instances.json", "coco/train2014", "dlc_bench/annotations.json",
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
        Protocol("strict", policy="default", missing_second="skip", errors_fail=True),
        Protocol("official", policy="default", missing_second="skip", errors_fail=False),
    )
    judged = True

    def read(self, data_root: Path, split: str) -> list[Sample]:
        """One sample per region; its id is the annotation's."""
        if split == DLC:
            return [
                Sample(
                    r.id, r.image, self._ask(r.region), Target(labels=(r.name,), questions=r.questions), phrase=r.name
                )
                for r in read_dlc(data_root / "dlc_bench")
            ]
        folder = data_root / "refcocog"
        images = data_root / "coco" / "train2014"
        by_region: dict[int, list[Expression]] = {}
        for said in read_expressions(folder / "refs(umd).p", folder / "instances.json", images, "val"):
            by_region.setdefault(int(said.annotations[0]["id"]), []).append(said)
        return [
            Sample(
                str(annotation),
                said[0].image,
                self._ask(said[0].instances[0]),
                Target(labels=(said[0].category,), texts=tuple(one.sentence for one in said)),
            )
            for annotation, said in by_region.items()
        ]

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
        return "ok" if _caption(text, loosely=False) else "invalid"

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol) -> Record:
        """What can be said without references or a judge: whether there is a caption."""
        status = "missing" if prediction is None else prediction.status
        return Record(
            id=sample.id,
            image_id=sample.image.id,
            protocol=protocol.name,
            status=status,
            failed=protocol.errors_fail and status in ("missing", "error"),
            # The official scorers look every region up and stop where one is missing.
            crashed=not protocol.errors_fail and prediction is None,
            phrase=sample.phrase,
            values={"empty": float(not _said(prediction, protocol))},
            slices=sample.slices,
        )

    def score_all(
        self, samples: Sequence[Sample], answers: Mapping[str, Prediction], protocol: Protocol, judges: Judges
    ) -> list[Record]:
        """Records with caption scores where there are references, with points where there are questions."""
        records = super().score_all(samples, answers, protocol, judges)
        captions = [_said(answers.get(sample.id), protocol) for sample in samples]
        references = [sample.target.texts for sample in samples]
        # DLC-Bench has none, and need not wait for METEOR.
        if any(references) and judges.captions is not None:
            records = with_scores(judges.captions, records, captions, references)
        if judges.judge is not None:
            records = _judged(samples, captions, records, protocol, judges)
        return records

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Means over regions; a region that the judge left unanswered does not count."""
        names = clusters(records)
        keys = ["cider", *sorted({key for record in records for key in record.values if key.startswith("dlc_")})]
        means: dict[str, Ratio] = {"empty": mean_of([record.values["empty"] for record in records], names)}
        for key in keys:
            has = [key in record.values for record in records]
            if any(has):
                means[key] = mean_of([record.values.get(key, 0.0) for record in records], names, has)
        found: dict[str, Metric] = {**means}
        for name, positive in means.items():
            metric, _, judge = name.partition("|")
            if metric == "dlc_pos" and f"dlc_neg|{judge}" in means:
                found[f"dlc_avg|{judge}"] = mean_of_both(positive, means[f"dlc_neg|{judge}"])
        return found | meteor_of(records)

    def foreign(self, content: Any) -> list[Prediction] | None:
        """DLC-Bench's own format: `{annotation id: caption}`."""
        if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
            return None
        return [Prediction(id=name, text=text) for name, text in content.items()]

    def export(self, samples: Sequence[Sample], answers: Mapping[str, Prediction]) -> dict[str, Any]:
        """The same format, `captions.json`."""
        official = self.protocol("official")
        return {"captions.json": {s.id: _said(answers[s.id], official) for s in samples if s.id in answers}}


def _said(prediction: Prediction | None, protocol: Protocol) -> str:
    text = "" if prediction is None or prediction.status == "error" else prediction.text or ""
    return _caption(text, loosely=protocol.name == "official")


def _caption(text: str, loosely: bool) -> str:
    """`official`: the answer as it came; `strict`: without reasoning, mask words and other marks."""
    return text.removesuffix("<|im_end|>").strip() if loosely else read_paired(text).caption


def _judged(
    samples: Sequence[Sample], captions: Sequence[str], records: list[Record], protocol: Protocol, judges: Judges
) -> list[Record]:
    """Points of every region; under `strict` an empty caption is worth nothing and no question."""
    judge = judges.judge
    if judge is None:
        return records
    prompts = {
        i: asked(caption, sample.target.labels[0], sample.target.questions)
        for i, (sample, caption) in enumerate(zip(samples, captions, strict=True))
        if sample.target.questions and (caption or protocol.name == "official")
    }
    replies = judge.replies([prompt for several in prompts.values() for prompt in several])
    found = []
    for i, (sample, record) in enumerate(zip(samples, records, strict=True)):
        values = dict(record.values)
        questions = sample.target.questions
        if questions and i not in prompts:
            values |= {f"dlc_pos|{judge.name}": 0.0, f"dlc_neg|{judge.name}": 0.0}
        elif questions and all(prompt in replies for prompt in prompts[i]):
            worth = points([replies[prompt] for prompt in prompts[i]], questions)
            values |= {f"dlc_pos|{judge.name}": worth.positive, "judge_unread": float(worth.unread)}
            if worth.negative is not None:
                values[f"dlc_neg|{judge.name}"] = worth.negative
        elif questions:
            values["judge_failed"] = 1.0
        found.append(replace(record, values=values))
    return found


TASKS = (RegionCaption(),)
