"""The curve of a watch: what each checkpoint gained or lost on the baseline, with its interval, over the steps.

In: lines of the log. Out: an SVG, a CSV and a page of one file. A gate that stops early measures each checkpoint on as
many pictures as it needs, so it is the paired difference that is comparable between checkpoints, not the value.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from samtok_eval.files import write_text
from samtok_eval.metrics.cards import card
from samtok_eval.reports.format import interval, points, signed_points
from samtok_eval.reports.gate.text import WORDS
from samtok_eval.reports.html import render
from samtok_eval.reports.markup import csv_lines
from samtok_eval.reports.watch.verdicts import VerdictLine
from samtok_eval.svg import svg_of
from samtok_eval.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"pass": "#009e73", "regression": "#d55e00", "undecided": "#777777"}
SHAPES = {"pass": "o", "regression": "X", "undecided": "s"}
COLUMNS = (
    "step", "checkpoint", "task", "split", "protocol", "metric", "is_main", "baseline", "candidate", "difference",
    "low", "high", "tolerance", "verdict", "pictures",
)  # fmt: skip
WIDTH, HEIGHT = 7.0, 2.8
"""Inches of one task's plot."""


def write_curve(lines: Sequence[VerdictLine], folder: Path) -> None:
    """Write `curve.csv`, `curve.svg` and `index.html`, each whole or not at all.

    Args:
        lines: sorted by task, split and step; at least one.
        folder: where.
    """
    svg = curve_svg(lines)
    write_text(folder / "curve.csv", curve_csv(lines))
    write_text(folder / "curve.svg", svg)
    rows = [
        {
            "step": line.step,
            "task": f"{line.task}:{line.split}",
            "metric": card(name).title,
            "baseline": points(found.baseline),
            "candidate": points(found.candidate),
            "difference": signed_points(found.difference),
            "interval": interval(found.low, found.high, signed_points),
            "verdict": WORDS[found.verdict],
            "reason": visible(found.reason),
        }
        for line in lines
        for name, found in line.metrics.items()
    ]
    picture = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    write_text(folder / "index.html", render("watch.html.j2", picture=picture, rows=rows))


def curve_csv(lines: Sequence[VerdictLine]) -> str:
    """A row per checkpoint, task and metric; shares 0..1."""
    rows = (
        {**line.model_dump(), **found.model_dump(), "metric": name, "is_main": name == line.main}
        for line in lines
        for name, found in line.metrics.items()
    )
    return csv_lines(COLUMNS, ([row[column] for column in COLUMNS] for row in rows))


def curve_svg(lines: Sequence[VerdictLine]) -> str:
    """Differences of main metrics in points, with 95 % intervals; a plot per task, which marks 0 and the tolerance."""
    from matplotlib.figure import Figure

    groups = [list(found) for _, found in groupby(lines, key=lambda line: (line.task, line.split))]
    figure = Figure(figsize=(WIDTH, HEIGHT * len(groups)), layout="constrained")
    plots = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for plot, group in zip(plots, groups, strict=True):
        _draw(plot, group)
    return svg_of(figure, "Checkpoints against the baseline")


def _draw(plot: Axes, lines: Sequence[VerdictLine]) -> None:
    from matplotlib.ticker import MaxNLocator

    # A metric of which nothing was asked yet has no row.
    measured = [(line.step, line.metrics[line.main]) for line in lines if line.main in line.metrics]
    plot.axhline(0, color="#333333", linewidth=0.8)
    plot.plot([step for step, _ in measured], [100 * found.difference for _, found in measured], color="#bbbbbb")
    for step, found in measured:
        colour, middle = COLOURS[found.verdict], 100 * found.difference
        if found.low is not None and found.high is not None:
            plot.plot([step, step], [100 * found.low, 100 * found.high], color=colour)
        plot.plot([step], [middle], SHAPES[found.verdict], color=colour)
    for tolerance in {found.tolerance for _, found in measured}:
        sign = 1 if lines[0].lower_is_better else -1
        plot.axhline(sign * 100 * tolerance, color="#d55e00", linewidth=0.8, linestyle="--")
    plot.set_title(f"{lines[0].task}:{lines[0].split}, protocol {lines[0].protocol}", fontsize=10)
    plot.set_xlabel("step")
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    plot.set_ylabel(f"{card(lines[0].main).title}, points\nagainst the baseline")
