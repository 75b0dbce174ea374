"""How many pictures a verdict takes: from the spread of a difference, the level of the tests and their power.

Sums over many pictures are near to normal, so a difference of `distance` is found, with the given power, once it is as
large as so many standard errors as level and power ask for. What happens on rare pictures alone, no spread tells: the
rule of three bounds it (Hanley and Lippman-Hand 1983).
"""

from __future__ import annotations

import math

from scipy.special import ndtri

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


def unseen_rate(pictures: int, alpha: float) -> float:
    """The rule of three: the share of pictures that something may hit which none of so many showed.

    At level 0.05 that is 3 / pictures.
    """
    return -math.log(alpha) / pictures if pictures else math.inf
