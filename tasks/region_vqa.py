"""Region VQA: choice questions about regions. The model reads masks and answers with a letter.

Splits: `test`, GAR-Bench-VQA (Grasp Any Region, arXiv 2510.18876; official scorer:
`evaluation/GAR-Bench/inference.py`, a comparison of whole texts), and `videorefer` and `videorefer-frames`,
VideoRefer-Bench-Q in one frame and in several (arXiv 2501.00599; official scorer:
`videorefer/eval/eval_videorefer_bench_q.py`). The released SAMTok code has no
script for either; here every mark of a region becomes its mask words, in one view of the picture.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from samtok_eval.datasets.gar import Item, each_gar, with_regions
from samtok_eval.datasets.videorefer import MARK, Question, read_videorefer_questions
from samtok_eval.mask_tokens import Codes
from samtok_eval.metrics.choices import (
    bracketed,
    exact,
    exact_text,
    lenient_letter,
    official,
    official_text,
    videorefer_letter,
)
from samtok_eval.metrics.confusion import Confusion, confusion
from samtok_eval.metrics.ratio import Metric, mean_of
from samtok_eval.metrics.referring import clusters
from samtok_eval.passages import RIGHT, WRONG, Answer, Line, Passage, Words, in_words, passage, plain, question
from samtok_eval.prediction import AnswerStatus, Prediction, Record, text_predictions
from samtok_eval.prompts import CHOOSE_LETTER, CHOOSE_OPTION, Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Frame, Part, Region, Sample, Target, Turn
from samtok_eval.task import Task, TaskMetadata

GAR, VIDEOREFER, VIDEOREFER_FRAMES = "test", "videorefer", "videorefer-frames"
NO_OPTION = "none of them"
"""Stands for an answer in which the protocol reads no option."""
_OPTIONS_HEAD = "\nOptions:\n"
_OPTIONS = re.compile(r"^([A-Z])[.)] ?.*$", re.MULTILINE)


def _of_videorefer(sample: Sample) -> bool:
    """Whether the question is VideoRefer-Bench's; its samples have their options as labels."""
    return bool(sample.target.labels)


def _exact_letter(text: str, sample: Sample) -> str | None:
    if _of_videorefer(sample):
        return next((letter for letter in _letters(sample) if bracketed(text, letter)), None)
    return _if_option(exact_text(text), sample)


def _official_letter(text: str, sample: Sample) -> str | None:
    return _if_option((videorefer_letter(text) or "") if _of_videorefer(sample) else official_text(text), sample)


def _lenient_letter(text: str, sample: Sample) -> str | None:
    return lenient_letter(text, _options(sample))


def _if_option(text: str, sample: Sample) -> str | None:
    return text.upper() if text.upper() in _letters(sample) else None


def _exact(text: str, sample: Sample) -> bool:
    return (bracketed if _of_videorefer(sample) else exact)(text, sample.target.choice)


def _lenient(text: str, sample: Sample) -> bool:
    return _lenient_letter(text, sample) == sample.target.choice.upper()


def _official(text: str, sample: Sample) -> bool:
    if _of_videorefer(sample):
        return (videorefer_letter(text) or "").lower() == sample.target.choice.lower()
    return official(text, sample.target.choice)


@dataclass(frozen=True)
class VqaRules:
    """How the scorers of choices differ."""

    right: Callable[[str, Sample], bool]
    """Whether an answer names the right option of a question."""
    letter: Callable[[str, Sample], str | None]
    """The option that an answer names; None where it names none."""
    original: bool = False
    """Whether VideoRefer-Bench's scorer is followed where it stops, and in looking at the answers that there are."""


EXACT = VqaRules(_exact, _exact_letter)
LENIENT = VqaRules(_lenient, _lenient_letter)
OFFICIAL = VqaRules(_official, _official_letter, original=True)


