"""Logs of training: one JSON object a line, each with the `step` it belongs to.

In: lines while training runs. Out: a log with every step once; on resume, lines after the restored step are dropped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from samtok_eval.files import numbered_lines, write_text, writing


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add one line; it is on disk before the next step.

    Raises:
        UsageError: the system refuses, e.g. because the disk is full.
    """
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def lines_until(path: Path, step: int) -> list[dict[str, Any]]:
    """The lines up to a step, in order, without one that was cut off when the run was killed.

    Args:
        path: a log; one that does not exist has no lines.
        step: the last that counts.

    Raises:
        DataError: the log cannot be read.
    """
    found = []
    for _, text in numbered_lines(path, "choose another --out") if path.exists() else ():
        try:
            line = json.loads(text)
            if line["step"] <= step:
                found.append(line)
        except (ValueError, RecursionError, KeyError, TypeError):
            break
    return found


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Replace the log by these lines, whole or not at all."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
