"""How a number is written, the same in every table, page and message.

Shares are 0..1 in files and x 100 with one digit here; counts stay as they are; what is missing is a dash.
"""

from __future__ import annotations

from collections.abc import Callable

from samtok_eval.metrics.cards import card
from samtok_eval.statistics import Difference

ABSENT = "-"
SMALLEST_P = 0.001


def points(share: float | None) -> str:
    """A share x 100, e.g. `61.2`."""
    return ABSENT if share is None else f"{100 * share:.1f}"


def signed_points(difference: float | None) -> str:
    """A difference of shares x 100, e.g. `-2.3`."""
    return ABSENT if difference is None else f"{100 * difference:+.1f}"


def interval(low: float | None, high: float | None, written: Callable[[float], str] = points) -> str:
    """Both ends, e.g. `[58.9, 63.5]`.

    Args:
        low: None without an interval.
        high: likewise.
        written: how an end is written.
    """
    return ABSENT if low is None or high is None else f"[{written(low)}, {written(high)}]"


def difference_interval(difference: Difference | None) -> str:
    """The interval of a difference, with signs."""
    return ABSENT if difference is None else interval(difference.low, difference.high, signed_points)


def outcomes(difference: Difference | None) -> str:
    """`wins/ties/losses`; a dash where the metric has no value per sample."""
    if difference is None or difference.wins is None:
        return ABSENT
    return f"{difference.wins}/{difference.ties}/{difference.losses}"


def p_value(p: float | None) -> str:
    """Three digits, or `<0.001`."""
    return ABSENT if p is None else f"<{SMALLEST_P}" if p < SMALLEST_P else f"{p:.3f}"


def metric_value(metric: str, value: float | None) -> str:
    """A metric in its own unit: shares and scores x 100, counts as they are."""
    if value is None:
        return ABSENT
    known = card(metric)
    return f"{value:.0f}" if known.is_count else f"{known.scale * value:.1f}"


def estimate(metric: str, value: float | None, low: float | None, high: float | None) -> str:
    """A metric with half the width of its interval, e.g. `61.2 ±2.1`."""
    text, known = metric_value(metric, value), card(metric)
    if value is None or low is None or high is None or known.is_count:
        return text
    return f"{text} ±{known.scale / 2 * (high - low):.1f}"
