"""Metrics of this package as modules for Hugging Face `evaluate`.

A module is a folder with one `evaluate.Metric`; `evaluate.load(location("gres"))` loads it. `evaluate` copies that file
into a cache of its own, so a module imports everything else from the installed package. Nothing here imports
`evaluate` until a module is loaded.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from samtok_eval.errors import UsageError

NAMES = ("boundary_iou", "gres", "mask_iou")


def location(name: str) -> str:
    """The folder of a module, for `evaluate.load`.

    Args:
        name: one of `NAMES`.

    Returns:
        An absolute path.

    Raises:
        UsageError: unknown; the message offers near names.
    """
    if name in NAMES:
        return str(Path(__file__).resolve().parent / name)
    near = difflib.get_close_matches(name, NAMES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(NAMES)}"
    raise UsageError(f"unknown evaluate module {name!r}; {hint}")
