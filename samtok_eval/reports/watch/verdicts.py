"""The log of a watch: a JSON line per checkpoint, task and split. What is in it is not gated again.

In: results of the gate. Out: lines that survive a kill, and the same lines read again.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from samtok_eval.errors import DataError
from samtok_eval.files import first_problem, numbered_lines
from samtok_eval.reports.gate.tolerances import OnUndecided
from samtok_eval.reports.gate.verdict import GateResult, Word
from samtok_eval.reports.runs import ScoredRun

Key = tuple[str, str, str, str, str, str]
REMEDY = "move it away, and every checkpoint is gated anew"


class MetricLine(BaseModel):
    """The verdict on one metric; shares 0..1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline: float
    candidate: float
    difference: float
    low: float | None
    high: float | None
    """95 % interval of the difference."""
    tolerance: float
    verdict: Word
    reason: str


class VerdictLine(BaseModel):
    """The verdict on one checkpoint in one task and split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    checkpoint: str
    """Name of its folder."""
    files: str
    """Of `Checkpoint`."""
    baseline: str
    """Run id of the baseline."""
    rules: str
    """Hash of how it was judged: tolerances, level, protocol and looks."""
    task: str
    split: str
    protocol: str
    verdict: Word
    passed: bool
    on_undecided: OnUndecided = "warn"
    """What made an undecided one pass or fail."""
    main: str
    """The task's main metric, or the first that is gated where that is a judge's."""
    lower_is_better: bool
    """Of the main metric."""
    metrics: dict[str, MetricLine]
    pictures: int | None
    """That were asked."""
    run: str | None
    """Folder of the candidate's answers."""

    @property
    def key(self) -> Key:
        """What need not be gated again."""
        return self.checkpoint, self.files, self.baseline, self.rules, self.task, self.split


def line_of(result: GateResult, step: int, checkpoint: str, files: str, baseline: ScoredRun, rules: str) -> VerdictLine:
    """A result of the gate as a line of the log."""
    metadata = baseline.task.metadata
    main = metadata.main_metric
    if main not in result.unseen and result.verdicts and all(verdict.metric != main for verdict in result.verdicts):
        main = result.verdicts[0].metric
    rows = {
        verdict.metric: MetricLine(**{name: getattr(verdict, name) for name in MetricLine.model_fields})
        for verdict in result.verdicts
    }
    return VerdictLine(
        step=step,
        checkpoint=checkpoint,
        files=files,
        baseline=baseline.run.path.name,
        rules=rules,
        task=result.task,
        split=result.split,
        protocol=result.protocol,
        verdict=result.verdict,
        passed=result.passed,
        on_undecided=result.on_undecided,
        main=main,
        lower_is_better=main in metadata.lower_is_better,
        metrics=rows,
        pictures=result.early.pictures if result.early else None,
        run=result.early.path if result.early else None,
    )


def read_verdicts(path: Path) -> list[VerdictLine]:
    """The lines of a log, of each checkpoint, task and split the newest; none where there is no log yet.

    Raises:
        DataError: a line is no verdict.
    """
    if not path.exists():
        return []
    found: dict[tuple[int, str, str], VerdictLine] = {}
    for number, text in numbered_lines(path, REMEDY, torn_tail=True):
        try:
            line = VerdictLine.model_validate_json(text)
        except ValidationError as error:
            raise DataError(f"{path}, line {number}: {first_problem(error)}; {REMEDY}") from error
        found[line.step, line.task, line.split] = line
    return sorted(found.values(), key=lambda line: (line.task, line.split, line.step))


def scalars_of(line: VerdictLine) -> dict[str, float]:
    """A line's numbers by name, such as `gres:val/giou/difference`; an interval that is missing is left out."""
    found: dict[str, float] = {}
    for metric, row in line.metrics.items():
        values = {"candidate": row.candidate, "difference": row.difference, "low": row.low, "high": row.high}
        where = f"{line.task}:{line.split}/{metric}"
        found |= {f"{where}/{name}": value for name, value in values.items() if value is not None}
    return found
