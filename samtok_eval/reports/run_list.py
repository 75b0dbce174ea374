"""The runs of a folder at a glance: what was measured, with which main metric, and where it lies.

In: run folders; their records are not read. Out: a row each, as a table or as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from samtok_eval.errors import DataError
from samtok_eval.metrics.cards import card
from samtok_eval.reports.format import ABSENT, estimate
from samtok_eval.reports.table import Table, left, naming, right
from samtok_eval.run.folder import Run, RunFolder, run_paths
from samtok_eval.run.manifest import COMPLETE, read_manifest
from samtok_eval.run.metrics_file import Entry, Metrics, read_metrics
from samtok_eval.task import Task

SHORTEST = 4
"""Characters of a run's name that are shown at least."""
BROKEN = "broken"


@dataclass(frozen=True)
class ListedRun:
    """One run folder."""

    run: str
    """Folder, in full."""
    shown: str
    """Folder, as short as it can be typed."""
    task: str = ABSENT
    split: str = ABSENT
    model: str = ABSENT
    state: str = BROKEN
    """That of the manifest, or `broken`."""
    finished: str | None = None
    samples: int | None = None
    limit: int | None = None
    """Of a run of a part of the split."""
    protocol: str | None = None
    metric: str | None = None
    entry: Entry | None = None
    """The task's main metric under its first protocol; None before scoring, and for tasks that are not known here."""
    signature: str | None = None
    problem: str | None = None
    """Why the folder could not be read."""
    data_sha256: str | None = None
    """Of questions and targets; only runs of the same are compared."""

    @property
    def value(self) -> str:
        """The main metric in the unit of tables, with half the width of its interval."""
        entry = self.entry
        return estimate(self.metric, entry.value, entry.low, entry.high) if self.metric and entry else ABSENT

    @property
    def size(self) -> str:
        """Samples, and whether they are all of the split."""
        return f"first {self.samples}" if self.limit else str(self.samples)

    @property
    def ended(self) -> str:
        """Day and minute, UTC."""
        return (self.finished or ABSENT).replace("T", " ")[:16]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return {**asdict(self), "entry": self.entry.model_dump() if self.entry else None}


def list_runs(folder: Path, tasks: Mapping[str, Task], task: str | None, model: str | None) -> list[ListedRun]:
    """Runs below a folder, by task, split, model, and the newest first.

    Args:
        folder: of runs.
        tasks: known ones, which say what the main metric is.
        task: `NAME` or `NAME:SPLIT`, of which alone runs are listed.
        model: a part of the model's name.

    Raises:
        DataError: the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of runs, there is none; give the --out of a run")
    paths = list(run_paths(folder))
    beside: dict[Path, list[str]] = {}
    for path in paths:
        beside.setdefault(path.parent, []).append(path.name)
    found = [_listed(path, beside[path.parent], tasks) for path in paths]
    name, _, split = (task or "").partition(":")
    kept = [
        run
        for run in found
        if (not name or run.task == name) and (not split or run.split == split) and (model or "") in run.model
    ]
    newest = sorted(kept, key=lambda run: run.finished or "", reverse=True)
    return sorted(newest, key=lambda run: (run.state == BROKEN, run.task, run.split, run.model))


def _listed(path: Path, names: Sequence[str], tasks: Mapping[str, Task]) -> ListedRun:
    """A run; `names` are those of the runs in the same folder."""
    shown = str(path.parent / _unique(names, path.name))
    try:
        manifest = read_manifest(RunFolder(path).manifest)
        complete = manifest.state == COMPLETE
        run = Run(path, manifest, read_metrics(RunFolder(path).metrics) if complete else Metrics())
    except DataError as error:
        return ListedRun(str(path), shown, problem=str(error))
    task = tasks.get(manifest.task)
    protocol = next((p.name for p in task.protocols if p.name in run.metrics.protocols), None) if task else None
    metric = task.metadata.main_metric if task else None
    return ListedRun(
        run=str(path),
        shown=shown,
        task=manifest.task,
        split=manifest.split,
        model=manifest.model.name,
        state=manifest.state,
        finished=manifest.times.finished,
        samples=manifest.dataset.samples,
        limit=manifest.settings.limit,
        protocol=protocol,
        metric=metric,
        entry=run.metrics.protocols[protocol].get(metric) if protocol and metric else None,
        signature=next(iter(manifest.signature.values()), None),
        data_sha256=manifest.dataset.sha256,
    )


def _unique(names: Sequence[str], name: str) -> str:
    """The beginning of a name that no other has."""
    lengths = range(SHORTEST, len(name))
    return next((name[:n] for n in lengths if sum(other.startswith(name[:n]) for other in names) == 1), name)


def runs_listed(runs: Sequence[ListedRun]) -> Table:
    """A row per run; what cannot be read stands below."""
    columns = [
        *naming("run"),
        *left("task", "model", "metric"),
        *right("x 100", "n"),
        *left("finished", "state"),
    ]
    rows = [
        [
            run.shown,
            f"{run.task}:{run.split}",
            run.model,
            card(run.metric).title if run.metric else ABSENT,
            run.value,
            run.size,
            run.ended,
            run.state,
        ]
        for run in runs
        if run.problem is None
    ]
    notes = [f"not read: {run.problem}" for run in runs if run.problem]
    return Table(columns, rows, notes=notes)
