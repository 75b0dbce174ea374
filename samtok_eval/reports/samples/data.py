"""The data of the page of all samples: an index of what is filtered and sorted by, and shards of the rest.

In: the answered samples of a run. Out: plain JSON. Texts have their hidden characters spelt out and are cut at
`TEXT_KEPT`; masks stay COCO run lengths, which the browser draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from samtok_eval.masks import Rle
from samtok_eval.metrics.cards import card
from samtok_eval.passages import in_short
from samtok_eval.reports.html import shown
from samtok_eval.reports.page.cards import conversation, facts_of, told, without
from samtok_eval.reports.page.galleries import Answered, Item, item_of
from samtok_eval.run.slices import slices_of
from samtok_eval.sample import ImageRef

SHARD = 100
"""Samples of one file of data."""
TEXT_KEPT = 20_000
"""Characters of one text."""
PHRASE_KEPT = 120
"""Characters of a phrase that the index holds."""
OTHER = "other"
MOST_VALUES = 200
"""Values of a slice that the index tells apart."""


@dataclass
class Coded:
    """A column of few different texts: each once, and a number for every sample."""

    values: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def append(self, value: str) -> None:
        """One more sample."""
        if value not in self._known and len(self.values) >= MOST_VALUES:
            value = OTHER
        if value not in self._known:
            self._known[value] = len(self.values)
            self.values.append(value)
        self.codes.append(self._known[value])

    def to_json(self) -> dict[str, Any]:
        """What the page reads."""
        return {"values": self.values, "codes": self.codes}


def index(answered: Answered, metric: str | None) -> dict[str, Any]:
    """What the page filters and sorts by: a column each, in the order of the benchmark.

    Args:
        answered: the samples.
        metric: of the scores.
    """
    statuses = Coded()
    slices: dict[str, Coded] = {}
    columns: dict[str, list[Any]] = {name: [] for name in ("ids", "phrases", "scores", "before")}
    for place, (name, record) in enumerate(answered.records.items()):
        columns["ids"].append(shown(name))
        columns["phrases"].append(shown(in_short(answered.samples[name].phrase), PHRASE_KEPT))
        columns["scores"].append(_hundredths(answered.scores.get(name)))
        columns["before"].append(_hundredths(answered.baseline.get(name)))
        statuses.append(record.status)
        mine = slices_of(record)
        for slice_name in mine.keys() - slices.keys():
            # Samples before this one are in no group of it.
            slices[slice_name] = Coded([""], [0] * place, {"": 0})
        for slice_name, column in slices.items():
            column.append(shown(mine.get(slice_name, "")))
    return {
        "shard": SHARD,
        "metric": card(metric).sample_title if metric else None,
        "lower": answered.lower_is_better,
        **columns,
        "statuses": statuses.to_json(),
        "slices": {shown(name): column.to_json() for name, column in sorted(slices.items()) if name != "status"},
    }


def _hundredths(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def shards(answered: Answered, metric: str | None, picture: Callable[[ImageRef], str | None]) -> Iterator[list[Any]]:
    """Everything else about each sample, `SHARD` of them at a time.

    Args:
        answered: the samples.
        metric: of the scores.
        picture: file of a picture, None where it cannot be read.
    """
    names = list(answered.records)
    for first in range(0, len(names), SHARD):
        yield [_sample(item_of(answered, name), metric, picture) for name in names[first : first + SHARD]]


def _sample(item: Item, metric: str | None, picture: Callable[[ImageRef], str | None]) -> dict[str, Any]:
    sample, prediction, before = item.sample, item.prediction, item.before
    layers = {
        "asked": item.asked,
        "reference": sample.target.masks,
        "prediction": item.answered,
        "baseline": item.answered_before,
        "oracle": item.reconstructed,
    }
    found: dict[str, Any] = {
        "picture": picture(sample.image),
        "size": [sample.image.height, sample.image.width],
        "masks": {name: _counts(rles) for name, rles in layers.items() if rles},
        "objects": {side: list(numbers) for side, numbers in item.objects.items()},
        "told": [[passage.title, passage.lines] for passage in told(item, TEXT_KEPT)],
        "without": without(item),
        "question": shown(conversation(sample), TEXT_KEPT),
        "answer": _text(prediction.text if prediction else None),
        "before": _text(before.text if before else None),
        "facts": [[name, shown(value)] for name, value in facts_of(item, metric).items()],
        "error": _text(prediction.error if prediction else None),
    }
    return {name: value for name, value in found.items() if value not in (None, "", [], {}, False)}


def _counts(rles: Sequence[Rle]) -> list[str]:
    return [rle.counts for rle in rles]


def _text(text: str | None) -> str | None:
    return None if text is None else shown(text, TEXT_KEPT)
