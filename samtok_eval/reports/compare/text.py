"""A comparison as tables: the metrics, their slices, and the samples that changed most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from samtok_eval.metrics.cards import card
from samtok_eval.reports.compare.comparison import Comparison, MetricCell, PublishedCell, SliceCell
from samtok_eval.reports.format import (
    ABSENT,
    difference_interval,
    interval,
    metric_value,
    outcomes,
    p_value,
    points,
    signed_points,
)
from samtok_eval.reports.leaderboard.published_file import MARKS_EXPLAINED, trust_marks
from samtok_eval.reports.leaderboard.table import PUBLISHED
from samtok_eval.reports.runs import ScoredRun
from samtok_eval.reports.table import Cell, Column, Row, Table, Writer, aligned_text, left, naming, right
from samtok_eval.text import shortened

PROTOCOL = Column("protocol", "left", filtered=True, names_row=True)
PHRASE_SHOWN = 50


def comparison_table(comparison: Comparison, write: Writer = aligned_text, only_main: bool = False) -> str:
    """The whole comparison, under its warnings.

    Args:
        comparison: of runs of one task.
        write: how a table is written.
        only_main: leave all protocols but the first out, and name them in a line.
    """
    hidden = []
    if only_main:
        protocols = list(dict.fromkeys(cell.protocol for cell in comparison.cells))
        main, others = protocols[:1], ", ".join(protocols[1:])
        hidden = [f"numbers by the rules of {others}: --protocol all, or --json"] if others else []
        comparison = replace(
            comparison,
            cells=[cell for cell in comparison.cells if cell.protocol in main],
            n_differences=[(protocol, line) for protocol, line in comparison.n_differences if protocol in main],
        )
    runs, metrics = comparison.runs, metrics_table(comparison)
    if len({cell.protocol for cell in comparison.cells}) == 1 and not comparison.published:
        metrics = metrics.without(PROTOCOL.title)
    title = f"{runs[0].task.metadata.title}, {runs[0].split}: differences to {runs[0].name}. Values x 100."
    warnings = [f"WARNING: {warning}" for warning in comparison.warnings]
    metrics = replace(metrics, heading=[*warnings, title], notes=[*hidden, *_notes(comparison)])
    by_slice = f"{card(comparison.sample_metric or '').title} by slice, largest loss first:"
    further = [
        replace(slices_table(comparison), heading=[by_slice]),
        replace(_changes_table(comparison), heading=["Samples that changed most:"]),
    ]
    return "\n\n".join(write(table) for table in [metrics, *(table for table in further if table.rows)])


def metrics_table(comparison: Comparison) -> Table:
    """A row per protocol, metric and run, and one per published number."""
    columns = [
        *naming("metric"),
        PROTOCOL,
        *naming("model"),
        *right("value", "95 % interval", "difference", "95 % interval", "p", "wins/ties/losses", "n"),
    ]
    rows = [_metric_row(cell, comparison.runs) for cell in comparison.cells]
    return Table(columns, [*rows, *map(_published_row, comparison.published)])


def slices_table(comparison: Comparison) -> Table:
    """A row per slice and candidate."""
    columns = [*naming("slice", "model"), *right("n", "baseline", "candidate", "difference", "95 % interval", "p")]
    return Table(columns, [_slice_row(cell, comparison.runs) for cell in comparison.slices])


def _changes_table(comparison: Comparison) -> Table:
    rows = [
        [
            comparison.runs[change.run].name,
            change.id,
            shortened(change.phrase, PHRASE_SHOWN),
            points(change.baseline),
            points(change.candidate),
            signed_points(change.candidate - change.baseline),
        ]
        for change in comparison.changes
    ]
    return Table([*naming("model", "sample"), *left("phrase"), *right("baseline", "candidate", "difference")], rows)


def _notes(comparison: Comparison) -> list[str]:
    notes = []
    if comparison.published:
        notes.append(f"Published under the papers' own protocols. {MARKS_EXPLAINED} Sources:")
        notes += [f"  {source}" for source in dict.fromkeys(cell.source for cell in comparison.published)]
    one = len({cell.protocol for cell in comparison.cells}) == 1
    notes += [line if one else f"Protocol {protocol}: {line}" for protocol, line in comparison.n_differences]
    if len(comparison.runs) > 1:
        notes.append("p: two-sided, Holm-corrected over the metrics of a model and protocol.")
    return notes


def _metric_row(cell: MetricCell, runs: Sequence[ScoredRun]) -> Row:
    step = cell.difference.value if cell.difference else None
    return [
        card(cell.metric).title,
        cell.protocol,
        runs[cell.run].name,
        Cell(metric_value(cell.metric, cell.value), cell.value),
        interval(cell.low, cell.high),
        Cell(signed_points(step), step),
        difference_interval(cell.difference),
        Cell(p_value(cell.p_corrected), cell.p_corrected),
        outcomes(cell.difference),
        str(cell.n),
    ]


def _published_row(cell: PublishedCell) -> Row:
    method = Cell(cell.method, note=trust_marks(cell.trust, cell.via))
    return [card(cell.metric).title, PUBLISHED, method, cell.value, *[ABSENT] * 6]


def _slice_row(cell: SliceCell, runs: Sequence[ScoredRun]) -> Row:
    return [
        f"{cell.name} {cell.value}",
        runs[cell.run].name,
        str(cell.n),
        points(cell.baseline),
        points(cell.candidate),
        Cell(signed_points(cell.difference.value), cell.difference.value),
        difference_interval(cell.difference),
        Cell(p_value(cell.p_corrected), cell.p_corrected),
    ]
