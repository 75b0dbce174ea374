"""Numbers that papers and model cards print, from `leaderboards/published.csv`: one row per number, with its source.

Values stand as printed, with their decimals: mostly shares x 100, on some benchmarks a judge's points. `trust` is
`primary` for the authors' own table and `secondary` for a number that somebody else copied or digested.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samtok_eval.errors import DataError
from samtok_eval.files import read_text

COLUMNS = ("benchmark", "split", "metric", "method", "params", "value", "trust", "source")
PRIMARY, SECONDARY = "primary", "secondary"
DAGGER = "†"
"""Stands at secondary numbers."""
MAY_BE_EMPTY = "params"


@dataclass(frozen=True)
class PublishedValue:
    """One printed number."""

    benchmark: str
    split: str
    metric: str
    method: str
    params: str
    """Model size as the source says it, empty where it does not."""
    value: str
    """As printed."""
    trust: str
    source: str


def read_published(path: Path) -> list[PublishedValue]:
    """All published numbers in the order of the file.

    Raises:
        DataError: the columns are others, or a line is malformed or repeats another; the message names the line.
    """
    lines = csv_lines(path, COLUMNS)
    rows = [_row(f"{path}:{number}", line) for number, line in lines]
    seen: dict[tuple[str, ...], int] = {}
    for (number, _), row in zip(lines, rows, strict=True):
        key = (row.benchmark, row.split, row.metric, row.method, row.params, row.trust, row.source)
        if key in seen:
            raise DataError(f"{path}:{number} repeats line {seen[key]} ({row.method}, {row.metric}); remove one")
        seen[key] = number
    return rows


def csv_lines(path: Path, columns: Sequence[str]) -> list[tuple[int, list[str]]]:
    """The fields of a CSV file below its head, each line with its number.

    Raises:
        DataError: missing, not CSV, the columns are others, or a line has more or fewer fields.
    """
    reader = csv.reader(io.StringIO(read_text(path, remedy="restore it"), newline=""), strict=True)
    try:
        header = next(reader, [])
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{path} is not a readable CSV file ({error}); restore it") from error
    if tuple(header) != tuple(columns):
        raise DataError(f"{path}: expected the columns {','.join(columns)}, got {','.join(header)}")
    for number, line in lines:
        if len(line) != len(columns):
            wanted = f"expected {len(columns)} fields, got {len(line)}"
            raise DataError(f"{path}:{number}: {wanted}; quote a field that holds a comma")
    return lines


def _row(where: str, line: Sequence[str]) -> PublishedValue:
    row = PublishedValue(*line)
    empty = [name for name in COLUMNS if not getattr(row, name).strip() and name != MAY_BE_EMPTY]
    if empty:
        raise DataError(f"{where}: {empty[0]} is empty; every number needs it")
    if row.trust not in (PRIMARY, SECONDARY):
        raise DataError(f"{where}: trust must be {PRIMARY} or {SECONDARY}, got {row.trust!r}")
    try:
        finite = math.isfinite(float(row.value))
    except ValueError:
        finite = False
    if not finite:
        raise DataError(f"{where}: value must be a number, got {row.value!r}")
    return row
