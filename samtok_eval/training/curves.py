"""Learning curves as SVG: fields of a training log over its steps.

In: a log of one JSON object a line, as every training command writes it. Out: one picture with a legend, in colours
that people with any kind of colour vision can tell apart, and with a dash pattern per line for print.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import finite_number, read_json_lines, reading
from samtok_eval.svg import svg_of
from samtok_eval.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 7.0, 3.4
"""Inches."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("solid", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (2.5, 2.5)), (0, (0.7, 2)))

Curve = Sequence[tuple[float, float]]
"""(step, value) pairs."""


def read_curves(log: Path, fields: Sequence[str]) -> dict[str, Curve]:
    """Some fields of a training log over the steps; lines where a field is absent or not finite are left out.

    Raises:
        DataError: the log cannot be read, or is no training log.
        UsageError: no line has a field of that name.
    """
    lines = read_json_lines(log, "give a training_log.jsonl")
    if not lines or not all(isinstance(line, dict) and "step" in line for line in lines):
        raise DataError(f"{log}: expected one object with `step` on every line; give a training_log.jsonl")
    with reading(f"{log} is no training log", "give a training_log.jsonl"):
        steps = [finite_number(line["step"]) for line in lines]
    known = {name for line in lines for name, value in line.items() if _is_drawn(value)} - {"step"}
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)
            raise UsageError(f"{log} has no numbers called {name!r}; choose from {', '.join(near)}")
    return {
        name: [(step, line[name]) for step, line in zip(steps, lines, strict=True) if _is_drawn(line.get(name))]
        for name in fields
    }


def _is_drawn(value: object) -> bool:
    try:
        finite_number(value)
    except ValueError:
        return False
    return True


def curves_svg(curves: Mapping[str, Curve], title: str) -> str:
    """Curves as one SVG document.

    Args:
        curves: by name, at most six, each with at least one point.
        title: above the picture.

    Raises:
        UsageError: no curve, or more than six.
    """
    return svg_of(curves_figure(curves, title), title)


def curves_figure(curves: Mapping[str, Curve], title: str) -> Figure:
    """Curves as a figure of matplotlib, which the extra `plot` brings; arguments as of `curves_svg`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not 0 < len(curves) <= len(COLOURS):
        raise UsageError(f"expected 1 to {len(COLOURS)} curves, got {len(curves)}; name fewer fields")
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    plot = figure.subplots()
    lines = []
    for curve, colour, dash in zip(curves.values(), COLOURS, DASHES, strict=False):
        steps, values = zip(*curve, strict=True)
        # One point makes no line.
        marker = "o" if len(curve) == 1 else None
        lines += plot.plot(steps, values, color=colour, linestyle=dash, linewidth=1.6, marker=marker)
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    plot.grid(axis="y", color="#d3d8de", linewidth=0.6)
    plot.spines[["top", "right"]].set_visible(False)
    plot.set_xlabel("step")
    heading = plot.set_title(visible(title), fontsize=10, loc="left")
    key = figure.legend(lines, [""] * len(lines), loc="outside right upper", frameon=False, fontsize=9, handlelength=3)
    for text, name in zip(key.get_texts(), curves, strict=True):
        text.set_text(visible(name))
    # A dollar in a path or a name begins no formula.
    for text in (heading, *key.get_texts()):
        text.set_parse_math(False)
    return figure
