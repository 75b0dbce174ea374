"""Samples that are worth a look: those that changed most, the worst, the median, the best, and two kinds of mistakes.

In: everything that is known of a run's samples. Out: galleries of a few samples each; masks are looked up for these
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from samtok_eval.masks import Rle
from samtok_eval.passages import Answer, Exchange, Passage
from samtok_eval.prediction import Prediction, Record
from samtok_eval.protocol import Protocol
from samtok_eval.reports.page.objects import Objects, objects_of
from samtok_eval.sample import Region, Sample, Target
from samtok_eval.task import Task

GALLERY = 12
"""Samples of one gallery."""
REGRESSION = 1e-9
"""Least change of a sample that counts as one."""


@dataclass(frozen=True)
class Item:
    """One sample of a gallery."""

    id: str
    sample: Sample
    record: Record
    prediction: Prediction | None
    score: float | None
    baseline: float | None
    """The baseline's score of this sample."""
    ceiling: float | None
    asked: tuple[Rle, ...]
    """Regions in the question."""
    answered: tuple[Rle, ...]
    codes: tuple[str, ...]
    reconstructed: tuple[Rle, ...]
    """What the right codes decode to, where the ceiling is known."""
    before: Prediction | None
    """The baseline's answer."""
    answered_before: tuple[Rle, ...]
    passages: Sequence[Passage]
    """What the task says of it."""
    compared: bool
    """Whether there is a baseline."""
    objects: Objects
    """Which masks are the same object."""


@dataclass(frozen=True)
class Gallery:
    """Samples that show one thing."""

    name: str
    title: str
    note: str
    items: Sequence[Item]
    total: int
    """Samples that would fit."""


@dataclass(frozen=True)
class Answered:
    """The samples of a run by id: questions, answers, and scores under one metric."""

    samples: Mapping[str, Sample]
    records: Mapping[str, Record]
    predictions: Mapping[str, Prediction]
    rules: Protocol
    """How codes are read from the answers."""
    scores: Mapping[str, float]
    baseline: Mapping[str, float]
    """Scores of the baseline; empty without one."""
    ceiling: Mapping[str, float]
    """Scores of the right codes; empty without a run of the oracle."""
    right_codes: Mapping[str, Prediction]
    """The oracle's answers."""
    before: Mapping[str, Prediction]
    """The baseline's answers; empty without one."""
    task: Task
    compared: bool = False
    """Whether there is a baseline."""
    judged: Mapping[str, Sequence[Exchange]] = field(default_factory=dict)
    """What a judge was asked about the answers, and replied."""
    judged_before: Mapping[str, Sequence[Exchange]] = field(default_factory=dict)
    """The same of the baseline's answers."""
    lower_is_better: bool = False
    """Of the scores."""


def galleries(answered: Answered) -> list[Gallery]:
    """Every gallery that a sample fits into."""
    sign = -1 if answered.lower_is_better else 1
    scores, before = (
        {name: sign * value for name, value in side.items()} for side in (answered.scores, answered.baseline)
    )
    ordered = sorted(scores, key=lambda name: (scores[name], name))
    middle = max(0, (len(ordered) - GALLERY) // 2)
    falls = [name for name in ordered if name in before and before[name] - scores[name] > REGRESSION]
    falls.sort(key=lambda name: (scores[name] - before[name], name))
    gains = [name for name in ordered if name in before and scores[name] - before[name] > REGRESSION]
    gains.sort(key=lambda name: (before[name] - scores[name], name))
    # Silence that is right looks like nothing.
    aimless = {name for name, sample in answered.samples.items() if sample.target == Target()}
    best = [name for name in ordered[::-1] if name not in aimless]
    alarms = [name for name, record in answered.records.items() if record.no_target and record.pred_area]
    alarms.sort(key=lambda name: (-answered.records[name].pred_area, name))
    silent = [name for name in answered.records if _is_empty(answered, name)]
    lowest, highest = ("highest", "lowest") if answered.lower_is_better else ("lowest", "highest")
    normal = "The middle of the scores: what an ordinary answer looks like."
    chosen = [
        ("regressions", "Regressions", "Samples that lost most against the baseline.", falls, falls),
        ("improvements", "Improvements", "Samples that gained most against the baseline.", gains, gains),
        ("worst", "Worst", f"The {lowest} scores.", ordered, ordered),
        ("median", "Median", normal, ordered[middle:], ordered),
        ("best", "Best", f"The {highest} scores, of samples with something to find.", best, best),
        ("false-alarms", "No-target false alarms", "Nothing is meant, and something was marked.", alarms, alarms),
        ("empty", "Empty answers", "Something is meant, and nothing was marked or said.", silent, silent),
    ]
    return [
        Gallery(name, title, note, [item_of(answered, sample) for sample in names[:GALLERY]], len(fitting))
        for name, title, note, names, fitting in chosen
        if names
    ]


def item_of(answered: Answered, name: str) -> Item:
    """Everything about one sample, its masks included."""
    sample, record = answered.samples[name], answered.records[name]
    prediction, before = answered.predictions.get(name), answered.before.get(name)
    masks, codes = _masks_and_codes(prediction, answered.rules)
    masks_before, codes_before = _masks_and_codes(before, answered.rules)
    reconstructed = _masks_and_codes(answered.right_codes.get(name), answered.rules)[0]
    asked = tuple(part.mask for turn in sample.turns for part in turn.parts if isinstance(part, Region))
    answers = [Answer("prediction", prediction, masks, codes, answered.judged.get(name, ()))]
    if answered.compared:
        judged_before = answered.judged_before.get(name, ())
        answers.append(Answer("baseline", before, masks_before, codes_before, judged_before))
    passages = answered.task.passages(sample, answers, record, answered.rules)
    return Item(
        id=name,
        sample=sample,
        record=record,
        prediction=prediction,
        score=answered.scores.get(name),
        baseline=answered.baseline.get(name),
        ceiling=answered.ceiling.get(name),
        asked=asked,
        answered=masks,
        codes=codes,
        reconstructed=reconstructed,
        before=before,
        answered_before=masks_before,
        passages=passages,
        compared=answered.compared,
        objects=objects_of(asked, sample.target.masks, masks, masks_before, passages, reconstructed),
    )


def _masks_and_codes(prediction: Prediction | None, rules: Protocol) -> tuple[tuple[Rle, ...], tuple[str, ...]]:
    if prediction is None:
        return (), ()
    if prediction.masks is not None:
        return tuple(map(prediction.brought_mask, range(len(prediction.masks)))), ()
    codes = rules.codes_or_none(prediction.text or "") or []
    kept = [pair for pair in codes if pair.key in prediction.decoded]
    return tuple(map(prediction.decoded_mask, kept)), tuple(pair.key for pair in kept)


def _is_empty(answered: Answered, name: str) -> bool:
    record, prediction = answered.records[name], answered.predictions.get(name)
    if record.gt_area:
        return not record.pred_area
    return prediction is None or (prediction.masks is None and not (prediction.text or "").strip())
