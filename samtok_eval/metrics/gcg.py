"""Metrics of grounded conversation generation: AP50 without scores, mean IoU of pairs, recall of phrases with masks.

Rules: GLaMM's `eval/gcg/evaluate.py` and COCO's evaluation, quirks included where a function says so. Everything works
on IoU matrices and records; nothing scans all annotations.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from samtok_eval.mask_tokens import DEFAULT_LAYOUT, GLAMM_MARKS, QWEN_MARKS, Layout, final_part, parse
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


class Marked(NamedTuple):
    """A phrase between its marks."""

    phrase: str
    end: int
    """Position after its closing mark."""


_EMPTY_THINKING = "<think>\n\n</think>\n\n"
_MARK = re.compile(r"<\|[^|<>]*\|>|</?(?:p|s|think|answer)>")


def read_released(text: str, marks: Sequence[tuple[str, str]] = (QWEN_MARKS,)) -> Answer:
    """Caption and phrases as SAMTok's script writes them for GLaMM's scorer.

    In its order: line breaks go without leaving a blank, two blanks become one in a single pass, all but what stands
    behind the last `ASSISTANT: ` goes. Phrases are read here and stand alone, whatever masks follow them. What stands
    between `<` and the next `>` leaves the caption, and so do outer apostrophes.

    Args:
        text: the whole answer.
        marks: opening and closing marks of phrases.
    """
    text = text.replace(_EMPTY_THINKING, "").replace("<s>", "").replace("\n", "").replace("  ", " ")
    text = text.rpartition("ASSISTANT: ")[2]
    caption = _plain(_without_angles(text)).strip("'").strip()
    return Answer(caption, [marked.phrase.strip() for marked in marked_phrases(text, marks)])


def read_paired(text: str, layout: Layout = DEFAULT_LAYOUT) -> Answer:
    """Caption of the final answer without marks, and for each decodable mask in it the phrase that stands before it.

    Args:
        text: the whole answer.
        layout: of its mask words.
    """
    final = final_part(text)
    marked = marked_phrases(final, (QWEN_MARKS, GLAMM_MARKS))
    ends = [one.end for one in marked]
    before = [bisect_right(ends, span.start) for span in parse(final, layout) if span.codes is not None]
    phrases = [marked[count - 1].phrase.strip() if count else "" for count in before]
    return Answer(_plain(_MARK.sub(" ", final)), phrases)


def marked_phrases(text: str, marks: Sequence[tuple[str, str]]) -> list[Marked]:
    """What stands between an opening mark and the next closing one of its kind, from left to right.

    A phrase may run over further marks; a mark that is never closed is passed over. Time is linear in the text.

    Args:
        text: any text.
        marks: opening and closing mark of each kind.
    """
    closing = dict(marks)
    last = {close: text.rfind(close) for close in closing.values()}
    every_mark = re.compile("|".join(re.escape(mark) for pair in marks for mark in pair))
    found: list[Marked] = []
    opened: re.Match[str] | None = None
    for mark in every_mark.finditer(text):
        if opened is not None and mark[0] == closing[opened[0]]:
            found.append(Marked(text[opened.end() : mark.start()], mark.end()))
            opened = None
        elif opened is None and mark[0] in closing and mark.end() <= last[closing[mark[0]]]:
            opened = mark
    return found


def _without_angles(text: str) -> str:
    """The text without what stands between `<` and the next `>`."""
    kept, position = [], 0
    while (start := text.find("<", position)) >= 0 and (end := text.find(">", start)) >= 0:
        kept.append(text[position:start])
        position = end + 1
    return "".join([*kept, text[position:]])


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
    # One by one: pycocotools counts the areas of a list in a byte.
    empty = np.logical_and.outer(*([coco.area(rle) == 0 for rle in rles] for rles in (one, other)))
    return np.where(empty, both_empty, matrix)


def covered_shares(truth: Sequence[Rle], answered: Sequence[Rle]) -> Matrix:
    """Share of every answered mask that lies in every true one, float64 (truths, answers): COCO's IoU with a crowd."""
    one, other = ([rle.to_coco() for rle in rles] for rles in (truth, answered))
    return np.asarray(coco.iou(other, one, [1] * len(one)), dtype=np.float64).reshape(len(answered), len(truth)).T


def ranked_detections(matrix: Matrix, crowd_shares: Matrix, counted: Sequence[bool]) -> list[bool]:
    """Which answered masks count as hits in COCO's matching at IoU 0.5, in order, the first 100 only.

    Every answer takes the free true mask that it overlaps most, the last of equals (`COCOeval.evaluateImg`). One that
    only a crowd fits is neither hit nor miss.

    Args:
        matrix: IoU with the true masks that are no crowds, (truths, answers).
        crowd_shares: `covered_shares` of the crowds, (crowds, answers).
        counted: per true mask whether an answer that takes it is a hit.

    Returns:
        One flag per answer that counts, in order.
    """
    in_crowd: list[bool] = np.any(crowd_shares >= IOU_THRESHOLD, axis=0).tolist()
    pairs = zip(_taken(matrix), in_crowd, strict=False)
    return [row is not None and counted[row] for row, inside in pairs if row is not None or not inside]


def _taken(matrix: Matrix) -> Iterator[int | None]:
    """The true mask that each of the first answers takes, None for an answer that none fits."""
    free = np.ones(len(matrix), dtype=bool)
    for column in matrix.T[:MAX_DETECTIONS]:
        best, threshold = None, min(IOU_THRESHOLD, 1 - 1e-10)
        for row in np.flatnonzero(free):
            if column[row] >= threshold:
                best, threshold = int(row), float(column[row])
        if best is not None:
            free[best] = False
        yield best


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
        records: with `hits`, one flag per answered mask that counts, and `truths`, the number of true masks that count.
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
