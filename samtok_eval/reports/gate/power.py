"""How many pictures a verdict takes: from the spread of a difference, the level of the tests and their power.

Sums over many pictures are near to normal, so a difference of `distance` is found, with the given power, once it is as
large as so many standard errors as level and power ask for. What happens on rare pictures alone, no spread tells: the
rule of three bounds it (Hanley and Lippman-Hand 1983).
"""

from __future__ import annotations

import math

from scipy.special import gammainccinv, ndtri

POWER = 0.9
"""Probability with which a verdict is reached."""


def pictures_to_find(spread: float, distance: float, alpha: float, power: float = POWER) -> int:
    """Pictures from which a one-sided test finds a difference.

    Args:
        spread: standard deviation of the difference over pictures, a share 0..1.
        distance: from the hypothesis that is to be rejected, a share above 0.
        alpha: level of the test.
        power: probability of finding it.
    """
    # The lower tail is exact where the upper one is rounded.
    standard_errors = float(ndtri(power) - ndtri(alpha))
    return math.ceil((spread * standard_errors / distance) ** 2)


def pictures_to_pass(spread: float, distance: float, alpha: float, highest: float, power: float = POWER) -> int:
    """Pictures from which a loss of the tolerance is ruled out: found, and no rare total loss unseen.

    Args:
        spread: as above.
        distance: tolerance less the loss, a share above 0.
        alpha: as above.
        highest: the metric's range.
        power: as above.
    """
    rare = math.floor(highest * unseen_rate(1, alpha) / distance) + 1
    return max(rare, pictures_to_find(spread, distance, alpha, power))


def unseen_rate(pictures: int, alpha: float, lost: float = 0.0) -> float:
    """The share of pictures that something may hit beyond those that it was seen to hit, one-sided at alpha.

    Where it hit none of them that is the rule of three, 3 / pictures at level 0.05; where it hit some, what the upper
    bound of a Poisson count adds to them (Garwood 1936).

    Args:
        pictures: that count.
        alpha: level of the bound.
        lost: pictures that were hit; parts of several losses add up.
    """
    return (float(gammainccinv(lost + 1, alpha)) - lost) / pictures if pictures else math.inf
