"""Every metric as a ratio of sums over samples: value = sum of numerators / sum of denominators.

A cumulative IoU, a mean and a rate all have this form, so values, shards, slices and bootstrap intervals share one
piece of arithmetic. Sums are exact: integers stay integers, floats are added with `math.fsum`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """A metric before its division.

    Attributes:
        numerators: one number per sample.
        denominators: one number per sample; 0 where the metric does not look at the sample.
        clusters: the picture of each sample.
    """

    numerators: Sequence[float]
    denominators: Sequence[float]
    clusters: Sequence[str]

    @property
    def n(self) -> int:
        """Samples that count."""
        return sum(1 for value in self.denominators if value)

    @property
    def value(self) -> float | None:
        """The metric, None when nothing counts."""
        below = math.fsum(self.denominators)
        return math.fsum(self.numerators) / below if below else None

    def interval(self, seed: int, draws: int = DRAWS) -> tuple[float, float] | None:
        """95 % percentile interval of a bootstrap that draws whole pictures.

        Expressions of one picture are not independent, so pictures are drawn, not samples.

        Args:
            seed: of the draws.
            draws: number of bootstrap draws.

        Returns:
            (low, high), None with fewer than two pictures that count.
        """
        above, below = self._per_cluster()
        if len(above) < 2:
            return None
        sums = _draws(len(above), seed, draws) @ np.stack([above, below], axis=1)
        values = sums[:, 0] / sums[:, 1]
        low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return float(low), float(high)

    def _per_cluster(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums per picture, pictures that do not count left out."""
        names, index = np.unique(np.asarray(self.clusters, dtype=str), return_inverse=True)
        above = np.bincount(index, weights=np.asarray(self.numerators, dtype=float), minlength=len(names))
        below = np.bincount(index, weights=np.asarray(self.denominators, dtype=float), minlength=len(names))
        counts = below > 0
        return above[counts].astype(float), below[counts].astype(float)


@lru_cache(maxsize=2)
def _draws(clusters: int, seed: int, draws: int) -> NDArray[np.float64]:
    """How often each cluster is drawn, (draws, clusters); all metrics of a run share them."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=draws).astype(np.float64)


def mean_of(values: Sequence[float], clusters: Sequence[str], counts: Sequence[bool] | None = None) -> Ratio:
    """Mean of one value per sample, over the samples where `counts` is true (all by default)."""
    kept = [True] * len(values) if counts is None else list(counts)
    above = [value if keep else 0.0 for value, keep in zip(values, kept, strict=True)]
    return Ratio(above, [1.0 if keep else 0.0 for keep in kept], clusters)
