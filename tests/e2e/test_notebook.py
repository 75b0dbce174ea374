"""The notebook of the docs runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "analysis.ipynb"
SHOWN = ("text/html", "image/png")


def shown(notebook):
    """Tables and pictures of each cell."""
    return [
        [kind for output in cell.get("outputs", []) for kind in output.get("data", ()) if kind in SHOWN]
        for cell in notebook.cells
    ]


def test_the_notebook_runs_and_shows_what_is_committed(monkeypatch):
    # The kernel reads the program that is tested, wherever it is installed.
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    committed, executed = (nbformat.read(NOTEBOOK, as_version=4) for _ in range(2))
    NotebookClient(executed, timeout=300, kernel_name="python3").execute()
    assert shown(executed) == shown(committed)
    assert sum("image/png" in kinds for kinds in shown(executed)) == 3
