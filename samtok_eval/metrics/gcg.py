"""Metrics of grounded conversation generation: AP50 without scores, mean IoU of pairs, recall of phrases with masks.

Rules: GLaMM's `eval/gcg/evaluate.py` and COCO's evaluation, quirks included where a function says so. Everything works
on IoU matrices and records; nothing scans all annotations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from samtok_eval.mask_tokens import parse, split_thinking
from samtok_eval.masks import Rle
from samtok_eval.metrics.ratio import Array, Ranked, Sums
from samtok_eval.metrics.referring import clusters
from samtok_eval.prediction import Record

IOU_THRESHOLD = 0.5
SIMILARITY_THRESHOLD = 0.5
MAX_DETECTIONS = 100
RECALL_POINTS = np.linspace(0, 1, 101)

Matrix = NDArray[np.float64]
Similar = Callable[[int, int], bool]
"""Whether the phrases of a true mask and of an answered one, given by index, mean the same."""


class Answer(NamedTuple):
    """What an answer says: its caption, and the phrases and masks in it."""

    caption: str
    phrases: list[str]
    """Under `read_paired` one per mask, empty for a mask that follows no phrase."""


def read_loosely(text: str) -> Answer:
    """Caption and phrases as the released scripts take them: any text between `<` and `>` goes, phrases stand alone."""
    caption = _plain(re.sub(r"<.*?>", "", text.replace("\n", " ")))
    return Answer(caption, [phrase.strip() for phrase in _phrases(text)])


def read_paired(text: str) -> Answer:
    """Caption of the final answer without marks, and for every decodable mask the phrase that stands before it."""
    final = split_thinking(text)[1]
    ends = [(match.end(), match[match.lastindex or 0].strip()) for match in _PHRASE.finditer(text)]
    phrases = []
    for span in parse(text):
        if span.codes is not None:
            phrases.append(next((phrase for end, phrase in reversed(ends) if end <= span.start), ""))
    return Answer(_plain(_MARK.sub(" ", text if final is None else final)), phrases)


_PHRASE = re.compile(r"<\|object_ref_start\|>(.*?)<\|object_ref_end\|>|<p>(.*?)</p>", re.DOTALL)
"""The phrase marks of Qwen's models and of GLaMM."""
_MARK = re.compile(r"<\|[^|<>]*\|>|</?(?:p|s|think|answer)>")


def _phrases(text: str) -> list[str]:
    return [match[match.lastindex or 0] for match in _PHRASE.finditer(text)]


def _plain(text: str) -> str:
    return " ".join(text.split())


def iou_matrix(truth: Sequence[Rle], answered: Sequence[Rle], both_empty: float = 0.0) -> Matrix:
    """IoU of every true mask with every answered one, float64 (truths, answers).

    Args:
        truth: masks of one size.
        answered: masks of the same size.
        both_empty: value of two empty masks; the official scorer divides 0 by 0 there and goes on with NaN.
    """
    if not truth or not answered:
        return np.zeros((len(truth), len(answered)))
    one, other = ([rle.to_coco() for rle in rles] for rles in (truth, answered))
    matrix = np.asarray(coco.iou(other, one, [0] * len(one)), dtype=np.float64).reshape(len(answered), len(truth)).T
    empty = np.logical_and.outer(coco.area(one) == 0, coco.area(other) == 0)
    return np.where(empty, both_empty, matrix)


def detections(matrix: Matrix) -> list[bool]:
    """Which answered masks count as hits in COCO's matching at IoU 0.5, in order, the first 100 only.

    Every answer takes the free true mask that it overlaps most, the last of equals (`COCOeval.evaluateImg`).
    """
    free = np.ones(len(matrix), dtype=bool)
    hits = []
    for column in matrix.T[:MAX_DETECTIONS]:
        best, threshold = -1, min(IOU_THRESHOLD, 1 - 1e-10)
        for row in np.flatnonzero(free):
            if column[row] >= threshold:
                best, threshold = int(row), float(column[row])
        if best >= 0:
            free[best] = False
        hits.append(best >= 0)
    return hits


def average_precision(hits: Sequence[float], truths: int) -> float:
    """COCO's 101-point average precision of detections that all have the same score.

    Args:
        hits: 1 or 0 per detection, in the order in which they are ranked: pictures by id, then order of mention. Since
            no score separates them, this order is part of the number.
        truths: true masks of all pictures, at least 1.
    """
    right = np.cumsum(np.asarray(hits, dtype=np.float64))
    if not len(right):
        return 0.0
    recall = right / truths
    precision = right / (np.arange(len(right)) + 1 + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALL_POINTS, side="left")
    return float(np.mean([precision[i] if i < len(precision) else 0.0 for i in at]))


def ap50(records: Sequence[Record], ties: bool) -> Sums | Ranked:
    """Average precision at IoU 0.5 over all masks of all pictures.

    Args:
        records: with `hits`, one flag per answered mask, and `truths`.
        ties: take all detections at once, as one score for all asks for: no order, no luck. It is the precision of all
            detections up to the recall that they reach, 0 beyond. Otherwise as COCO's evaluation ranks them.
    """
    hits = [record.series["hits"] for record in records]
    truths = [record.values["truths"] for record in records]
    if not ties:
        return Ranked(hits, truths, clusters(records), average_precision)
    columns = [[sum(found) for found in hits], [len(found) for found in hits], truths]
    return Sums(np.array(columns, dtype=np.float64).T, clusters(records), _average_precision_of_ties)


def _average_precision_of_ties(sums: Array) -> Array:
    right, said, truths = sums.T
    recall = np.divide(right, truths, out=np.full(len(sums), np.nan), where=truths > 0)
    reached = np.where(np.isnan(recall), np.nan, (recall[:, None] >= RECALL_POINTS).mean(axis=1))
    precisions: Array = right / np.maximum(said, 1)
    return precisions * reached


def pairs(matrix: Matrix) -> list[float]:
    """IoUs of a greedy one-to-one pairing by largest IoU, while it is above 0."""
    left = matrix.copy()
    found = []
    while left.size and left.max() > 0:
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        found.append(float(left[row, column]))
        left[row, :] = 0
        left[:, column] = 0
    return found


def recalled(matrix: Matrix, similar: Similar, stops: bool) -> int:
    """Phrases found with mask and words: greedy by IoU, both at least 0.5.

    Args:
        matrix: (truths, answers).
        similar: compares phrases.
        stops: end at the first best pair that fails, as the official scorer does; else leave that pair out and go on.

    Returns:
        Pairs found.
    """
    left = matrix.copy()
    count = 0
    while left.size:
        row, column = (int(i) for i in np.unravel_index(int(left.argmax()), left.shape))
        # NaN passes, as it does in the official scorer.
        if left[row, column] < IOU_THRESHOLD:
            break
        if similar(row, column):
            count += 1
            left[row, :] = 0
            left[:, column] = 0
        elif stops:
            break
        else:
            left[row, column] = 0
    return count
