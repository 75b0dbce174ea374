"""Learning curves as SVG: fields of a training log over its steps.

In: a log of one JSON object a line, as every training command writes it. Out: one picture with a legend, in colours
that people with any kind of colour vision can tell apart, and with a dash pattern per line for print.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import finite_number, read_json_lines, reading
from samtok_eval.text import visible

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 170, 34, 40
WIDTH_OF_KEY, WIDTH_OF_LETTER = 30, 7.2
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("", "6 3", "2 3", "8 3 2 3", "4 4", "1 3")
TICKS = 5

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
    if not 0 < len(curves) <= len(COLOURS):
        raise UsageError(f"expected 1 to {len(COLOURS)} curves, got {len(curves)}; name fewer fields")
    title = visible(title)
    points = np.array([point for curve in curves.values() for point in curve], dtype=float)
    (first, low), (last, high) = points.min(axis=0), points.max(axis=0)
    spans = (last - first or 1.0, high - low or 1.0)

    def place(step: float, value: float) -> tuple[float, float]:
        x = LEFT + (step - first) / spans[0] * (WIDTH - LEFT - RIGHT)
        return round(x, 1), round(HEIGHT - BOTTOM - (value - low) / spans[1] * (HEIGHT - TOP - BOTTOM), 1)

    # Long names widen the picture; the plot keeps its size.
    names = WIDTH - RIGHT + 18 + WIDTH_OF_KEY + WIDTH_OF_LETTER * max(map(len, curves))
    width = max(WIDTH, round(names))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12" fill="#555555">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" font-size="13" fill="#1a1d21">{escape(title)}</text>',
    ]
    for share in np.linspace(0, 1, TICKS):
        x, y = place(first + share * spans[0], low + share * spans[1])
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#d3d8de"/>',
            f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{low + share * spans[1]:.3g}</text>',
            f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{first + share * spans[0]:.0f}</text>',
        ]
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">step</text>')
    for number, (name, curve) in enumerate(curves.items()):
        style = f'stroke="{COLOURS[number]}" stroke-width="2" stroke-dasharray="{DASHES[number]}"'
        line = " ".join(f"{x},{y}" for x, y in (place(*point) for point in curve))
        x, y = WIDTH - RIGHT + 12, TOP + 8 + 18 * number
        parts += [
            f'<polyline points="{line}" fill="none" {style}><title>{escape(name)}</title></polyline>',
            f'<line x1="{x}" x2="{x + WIDTH_OF_KEY}" y1="{y - 4}" y2="{y - 4}" {style}/>',
            f'<text x="{x + WIDTH_OF_KEY + 6}" y="{y}">{escape(name)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
