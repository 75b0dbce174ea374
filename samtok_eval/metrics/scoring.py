"""From a prediction to the Record of one sample: parse, combine, count pixels.

Shared by every task whose answer is one region of a picture. The records of many samples are columns, which protocols
share where they read the answers alike and compare them with the same targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from samtok_eval import masks
from samtok_eval.masks import Rle
from samtok_eval.metrics.boxes import box_iou as iou_of_boxes
from samtok_eval.prediction import Answer, Prediction, Record, as_read, broken_mask, lacks_mask, of_other_pictures
from samtok_eval.protocol import Protocol, codes_under, fewest_of_pairs
from samtok_eval.records import Column, Records, constant, nothing
from samtok_eval.sample import Sample
from samtok_eval.sample_table import Common, in_columns
from samtok_eval.text_column import texts

Combine = Literal["union", "last"]
FAILURES = ("missing", "error", "invalid")
"""Statuses of the answers that fail under a protocol of which `errors_fail`."""


class Counts(NamedTuple):
    """Pixels of two regions."""

    inter: int
    union: int
    gt_area: int
    pred_area: int
    answer: Rle
    truth: Rle


class Seen(NamedTuple):
    """An answer as a protocol sees it."""

    counts: Counts
    crashed: bool
    """The script that the protocol copies stops at the answer."""
    stops: bool
    """It stops at the annotations of the sample."""


def region_counts(answer: Sequence[Rle], truth: Sequence[Rle], height: int, width: int) -> Counts:
    """Compare the unions of two sets of masks; what was compared lately is not counted again.

    Raises:
        ValueError: the sizes differ.
    """
    return _kept(tuple(answer), tuple(truth), height, width).counts


@lru_cache(maxsize=1 << 14)
def _kept(answer: tuple[Rle, ...], truth: tuple[Rle, ...], height: int, width: int) -> Seen:
    """Counts of an answer at which no script stops."""
    united, (target, gt_area) = masks.union(answer, height, width), _united_target(truth, height, width)
    inter, pred_area = masks.intersection_and_area(united, target)
    counts = Counts(inter, pred_area + gt_area - inter, gt_area, pred_area, united, target)
    return Seen(counts, crashed=False, stops=False)


@lru_cache(maxsize=1 << 12)
def _united_target(truth: tuple[Rle, ...], height: int, width: int) -> tuple[Rle, int]:
    """The union of a target's masks and its pixels; expressions of a picture have targets in common."""
    target = masks.union(truth, height, width)
    return target, masks.area(target)


def score_regions(
    samples: Sequence[Sample],
    answers: Mapping[str, Prediction],
    protocols: Sequence[Protocol[Any]],
    combine: Callable[[Protocol[Any]], Combine] = lambda _: "union",
    box_iou: Callable[[Protocol[Any]], bool] = lambda _: False,
) -> dict[str, Records]:
    """`score_region` of many samples under several protocols, by the protocol's name.

    Args:
        samples: the questions.
        answers: predictions by sample id.
        protocols: how the answers are read.
        combine: of each protocol, see `score_region`.
        box_iou: of each protocol, see `score_region`.

    Raises:
        DataError: as `score_region`.
    """
    count = len(samples)
    names, phrases, asked = in_columns(samples)
    read = as_read(answers)
    given = [read.get(name) for name in names]
    combined = [combine(protocol) for protocol in protocols]
    fewest = fewest_of_pairs(protocols)
    rows = [_seen(*row, protocols, combined, fewest) for row in zip(names, asked, given, strict=True)]
    statuses = [_status(prediction) for prediction in given]
    common: dict[str, Any] = {
        "id": names,
        "image_id": texts([each.image.id for each in asked]),
        "status": texts(statuses),
        "no_target": np.array([each.target.no_target for each in asked], dtype=np.bool_),
        "phrase": phrases,
        "series": nothing(count),
        "slices": texts([each.slices for each in asked]),
    }
    failures, none = np.array([status in FAILURES for status in statuses], dtype=np.bool_), np.zeros(count, np.bool_)
    known: list[tuple[tuple[Seen, ...], dict[str, Any], dict[bool, dict[str, Column]]]] = []
    found = {}
    for protocol, seen in zip(protocols, zip(*rows, strict=True) if rows else [()] * len(protocols), strict=True):
        # Tuples of the same objects are compared in no time.
        mine = next((each for each in known if each[0] == seen), None)
        if mine is None:
            mine = seen, _counted(seen), {}
            known.append(mine)
        _, counted, values = mine
        boxes = box_iou(protocol)
        if boxes not in values:
            values[boxes] = _values(seen, boxes)
        found[protocol.name] = Records(
            **common,
            **counted,
            protocol=constant(protocol.name, count),
            failed=failures if protocol.errors_fail else none,
            values=values[boxes],
        )
    return found


def _counted(seen: Sequence[Seen]) -> dict[str, Any]:
    """Columns of pixels, and of the answers at which a script stops."""
    pixels = np.array([each.counts[:4] for each in seen], dtype=np.int64).reshape(-1, 4)
    columns: dict[str, Any] = {name: pixels[:, i].copy() for i, name in enumerate(Counts._fields[:4])}
    return columns | {"crashed": np.array([each.crashed for each in seen], dtype=np.bool_)}


def _values(seen: Sequence[Seen], box_iou: bool) -> dict[str, Column]:
    """Further columns, see `score_region`."""
    found: dict[str, Column] = {}
    if box_iou and seen:
        ious = np.array([_mask_box_iou(each.counts.answer, each.counts.truth) for each in seen], dtype=np.float64)
        found["box_iou"] = Column(ious, np.ones(len(seen), dtype=np.bool_))
    stops = np.array([each.stops for each in seen], dtype=np.bool_)
    if stops.any():
        found["stops"] = Column(stops.astype(np.float64), stops)
    return found


