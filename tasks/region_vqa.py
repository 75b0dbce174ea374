"""Region VQA: choice questions about regions, on GAR-Bench-VQA. The model reads masks and answers with a letter.

Paper: Grasp Any Region, arXiv 2510.18876. Official scorer: `evaluation/GAR-Bench/inference.py`, a comparison of whole
texts. The released SAMTok code has no script for it; here every `<PromptN>` becomes the mask words of the N-th region,
in one view of the picture.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from samtok_eval.datasets.gar import Item, each_gar, with_regions
from samtok_eval.mask_tokens import Codes
from samtok_eval.metrics.choices import exact, lenient_letter, official
from samtok_eval.metrics.ratio import Metric, mean_of
from samtok_eval.metrics.referring import clusters
from samtok_eval.prediction import AnswerStatus, Prediction, Record, text_predictions
from samtok_eval.prompts import CHOOSE_OPTION
from samtok_eval.protocol import Protocol
from samtok_eval.sample import Part, Sample, Target, Turn
from samtok_eval.task import Task, TaskMetadata

_OPTIONS = re.compile(r"^([A-Z])[.)] ?.*$", re.MULTILINE)


def _exact(text: str, sample: Sample) -> bool:
    return exact(text, sample.target.choice)


def _lenient(text: str, sample: Sample) -> bool:
    return lenient_letter(text, _options(sample)) == sample.target.choice.upper()


def _official(text: str, sample: Sample) -> bool:
    return official(text, sample.target.choice)


@dataclass(frozen=True)
class VqaRules:
    """How the scorers of choices differ."""

    right: Callable[[str, Sample], bool]
    """Whether an answer names the right option of a question."""


class RegionVqa(Task):
    """Share of right letters, by question type."""

    metadata = TaskMetadata(
        name="region_vqa",
        title="Region VQA (GAR-Bench-VQA)",
        version=2,
        paper="arXiv 2510.18876",
        data="https://github.com/Haochen-Wang409/Grasp-Any-Region",
        licence="annotations Apache-2.0; pictures keep the terms of their sources",
        splits=("test",),
        default_split="test",
        sizes={"test": "424 questions"},
        files=("gar_bench/GAR-Bench-VQA.json", "gar_bench/images"),
        main_metric="accuracy",
        metrics=("accuracy", "majority"),
        max_new_tokens=16,
    )
    prompt = CHOOSE_OPTION
    answered_in_words = True
    protocols = (
        Protocol("strict", policy="default", missing_second="skip", errors_fail=True, rules=VqaRules(_exact)),
        Protocol("lenient", policy="default", missing_second="skip", errors_fail=True, rules=VqaRules(_lenient)),
        Protocol("official", policy="default", missing_second="skip", errors_fail=True, rules=VqaRules(_official)),
    )

    def read(self, data_root: Path, split: str, limit: int | None = None) -> list[Sample]:
        """One sample per question."""
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
        """Right or wrong; no answer is wrong."""
        text = (prediction.text or "") if prediction is not None else ""
        letter = sample.target.choice.upper()[:1] or "?"
        return Record(
            id=sample.id,
            image_id=sample.image.id,
            protocol=protocol.name,
            status="missing" if prediction is None else prediction.status,
            values={"right": float(protocol.rules.right(text, sample)), "answer": float(ord(letter))},
            slices=sample.slices,
        )

    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """Accuracy, and what always giving the commonest right letter would score."""
        commonest = Counter(record.values["answer"] for record in records).most_common(1)
        blind = [float(bool(commonest) and record.values["answer"] == commonest[0][0]) for record in records]
        return {
            "accuracy": mean_of([record.values["right"] for record in records], clusters(records)),
            "majority": mean_of(blind, clusters(records)),
        }

    def foreign(self, content: Any) -> list[Prediction] | None:
        """GAR-Bench's own outputs: rows with `image` and `model_output`; a row whose output is null has no answer."""
        if not isinstance(content, list) or not all(isinstance(row, dict) and "image" in row for row in content):
            return None
        return text_predictions([(str(row["image"]), row.get("model_output")) for row in content], "model_output")

    def export(self, samples: Sequence[Sample], answers: Mapping[str, Prediction]) -> dict[str, Any]:
        """The same format, `outputs.json`."""
        rows = [(sample.id, answers[sample.id].text or "") for sample in samples if sample.id in answers]
        return {"outputs.json": [{"image": name, "model_output": text} for name, text in rows]}


def _parts(item: Item) -> tuple[Part, ...]:
    """The question's text with its regions in place."""
    text = CHOOSE_OPTION(question=item.question, options="\n".join(item.choices))
    return with_regions(text, item.regions, item.image.id)


def _options(sample: Sample) -> list[str]:
    """The lines of the question that are options."""
    listed = sample.turns[0].text.partition("\nOptions:\n")[2]
    return [match[0] for match in _OPTIONS.finditer(listed)]


def _letters(sample: Sample) -> list[str]:
    return [option[0] for option in _options(sample)]


TASKS = (RegionVqa(),)
