"""What a metric is before its last step: statistics per sample that are added up, and a formula of the sums.

A cumulative IoU, a mean and a rate are ratios of sums; METEOR and mean recall are formulas of more than two. So values,
shards, slices and resampling (`samtok_eval.statistics`) share one piece of arithmetic. Statistics are lists or arrays.
Sums of a ratio are exact: integers stay integers, floats are added with `math.fsum`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[Any]
"""One number, or flag, per sample."""
Names = Sequence[str] | NDArray[np.object_]
Formula = Callable[[Array], Array]
"""Sums (draws, k) -> values (draws,), NaN where nothing counts."""
TOGETHER = 4096
"""Numbers that are Python's own at a time, which take four times the memory."""


class Pictures(dict[str, int]):
    """The row of each picture, in order of first sight."""

    def __init__(self, columns: Iterable[Names]) -> None:
        """Number the pictures of some columns of names.

        Args:
            columns: metrics of a run mostly share one, which is looked at once.
        """
        once = {id(names): names for names in columns}
        seen = dict.fromkeys(name for names in once.values() for name in names)
        super().__init__(zip(seen, range(len(seen)), strict=True))
        self._rows: dict[int, tuple[Names, NDArray[np.intp]]] = {}

    def rows(self, names: Names) -> NDArray[np.intp]:
        """The row of each name of a column, kept as long as the pictures are."""
        if id(names) not in self._rows:
            # The column is kept, too, since another could take its identity.
            self._rows[id(names)] = names, np.fromiter(map(self.__getitem__, names), dtype=np.intp, count=len(names))
        return self._rows[id(names)][1]


@dataclass(frozen=True)
class Ratio:
    """A sum over samples divided by another.

    Attributes:
        numerators: one number per sample.
        denominators: one number per sample; 0 where the metric does not look at the sample.
        clusters: the picture of each sample.
    """

    numerators: Numbers
    denominators: Numbers
    clusters: Names

    @property
    def n(self) -> int:
        """Samples that count."""
        return int(np.count_nonzero(self.denominators))

    @property
    def value(self) -> float | None:
        """The metric, None when nothing counts."""
        below = exact_sum(self.denominators)
        return exact_sum(self.numerators) / below if below else None

    def totals(self, pictures: Pictures) -> Array:
        """Numerator and denominator of each picture, (pictures, 2)."""
        return _per_picture([np.asarray(self.numerators), np.asarray(self.denominators)], self.clusters, pictures)

    @staticmethod
    def formula(sums: Array) -> Array:
        """The division, (draws, 2) -> (draws,)."""
        above, below = sums[:, 0], sums[:, 1]
        values: Array = np.divide(above, below, out=np.full(len(sums), np.nan), where=below != 0)
        return values

    def per_sample(self) -> tuple[Array, NDArray[np.bool_]]:
        """What each sample alone would give, 0 where it does not count, and whether it does, (samples,) both."""
        above, below = (np.asarray(column, dtype=np.float64) for column in (self.numerators, self.denominators))
        counts = below != 0
        return np.divide(above, below, out=np.zeros(len(below)), where=counts), counts


@dataclass(frozen=True)
class Sums:
    """A formula of several sums.

    Attributes:
        statistics: (samples, k), rows of zeros for samples that the metric does not look at.
        clusters: the picture of each sample.
        formula: the last step; vectorized over draws.
    """

    statistics: Array
    clusters: Names
    formula: Formula

    @property
    def n(self) -> int:
        """Samples that count."""
        return int(np.any(self.statistics != 0, axis=1).sum())

    @property
    def value(self) -> float | None:
        """The metric, None when nothing counts."""
        if not len(self.statistics):
            return None
        value = float(self.formula(self.statistics.sum(axis=0, keepdims=True))[0])
        return None if math.isnan(value) else value

    def totals(self, pictures: Pictures) -> Array:
        """Sums of each picture, (pictures, k)."""
        return _per_picture(list(self.statistics.T), self.clusters, pictures)


@dataclass(frozen=True)
class Ranked:
    """A metric of one ranking over all samples, which no sums replace.

    Attributes:
        items: the ranked items of each sample, in order.
        truths: how many items each sample should have.
        clusters: the picture of each sample.
        formula: (items in order, number of truths) -> value.
    """

    items: Sequence[Sequence[float]]
    truths: Sequence[float]
    clusters: Names
    formula: Callable[[Sequence[float], int], float]

    @property
    def n(self) -> int:
        """All samples: an item of any of them moves the others."""
        return len(self.truths)

    @property
    def value(self) -> float | None:
        """The metric, None without truths."""
        truths = int(sum(self.truths))
        return self.formula([item for items in self.items for item in items], truths) if truths else None

    def drawn(self, pictures: Pictures, weights: Array) -> Array:
        """Values when each picture counts so many times, (draws, pictures) -> (draws,)."""
        rows = pictures.rows(self.clusters)
        items = np.array([item for items in self.items for item in items], dtype=np.float64)
        owner = np.repeat(rows, [len(items) for items in self.items])
        truths = weights[:, rows] @ np.asarray(self.truths, dtype=np.float64)
        found = [
            self.formula(np.repeat(items, times[owner].astype(np.intp)).tolist(), int(total)) if total else np.nan
            for times, total in zip(weights, truths, strict=True)
        ]
        return np.array(found, dtype=np.float64)


@dataclass(frozen=True)
class Description:
    """A number that describes what was seen and estimates nothing beyond it, so that it has no interval."""

    value: float | None
    n: int


Estimate = Ratio | Sums | Ranked
"""What can be resampled."""
Metric = Estimate | Description


def mean_of(values: Numbers, clusters: Names, counts: Numbers | None = None) -> Ratio:
    """Mean of one value per sample, over the samples where `counts` is true (all by default)."""
    if counts is None:
        return Ratio(values, np.ones(len(values), dtype=np.bool_), clusters)
    kept, column = np.asarray(counts, dtype=np.bool_), np.asarray(values)
    return Ratio(np.where(kept, column, column.dtype.type(0)), kept, clusters)


def exact_sum(values: Numbers) -> float:
    """The sum, rounded once."""
    column = np.asarray(values)
    # Sums of integers are exact below 2**53, which pictures do not reach.
    if column.dtype.kind in "bi" and len(column):
        return float(int(column.sum(dtype=np.int64)))
    parts = (column[first : first + TOGETHER].tolist() for first in range(0, len(column), TOGETHER))
    return math.fsum(chain.from_iterable(parts))


def _per_picture(statistics: Sequence[NDArray[Any]], clusters: Names, pictures: Pictures) -> Array:
    rows = pictures.rows(clusters)
    columns = [np.bincount(rows, weights=column, minlength=len(pictures)) for column in statistics]
    return np.column_stack(columns).astype(np.float64)
