"""What computes each published number: `leaderboards/computed_by.csv`, checked against the tasks.

In: the published numbers and a file that names, for each (benchmark, split, metric), the task, split, slice, metric and
protocol that compute it, or the reason why nothing does. Out: per published number its lines of that file. A line with
a part of a method's name is for these methods alone; several lines for one number are splits whose mean it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from samtok_eval.errors import DataError, UsageError
from samtok_eval.registry import find_task
from samtok_eval.reports.leaderboard.published_file import BENCHMARK, COPIED, OWN, TRUST, PublishedValue, csv_lines
from samtok_eval.reports.table import Row, Table, left, right
from samtok_eval.task import Task

COMPUTED_BY_FILE = "computed_by.csv"


@dataclass(frozen=True)
class ComputedBy:
    """One line: what computes some published numbers, or why nothing does."""

    benchmark: str
    """As `published.csv` writes it, like `split` and `metric`."""
    split: str
    metric: str
    method: str
    """Part of the methods' names, in any case; empty for all that no other line names."""
    task: str
    task_split: str
    slice: str
    """`NAME=VALUE` where the number is about one slice; else empty."""
    task_metric: str
    protocol: str
    reason: str
    """Why nothing computes it; the five fields before it are empty then."""

    @property
    def numbers(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.benchmark, self.split, self.metric

    @property
    def title(self) -> str:
        """What computes it, without the metric."""
        return f"{self.task}:{self.task_split} {self.protocol}"


COLUMNS = tuple(field.name for field in fields(ComputedBy))
COMPUTING = ("task", "task_split", "task_metric", "protocol")


def check_published(
    rows: Sequence[PublishedValue], path: Path, tasks: Mapping[str, Task]
) -> list[tuple[PublishedValue, list[ComputedBy]]]:
    """Find what computes every published number.

    Args:
        rows: the published numbers.
        path: of `computed_by.csv`.
        tasks: all that are known.

    Returns:
        Each number with its lines: one, or one per split whose mean it is.

    Raises:
        DataError: the file is missing or malformed, a line names a task, split, metric or protocol that does not exist,
            or no published number, or a published number has no line.
    """
    by_numbers: dict[tuple[str, str, str], list[tuple[int, ComputedBy]]] = defaultdict(list)
    for number, fields_of_line in csv_lines(path, COLUMNS):
        line = ComputedBy(*fields_of_line)
        _check(line, f"{path}:{number}", tasks)
        by_numbers[line.numbers].append((number, line))
    used: set[int] = set()
    found, missing = [], []
    for row in rows:
        lines = _lines_of(row, by_numbers[row.benchmark, row.split, row.metric])
        used |= {number for number, _ in lines}
        found.append((row, [line for _, line in lines]))
        missing += [] if lines else [f"{row.benchmark}, {row.split}, {row.metric}, {row.method}"]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} published numbers have neither a task nor a reason, first {missing[0]}; add a line"
        )
    idle = min((number for lines in by_numbers.values() for number, _ in lines if number not in used), default=None)
    if idle is not None:
        raise DataError(f"{path}:{idle} is about no published number; correct or remove it")
    return found


def check_table(found: Sequence[tuple[PublishedValue, Sequence[ComputedBy]]]) -> Table:
    """Per benchmark who prints its numbers, how many can be computed and by what; below it why the others cannot."""
    rows: list[Row] = []
    notes = [_totals([row for row, _ in found])]
    for benchmark in dict.fromkeys(row.benchmark for row, _ in found):
        mine = [lines for row, lines in found if row.benchmark == benchmark]
        trusts = Counter(row.trust for row, _ in found if row.benchmark == benchmark)
        computed = [line for lines in mine for line in lines if not line.reason]
        count = sum(not lines[0].reason for lines in mine)
        titles = dict.fromkeys(line.title for line in computed)
        printed = [str(trusts[trust]) for trust in TRUST]
        rows.append([benchmark, str(len(mine)), *printed, str(count), ", ".join(titles) or "-"])
        reasons = dict.fromkeys(line.reason for lines in mine for line in lines if line.reason)
        notes += [f"{benchmark}: {reason}" for reason in reasons]
    columns = [*left("benchmark"), *right("numbers", *TRUST, "computed"), *left("by")]
    return Table(columns, rows, notes=notes)


def _totals(rows: Sequence[PublishedValue]) -> str:
    """Who prints the numbers, in one line."""
    trusts, digests = Counter(row.trust for row in rows), sum(bool(row.via) for row in rows)
    return (
        f"{len(rows)} numbers: {trusts[OWN]} of the method's own paper or repository, {trusts[BENCHMARK]} of the "
        f"benchmark's authors, {trusts[COPIED]} of a third party; of {digests} only a digest or copy was seen."
    )


def _lines_of(row: PublishedValue, lines: Sequence[tuple[int, ComputedBy]]) -> list[tuple[int, ComputedBy]]:
    """The lines for a number's method: those that name most of it."""
    fitting = [pair for pair in lines if pair[1].method.casefold() in row.method.casefold()]
    longest = max((len(line.method) for _, line in fitting), default=0)
    return [pair for pair in fitting if len(pair[1].method) == longest]


def _check(line: ComputedBy, where: str, tasks: Mapping[str, Task]) -> None:
    """Refuse a line that says nothing, two things, or what no task has.

    Raises:
        DataError: with the line.
    """
    given = [name for name in (*COMPUTING, "slice") if getattr(line, name)]
    if line.reason and given:
        raise DataError(f"{where} has both a reason and a {given[0]}; remove one")
    if line.reason:
        return
    lacking = [name for name in COMPUTING if not getattr(line, name)]
    if lacking:
        raise DataError(f"{where}: {lacking[0]} is empty; name what computes the number, or give a reason")
    if line.slice and not all(line.slice.partition("=")):
        raise DataError(f"{where}: slice {line.slice!r} must be NAME=VALUE")
    try:
        task = find_task(dict(tasks), line.task)
        task.check_split(line.task_split)
        task.protocol(line.protocol)
    except UsageError as error:
        raise DataError(f"{where}: {error}") from error
    if line.task_metric not in task.metadata.metrics:
        known = ", ".join(task.metadata.metrics)
        raise DataError(f"{where}: {line.task} has no metric {line.task_metric!r}; choose from {known}")
