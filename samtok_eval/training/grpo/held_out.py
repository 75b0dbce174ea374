"""What a policy in training is worth on pictures it never trains on: decoded masks, not rewards.

A reward on mask words can be bought, with "No target." or with few safe codes, while masks get worse. So every report
stands on masks decoded by the mask tokenizer, and `bought` compares them with those at the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from samtok_eval import masks
from samtok_eval.images import read_image
from samtok_eval.mask_tokens import masks_of
from samtok_eval.masks import Rle
from samtok_eval.metrics.gcg import ap50, detections, iou_matrix
from samtok_eval.metrics.scoring import region_counts
from samtok_eval.models.transformers_backend import pinned_generation
from samtok_eval.prediction import Record
from samtok_eval.sample import Sample
from samtok_eval.training.grpo.prompts import GCG

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer

STANDARD_ERRORS = 2.0
"""By how many a fall of gIoU must exceed chance."""
BATCH = 64


@dataclass(frozen=True)
class HeldOutQuestion:
    """A question with the masks of its right answer."""

    image: NDArray[np.uint8]
    """(H, W, 3)"""
    text: str
    truth: tuple[Rle, ...]
    """None for a question without a target."""
    source: str
    """`glamm_gcg` where masks are matched one by one; they are united otherwise."""


class Answered(NamedTuple):
    """What one answer is worth."""

    number: int
    source: str
    iou: float
    """Of the united masks as GRES counts it; for grounded captions 0."""
    truths: int
    codes: list[tuple[int, int]]
    hits: list[int]
    """For grounded captions one flag per answered mask."""


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
        processor: padding on the left.
        tokenizer: decodes.
        questions: with their numbers.
        max_new_tokens: where an answer is cut.
        suffix: appended to every question.
    """
    training = model.training
    model.eval()
    found = []
    for first in range(0, len(questions), BATCH):
        batch = questions[first : first + BATCH]
        texts = _greedy(model, processor, [question for _, question in batch], max_new_tokens, suffix)
        found += [_compare(i, q, text, tokenizer) for (i, q), text in zip(batch, texts, strict=True)]
    model.train(training)
    return found


def report(answers: Sequence[Answered]) -> dict[str, float]:
    """Numbers of one report.

    Returns:
        `giou`: mean IoU of referring questions, 1 where rightly nothing is marked. `false_no_target`: share of
        questions with a target answered without a mask. `distinct_codes`: distinct code pairs in all answers.
        `gcg_ap50`, `gcg_mask_recall`: of grounded captions. What was not asked is left out.
    """
    referring = [answer for answer in answers if answer.source != GCG]
    captions = [answer for answer in answers if answer.source == GCG]
    targets = [answer for answer in referring if answer.truths]
    found: dict[str, float] = {"distinct_codes": len({pair for answer in answers for pair in answer.codes})}
    if referring:
        found["giou"] = math.fsum(answer.iou for answer in referring) / len(referring)
    if targets:
        found["false_no_target"] = sum(not answer.codes for answer in targets) / len(targets)
    truths = sum(answer.truths for answer in captions)
    if truths:
        records = [
            Record(str(a.number), str(a.number), "strict", "ok", values={"truths": a.truths}, series={"hits": a.hits})
            for a in captions
        ]
        found["gcg_ap50"] = ap50(records, ties=True).value or 0.0
        found["gcg_mask_recall"] = sum(sum(answer.hits) for answer in captions) / truths
    return {name: round(value, 5) for name, value in found.items()}


def quality(answers: Sequence[Answered]) -> list[float]:
    """One number per answer, by which two states of a model are compared: IoU, or F1 of a caption's masks."""
    return [
        2 * sum(a.hits) / max(len(a.hits) + a.truths, 1) if a.source == GCG else a.iou
        for a in sorted(answers, key=lambda a: a.number)
    ]


def attempted(answers: Sequence[Answered]) -> list[float]:
    """For each referring question with a target 1 where the answer marks anything, 0 where it denies the target.

    gIoU alone may not tell: where right denials pay more than masks, denying everything that is hard raises it.
    """
    ordered = sorted(answers, key=lambda a: a.number)
    return [float(bool(a.codes)) for a in ordered if a.source != GCG and a.truths]


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


@torch.no_grad()
def _greedy(
    model: Any, processor: Any, questions: Sequence[HeldOutQuestion], max_new_tokens: int, suffix: str
) -> list[str]:
    conversations = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.text + suffix}]}]
        for question in questions
    ]
    texts = [processor.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in conversations]
    pictures = [[Image.fromarray(question.image)] for question in questions]
    inputs = processor(images=pictures, text=texts, padding=True, padding_side="left", return_tensors="pt")
    settings, _ = pinned_generation(model.generation_config)
    settings.max_new_tokens = max_new_tokens
    tokens = model.generate(**inputs.to(model.device), generation_config=settings)
    answers = tokens[:, inputs["input_ids"].shape[1] :].tolist()
    return [text_of(row, processor.tokenizer, model.generation_config) for row in answers]


def text_of(token_ids: Sequence[int], tokenizer: Any, generation: Any) -> str:
    """Generated ids -> text up to the end word, control words kept: phrase marks and mask words may be such."""
    ends = generation.eos_token_id
    stops = {*(ends if isinstance(ends, list | tuple) else [ends]), generation.pad_token_id, tokenizer.eos_token_id}
    end = next((i for i, token in enumerate(token_ids) if token in stops), len(token_ids))
    return str(tokenizer.decode(token_ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _compare(index: int, question: HeldOutQuestion, text: str, tokenizer: MaskTokenizer) -> Answered:
    codes = masks_of(text, "final")
    rles = []
    if codes:
        decoded = tokenizer.decode(question.image, torch.tensor(codes), missing_second="skip")
        rles = [masks.encode(mask) for mask in decoded]
    pairs = [(pair.first, pair.second) for pair in codes]
    if question.source == GCG:
        hits = [int(hit) for hit in detections(iou_matrix(question.truth, rles))]
        return Answered(index, GCG, 0.0, len(question.truth), pairs, hits)
    counts = region_counts(tuple(rles), question.truth, *question.image.shape[:2])
    iou = counts.inter / counts.union if counts.union else 1.0
    return Answered(index, question.source, iou, len(question.truth), pairs, [])
