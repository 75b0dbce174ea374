"""The run folder: what is written, when, and how it is read back.

`predictions/part-<rank>.jsonl` is appended to and flushed per sample, so it is also the resume log; every other file
appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samtok_eval.append_log import lock_for_writing
from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.files import writing
from samtok_eval.prediction_log import WAIT, PredictionLog
from samtok_eval.run.manifest import COMPLETE, Manifest, read_manifest
from samtok_eval.run.metrics_file import Metrics, read_metrics

if TYPE_CHECKING:
    from pandas import DataFrame

LONGEST_SLUG = 150
"""Characters of a folder's name; file systems end at 255, and a file beside it may have a longer one."""


class RunFolder:
    """Paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> Path:
        """Settings, fingerprints, versions, counters, signature."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """Values per protocol."""
        return self.path / "metrics.json"

    @property
    def records(self) -> Path:
        """One line per sample and protocol."""
        return self.path / "records.jsonl"

    @property
    def official_format(self) -> Path:
        """Folder of the answers as the benchmark's own scorer reads them."""
        return self.path / "official_format"

    def part(self, rank: int = 0) -> Path:
        """Predictions of one process."""
        return self.path / "predictions" / f"part-{rank}.jsonl"

    def parts(self) -> list[Path]:
        """Predictions of all processes."""
        return sorted((self.path / "predictions").glob("part-*.jsonl"))

    @contextmanager
    def held(self, shared: bool = False) -> Iterator[None]:
        """Keep other commands from asking the same questions.

        Args:
            shared: among the shards of a run, each of which asks others.

        Raises:
            UsageError: another command is at work here.
        """
        path = self.path / "predictions" / ".lock"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        with file:
            lock_for_writing(file, path.parent, WAIT, shared)
            yield

    def repair(self) -> None:
        """Cut off the last lines that a kill tore, whichever process wrote them.

        Raises:
            UsageError: a process is writing one of the files.
        """
        for path in self.parts():
            PredictionLog(path).close()


def slug(name: str) -> str:
    """A model name as one folder name: `zhouyik/X` -> `zhouyik__X`, `openai:URL#zhouyik/X` -> `openai-zhouyik__X`."""
    # The address of a server, and the place of a folder there, are no part of what answers.
    name = re.sub(r"openai:[^#]*#(/.*/)?(?=.)", "openai:", name.rstrip("/"))
    text = name.replace("/", "__")
    text = re.sub(r"[^A-Za-z0-9._+-]", "-", text).strip("-.") or "model"
    if len(text) <= LONGEST_SLUG:
        return text
    return f"{text[:LONGEST_SLUG]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, repr=False)
class Run:
    """A run folder that has been read."""

    path: Path
    manifest: Manifest
    metrics: Metrics = field(default_factory=Metrics)
    """Without anything before scoring."""

    def values(self, protocol: str) -> dict[str, dict[str, Any]]:
        """Metrics of one protocol as plain JSON: name -> value, low, high, n."""
        return {name: entry.model_dump() for name, entry in self.metrics.protocols[protocol].items()}

    def samples(self) -> DataFrame:
        """One row per sample and protocol, see `frames.samples_frame`."""
        from samtok_eval.run.frames import samples_frame

        return samples_frame(self)

    def metrics_frame(self) -> DataFrame:
        """One row per protocol and metric, see `frames.metrics_frame`."""
        from samtok_eval.run.frames import metrics_frame

        return metrics_frame(self)

    def slices(self) -> DataFrame:
        """One row per protocol, slice, its group and metric, see `frames.slices_frame`."""
        from samtok_eval.run.frames import slices_frame

        return slices_frame(self)

    def __repr__(self) -> str:
        about = self.manifest
        return f"<Run {about.task}:{about.split} {about.model.name}, {about.dataset.samples} samples, {self.path}>"

    def _repr_html_(self) -> str:
        """The run as a notebook shows it: what it is, and its metrics x 100."""
        from samtok_eval.run.frames import run_html

        return run_html(self)


def find_run(path: str | Path) -> Path:
    """The run folder that a path means.

    Args:
        path: a run folder; the beginning of its name, if no other beside it begins so; or a folder of runs of one model
            on one split, of which the newest is meant.

    Returns:
        The folder, or the path itself where nothing is found, so that whoever reads it says what is missing.

    Raises:
        UsageError: the path fits several runs.
    """
    path = Path(path)
    if path.is_file() or RunFolder(path).manifest.is_file():
        return path
    if path.is_dir():
        found = newest_runs(runs_in(path))
        if len(found) > 1:
            kinds = ", ".join(f"{model} on {task}:{split}" for task, split, model in list(found)[:2])
            raise UsageError(f"{path}: holds {len(found)} runs, e.g. of {kinds}; give the folder of one of them")
        return next(iter(found.values()), path)
    beside = sorted(path.parent.glob(f"{escape(path.name)}*"))
    begun = [other for other in beside if RunFolder(other).manifest.is_file()]
    if len(begun) > 1:
        names = ", ".join(other.name for other in begun)
        raise UsageError(f"{path}: several runs begin so ({names}); give more of the name")
    return begun[0] if begun else path


def newest_runs(runs: Iterable[tuple[Path, Manifest]]) -> dict[tuple[str, str, str], Path]:
    """The newest run of each task, split and model; a finished one before unfinished ones."""
    found: dict[tuple[str, str, str], tuple[bool, str, Path]] = {}
    for path, manifest in runs:
        kind = (manifest.task, manifest.split, manifest.model.name)
        mine = (manifest.state == COMPLETE, manifest.times.finished or manifest.times.started, path)
        found[kind] = max(mine, found.get(kind, mine))
    return {kind: path for kind, (*_, path) in found.items()}


def runs_in(folder: Path) -> Iterator[tuple[Path, Manifest]]:
    """Run folders below a folder, finished or not, by path; those of other versions and broken ones are left out."""
    for path in run_paths(folder):
        with suppress(DataError):
            yield path, read_manifest(RunFolder(path).manifest)


def run_paths(folder: Path) -> Iterator[Path]:
    """Folders below a folder that hold a manifest, by path."""
    for place, names, files in os.walk(folder):
        names.sort()
        if RunFolder(Path()).manifest.name in files:
            names.clear()
            yield Path(place)


def load_run(path: str | Path) -> Run:
    """Read a finished run folder.

    The numbers are taken as they stand; `reports.runs.read_scored` also checks that they follow from the records.

    Args:
        path: a run folder, the beginning of its name, or a folder whose newest run is meant, see `find_run`.

    Raises:
        DataError: a file is missing or broken.
        IncompleteRunError: the run was not finished.
        UsageError: the path is the beginning of several names.
    """
    folder = RunFolder(find_run(path))
    if not folder.manifest.is_file():
        raise DataError(f"{folder.manifest} is missing; {path} is not a finished run folder")
    manifest = read_manifest(folder.manifest)
    if manifest.state != COMPLETE:
        raise IncompleteRunError(f"{path} is {manifest.state}, not {COMPLETE}; run the same command again")
    return Run(folder.path, manifest, read_metrics(folder.metrics))
