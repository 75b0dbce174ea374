"""Whether a result file follows from the records that it was made of: everything is scored again.

In: a result file and its records. Out: equal, unequal with the first number that differs, or not checked and why.
Protocols, values, intervals, n and counters are computed again; that the records follow from a model's answers is for
whoever has the answers (`samtok-eval score`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samtok_eval.errors import DataError
from samtok_eval.records import Records
from samtok_eval.reports.leaderboard.kept_records import read_kept, records_beside
from samtok_eval.reports.result_file import ResultFile, read_result
from samtok_eval.reports.run_checks import MOST_DRAWS, first_difference
from samtok_eval.reports.table import Row, Table, left
from samtok_eval.run.metrics_file import IntervalMethod
from samtok_eval.run.score import FEW_OF_METHOD, counters, entries_by_protocol, measured_by_protocol
from samtok_eval.task import Task

EQUAL, UNEQUAL, NOT_CHECKED = "equal", "unequal", "not checked"


@dataclass(frozen=True)
class Verdict:
    """What became of one result file."""

    result: ResultFile
    verdict: str
    """`equal`, `unequal` or `not checked`."""
    reason: str = ""


def verify(path: Path, tasks: Mapping[str, Task], records: Path | None = None) -> Verdict:
    """Score the records of a result file again.

    Args:
        path: the result file.
        tasks: by name.
        records: the file of records, where it does not lie beside the result file.

    Raises:
        DataError: the result file is none, or a given file of records is missing.
    """
    result = read_result(path)
    if result.records is None:
        return Verdict(result, NOT_CHECKED, "it keeps no records")
    if result.task not in tasks:
        return Verdict(result, NOT_CHECKED, f"no known task file defines {result.task}; pass it with --tasks-dir")
    task = tasks[result.task]
    if result.task_version != task.metadata.version:
        versions = f"version {result.task_version} of the task, this program has version {task.metadata.version}"
        return Verdict(result, NOT_CHECKED, f"it was scored by {versions}")
    found = records or records_beside(path)
    if result.records.place and records is None:
        return Verdict(result, NOT_CHECKED, f"get its records from {result.records.place} and pass --records")
    try:
        unequal, note = _compared(result, task, read_kept(found, result.records))
    except DataError as error:
        return Verdict(result, UNEQUAL, str(error))
    return Verdict(result, UNEQUAL, unequal) if unequal else Verdict(result, EQUAL, note)


def _compared(result: ResultFile, task: Task, records: Mapping[str, Records]) -> tuple[str | None, str]:
    """Compute everything that a result file says from its records.

    A metric that the result lacks is no difference: this program may know more of them than the one that submitted it.

    Returns:
        The first thing that does not follow, in words, or None; and what a reader of the verdict should know.

    Raises:
        DataError: a record lacks what the task counts.
    """
    sizes = {name: len(mine) for name, mine in records.items()}
    expected = dict.fromkeys(result.protocols, result.dataset.samples)
    if sizes != expected:
        return f"records per protocol = {sizes}, the result says {expected}", ""
    method, note = _method(result)
    try:
        scored = entries_by_protocol(measured_by_protocol(task, records), method)
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(f"a record lacks what {task.metadata.name} counts ({error!r})") from error
    computed = {
        name: {metric: entry.model_dump() for metric, entry in values.items()} for name, values in scored.items()
    }
    told = {
        name: {metric: each.model_dump() for metric, each in mine.items()} for name, mine in result.protocols.items()
    }
    more = sorted({metric for name, mine in computed.items() for metric in mine if metric not in told[name]})
    if more:
        note = "; ".join(filter(None, (note, f"{', '.join(more)}: not in the result, the records give it")))
        computed = {name: {m: entry for m, entry in mine.items() if m in told[name]} for name, mine in computed.items()}
    if method is None:
        told, computed = (_without_bounds(values) for values in (told, computed))
    counted = counters({name: records[name] for name in result.protocols}).model_dump()
    pairs = ((told, computed, "protocol"), (result.counters, {k: counted.get(k) for k in result.counters}, "counter"))
    return next((text for a, b, where in pairs if (text := first_difference(a, b, where))), None), note


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """One line per result file."""
    rows: list[Row] = [
        [f"{each.result.model.name} @ {each.result.model.revision}", _what(each.result), each.verdict, each.reason]
        for each in verdicts
    ]
    return Table(left("model", "result", "verdict", "why"), rows)


def _what(result: ResultFile) -> str:
    return f"{result.task}:{result.split}"


def _method(result: ResultFile) -> tuple[IntervalMethod | None, str]:
    """How to draw the intervals again; None, and a note, where this version does not know how."""
    if result.intervals is None:
        return None, "intervals not checked: it does not say how they were made"
    method = IntervalMethod.model_validate(result.intervals.model_dump())
    if method.method not in FEW_OF_METHOD:
        return None, f"intervals not checked: this version does not know {method.method!r}"
    if method.draws > MOST_DRAWS:
        return None, f"intervals not checked: {method.draws} draws are more than {MOST_DRAWS}"
    return method, ""


def _without_bounds(
    values: Mapping[str, Mapping[str, Mapping[str, object]]],
) -> dict[str, dict[str, dict[str, object]]]:
    return {
        name: {metric: {k: v for k, v in entry.items() if k not in ("low", "high")} for metric, entry in mine.items()}
        for name, mine in values.items()
    }
