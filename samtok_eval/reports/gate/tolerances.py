"""What a candidate may lose: the TOML file that a gate reads."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import CORRECT_IT, read_toml, reading
from samtok_eval.metrics.cards import MetricKey
from samtok_eval.registry import find_task, load_tasks
from samtok_eval.statistics import ALPHA
from samtok_eval.task import Task

DEFAULT_POINTS = 1.0
"""Tolerance of a metric for which none is given, x 100."""
OnUndecided = Literal["pass", "fail", "warn"]
Points = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
"""What may be lost, x 100; a number, and no text or truth value that could be read as one."""


class Tolerances(BaseModel):
    """What a TOML file may say.

    `alpha = 0.05`, `on_undecided = "warn"`, a table `[tolerance]` with points (x 100) per metric
    and `default`, and tables `[tasks.NAME]` with the same for one task.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(default=ALPHA, strict=True, gt=0, lt=1, allow_inf_nan=False)
    on_undecided: OnUndecided = "warn"
    tolerance: dict[str, Points] = {}
    tasks: dict[str, dict[str, Points]] = {}

    def of(self, task: str, metric: str) -> float:
        """The share 0..1 by which a metric may fall."""
        points = self.given(task, metric)
        return (DEFAULT_POINTS if points is None else points) / 100

    def given(self, task: str, metric: str) -> float | None:
        """The points that the file names for a metric, itself or by `default`; None where it names none."""
        for table in (self.tasks.get(task, {}), self.tolerance):
            for name in (metric, "default"):
                if name in table:
                    return table[name]
        return None


def read_tolerances(
    path: Path | None,
    alpha: float | None = None,
    tasks: Mapping[str, Task] | None = None,
    on_undecided: OnUndecided | None = None,
) -> Tolerances:
    """The TOML file, or the defaults.

    Args:
        path: None for the default tolerance everywhere.
        alpha: replaces the file's.
        tasks: tasks by name; the bundled ones by default.
        on_undecided: replaces the file's.

    Raises:
        UsageError: the file cannot be read or says something that it may not.
    """
    options = {"alpha": alpha, "on_undecided": on_undecided}
    try:
        content = read_toml(path) if path else {}
        with reading(str(path), CORRECT_IT):
            tolerances = Tolerances.model_validate(content | {k: v for k, v in options.items() if v is not None})
    except DataError as error:
        raise UsageError(f"--tolerances {error}") from error
    check_names(tolerances, load_tasks() if tasks is None else tasks, f"--tolerances {path}")
    return tolerances


def parse_tolerances(
    words: Sequence[str], alpha: float | None = None, tasks: Mapping[str, Task] | None = None
) -> Tolerances:
    """Tolerances of a command line.

    Args:
        words: METRIC=POINTS each; the metric may be `default`.
        alpha: level of the tests; the usual one by default.
        tasks: tasks by name; the bundled ones by default.

    Raises:
        UsageError: something else than a known metric and a number of 0 or more.
    """
    table = {}
    for word in words:
        metric, _, points = word.rpartition("=")
        try:
            table[metric] = float(points)
        except ValueError as error:
            raise UsageError(f"--tolerance {word}: expected METRIC=POINTS, e.g. giou=0.5") from error
    try:
        with reading("--tolerance", CORRECT_IT):
            tolerances = Tolerances.model_validate({"tolerance": table} | ({} if alpha is None else {"alpha": alpha}))
    except DataError as error:
        raise UsageError(str(error)) from error
    check_names(tolerances, load_tasks() if tasks is None else tasks, "--tolerance")
    return tolerances


def check_names(tolerances: Tolerances, tasks: Mapping[str, Task], where: str) -> None:
    """Refuse tolerances of tasks and metrics that there are not.

    Args:
        tolerances: what was given.
        tasks: tasks by name.
        where: what the error names.

    Raises:
        UsageError: an unknown name, with near ones.
    """
    known_tasks = dict(tasks)
    tables = [(None, tolerances.tolerance), *tolerances.tasks.items()]
    for task, table in tables:
        about = [find_task(known_tasks, task)] if task else list(known_tasks.values())
        known = {"default", *(name for each in about for name in each.metadata.metrics)}
        for name in table:
            if MetricKey.of(name).metric not in known:
                near = ", ".join(difflib.get_close_matches(name, known, n=3)) or ", ".join(sorted(known))
                raise UsageError(f"{where}: no metric {name!r}; did you mean {near}?")
