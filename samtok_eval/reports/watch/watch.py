"""Gates every checkpoint of a training run against a baseline, while the training writes them.

In: the trainer's folder and the baseline's runs. Out: a log of verdicts, a curve and a page, renewed after each
checkpoint. A watch that was stopped goes on where its log ends; answers of the checkpoint at which it was stopped are
in its run folder and are not asked again.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from samtok_eval.append_log import AppendLog
from samtok_eval.errors import DataError, SamtokError, UsageError
from samtok_eval.models.loaded import LoadedModels
from samtok_eval.reports.gate.asked import baseline_runs, gate_run
from samtok_eval.reports.gate.early import EarlyRules
from samtok_eval.reports.gate.tolerances import Tolerances
from samtok_eval.reports.gate.verdict import GateResult
from samtok_eval.reports.runs import ScoredRun
from samtok_eval.reports.scalars import Curves, Scalars
from samtok_eval.reports.watch.checkpoints import Checkpoint, whole_checkpoints
from samtok_eval.reports.watch.curve import write_curve
from samtok_eval.reports.watch.verdicts import Key, VerdictLine, line_of, read_verdicts, scalars_of

LOG_FILE = "verdicts.jsonl"
logger = logging.getLogger(__name__)


def curves_of(to: Path) -> Curves:
    """What `--log-to` keeps of a watch.

    Args:
        to: folder of the watch.
    """
    return Curves(to, f"watch {to.resolve().parent.name}/{to.name}")


@dataclass(frozen=True)
class Watch:
    """What is watched, and how it is judged."""

    folder: Path
    """Of the trainer."""
    baseline: Path
    """A run folder, or a folder with one run per task and split."""
    to: Path
    """Folder of log, curve and page."""
    given: Mapping[str, Any]
    """Fields of `RunOptions` that are not to be those of the baseline."""
    tolerances: Tolerances
    tasks: Collection[str] = ()
    """TASK or TASK:SPLIT; all of the baseline's by default."""
    protocol: str | None = None
    rules: EarlyRules | None = None
    console: Console | None = None
    scalars: Sequence[Scalars] = ()

    @property
    def judged_by(self) -> str:
        """Hash of everything but models and data that a verdict rests on."""
        return hashlib.sha256(repr((self.tolerances, self.protocol, self.rules)).encode()).hexdigest()[:12]

    def sides(self) -> list[ScoredRun]:
        """The baseline's runs that are compared with.

        Raises:
            UsageError: the baseline has no run of a task, or no answers.
            IncompleteRunError: a run of it is unfinished.
        """
        found = {(run.task.metadata.name, run.split): run for run in baseline_runs(self.baseline, self.given)}
        names = {key: {key[0], ":".join(key)} for key in found}
        lacking = [task for task in self.tasks if not any(task in known for known in names.values())]
        if lacking:
            raise UsageError(
                f"{self.baseline} has no run of {', '.join(lacking)}; it has {', '.join(map(':'.join, found))}"
            )
        return [run for key, run in found.items() if not self.tasks or names[key] & set(self.tasks)]


Shown = Callable[[Checkpoint, GateResult], None]
"""Called with each verdict once it is in the log."""


def gate_what_is_there(watch: Watch, shown: Shown) -> list[VerdictLine]:
    """Gate the whole checkpoints that the log does not know yet.

    Returns:
        The verdicts on the checkpoints that are there, sorted by task, split and step.

    Raises:
        SamtokError: as `gate_run`; what was judged before is in the log.
    """
    sides, checkpoints = watch.sides(), whole_checkpoints(watch.folder)
    path = watch.to / LOG_FILE
    if not checkpoints:
        return []
    for scalars in watch.scalars:
        scalars.begin()
    with AppendLog(path, "one watch at a time; give another folder --to") as log:
        for checkpoint in checkpoints:
            known = {line.key for line in read_verdicts(path)}
            due = [side for side in sides if _key(watch, checkpoint, side) not in known]
            try:
                for side, result in _gated(watch, checkpoint, due):
                    line = line_of(
                        result, checkpoint.step, checkpoint.path.name, checkpoint.files, side, watch.judged_by
                    )
                    log.write_line(line.model_dump_json())
                    for scalars in watch.scalars:
                        scalars.write(line.step, scalars_of(line))
                    shown(checkpoint, result)
            except CheckpointGoneError as error:
                # A trainer that keeps few of them writes others meanwhile.
                logger.warning("%s", error)
            lines = read_verdicts(path)
            if due and lines:
                write_curve(lines, watch.to)
    wanted = {_key(watch, checkpoint, side) for checkpoint in checkpoints for side in sides}
    return [line for line in read_verdicts(path) if line.key in wanted]


def watch_forever(watch: Watch, every: float, shown: Shown) -> None:
    """Gate checkpoints as they appear, until the process is interrupted.

    Args:
        watch: what is watched.
        every: seconds between two looks at the folder.
        shown: called with each verdict.
    """
    while True:
        gate_what_is_there(watch, shown)
        time.sleep(every)


class CheckpointGoneError(DataError):
    """A checkpoint was deleted while it was gated."""


def _key(watch: Watch, checkpoint: Checkpoint, side: ScoredRun) -> Key:
    name, rules = checkpoint.path.name, watch.judged_by
    return name, checkpoint.files, side.run.path.name, rules, side.task.metadata.name, side.split


def _gated(watch: Watch, checkpoint: Checkpoint, due: Sequence[ScoredRun]) -> Iterator[tuple[ScoredRun, GateResult]]:
    given = {**watch.given, "model": str(checkpoint.path)}
    # Loaded once for all tasks, and let go before the next checkpoint is loaded.
    models = LoadedModels()
    for side in due:
        try:
            result = gate_run(side, given, watch.tolerances, models, watch.protocol, watch.rules, console=watch.console)
        except SamtokError as error:
            if checkpoint.path.is_dir():
                raise
            raise CheckpointGoneError(
                f"{checkpoint.path} was deleted while it was gated; let the trainer keep more checkpoints"
            ) from error
        yield side, result
