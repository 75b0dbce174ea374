"""The numbers of finished runs as scalars, for the programs in which people follow a training.

In: run folders. Out: every metric under every protocol with its interval, shares 0..1, at the step of the run's model,
kept as `watch --log-to` keeps its verdicts. Checkpoints of one training are one curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samtok_eval.errors import UsageError
from samtok_eval.reports.export import FOLDER
from samtok_eval.reports.runs import read_scored
from samtok_eval.reports.scalars import Curves, scalars_to
from samtok_eval.reports.watch.checkpoints import NAME
from samtok_eval.run.folder import Run, slug

CHECKPOINTS = "checkpoints"
"""Name of a curve over checkpoints whose folder is not known."""


@dataclass(frozen=True)
class Logged:
    """What was written of one run."""

    run: Run
    model: str
    """Name of the curve."""
    step: int
    numbers: int


def export_scalars(
    paths: Sequence[Path],
    programs: str,
    to: Path | None = None,
    step: int | None = None,
    tasks_dirs: Sequence[Path] = (),
) -> list[Logged]:
    """Write the numbers of finished runs.

    Args:
        paths: run folders.
        programs: of `scalars.PROGRAMS`, separated by commas.
        to: folder of everything that is written on this machine; `RUN/export` of a single run by default.
        step: of the models, by default that of a model called `checkpoint-STEP`, else 0.
        tasks_dirs: further folders of task files.

    Returns:
        A line per run, by model and step.

    Raises:
        SamtokError: a run is not finished or broken, two would be one point of a curve, or a program is not known, not
            installed or does not start.
    """
    if to is None and len(paths) > 1:
        raise UsageError("several runs are written into one folder; name it with --out DIR")
    # A program that is missing is told before the runs are read, which may take long.
    scalars_to(programs, Curves(to or Path(), ""))
    runs = [read_scored(path, tasks_dirs).run for path in paths]
    to = to or runs[0].path / FOLDER
    found: dict[str, list[Logged]] = {}
    known: dict[tuple[str, int, str], Run] = {}
    for run in runs:
        model, own = curve_of(run.manifest.model.name)
        at = own if step is None else step
        subject = f"{run.manifest.task}:{run.manifest.split}"
        other = known.setdefault((model, at, subject), run)
        if other is not run:
            raise UsageError(
                f"{other.path} and {run.path} are both {subject} of {model} at step {at}; "
                "write them into different folders"
            )
        found.setdefault(model, []).append(Logged(run, model, at, len(scalars_of(run))))
    for model, mine in found.items():
        mine.sort(key=lambda logged: logged.step)
        for scalars in scalars_to(programs, Curves(to, model, slug(model))):
            scalars.begin()
            for logged in mine:
                scalars.write(logged.step, scalars_of(logged.run))
            scalars.close()
    return [logged for mine in found.values() for logged in mine]


def scalars_of(run: Run) -> Mapping[str, float]:
    """A run's numbers by name: `gres:val/giou/strict`, and the ends of its interval behind `_low` and `_high`."""
    where = f"{run.manifest.task}:{run.manifest.split}"
    return {
        f"{where}/{metric}/{protocol}{end}": value
        for protocol, metrics in run.metrics.protocols.items()
        for metric, entry in metrics.items()
        for end, value in (("", entry.value), ("_low", entry.low), ("_high", entry.high))
        if value is not None
    }


def curve_of(model: str) -> tuple[str, int]:
    """Name of a model's curve, and its step: `RL/checkpoint-40` is step 40 of `RL`, any other name is its own, at 0."""
    folder, _, last = model.rstrip("/").rpartition("/")
    checkpoint = NAME.fullmatch(last)
    return (folder or CHECKPOINTS, int(checkpoint[1])) if checkpoint else (model, 0)
