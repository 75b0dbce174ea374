"""What a policy in training is worth on pictures it never trains on: decoded masks, not rewards.

A reward on mask words can be bought, with "No target." or with few safe codes, while masks get worse. So every report
stands on masks decoded by the mask tokenizer, and `bought` compares them with those at the start. Questions are asked
as a run asks them, and answers are scored by the task of their source under its first protocol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samtok_eval.images import read_image
from samtok_eval.mask_tokens import Codes
from samtok_eval.masks import Rle
from samtok_eval.messages import Message
from samtok_eval.metrics.gcg import ap50
from samtok_eval.metrics.referring import giou, sample_iou
from samtok_eval.models.backend import Request, request_of
from samtok_eval.models.transformers_backend import LoadedBackend
from samtok_eval.prediction import Prediction, Record
from samtok_eval.registry import load_tasks
from samtok_eval.run.predict import ask
from samtok_eval.run.settings import RunSettings
from samtok_eval.sample import ImageRef, Sample, Target
from samtok_eval.task import Task
from samtok_eval.training.grpo.prompts import GCG

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer

STANDARD_ERRORS = 2.0
"""By how many a fall of gIoU must exceed chance."""
BATCH = 64
GRES_TASK, GCG_TASK = "gres", "gcg"
"""Tasks that score referring questions and grounded captions."""


@dataclass(frozen=True)
class HeldOutQuestion:
    """A question with the masks of its right answer."""

    image: NDArray[np.uint8]
    """(H, W, 3)"""
    text: str
    truth: tuple[Rle, ...]
    """Empty for a question without a target."""
    source: str
    """`glamm_gcg` where masks are matched one by one; they are united otherwise."""

    @property
    def task(self) -> str:
        """Whose rules count."""
        return GCG_TASK if self.source == GCG else GRES_TASK

    def sample(self, number: int) -> Sample:
        """The question as scorers know it; its picture is here and in no file."""
        height, width = self.image.shape[:2]
        return Sample(str(number), ImageRef(str(number), Path(), height, width), (), Target(self.truth))


class Answered(NamedTuple):
    """What one answer is worth."""

    number: int
    source: str
    record: Record
    """Of the source's task."""
    codes: list[Codes]
    """Of every mask that the answer names."""

    @property
    def is_caption(self) -> bool:
        """Whether a grounded caption was asked for."""
        return self.source == GCG

    @property
    def is_target(self) -> bool:
        """Whether it is a referring question with a target."""
        return not self.is_caption and not self.record.no_target


def sample_questions(samples: Sequence[Sample], source: str) -> list[HeldOutQuestion]:
    """Samples of a benchmark as held-out questions.

    Raises:
        DataError: a picture is missing.
    """
    return [
        HeldOutQuestion(read_image(s.image), "".join(turn.text for turn in s.turns), s.target.masks, source)
        for s in samples
    ]


def answer_questions(
    model: Any,
    processor: Any,
    tokenizer: MaskTokenizer,
    questions: Sequence[tuple[int, HeldOutQuestion]],
    max_new_tokens: int,
    suffix: str = "",
) -> list[Answered]:
    """Greedy answers, decoded and compared. Draws no random number, so that training goes on as if nothing was asked.

    Args:
        model: left in the mode in which it came.
        processor: of the model.
        tokenizer: decodes.
        questions: with their numbers.
        max_new_tokens: where an answer is cut.
        suffix: appended to every question.
    """
    training = model.training
    model.eval()
    # Pictures pass through the model's own forward, outside of which its weights may be spread over devices.
    backend = LoadedBackend(model, processor, "policy", RunSettings(group_pictures=False), tokenizer.config.layout)
    tasks, found = load_tasks(), []
    for name in (GRES_TASK, GCG_TASK):
        task = tasks[name].with_layout(tokenizer.config.layout)
        mine = [(number, question) for number, question in questions if question.task == name]
        for first in range(0, len(mine), BATCH):
            batch = mine[first : first + BATCH]
            requests = [_request(number, question, suffix) for number, question in batch]
            predictions = ask(task, requests, backend, tokenizer, max_new_tokens)
            found += [_scored(task, *asked, p) for asked, p in zip(batch, predictions, strict=True)]
    model.train(training)
    return found


def report(answers: Sequence[Answered]) -> dict[str, float]:
    """Numbers of one report.

    Returns:
        `giou`: mean IoU of referring questions, 1 where rightly nothing is marked. `false_no_target`: share of
        questions with a target answered without a mask. `distinct_codes`: distinct codes of masks in all answers.
        `gcg_ap50`, `gcg_mask_recall`: of grounded captions. What was not asked is left out.
    """
    referring = [answer.record for answer in answers if not answer.is_caption]
    captions = [answer.record for answer in answers if answer.is_caption]
    attempts = attempted(answers)
    found: dict[str, float] = {"distinct_codes": len({codes for answer in answers for codes in answer.codes})}
    if referring:
        found["giou"] = giou(referring).value or 0.0
    if attempts:
        found["false_no_target"] = 1 - sum(attempts) / len(attempts)
    truths = sum(record.values["truths"] for record in captions)
    if truths:
        found["gcg_ap50"] = ap50(captions, ties=True).value or 0.0
        found["gcg_mask_recall"] = sum(sum(record.series["hits"]) for record in captions) / truths
    return {name: round(value, 5) for name, value in found.items()}


def quality(answers: Sequence[Answered]) -> list[float]:
    """One number per answer, by which two states of a model are compared: IoU, or F1 of a caption's masks."""
    ordered = sorted(answers, key=lambda a: a.number)
    return [_mask_f1(a.record) if a.is_caption else sample_iou(a.record) for a in ordered]


def _mask_f1(record: Record) -> float:
    hits, truths = record.series["hits"], record.values["truths"]
    return 2 * sum(hits) / max(len(hits) + truths, 1)


def attempted(answers: Sequence[Answered]) -> list[float]:
    """For each referring question with a target 1 where the answer marks anything, 0 where it denies the target.

    gIoU alone may not tell: where right denials pay more than masks, denying everything that is hard raises it.
    """
    ordered = sorted(answers, key=lambda a: a.number)
    return [float(bool(a.codes)) for a in ordered if a.is_target]


SERIES: Mapping[str, Callable[[Sequence[Answered]], list[float]]] = {
    "held-out quality": quality,
    "share of targets that get a mask": attempted,
}
"""What must not fall while reward rises."""


def bought(start: Sequence[float], now: Sequence[float], first_reward: float, reward: float) -> bool:
    """Whether reward was gained at the cost of masks.

    Rule: the mean reward since the last report is above that of the first reported window, and the mean difference to
    the start, question by question, is more than two standard errors below 0. Pairing the questions makes
    the rule sensitive to real losses and blind to which questions happen to be hard.

    Args:
        start: one of `SERIES` before training.
        now: the same of the same questions now.
        first_reward: mean reward of the first window.
        reward: mean reward of the last window.
    """
    differences = np.asarray(now) - np.asarray(start)
    if len(differences) < 2 or reward <= first_reward:
        return False
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) < -STANDARD_ERRORS * error


def _request(number: int, question: HeldOutQuestion, suffix: str) -> Request:
    message = Message("user", (question.image, question.text + suffix))
    return request_of(str(number), question.image, [message])


def _scored(task: Task, number: int, question: HeldOutQuestion, prediction: Prediction) -> Answered:
    protocol = task.protocols[0]
    record = task.score(question.sample(number), prediction, protocol)
    return Answered(number, question.source, record, protocol.codes_or_none(prediction.text or "") or [])
