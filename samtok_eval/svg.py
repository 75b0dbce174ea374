"""Figures of matplotlib as SVG: the same figure gives the same bytes, and its words stay text.

matplotlib is the extra `plot`, so it is imported when a figure is drawn.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from samtok_eval.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def svg_of(figure: Figure, title: str) -> str:
    """A figure as one SVG document.

    Args:
        figure: a drawn one.
        title: what a reader without eyes for it is told.
    """
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": "samtok-eval", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Title": visible(title)})
    return text.getvalue()
