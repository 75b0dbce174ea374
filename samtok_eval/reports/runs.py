"""Finished runs as comparisons, gates and reports take them: read back and checked, see `run_checks`.

Nothing that a run folder names is run: task files come from the caller alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.metrics.cards import MetricKey
from samtok_eval.metrics.judge import JUDGE_REPLIES, recorded_replies
from samtok_eval.metrics.ratio import Metric
from samtok_eval.prediction import Prediction
from samtok_eval.prediction_log import read_own_predictions
from samtok_eval.records import Records, Texts
from samtok_eval.registry import load_tasks
from samtok_eval.reports.run_checks import check_identity, check_numbers, check_records, check_version
from samtok_eval.reports.summary import absences
from samtok_eval.run.folder import Run, RunFolder, load_run
from samtok_eval.run.manifest import FOREIGN
from samtok_eval.run.record_file import read_records
from samtok_eval.run.settings import words_of
from samtok_eval.task import Task
from samtok_eval.text_column import same_texts


@dataclass(frozen=True)
class ScoredRun:
    """A run whose metrics were checked against its records."""

    run: Run
    task: Task
    records: Mapping[str, Records]
    """By protocol, in the order of the benchmark's files."""
    unchecked: Sequence[str] = ()
    """What the folder, of another version, does not let us check."""
    _measured: dict[str, Mapping[str, Metric]] = field(default_factory=dict, repr=False, compare=False)
    """Metrics by protocol, each computed once."""

    @property
    def name(self) -> str:
        """The model."""
        return self.run.manifest.model.name

    @property
    def split(self) -> str:
        """The split."""
        return self.run.manifest.split

    @property
    def protocols(self) -> list[str]:
        """In the task's order."""
        return [protocol.name for protocol in self.task.protocols if protocol.name in self.records]

    def metrics(self, protocol: str) -> Mapping[str, Metric]:
        """Metrics of one protocol, ready to be resampled."""
        if protocol not in self._measured:
            self._measured[protocol] = self.task.measured(self.records[protocol], protocol)
        return self._measured[protocol]

    @property
    def notes(self) -> list[str]:
        """What a reader of its numbers must know: what could not be measured, and what could not be checked."""
        lacking = [f"{self.name} is without {line}" for line in absences(self.run)]
        return lacking + [f"{self.name} ({self.run.path}): not checked: {what}" for what in self.unchecked]

    def predictions(self) -> Mapping[str, Prediction]:
        """Answers by sample id; empty where the run folder has none, as when foreign predictions were scored."""
        return read_own_predictions(RunFolder(self.run.path).parts())

    def replies(self) -> Mapping[str, str]:
        """What the judges of the run's numbers replied, by what they were asked; empty where none was."""
        names = {MetricKey.of(name).judge for records in self.records.values() for name in records.values}
        return recorded_replies(self.run.path / JUDGE_REPLIES, names - {""})


def read_scored(path: Path, tasks_dirs: Sequence[Path] = ()) -> ScoredRun:
    """Read a finished run folder and check it.

    Args:
        path: the run folder, see `run.folder.find_run`.
        tasks_dirs: further folders of task files, as the user named them; those in the run's manifest are not loaded.

    Raises:
        DataError: a file is missing or broken, of another schema or task version, or something does not follow from
            the records or the manifest.
        UsageError: a task that no known task file defines.
        IncompleteRunError: the run was not finished.
    """
    run = load_run(path)
    task = _task_of(run, tasks_dirs)
    check_version(run, task)
    records = read_records(RunFolder(run.path).records)
    check_records(run, task, records)
    unchecked = check_identity(run, task)
    scored = ScoredRun(run, task, records)
    try:
        measured = {protocol: scored.metrics(protocol) for protocol in records}
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(
            f"{path}: a record lacks what {task.metadata.name} counts ({error!r}); run `score` again"
        ) from error
    unchecked += check_numbers(run, task, records, measured)
    return replace(scored, unchecked=unchecked)


def _task_of(run: Run, tasks_dirs: Sequence[Path]) -> Task:
    name, tasks = run.manifest.task, load_tasks(tasks_dirs)
    if name not in tasks:
        made_with = ", ".join(repr(str(folder)) for folder in run.manifest.settings.tasks_dirs)
        where = f" (the run names {made_with}; look at it first, task files are run as programs)" if made_with else ""
        raise UsageError(
            f"{run.path} is of the task {name!r}, which no known task file defines; pass the folder of its task file "
            f"with --tasks-dir{where}"
        )
    return tasks[name].with_layout(run.manifest.code_layout)


def reproduce(run: ScoredRun) -> str:
    """The command that makes the same run, with what was given and nothing else."""
    manifest = run.run.manifest
    task = ["--task", f"{run.task.metadata.name}:{run.split}"]
    if manifest.prompt == FOREIGN:
        words = ["samtok-eval", "score", *task, "--predictions", manifest.predictions or manifest.model.name]
    else:
        name = manifest.model.name
        model = name if run.task.needs_language_model else name.removeprefix("tokenizer-of-")
        words = ["python", "run_eval.py", *task, "--model", model]
    return shlex.join([*words, *words_of(manifest.settings, manifest.passed)])


def check_comparable(baseline: ScoredRun, candidate: ScoredRun) -> None:
    """Refuse two runs that did not answer the same questions.

    Raises:
        UsageError: other tasks, splits or data.
        IncompleteRunError: samples of one run are missing in the other.
    """
    runs, paths = (baseline, candidate), f"{baseline.run.path} and {candidate.run.path}"
    for what in ("task", "split"):
        of_baseline, of_candidate = (getattr(run.run.manifest, what) for run in runs)
        if of_baseline != of_candidate:
            raise UsageError(
                f"{baseline.run.path} is of {what} {of_baseline}, {candidate.run.path} of {of_candidate}; "
                "compare like with like"
            )
    common = [name for name in baseline.protocols if name in candidate.protocols]
    for protocol in common:
        _check_same_samples(paths, *(run.records[protocol].id for run in runs))
    before, after = (run.run.manifest.dataset.sha256 for run in runs)
    if before != after:
        raise UsageError(
            f"{paths} saw different data ({before[:8]} and {after[:8]}): same ids, other questions or masks; "
            "use the same files"
        )
    if not common:
        raise UsageError(f"{paths} share no protocol; run `score` with the same ones")


def _check_same_samples(paths: str, of_baseline: Texts, of_candidate: Texts) -> None:
    """Refuse samples that differ, or stand in another order."""
    if same_texts(of_baseline, of_candidate):
        return
    before, after = set(of_baseline), set(of_candidate)
    lacking = sorted(before ^ after)
    if not lacking:
        raise UsageError(f"{paths} hold their samples in another order; score again")
    if before <= after or after <= before:
        raise IncompleteRunError(
            f"{len(lacking)} samples are in only one of {paths}, {lacking[0]} first; run both on the same samples"
        )
    raise UsageError(f"{paths} answer different samples; use the same data")