class RegionVqa(Task):
    """Share of right letters, by question type."""

    metadata = TaskMetadata(
        name="region_vqa",
        title="Region VQA",
        version=2,
        paper="arXiv 2510.18876, arXiv 2501.00599",
        data="https://github.com/Haochen-Wang409/Grasp-Any-Region, "
        "https://huggingface.co/datasets/DAMO-NLP-SG/VideoRefer-Bench",
        licence="GAR-Bench: annotations Apache-2.0, pictures keep the terms of their sources; VideoRefer-Bench: "
        "Apache-2.0, frames keep the terms of MeViS and DAVIS",
        splits=(GAR, VIDEOREFER, VIDEOREFER_FRAMES),
        default_split=GAR,
        sizes={GAR: "424 questions", VIDEOREFER: "1,000 questions", VIDEOREFER_FRAMES: "1,000 questions"},
        files=("gar_bench/GAR-Bench-VQA.json", "gar_bench/images", "videorefer_bench/VideoRefer-Bench-Q.json",
               "videorefer_bench/DAVIS", "videorefer_bench/MeViS"),
        main_metric="accuracy",
        metrics=("accuracy", "majority"),
        max_new_tokens=16,
    )  # fmt: skip
    prompt = CHOOSE_OPTION
    split_prompts: ClassVar[Mapping[str, tuple[Prompt, ...]]] = {
        VIDEOREFER: (CHOOSE_LETTER,),
        VIDEOREFER_FRAMES: (CHOOSE_LETTER,),
    }
    answered_in_words = True
    protocols = (
        Protocol("strict", policy="default", missing_second="skip", errors_fail=True, rules=EXACT),
        Protocol("lenient", policy="default", missing_second="skip", errors_fail=True, rules=LENIENT),
        Protocol("official", policy="default", missing_second="skip", errors_fail=True, rules=OFFICIAL),
    )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per question."""
        if split in (VIDEOREFER, VIDEOREFER_FRAMES):
            several = split == VIDEOREFER_FRAMES
            return [
                Sample(
                    id=q.id,
                    image=q.frames[0],
                    turns=(Turn("user", _parts_of_video(q)),),
                    target=Target(choice=q.answer, labels=q.options),
                    slices={"type": q.kind},
                )
                for q in read_videorefer_questions(data_root / "videorefer_bench", limit, several)
            ]
        return [
            Sample(
                id=item.image.id,
                image=item.image,
                turns=(Turn("user", _parts(item)),),
                target=Target(choice=item.answer),
                slices={"type": item.kind},
            )
            for item in islice(each_gar(data_root / "gar_bench"), limit)
        ]

    def answer(self, sample: Sample, codes: Sequence[Codes]) -> str:
        """The right letter."""
        return sample.target.choice

    def guess(self, sample: Sample, samples: Sequence[Sample], rng: np.random.Generator) -> str:
        """One of the question's letters."""
        letters = _letters(sample)
        return letters[int(rng.integers(len(letters)))]

    def status(self, text: str) -> AnswerStatus:
        """`ok` for a single letter, `repaired` where only the lenient reading can find one, else `invalid`."""
        if re.fullmatch(r"\s*[A-Za-z]\s*", text):
            return "ok"
        return "repaired" if lenient_letter(text, [f"{letter}." for letter in "ABCDEFGH"]) else "invalid"

    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[VqaRules]) -> Record:
        """Right or wrong; no answer is wrong, but VideoRefer-Bench's scorer does not see it."""
        answered = prediction is not None and prediction.status != "error"
        text = (prediction.text or "") if prediction is not None else ""
        followed = protocol.rules.original and _of_videorefer(sample)
        values = {"right": float(protocol.rules.right(text, sample))} if answered or not followed else {}
        letter = sample.target.choice.upper()[:1] or "?"
        return Record(
            id=sample.id,
            image_id=sample.image.id,
            protocol=protocol.name,
            status="missing" if prediction is None else prediction.status,
            crashed=followed and answered and videorefer_letter(text) is None,
            values={**values, "answer": float(ord(letter))},
            slices=sample.slices,
        )

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Accuracy, and what always giving the commonest right letter would score."""
        commonest = Counter(record.values["answer"] for record in records).most_common(1)
        blind = [float(bool(commonest) and record.values["answer"] == commonest[0][0]) for record in records]
        found: dict[str, Metric] = {"majority": mean_of(blind, clusters(records))}
        if not any(record.crashed for record in records):
            has = ["right" in record.values for record in records]
            found["accuracy"] = mean_of([record.values.get("right", 0.0) for record in records], clusters(records), has)
        return found

    def stopped(self, records: Sequence[Record], protocol: str) -> str | None:
        """Why VideoRefer-Bench's scorer gives no accuracy."""
        stops = [record.id for record in records if record.crashed]
        if not stops:
            return super().stopped(records, protocol)
        return f"the scorer that {protocol} copies stops at {len(stops)} answers without a character, {stops[0]} first"

    def confusion(
        self, samples: Mapping[str, Sample], answers: Mapping[str, Prediction], records: Sequence[Record], protocol: str
    ) -> Confusion | None:
        """Right letters against chosen ones."""
        rules: VqaRules = self.protocol(protocol).rules
        pairs = []
        for record in records:
            if "right" not in record.values:
                # The accuracy of this protocol does not count it.
                continue
            sample, answer = samples[record.id], answers.get(record.id)
            right, chosen = sample.target.choice.upper(), rules.letter(answer.text or "", sample) if answer else None
            wrong = chosen if chosen is not None and chosen != right else NO_OPTION
            pairs.append((right, right if record.values["right"] else wrong))
        letters = sorted({letter for pair in pairs for letter in pair} - {NO_OPTION})
        return confusion("letters", pairs, [*letters, NO_OPTION])

    def passages(
        self, sample: Sample, answers: Sequence[Answer], record: Record, protocol: Protocol[VqaRules]
    ) -> list[Passage]:
        """Question and options, the right one and a chosen wrong one marked, and the answers as they came."""
        head = f" {sample.target.labels[0]}" if _of_videorefer(sample) else _OPTIONS_HEAD
        found = passage("question", [_without_options(line, head) for line in question(sample)[0].lines])
        chosen = next((protocol.rules.letter(answer.text, sample) for answer in answers), None)
        options = []
        for option in _options(sample):
            mark = RIGHT if option[0] == sample.target.choice.upper() else WRONG if option[0] == chosen else ""
            options.append((Words(f"{mark}{option}"),))
        found += passage("options", options)
        for answer in answers:
            mark = RIGHT if protocol.rules.right(answer.text, sample) else WRONG
            found += passage(
                answer.title, [(Words(mark), *in_words(answer, self.layout))] if answer.text.strip() else []
            )
        return found + plain("reference", sample.target.choice)

    def foreign(self, content: Any) -> list[Prediction] | None:
        """GAR-Bench's own outputs: rows with `image` and `model_output`; a row whose output is null has no answer.

        VideoRefer-Bench's have `pred`, and count by their place where they have no `id`.
        """
        if isinstance(content, list) and content and all(isinstance(row, dict) and "pred" in row for row in content):
            rows = [(str(row.get("id", place)), row["pred"]) for place, row in enumerate(content)]
            return text_predictions(rows, "pred")
        if not isinstance(content, list) or not all(isinstance(row, dict) and "image" in row for row in content):
            return None
        return text_predictions([(str(row["image"]), row.get("model_output")) for row in content], "model_output")

    def export(self, samples: Sequence[Sample], answers: Mapping[str, Prediction]) -> dict[str, Any]:
        """The same formats, `outputs.json`."""
        if any(map(_of_videorefer, samples)):
            given = [(sample, answers[sample.id].text or "") for sample in samples if sample.id in answers]
            return {"outputs.json": [_videorefer_row(sample, text) for sample, text in given]}
        rows = [(sample.id, answers[sample.id].text or "") for sample in samples if sample.id in answers]
        return {"outputs.json": [{"image": name, "model_output": text} for name, text in rows]}


