"""The tables of a page, in the one model of tables; `templates/table.html.j2` writes them."""

from __future__ import annotations

from samtok_eval.metrics.cards import card
from samtok_eval.prediction import Record
from samtok_eval.reports.compare.comparison import MetricCell
from samtok_eval.reports.compare.text import PROTOCOL
from samtok_eval.reports.format import (
    difference_interval,
    interval,
    metric_value,
    outcomes,
    p_value,
    points,
    signed_points,
)
from samtok_eval.reports.page.content import BoundedScore, Report
from samtok_eval.reports.page.figures import difference_bar, loss_bar, reach_of, score_bar
from samtok_eval.reports.table import Cell, Row, Table, left, right


def scores_table(report: Report, *, main: bool) -> Table:
    """Every metric between floor and ceiling, under the page's protocol or under all others."""
    columns = [
        *left("metric"),
        PROTOCOL,
        *right(
            "value",
            "95 % interval",
            "floor to ceiling" if report.floor or report.ceiling else "as a bar",
            "floor",
            "ceiling",
            "n",
        ),
    ]
    scores = [score for score in report.scores if (score.protocol == report.protocol) is main]
    table = _without_protocol(Table(columns, [_score_row(score) for score in scores]), main)
    return table if report.floor or report.ceiling else table.without("floor").without("ceiling")


def comparison_table(report: Report, *, main: bool) -> Table:
    """Baseline, candidate and their difference for every metric, under the page's protocol or under all others."""
    comparison = report.comparison
    cells = [cell for cell in comparison.cells if (cell.protocol == report.protocol) is main]
    before = {(cell.protocol, cell.metric): cell for cell in cells if not cell.run}
    after = [cell for cell in cells if cell.run]
    reach = reach_of(cell.difference for cell in after if card(cell.metric).is_share)
    columns = [
        *left("metric"),
        PROTOCOL,
        *left("model"),
        *right("baseline", "candidate", "difference", "95 % interval", "as a bar", "p", "wins/ties/losses", "n"),
    ]
    rows = [_compared_row(report, before.get((cell.protocol, cell.metric)), cell, reach) for cell in after]
    table = _without_protocol(Table(columns, rows), main)
    return table if len(comparison.runs) > 2 else _without_column(table, 2 - main)


def comparison_by_slice_table(report: Report) -> Table:
    """The sample metric of baseline and candidate in every slice, with the interval of their difference as a bar."""
    comparison = report.comparison
    lower = comparison.sample_metric in report.run.task.metadata.lower_is_better
    reach = reach_of(cell.difference for cell in comparison.slices)
    columns = [
        *left("slice", "model"),
        *right("n", "baseline", "candidate", "difference", "95 % interval", "as a bar", "p"),
    ]
    rows: list[Row] = [
        [
            f"{cell.name} {cell.value}",
            comparison.runs[cell.run].name,
            str(cell.n),
            points(cell.baseline),
            points(cell.candidate),
            Cell(signed_points(cell.difference.value), cell.difference.value),
            difference_interval(cell.difference),
            Cell("", cell.difference.value, figure=difference_bar(cell.difference, reach, lower)),
            Cell(p_value(cell.p_corrected), cell.p_corrected),
        ]
        for cell in comparison.slices
    ]
    table = Table(columns, rows)
    return table if len(comparison.runs) > 2 else _without_column(table, 1)


def _compared_row(report: Report, before: MetricCell | None, cell: MetricCell, reach: float) -> Row:
    metric, difference = cell.metric, cell.difference
    step = difference.value if difference else None
    value = before.value if before else None
    lower = metric in report.run.task.metadata.lower_is_better
    bar = difference_bar(difference, reach, lower) if card(metric).is_share else None
    n_before = before.n if before else 0
    return [
        card(metric).title,
        cell.protocol,
        report.comparison.runs[cell.run].name,
        Cell(metric_value(metric, value), value),
        Cell(metric_value(metric, cell.value), cell.value),
        Cell(signed_points(step), step),
        difference_interval(difference),
        Cell("", step, figure=bar),
        Cell(p_value(cell.p_corrected), cell.p_corrected),
        outcomes(difference),
        Cell(str(cell.n) if n_before == cell.n else f"{n_before} → {cell.n}", cell.n),
    ]


def _without_protocol(table: Table, main: bool) -> Table:
    """The table without the column that has one value."""
    return table.without(PROTOCOL.title) if main else table


