"""Where the parts of a page's drawings lie: bars of scores and losses, the histogram, the codebooks as squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from samtok_eval.metrics.cards import card
from samtok_eval.metrics.confusion import Confusion
from samtok_eval.reports.page.content import BINS, Book, BoundedScore

BAR = 180
"""Width of a score's bar in its own units."""


@dataclass(frozen=True)
class ScoreBar:
    """A score between its bounds, in units of the bar."""

    floor: float
    ceiling: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LossBar:
    """Widths of what was scored, and of what was lost by whom."""

    scored: float
    by_model: float
    by_tokenizer: float


@dataclass(frozen=True)
class Bin:
    """One bin of the histogram; heights are 0..100."""

    low: float
    high: float
    n: int
    height: float
    ceiling: float | None
    """Height of the ceiling's; None without one."""
    ceiling_n: int


@dataclass(frozen=True)
class Square:
    """One code of a codebook."""

    code: int
    n: int
    x: int
    y: int
    shade: float
    """0..1, darker for more."""


def score_bar(score: BoundedScore) -> ScoreBar | None:
    """The bar of a share; None of everything else."""
    if score.value is None or not card(score.metric).is_share:
        return None
    low, high = (score.value if end is None else end for end in (score.low, score.high))
    ceiling = 1.0 if score.ceiling is None else score.ceiling
    return ScoreBar(*map(_at, (score.floor or 0.0, ceiling, score.value, low, high)))


def loss_bar(score: BoundedScore) -> LossBar:
    """The parts of 1 that were scored and lost."""
    return LossBar(*(_at(share or 0.0) for share in (score.value, score.lost_to_model, score.lost_to_tokenizer)))


def histogram(counts: Sequence[int], ceiling: Sequence[int], highest: float) -> list[Bin]:
    """Bins of equal width from 0 to the highest value.

    Args:
        counts: samples by bin.
        ceiling: those of the oracle's run, scaled alike.
        highest: where the scale ends.
    """
    top, width, has_ceiling = max([*counts, *ceiling, 1]), highest / BINS, any(ceiling)
    return [
        Bin(
            low=round(width * index, 2),
            high=round(width * (index + 1), 2),
            n=n,
            height=round(100 * n / top, 1),
            ceiling=round(100 * ceiling[index] / top, 1) if has_ceiling else None,
            ceiling_n=ceiling[index],
        )
        for index, n in enumerate(counts)
    ]


@dataclass(frozen=True)
class Count:
    """One cell of a confusion matrix."""

    n: int
    shade: int
    """Share of its row in fifths, rounded up; 0 for none."""
    right: bool


@dataclass(frozen=True)
class ConfusionRow:
    """A right answer, and how often each answer was given for it."""

    name: str
    cells: list[Count]
    n: int
    right: float | None
    """Share of the row that is right; None for an empty row."""


def confusion_rows(confusion: Confusion) -> list[ConfusionRow]:
    """The rows of a confusion matrix."""
    found = []
    for name, counts, right in zip(confusion.rows, confusion.counts, confusion.right, strict=True):
        total = sum(counts)
        cells = [
            Count(n, -(-5 * n // total) if total else 0, column == right)
            for column, n in zip(confusion.columns, counts, strict=True)
        ]
        hit = counts[confusion.columns.index(right)]
        found.append(ConfusionRow(name, cells, total, hit / total if total else None))
    return found


def squares(book: Book) -> list[Square]:
    """The codes of a book, row by row."""
    top, side = max([*book.counts, 1]), side_of(book)
    return [
        Square(code, n, code % side, code // side, round((n / top) ** 0.5, 3)) for code, n in enumerate(book.counts)
    ]


def side_of(book: Book) -> int:
    """Codes on a side of the smallest square that holds a book, 16 for 256 codes."""
    return isqrt(len(book.counts) - 1) + 1


def _at(share: float) -> float:
    return round(BAR * min(max(share, 0.0), 1.0), 1)
