"""Region captioning: the model reads masks and describes what they cover.

Splits: `refcocog-val` and `vg`, captions compared with what people said of the same region of RefCOCOg and of Visual
Genome (METEOR, CIDEr, as in GLaMM, arXiv 2311.03356); `dlc`, DLC-Bench, whose descriptions a judge model questions
(arXiv 2504.16072); `gar-detail` and `gar-simple`, GAR-Bench, where a judge that sees the picture says whether a
description of how regions are related is true (arXiv 2510.18876); `ferret` and `ferret-reason`, Ferret-Bench, and
`videorefer` and `videorefer-frames`, VideoRefer-Bench-D, whose judges rate descriptions (arXiv 2310.07704,
2501.00599), and `mdvp`, `mdvp-qa`, `mdvp-brief` and `mdvp-relations`, MDVP-Bench, where a judge rates them that sees
the picture with numbered boxes (arXiv 2403.20271). Questions are those of `datasets.region_captions`, files of results
those of `datasets.caption_results`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from samtok_eval.datasets.caption_results import read_results, results_of
from samtok_eval.datasets.region_captions import (
    DLC,
    FERRET,
    FERRET_REASON,
    GAR_DETAIL,
    GAR_SIMPLE,
    MDVP,
    MDVP_QUESTIONS,
    READERS,
    REFCOCOG,
    VG,
    VIDEOREFER,
    VIDEOREFER_FRAMES,
)
from samtok_eval.mask_tokens import Codes
from samtok_eval.metrics.captions import meteor_of, with_scores
from samtok_eval.metrics.dlc import ERROR_MARK, GradedQuestions
from samtok_eval.metrics.gar_caption import Verdicts
from samtok_eval.metrics.gcg import read_paired
from samtok_eval.metrics.judge import Prompted
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.judging import Asked, Judging, judged, judged_metrics, prompts_about
from samtok_eval.metrics.mdvp import COLUMNS, MarkedPictures, MarkedQuestion
from samtok_eval.metrics.ratings import ASPECTS, AVERAGE, RELATIVE, Aspects, Pairs
from samtok_eval.metrics.ratio import Metric, mean_of
from samtok_eval.metrics.referring import clusters
from samtok_eval.passages import Answer, Passage, in_words, passage, plain, question
from samtok_eval.prediction import OPEN_PROMPTS, AnswerStatus, Prediction, Record
from samtok_eval.prompts import (
    ANSWER_ABOUT_MARKED,
    ANSWER_ABOUT_REGION,
    ANSWER_ABOUT_REGIONS,
    CAPTION_REGION,
    CAPTION_REGION_ZOOM,
    DESCRIBE_IN_FRAMES,
    DESCRIBE_INTERACTION,
    DESCRIBE_RELATION,
    DESCRIBE_RELATION_GAR,
    JUDGE_ANSWER,
    JUDGE_RELATION,
    Prompt,
)
from samtok_eval.protocol import Protocol
from samtok_eval.sample import CaptionTarget, Sample
from samtok_eval.task import Task, TaskMetadata

JUDGINGS: Mapping[str, Judging] = {
    DLC: GradedQuestions(),
    GAR_DETAIL: Verdicts(JUDGE_RELATION),
    GAR_SIMPLE: Verdicts(JUDGE_ANSWER),
    FERRET: Pairs(),
    FERRET_REASON: Pairs(alone=True),
    VIDEOREFER: Aspects(),
    VIDEOREFER_FRAMES: Aspects(),
    MDVP: MarkedPictures(),
    **dict.fromkeys(MDVP_QUESTIONS, MarkedQuestion()),
}
"""How the captions of a split are judged."""


@dataclass(frozen=True)
class CaptionRules:
    """How the scorers of captions differ."""

    cleaned: bool
    """Whether reasoning, mask words and other marks leave the caption; otherwise it is the answer as it came."""
    original: bool
    """Whether the benchmarks' own scorers are followed: where DLC-Bench's stops nothing is scored, regions without an
    answer are left out where a scorer takes its regions from the results, replies are read as the scorer reads them,
    and the judge is also asked about an empty caption."""


OURS = CaptionRules(cleaned=True, original=False)
OFFICIAL = CaptionRules(cleaned=False, original=True)


class RegionCaption(Task):
    """METEOR and CIDEr against references, or points from a judge."""

    metadata = TaskMetadata(
        name="region_caption",
        title="Region captioning",
        version=3,
        paper="arXiv 2504.16072, arXiv 2311.03356, arXiv 2510.18876, arXiv 2310.07704, arXiv 2501.00599, "
        "arXiv 2403.20271",
        data="https://huggingface.co/datasets/nvidia/DLC-Bench, https://github.com/lichengunc/refer, "
        "https://github.com/mbzuai-oryx/groundingLMM/blob/main/docs/datasets.md, "
        "https://github.com/Haochen-Wang409/Grasp-Any-Region, "
        "https://huggingface.co/datasets/DAMO-NLP-SG/VideoRefer-Bench, "
        "https://huggingface.co/datasets/Afeng-x/Draw-and-Understand",
        licence="RefCOCOg: COCO terms for images; Visual Genome: CC BY 4.0; DLC-Bench: see its card; GAR-Bench: "
        "annotations Apache-2.0, pictures keep the terms of their sources; VideoRefer-Bench: Apache-2.0; "
        "MDVP-Bench: CC BY-NC 4.0",
        splits=(REFCOCOG, VG, DLC, GAR_DETAIL, GAR_SIMPLE, FERRET, FERRET_REASON, VIDEOREFER, VIDEOREFER_FRAMES,
                MDVP, *MDVP_QUESTIONS),
        default_split=REFCOCOG,
        sizes={
            REFCOCOG: "2,573 regions",
            VG: "not stated",
            DLC: "100 regions, 892 questions",
            GAR_DETAIL: "107 pictures",
            GAR_SIMPLE: "97 pictures",
            FERRET: "40 regions",
            FERRET_REASON: "40 regions",
            VIDEOREFER: "400 objects",
            VIDEOREFER_FRAMES: "400 objects",
            MDVP: "364 regions of 60 pictures",
            "mdvp-qa": "60 questions",
            "mdvp-brief": "10 questions",
            "mdvp-relations": "20 questions",
        },
        files=("refcocog/refs(umd).p", "refcocog/instances.json", "coco/train2014",
               "visual_genome/test_caption.json", "visual_genome/images", "dlc_bench/annotations.json",
               "dlc_bench/class_names.json", "dlc_bench/qa.json", "dlc_bench/images",
               "gar_bench/GAR-Bench-Caption-Detailed.json", "gar_bench/GAR-Bench-Caption-Simple.json",
               "gar_bench/images", "ferret_bench/box_refer_caption.json",
               "ferret_bench/ferret_gpt4_data/refer_desc/question.jsonl",
               "ferret_bench/ferret_gpt4_data/refer_desc/answer.jsonl",
               "ferret_bench/ferret_gpt4_data/refer_desc/context.jsonl", "coco/val2017",
               "ferret_bench/box_refer_reason.json", "ferret_bench/ferret_gpt4_data/refer_reason/question.jsonl",
               "ferret_bench/ferret_gpt4_data/refer_reason/answer.jsonl",
               "ferret_bench/ferret_gpt4_data/refer_reason/context.jsonl",
               "videorefer_bench/VideoRefer-Bench-D.json", "videorefer_bench/frames",
               "mdvp_bench/mdvp_caption_mask.json", "mdvp_bench/data"),
        main_metric="meteor",
        metrics=("meteor", "cider", "dlc_pos", "dlc_neg", "dlc_avg", "judge_accuracy", RELATIVE,
                 *ASPECTS.values(), AVERAGE, *COLUMNS, "empty"),
        lower_is_better=("empty",),
        max_new_tokens=1024,
        notes="All but refcocog-val and vg are scored only with --judge; judges never share a column.",
    )  # fmt: skip
    prompt: Prompt = CAPTION_REGION_ZOOM
    prompts = (CAPTION_REGION,)
    split_prompts: ClassVar[Mapping[str, tuple[Prompt, ...]]] = {
        GAR_DETAIL: (DESCRIBE_RELATION, DESCRIBE_RELATION_GAR),
        GAR_SIMPLE: (ANSWER_ABOUT_REGIONS,),
        FERRET: (DESCRIBE_INTERACTION, ANSWER_ABOUT_REGION),
        FERRET_REASON: (ANSWER_ABOUT_REGION,),
        VIDEOREFER_FRAMES: (DESCRIBE_IN_FRAMES,),
        **dict.fromkeys(MDVP_QUESTIONS, (ANSWER_ABOUT_MARKED,)),
    }
    protocols = (
        Protocol("strict", policy="default", missing_second="skip", errors_fail=True, rules=OURS),
        Protocol("official", policy="default", missing_second="skip", errors_fail=False, rules=OFFICIAL),
    )
    answered_in_words = True
    judged = True
    judgings: ClassVar[Mapping[str, Judging]] = JUDGINGS

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per region, under the annotation's id, or in GAR-Bench per picture, under its name."""
        prompt = self.asked_with(None, split).prompt
        return READERS[split](data_root, prompt or self.prompt, limit)

    def answer(self, sample: Sample, codes: Sequence[Codes]) -> str:
        """The first reference; without one what a judge holds to be right, on DLC-Bench all that earns full points."""
        if sample.target.texts:
            return sample.target.texts[0]
        words = CaptionTarget.of(sample).words
        if right := words.get("answer") or words.get("caption"):
            return right
        if words:
            subject, relation, thing = words["subject_name"], words["predicate_name"], words["object_name"]
            return f"This is the {subject}. The {subject} is {relation} the {thing}."
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
            crashed=_stops(sample, prediction, protocol.rules),
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
        """Records with caption scores where there are references, with points where a judge gives them."""
        records = super().score_all(samples, answers, protocol, judges)
        original = protocol.rules.original
        captions = [_said(answers.get(sample.id), protocol.rules) for sample in samples]
        scored = [_counts(answers.get(sample.id), protocol.rules) for sample in samples]
        references = [sample.target.texts if counts else () for sample, counts in zip(samples, scored, strict=True)]
        # Judged benchmarks have none, and need not wait for METEOR.
        if any(references) and judges.captions is not None:
            records = with_scores(judges.captions, records, captions, references)
        if judges.judge is not None:
            asked = _asked(samples, answers, protocol.rules)
            records = judged(judges.judge, asked, records, original=original, judges_empty=original)
        return records

    def judge_prompts(
        self, samples: Sequence[Sample], answers: Mapping[str, Prediction], protocol: Protocol[CaptionRules]
    ) -> Mapping[str, Sequence[Prompted]]:
        """Those of the benchmark's judge, in the order in which it is asked."""
        asked = _asked(samples, answers, protocol.rules)
        return {
            samples[i].id: prompts for i, prompts in prompts_about(asked, judges_empty=protocol.rules.original).items()
        }

    def passages(
        self, sample: Sample, answers: Sequence[Answer], record: Record, protocol: Protocol[CaptionRules]
    ) -> list[Passage]:
        """The captions, the right words, and what a judge was asked and replied."""
        target = CaptionTarget.of(sample)
        found = question(sample)
        found += plain("what the judge is given", *(f"{name}: {text}" for name, text in target.words.items()))
        found += plain("references" if len(target.texts) > 1 else "reference", *target.texts)
        for answer in answers:
            found += passage(answer.title, [in_words(answer, self.layout)])
        for answer in answers:
            found += _judgement(sample, answer)
        return found

    def judged_metrics(self, samples: Sequence[Sample]) -> Sequence[str]:
        """Those of the samples' own benchmarks."""
        known = [JUDGINGS[name] for name in dict.fromkeys(map(_benchmark, samples)) if name in JUDGINGS]
        return [metric for judging in known for metric in judging.given]

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Means over regions; no points as long as the judge owes a reply, or where the official scorer stops."""
        names = clusters(records)
        found: dict[str, Metric] = {"empty": mean_of([record.values["empty"] for record in records], names)}
        has = ["cider" in record.values for record in records]
        if any(has):
            found["cider"] = mean_of([record.values.get("cider", 0.0) for record in records], names, has)
        if not any(record.crashed or record.values.get(OPEN_PROMPTS) for record in records):
            found |= judged_metrics(records, names, list(JUDGINGS.values()))
        return found | meteor_of(records)

    def stopped(self, records: Sequence[Record], protocol: str) -> str | None:
        """Why the official scorer gives no points."""
        stops = [record.id for record in records if record.crashed]
        if not stops:
            return super().stopped(records, protocol)
        return f"the scorer that {protocol} copies stops at {len(stops)} of {len(records)} regions, {stops[0]} first"

    def foreign(self, content: Any) -> list[Prediction] | None:
        """DLC-Bench's captions by annotation, or the rows of another benchmark's results."""
        return read_results(content)

    def export(self, samples: Sequence[Sample], answers: Mapping[str, Prediction]) -> dict[str, Any]:
        """The same formats, `captions.json`; regions without an answer are left out."""
        found = [(sample, _answered(answers.get(sample.id))) for sample in samples]
        return {"captions.json": results_of([(sample, text) for sample, text in found if text is not None])}


def _benchmark(sample: Sample) -> str:
    return CaptionTarget.of(sample).benchmark


def _stops(sample: Sample, prediction: Prediction | None, rules: CaptionRules) -> bool:
    """Whether the original scorer stops: DLC-Bench's wants a caption of every region, MDVP-Bench's a line of each."""
    if not rules.original:
        return False
    text = _answered(prediction)
    if _benchmark(sample) in (MDVP, *MDVP_QUESTIONS):
        return text is None
    return bool(sample.target.questions) and (text is None or text.startswith(ERROR_MARK))


def _answered(prediction: Prediction | None) -> str | None:
    """The answer as it came; None where there is none."""
    return None if prediction is None or prediction.status == "error" else prediction.text


def _said(prediction: Prediction | None, rules: CaptionRules) -> str:
    """The caption."""
    text = _answered(prediction) or ""
    return read_paired(text).caption if rules.cleaned else text


def _counts(prediction: Prediction | None, rules: CaptionRules) -> bool:
    """Whether a scorer looks at a region: the originals take theirs from the answers that there are."""
    return not rules.original or _answered(prediction) is not None


def _asked(samples: Sequence[Sample], answers: Mapping[str, Prediction], rules: CaptionRules) -> Asked:
    """How each caption is judged, by the place of its sample; those that a scorer does not come to are left out."""
    captions = [_said(answers.get(sample.id), rules) for sample in samples]
    asked: dict[int, tuple[Judging, Sample, str]] = {}
    for name, judging in JUDGINGS.items():
        own = [
            i
            for i, sample in enumerate(samples)
            if _benchmark(sample) == name
            and _counts(answers.get(sample.id), rules)
            and not _stops(sample, answers.get(sample.id), rules)
        ]
        mine = [samples[i] for i in own]
        judgings = judging.together(mine, [captions[i] for i in own], original=rules.original)
        asked |= {i: (how, samples[i], captions[i]) for i, how in zip(own, judgings, strict=True)}
    return asked


def _judgement(sample: Sample, answer: Answer) -> list[Passage]:
    """What a judge was asked about an answer and replied; DLC-Bench's questions even where it has not."""
    whose = "" if answer.side == "prediction" else " about the baseline"
    graded = sample.target.questions
    choices = [" / ".join(f"{text} ({points:g})" for text, points in question.choices) for question in graded]
    found = []
    for number, (asked, reply) in enumerate(answer.judged):
        if graded:
            # Before its graded questions, DLC-Bench asks whether the object was recognized at all.
            about = graded[number - 1]
            asked = f"{about.kind}: {about.question} {choices[number - 1]}" if number else RECOGNIZED
        if reply is not None or graded:
            replied = "no reply is kept" if reply is None else f"reply: {reply}"
            found += plain(f"judge{whose}, question {number + 1}", asked, replied)
    return found


RECOGNIZED = "whether the object was recognized"


TASKS = (RegionCaption(),)