def _parts(item: Item) -> tuple[Part, ...]:
    """The question's text with its regions in place."""
    text = CHOOSE_OPTION(question=item.question, options="\n".join(item.choices))
    return with_regions(text, item.regions, item.image.id)


def _parts_of_video(asked: Question) -> tuple[Part, ...]:
    """Further frames, then the question's text with each object's region in every frame that marks it in place."""
    pieces = CHOOSE_LETTER(question=asked.question, options=" ".join(asked.options)).split(MARK)
    further = {image: Frame(image) for image in asked.frames[1:]}
    parts: list[Part] = [*further.values(), pieces[0]]
    for marks, piece in zip(asked.regions, pieces[1:], strict=True):
        regions = [Region(mark.region, further.get(mark.image)) for mark in marks]
        parts += [part for region in regions for part in (", ", region)][1:]
        parts.append(piece)
    return tuple(parts)


def _videorefer_row(sample: Sample, text: str) -> dict[str, Any]:
    right = next(option for option in sample.target.labels if f"({sample.target.choice})" in option)
    kind = sample.slices["type"]
    return {"id": int(sample.id), "video": sample.image.id, "Answer": right, "pred": text, "type": kind}


def _without_options(line: Line, head: str) -> Line:
    """The question alone."""
    kept: list[Words] = []
    for words in line:
        before, options, _ = words.text.partition(head)
        kept.append(words._replace(text=before.removeprefix("Question: ")))
        if options:
            break
    return tuple(kept)


def _options(sample: Sample) -> list[str]:
    """The question's options, each beginning with its letter."""
    if _of_videorefer(sample):
        return [option.removeprefix("(") for option in sample.target.labels]
    listed = sample.turns[0].text.partition(_OPTIONS_HEAD)[2]
    return [match[0] for match in _OPTIONS.finditer(listed)]


def _letters(sample: Sample) -> list[str]:
    return [option[0] for option in _options(sample)]


TASKS = (RegionVqa(),)
