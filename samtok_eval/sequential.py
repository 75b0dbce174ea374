"""Rules for stopping early: how much evidence ends a comparison that is looked at several times.

In: the looks, as shares of the information that the last of them has. Out: a bound for the standardised difference at
each look. A one-sided test that rejects at the first look whose statistic reaches its bound errs with probability alpha
in all, however many looks there are. The bounds have the form of Wang and Tsiatis (1987), C x share^(shape - 1/2); the
shape 0.5 is Pocock's, 0 that of O'Brien and Fleming. C follows from the looks by numerical integration over the path
of a Brownian motion that has not crossed yet (Jennison and Turnbull 2000, chapter 19); no table is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Array = NDArray[np.float64]

LOOKS = 15
"""Where nothing else is asked for."""
SHAPE = 0.25
"""Of the bounds. Fewer pictures than 0 where a candidate is clearly worse, more passes than 0.5 where it is equal."""
LOSS_SHAPE = 0.4
"""Where a loss is to be shown: a fifth fewer pictures than 0.25 where it is large, and one in a hundred passes less."""
REACH = 8.0
"""Standard deviations beyond which nothing of a distribution is left."""
POINTS = 8
"""Of Gauss and Legendre's rule in each panel of the grid."""
PANEL = 2.5
"""Width of a panel, in standard deviations of the step to or from its look."""
SEARCHED = (-8.0, 16.0)
"""Constants C among which the one of a level is looked for."""
PRECISION = 1e-9
"""Of C."""
FINEST = 1e-3
"""Least share of information from one look to the next; the grid would grow beyond memory with finer ones."""


@dataclass(frozen=True)
class Looks:
    """A one-sided test that is carried out at each of several looks."""

    fractions: tuple[float, ...]
    """Share of the last look's information that each look has, rising by `FINEST` or more and ending in 1."""
    alpha: float
    """Probability that the test rejects at any of the looks where it should not."""
    shape: float = SHAPE

    def __post_init__(self) -> None:
        """Refuse looks that are none.

        Raises:
            ValueError: the shares do not rise to 1, or the level is none.
        """
        steps = np.diff([0.0, *self.fractions])
        if not len(steps) or np.any(steps < FINEST) or self.fractions[-1] != 1:
            raise ValueError(f"shares of information rise by {FINEST:g} or more and end in 1, not {self.fractions}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha lies between 0 and 1, not {self.alpha}")

    @cached_property
    def bounds(self) -> Array:
        """Statistic that rejects, per look; where all else is chance it is standard normal."""
        low, high = SEARCHED
        # The probability of crossing falls as C rises.
        while high - low > PRECISION:
            middle = (low + high) / 2
            low, high = (middle, high) if self._crossed(middle) > self.alpha else (low, middle)
        return self._form * high

    def level(self, look: int) -> float:
        """Level of the single test at a look (from 0)."""
        return float(ndtr(-self.bounds[look]))

    def p(self, look: int, statistic: float) -> float:
        """The alpha at which a look's bound would be just this statistic; below `alpha` where the test rejects.

        Such a repeated p-value (Jennison and Turnbull 2000, chapter 9) is below any level with at most that probability
        at whichever look one stops.
        """
        if np.isinf(statistic):
            return 0.0 if statistic > 0 else 1.0
        return min(1.0, self._crossed(statistic / float(self._form[look])))

    @property
    def _form(self) -> Array:
        return np.array(self.fractions) ** (self.shape - 0.5)

    def _crossed(self, constant: float) -> float:
        return float(crossing_probabilities(self._form * constant, self.fractions).sum())


def crossing_probabilities(bounds: Sequence[float] | Array, fractions: Sequence[float], drift: float = 0.0) -> Array:
    """Probability that a statistic reaches its bound at each look for the first time.

    Args:
        bounds: of the standardised statistic, one per look.
        fractions: share of the last look's information that each look has, rising.
        drift: expected statistic at full information.

    Returns:
        (looks,); their sum is the probability of ever reaching a bound.
    """
    times = np.asarray(fractions, dtype=np.float64)
    steps = np.diff(times, prepend=0.0)
    # Unstandardised, steps are independent: the path is a Brownian motion that is looked at now and then.
    walls = np.asarray(bounds, dtype=np.float64) * np.sqrt(times)
    found = np.empty(len(times))
    points, masses = np.zeros(1), np.ones(1)
    for look, (time, step, wall) in enumerate(zip(times, steps, walls, strict=True)):
        deviation, expected = step**0.5, points + drift * step
        found[look] = masses @ ndtr((expected - wall) / deviation)
        finest = min(steps[look : look + 2]) ** 0.5
        reach = REACH * time**0.5
        low, high = drift * time - reach, min(wall, drift * time + reach)
        if high <= low:
            found[look + 1 :] = 0.0
            break
        grid, weights = _grid(low, high, PANEL * finest)
        densities = np.exp(-0.5 * ((grid[:, None] - expected) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
        points, masses = grid, weights * (densities @ masses)
    return found


def normal_score(statistic: float, pictures: int) -> float:
    """The standard normal value that is as rare as a Student's t whose spread so many pictures gave.

    Args:
        statistic: difference from the hypothesis in standard errors.
        pictures: at least 2.
    """
    if np.isinf(statistic):
        return statistic
    # The lower tail is exact where the upper one is rounded.
    return float(-np.sign(statistic) * ndtri(stdtr(pictures - 1, -abs(statistic))))


def shown_score(statistic: float, pictures: int) -> float:
    """The same for a change that is to be shown, of which few pictures that agree cannot show much.

    Where runs may be swapped in every picture the spread is taken around no difference, which bounds the statistic by
    the root of the number of pictures; and n pictures that all agree are as rare as 1 in 2^n.

    Args:
        statistic: difference from none in standard errors.
        pictures: at least 2.
    """
    if statistic <= 0:
        return normal_score(statistic, pictures)
    of_degrees = (pictures - 1) ** 0.5
    around_none = of_degrees if np.isinf(statistic) else statistic / float(np.hypot(1, statistic / of_degrees))
    return min(normal_score(statistic, pictures), around_none, float(-ndtri(0.5**pictures)))


def student_bound(bound: float, pictures: int) -> float:
    """The other way round: how many standard errors, estimated from so many pictures, a normal bound is."""
    return float(-np.sign(bound) * stdtrit(pictures - 1, ndtr(-abs(bound))))


def _grid(low: float, high: float, panel: float) -> tuple[Array, Array]:
    """Points and weights of an integral from low to high, panel by panel."""
    edges = np.linspace(low, high, max(2, int(np.ceil((high - low) / panel)) + 1))
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    half = (edges[1] - edges[0]) / 2
    points = (edges[:-1, None] + half * (nodes + 1)).ravel()
    return points, np.tile(half * weights, len(edges) - 1)