def _without_column(table: Table, place: int) -> Table:
    """The table without one column, by its place since titles may repeat."""
    columns = [column for index, column in enumerate(table.columns) if index != place]
    rows = [[cell for index, cell in enumerate(row) if index != place] for row in table.rows]
    return Table(columns, rows)


def leaks_table(report: Report) -> Table:
    """The main metric under every protocol with and without the pictures of a training mix; empty without one."""
    rows: list[Row] = [
        [
            card(score.metric).title,
            score.protocol,
            score.kind,
            Cell(metric_value(score.metric, score.entry.value), score.entry.value),
            interval(score.entry.low, score.entry.high),
            str(score.entry.n),
            str(score.pictures),
        ]
        for score in (report.leaks.scores if report.leaks else ())
    ]
    columns = [
        *left("metric"),
        PROTOCOL,
        *left("pictures"),
        *right("value", "95 % interval", "n", "number of pictures"),
    ]
    return Table(columns, rows)


def side_by_side_table(report: Report) -> Table:
    """The same answers under every protocol that the task tells apart; empty where it tells none."""
    told = report.separation
    names = told.metrics if told else ()
    rows: list[Row] = []
    for protocol, pictures in told.pictures.items() if told else ():
        entries = report.run.run.metrics[protocol]
        values = [entries[name]["value"] if name in entries else None for name in names]
        cells = [Cell(metric_value(name, value), value) for name, value in zip(names, values, strict=True)]
        rows.append([protocol, str(pictures), *cells])
    return Table([*left("protocol"), *right("pictures that count", *(card(name).title for name in names))], rows)


def separation_table(report: Report) -> Table:
    """What leads from one protocol's number to the next one's, in points."""
    rows: list[Row] = [
        [
            f"{step.baseline} → {step.candidate}",
            step.cause,
            Cell(f"{step.count} of {step.of} {step.unit}", step.count / max(step.of, 1)),
            Cell(signed_points(step.added), step.added),
        ]
        for step in (report.separation.steps if report.separation else ())
    ]
    return Table([*left("from → to", "cause"), *right("how often", "points")], rows)


def losses_table(report: Report) -> Table:
    """Who lost what, of the metrics of the page's protocol that divide into losses."""
    rows: list[Row] = [
        [
            card(score.metric).title,
            Cell("", score.value, figure=loss_bar(score)),
            points(score.value),
            points(score.lost_to_model),
            points(score.lost_to_tokenizer),
        ]
        for score in report.scores
        if score.protocol == report.protocol and score.lost_to_model is not None
    ]
    return Table([*left("metric"), *right("parts", "scored", "language model", "mask tokenizer")], rows)


def slices_table(report: Report) -> Table:
    """The page's metric by slice, and what each slice costs where that can be said."""
    title = card(report.metric).title if report.metric else ""
    rows: list[Row] = [
        [row.name, row.value, str(row.n), Cell(points(row.score), row.score), Cell(points(row.lost), row.lost)]
        for row in report.slices
    ]
    table = Table([*left("slice", "value"), *right("n", title, "lost")], rows)
    return table if any(row.lost is not None for row in report.slices) else table.without("lost")


def stages_table(report: Report) -> Table:
    """Where the time went."""
    rows = [[stage.name, f"{stage.total:.1f}", f"{1000 * stage.median:.1f}"] for stage in report.stages]
    return Table([*left("stage"), *right("seconds in all", "median of a sample, ms")], rows)


def samples_table(report: Report) -> Table:
    """Samples with their scores."""
    title = card(report.metric).sample_title if report.metric else "score"
    columns = [*left("sample", "phrase"), *right(title), *left("status", "slices")]
    return Table(columns, [_sample_row(record, score) for record, score in report.rows])


def _score_row(score: BoundedScore) -> Row:
    known, value = card(score.metric), metric_value(score.metric, score.value)
    # The bounds of a count are other models' counts, which bound nothing.
    bounds = (None, None) if known.is_count else (score.floor, score.ceiling)
    floor, ceiling = (metric_value(score.metric, bound) for bound in bounds)
    bar = score_bar(score)
    return [
        known.title,
        score.protocol,
        Cell(value, score.value),
        interval(score.low, score.high),
        Cell(f"{value}, between {floor} and {ceiling}" if bar else "", score.value, figure=bar),
        floor,
        ceiling,
        str(score.n),
    ]


def _sample_row(record: Record, score: float | None) -> Row:
    slices = ", ".join(f"{name} {value}" for name, value in record.slices.items())
    return [record.id, record.phrase, Cell(points(score), score), record.status, slices]
