"""Where the parts of a page's drawings lie: bars of scores and losses, the histogram, the codebooks as squares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

from samtok_eval.metrics.cards import card
from samtok_eval.metrics.confusion import Confusion
from samtok_eval.reports.page.content import BINS, Book, BoundedScore
from samtok_eval.statistics import Difference

BAR = 180
"""Width of a score's bar in its own units."""
MANY = 10_000
"""Samples of a bin that are written in thousands."""
SCATTER, FINE, COARSE, FEW = 300, 100, 40, 400
"""Units of a scatter's side; steps of a score on it for up to `FEW` samples, and for more."""


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
class DifferenceBar:
    """A difference between runs, in units of the bar; its middle is no difference."""

    start: float
    width: float
    low: float
    high: float
    better: bool


@dataclass(frozen=True)
class Dot:
    """Samples of about the same two scores, in a square of `SCATTER` units whose y goes down."""

    x: float
    y: float
    radius: float
    n: int
    kind: str
    """`better`, `worse` or `equal`."""
    baseline: float
    candidate: float
    """Scores x 100 of the first of them."""


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

    @property
    def label(self) -> str:
        """The count in at most four characters, so that neighbours do not touch."""
        return str(self.n) if self.n < MANY else f"{self.n / 1000:.0f}k"


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


def difference_bar(difference: Difference | None, reach: float, lower_is_better: bool) -> DifferenceBar | None:
    """The bar of a difference; None without one.

    Args:
        difference: of shares.
        reach: the largest end of any interval beside it, 0..1.
        lower_is_better: of the metric.
    """
    if difference is None or not reach:
        return None
    value, low, high = (_at(0.5 + share / reach / 2) for share in (difference.value, difference.low, difference.high))
    better = difference.value < 0 if lower_is_better else difference.value > 0
    return DifferenceBar(min(value, BAR / 2), round(abs(value - BAR / 2), 1), low, high, better)


def reach_of(differences: Iterable[Difference | None]) -> float:
    """The largest end of any interval, 0..1, for bars of one scale."""
    ends = [end for one in differences if one for end in (one.value, one.low, one.high)]
    return max(map(abs, ends), default=0.0)


def scatter(
    baseline: Mapping[str, float], candidate: Mapping[str, float], highest: float, lower_is_better: bool = False
) -> list[Dot]:
    """Scores of the samples that both runs have, near ones in one dot.

    Args:
        baseline: score by sample.
        candidate: score by sample.
        highest: where both scales end.
        lower_is_better: of the metric.
    """
    both = [(baseline[name], candidate[name]) for name in baseline if name in candidate]
    steps = FINE if len(both) <= FEW else COARSE
    cells: dict[tuple[int, int, str], list[tuple[float, float]]] = {}
    for before, after in both:
        up, down = ("worse", "better") if lower_is_better else ("better", "worse")
        kind = up if after > before else down if after < before else "equal"
        place = [round(steps * min(max(score / highest, 0.0), 1.0)) for score in (before, after)]
        cells.setdefault((place[0], place[1], kind), []).append((before, after))
    most = max(map(len, cells.values()), default=1)
    return [
        Dot(
            x=round(SCATTER * x / steps, 1),
            y=round(SCATTER * (1 - y / steps), 1),
            radius=round(2.5 + 6 * ((len(scores) - 1) / most) ** 0.5, 1),
            n=len(scores),
            kind=kind,
            baseline=round(100 * scores[0][0], 1),
            candidate=round(100 * scores[0][1], 1),
        )
        for (x, y, kind), scores in sorted(cells.items())
    ]


def counts_of(dots: Sequence[Dot]) -> dict[str, int]:
    """Samples that became better, stayed equal and became worse."""
    return {kind: sum(dot.n for dot in dots if dot.kind == kind) for kind in ("better", "equal", "worse")}


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
