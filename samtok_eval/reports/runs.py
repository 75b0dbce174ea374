"""Finished runs as comparisons, gates and reports take them: read back, checked, and compared sample by sample.

A number is trusted only as far as it follows from the records beside it, so everything is computed from them again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.evaluation import Run, load_run
from samtok_eval.metrics.ratio import Metric
from samtok_eval.prediction import Prediction, Record
from samtok_eval.run_store import SCHEMA_VERSION, RunFolder, read_predictions, read_records
from samtok_eval.score import NOT_PROTOCOLS
from samtok_eval.task import Task, find_task, load_tasks

TOLERANCE = 1e-9
"""Between a value in a file and the same value computed again; sums of floats may be added in another order."""
COMPLETE = "complete"


@dataclass(frozen=True)
class ScoredRun:
    """A run whose metrics were checked against its records."""

    run: Run
    task: Task
    records: Mapping[str, list[Record]]
    """By protocol, in the order of the benchmark's files."""

    @property
    def name(self) -> str:
        """The model."""
        return str(self.run.manifest["model"]["name"])

    @property
    def split(self) -> str:
        """The split."""
        return str(self.run.manifest["split"])

    @property
    def protocols(self) -> list[str]:
        """In the task's order."""
        return [protocol.name for protocol in self.task.protocols if protocol.name in self.records]

    def metrics(self, protocol: str) -> Mapping[str, Metric]:
        """Metrics of one protocol, ready to be resampled."""
        return self.task.measured(self.records[protocol], protocol)

    def predictions(self) -> dict[str, Prediction]:
        """Answers by sample id; empty where the run folder has none, as when foreign predictions were scored."""
        return {p.id: p for p in read_predictions(RunFolder(self.run.path).parts())}


def read_scored(path: Path, tasks_dirs: Sequence[Path] = ()) -> ScoredRun:
    """Read a finished run folder and check it.

    Args:
        path: the run folder.
        tasks_dirs: further folders of task files, besides those of the run itself.

    Raises:
        DataError: a file is missing or broken, of a newer schema, or the metrics do not follow from the records.
        IncompleteRunError: the run was not finished.
    """
    run = load_run(path)
    schema = run.manifest.get("schema_version")
    if schema != SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {schema}, this program reads {SCHEMA_VERSION}; use the version that wrote it"
        )
    if run.manifest.get("state") != COMPLETE:
        raise IncompleteRunError(f"{path} is {run.manifest.get('state')}, not {COMPLETE}; run the same command again")
    folders = dict.fromkeys([*tasks_dirs, *map(Path, run.manifest["settings"].get("tasks_dirs", ()))])
    task = find_task(load_tasks([folder for folder in folders if folder.is_dir()]), run.manifest["task"])
    records: dict[str, list[Record]] = {}
    for record in read_records(RunFolder(path).records):
        records.setdefault(record.protocol, []).append(record)
    scored = ScoredRun(run, task, records)
    _check_protocols(scored)
    for protocol in records:
        _check_values(scored, protocol)
    return scored


def check_comparable(first: ScoredRun, second: ScoredRun) -> None:
    """Refuse two runs that did not answer the same questions.

    Raises:
        UsageError: other tasks, splits or data.
        IncompleteRunError: samples of one run are missing in the other.
    """
    for what in ("task", "split"):
        one, other = first.run.manifest[what], second.run.manifest[what]
        if one != other:
            raise UsageError(
                f"{first.run.path} is of {what} {one}, {second.run.path} of {other}; compare like with like"
            )
    for protocol in [name for name in first.protocols if name in second.protocols]:
        ids, others = ({record.id for record in run.records[protocol]} for run in (first, second))
        lacking = sorted(ids ^ others)
        if ids < others or others < ids:
            raise IncompleteRunError(
                f"{len(lacking)} samples are in only one of {first.run.path} and {second.run.path}, "
                f"{lacking[0]} first; run both on the same samples"
            )
        if lacking:
            raise UsageError(f"{first.run.path} and {second.run.path} answer different samples; use the same data")
    one, other = (run.run.manifest["dataset"]["sha256"] for run in (first, second))
    if one != other:
        raise UsageError(
            f"{first.run.path} and {second.run.path} saw different data ({one[:8]} and {other[:8]}): same ids, other "
            "questions or masks; use the same files"
        )
    if not set(first.protocols) & set(second.protocols):
        raise UsageError(f"{first.run.path} and {second.run.path} share no protocol; run `score` with the same ones")


def _check_protocols(scored: ScoredRun) -> None:
    told = {name for name in scored.run.metrics if name not in NOT_PROTOCOLS}
    if told != set(scored.records):
        raise DataError(
            f"{scored.run.path}: metrics.json has the protocols {sorted(told)}, "
            f"records.jsonl {sorted(scored.records)}; run `score` again"
        )
    for records in scored.records.values():
        if len(records) != scored.run.manifest["dataset"]["samples"]:
            raise IncompleteRunError(
                f"{scored.run.path}: {len(records)} records of {scored.run.manifest['dataset']['samples']} samples; "
                "run `score` again"
            )


def _check_values(scored: ScoredRun, protocol: str) -> None:
    told: Mapping[str, Any] = scored.run.metrics[protocol]
    found = {name: metric for name, metric in scored.metrics(protocol).items() if name in told}
    if set(found) != set(told):
        raise DataError(
            f"{scored.run.path}: metrics.json has {sorted(set(told) - set(found))}, which the records do not give; "
            "run `score` again"
        )
    for name, metric in found.items():
        written, computed = told[name]["value"], metric.value
        if written is None or computed is None:
            same = written is computed
        else:
            same = math.isclose(written, computed, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        if not same:
            raise DataError(
                f"{scored.run.path}: metrics.json says {protocol} {name} = {written}, the records give {computed}; "
                "it was changed by hand or made by another version; run `score` again"
            )