def score_region(
    sample: Sample,
    prediction: Prediction | None,
    protocol: Protocol[Any],
    combine: Combine = "union",
    box_iou: bool = False,
) -> Record:
    """Count the pixels of one answer against the union of the target's masks, as the protocol sees them.

    `values["stops"]` marks a sample at whose annotations the scorer that the protocol copies stops.

    Args:
        sample: the question.
        prediction: the answer; None is scored as an empty answer and marked missing.
        protocol: how the answer is read.
        combine: `union` of all masks of the answer, or the `last` one.
        box_iou: also compare mask-derived boxes.

    Raises:
        DataError: a mask of the prediction has another size than the picture, or the decoded mask of a code pair that
            this protocol needs is not in the prediction file.
    """
    (seen,) = _seen(sample.id, sample, prediction, [protocol], [combine])
    counts, status = seen.counts, _status(prediction)
    values = {"box_iou": _mask_box_iou(counts.answer, counts.truth)} if box_iou else {}
    if seen.stops:
        values["stops"] = 1.0
    return Record(
        sample.id,
        sample.image.id,
        protocol.name,
        status,
        *counts[:4],
        no_target=sample.target.no_target,
        failed=protocol.errors_fail and status in FAILURES,
        crashed=seen.crashed,
        phrase=sample.phrase,
        values=values,
        slices=sample.slices,
    )


def _seen(
    name: str,
    asked: Common | Sample,
    prediction: Answer | None,
    protocols: Sequence[Protocol[Any]],
    combined: Sequence[Combine],
    fewest: int | None = None,
) -> list[Seen]:
    """The answer as each protocol sees it, one object for those that see the same; `fewest` as in `codes_under`."""
    target = asked.target
    masked = _masks_under(name, prediction, protocols, fewest)
    first = masked[0]
    all_count = not first or len(first) == 1 or "last" not in combined
    # As nearly all are: the same masks of the answer and the same target under all protocols.
    if all_count and not target.other_masks and masked.count(first) == len(masked):
        return [_compared(name, asked, first, target.masks)] * len(protocols)
    known: dict[tuple[int, int], Seen] = {}
    found, kept = [], []
    for protocol, combine, mine in zip(protocols, combined, masked, strict=True):
        answered = mine[-1:] if mine and combine == "last" else mine
        # An object that is gone leaves its identity to the next one.
        kept.append(answered)
        truth = target.masks_under(protocol.name) if target.other_masks else target.masks
        key = id(answered), id(truth)
        if key not in known:
            known[key] = _compared(name, asked, answered, truth)
        found.append(known[key])
    return found


def _compared(
    name: str, asked: Common | Sample, answered: tuple[Rle, ...] | None, truth: tuple[Rle, ...] | None
) -> Seen:
    """Masks of an answer against those of a target; either is None where a script stops at it."""
    image = asked.image
    try:
        seen = _kept(answered or (), asked.target.masks if truth is None else truth, image.height, image.width)
    except ValueError as error:
        raise of_other_pictures(name, error) from error
    return Seen(seen.counts, answered is None, truth is None) if answered is None or truth is None else seen


def _status(prediction: Answer | None) -> str:
    return "missing" if prediction is None else prediction.status


def answered_masks(sample: Sample, prediction: Prediction | None, protocol: Protocol[Any]) -> list[Rle]:
    """`found_masks`, none for a missing answer or one on which the reference script would have stopped."""
    return [] if prediction is None else found_masks(sample, prediction, protocol) or []


def found_masks(sample: Sample, prediction: Prediction, protocol: Protocol[Any]) -> list[Rle] | None:
    """The answer's masks in order of mention; None where the reference script would have stopped.

    Raises:
        DataError: a mask is broken, or the decoded mask of a code pair is not in the prediction file.
    """
    (found,) = _masks_under(sample.id, prediction, [protocol])
    return None if found is None else list(found)


def _masks_under(
    name: str, prediction: Answer | None, protocols: Sequence[Protocol[Any]], fewest: int | None = None
) -> list[tuple[Rle, ...] | None]:
    """The answer's masks under each protocol, see `found_masks`; one object where they are read from the same codes."""
    if prediction is None:
        return [()] * len(protocols)
    try:
        if prediction.masks is not None:
            return [tuple([mask.rle() for mask in prediction.masks])] * len(protocols)
        readings = codes_under(prediction.text or "", protocols, fewest)
        first = readings[0]
        if first is not None and readings.count(first) == len(readings):
            return [tuple([prediction.decoded[pair.key].rle() for pair in first])] * len(protocols)
        known: dict[int, tuple[Rle, ...] | None] = {}
        for codes in readings:
            if id(codes) not in known:
                masked = None if codes is None else tuple([prediction.decoded[pair.key].rle() for pair in codes])
                known[id(codes)] = masked
        return [known[id(codes)] for codes in readings]
    except KeyError as error:
        raise lacks_mask(name, error.args[0]) from error
    except ValueError as error:
        raise broken_mask(name, error) from error


# Protocols compare the same masks.
@lru_cache(maxsize=1 << 10)
def _mask_box_iou(first: Rle, second: Rle) -> float:
    """IoU of mask-derived boxes as the released scripts measure it: width = x2 - x1, an empty mask is 0 0 0 0."""
    one, other = (masks.box(rle) or (0, 0, 0, 0) for rle in (first, second))
    return iou_of_boxes(one, other)
