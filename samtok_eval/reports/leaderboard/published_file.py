"""Numbers that papers and model cards print, from `leaderboards/published.csv`: one row per number, with its source.

Values stand as printed, with their decimals: mostly shares x 100, on some benchmarks a judge's points. `trust` says who
prints the number: `own` for the method's own paper or repository, `benchmark` for the benchmark's authors, `copied`
for anybody else. Where the source itself was not seen, `via` is the address of what was.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samtok_eval.errors import DataError
from samtok_eval.files import read_text

COLUMNS = ("benchmark", "split", "metric", "method", "params", "value", "trust", "source", "via", "detail")
OWN, BENCHMARK, COPIED = "own", "benchmark", "copied"
TRUST = (OWN, BENCHMARK, COPIED)
TRUST_MARKS = {OWN: "", BENCHMARK: "‡", COPIED: "†"}
DIGEST_MARK = "§"
"""Stands at numbers of which only a digest or copy was seen."""
MARKS_EXPLAINED = (
    f"{TRUST_MARKS[COPIED]}: a third party's table or run, {TRUST_MARKS[BENCHMARK]}: the benchmark's authors, "
    f"unmarked: the method's own paper or repository; {DIGEST_MARK}: only a digest or copy of the source was seen."
)
MAY_BE_EMPTY = ("params", "via", "detail")
_ADDRESS = re.compile(r"https://([a-z0-9-]+(?:\.[a-z0-9-]+)+)/([A-Za-z0-9._~/+-]+)")
_FORMS = {
    "arxiv.org": (re.compile(r"abs/\d{4}\.\d{4,5}(v\d+)?"), "https://arxiv.org/abs/NUMBER"),
    "github.com": (
        re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+(/blob/[0-9a-f]{7,40}/[A-Za-z0-9._/+-]+)?"),
        "https://github.com/OWNER/NAME, or a file of it at a commit: /blob/COMMIT/PATH",
    ),
    "huggingface.co": (
        re.compile(r"(datasets/)?[A-Za-z0-9._-]+/[A-Za-z0-9._-]+"),
        "https://huggingface.co/OWNER/NAME or https://huggingface.co/datasets/OWNER/NAME",
    ),
}
"""What the path of a known host must look like: a branch of GitHub moves, a commit does not."""


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
    """`own`, `benchmark` or `copied`."""
    source: str
    """The address of what prints it."""
    via: str = ""
    """The address of the digest or copy that was read instead; empty where the source itself was."""
    detail: str = ""
    """Where in the source, and what a reader must know of it."""

    @property
    def marks(self) -> str:
        """What stands behind its value."""
        return trust_marks(self.trust, self.via)


def trust_marks(trust: str, via: str) -> str:
    """The marks of a number that is not its authors' own, or of whose source only a digest was seen."""
    return TRUST_MARKS.get(trust, "") + (DIGEST_MARK if via else "")


def wrong_address(text: str) -> str | None:
    """What an address of a source must look like; None for one that does. Nothing is asked of the network."""
    found = _ADDRESS.fullmatch(text)
    if not found:
        return "an address https://HOST/PATH"
    form, described = _FORMS.get(found[1], (None, ""))
    return described if form and not form.fullmatch(found[2]) else None


def read_published(path: Path) -> list[PublishedValue]:
    """All published numbers in the order of the file.

    Raises:
        DataError: the columns are others, or a line is malformed or repeats another; the message names the line.
    """
    lines = csv_lines(path, COLUMNS)
    rows = [_row(f"{path}:{number}", line) for number, line in lines]
    seen: dict[tuple[str, ...], int] = {}
    for (number, _), row in zip(lines, rows, strict=True):
        key = (row.benchmark, row.split, row.metric, row.method, row.params, row.trust, row.source, row.via)
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
    empty = [name for name in COLUMNS if not getattr(row, name).strip() and name not in MAY_BE_EMPTY]
    if empty:
        raise DataError(f"{where}: {empty[0]} is empty; every number needs it")
    if row.trust not in TRUST:
        raise DataError(f"{where}: trust must be {OWN}, {BENCHMARK} or {COPIED}, got {row.trust!r}")
    for name, address in (("source", row.source), ("via", row.via)):
        wanted = wrong_address(address) if address else None
        if wanted:
            raise DataError(f"{where}: {name} must be {wanted}; got {address!r}")
    try:
        finite = math.isfinite(float(row.value))
    except ValueError:
        finite = False
    if not finite:
        raise DataError(f"{where}: value must be a number, got {row.value!r}")
    return row
