"""A comparison as text, and how values, differences and p are written wherever they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tabulate import tabulate

from samtok_eval.metrics.cards import card
from samtok_eval.reports.compare.comparison import Cell, Comparison, PublishedCell, SliceCell
from samtok_eval.reports.leaderboard.published_file import DAGGER, SECONDARY
from samtok_eval.reports.leaderboard.table import PUBLISHED
from samtok_eval.reports.runs import ScoredRun
from samtok_eval.reports.table import ABSENT, number


def points(value: float | None) -> str:
    """A share as it stands in tables, x 100."""
    return ABSENT if value is None else f"{100 * value:.1f}"


def signed(value: float) -> str:
    """A difference of shares, x 100, with its sign."""
    return f"{100 * value:+.1f}"


def interval_text(low: float | None, high: float | None, show: Callable[[float], str] = points) -> str:
    """`[low, high]`, or a dash."""
    return ABSENT if low is None or high is None else f"[{show(low)}, {show(high)}]"


def p_text(p: float | None) -> str:
    """A p value with three digits."""
    return ABSENT if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def short(text: str, length: int) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def comparison_table(comparison: Comparison, style: str = "simple") -> str:
    """The comparison as text: metrics, slices, samples that changed most, warnings and signatures."""
    runs = comparison.runs
    several = len({cell.protocol for cell in comparison.cells}) > 1 or bool(comparison.published)
    rows = [[cell.protocol, *_row(cell, runs[cell.run].name)] for cell in comparison.cells]
    rows += [_published_row(cell) for cell in comparison.published]
    columns = ["metric", "model", "value", "95 % interval", "difference", "95 % interval", "p", "wins/ties/losses", "n"]
    columns = ["protocol", *columns] if several else columns
    title = f"{runs[0].task.metadata.title}, {runs[0].split}: differences to {runs[0].name}. Values x 100."
    table = tabulate(rows if several else [row[1:] for row in rows], columns, tablefmt=style, disable_numparse=True)
    parts = [*(f"WARNING: {warning}" for warning in comparison.warnings), title, "", table]
    if comparison.published:
        parts += [
            "",
            f"Published under the papers' own protocols; {DAGGER}: copied or digested by somebody else. Sources:",
        ]
        parts += [f"  {source}" for source in dict.fromkeys(cell.source for cell in comparison.published)]
    if len(runs) > 1:
        parts += ["", "p: two-sided, Holm-corrected over the metrics of a model and protocol."]
    if comparison.slices:
        rows = [_slice_row(cell, runs) for cell in comparison.slices]
        columns = ["model", "slice", "n", "first", "this", "difference", "95 % interval", "p"]
        title = f"{card(comparison.sample_metric or '').title} by slice, largest loss first:"
        parts += ["", title, "", tabulate(rows, columns, tablefmt=style, disable_numparse=True)]
    if comparison.changes:
        rows = [
            [runs[c.run].name, c.id, short(c.phrase, 50), points(c.first), points(c.second), signed(c.second - c.first)]
            for c in comparison.changes
        ]
        columns = ["model", "sample", "phrase", "first", "this", "difference"]
        parts += ["", "Samples that changed most:", ""]
        parts += [tabulate(rows, columns, tablefmt=style, disable_numparse=True)]
    return "\n".join(parts)


def _published_row(cell: PublishedCell) -> list[str]:
    method = f"{cell.method}{DAGGER if cell.trust == SECONDARY else ''}"
    return [PUBLISHED, card(cell.metric).title, method, cell.value, *[ABSENT] * 6]


def _row(cell: Cell, name: str) -> list[str]:
    row = [card(cell.metric).title, name, number(cell.value, cell.metric), interval_text(cell.low, cell.high)]
    found = cell.difference
    if found is None:
        return [*row, ABSENT, ABSENT, ABSENT, ABSENT, str(cell.n)]
    record = ABSENT if found.wins is None else f"{found.wins}/{found.ties}/{found.losses}"
    between = interval_text(found.low, found.high, signed)
    return [*row, signed(found.value), between, p_text(cell.p_corrected), record, str(cell.n)]


def _slice_row(cell: SliceCell, runs: Sequence[ScoredRun]) -> list[str]:
    found = cell.difference
    return [runs[cell.run].name, f"{cell.name} {cell.value}", str(cell.n), points(cell.first), points(cell.second),
            signed(found.value), interval_text(found.low, found.high, signed), p_text(cell.p_corrected)]  # fmt: skip
