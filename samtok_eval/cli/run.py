"""The commands `run`, `predict` and `score`. torch is imported when they run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samtok_eval.cli.data import list_tasks as listed
from samtok_eval.cli.options import STDOUT, Given, console, results, takes
from samtok_eval.errors import INTERRUPTED, IncompleteRunError, UsageError
from samtok_eval.run.settings import ALL, MODEL_HELP, RunOptions, ScoreOptions

if TYPE_CHECKING:
    from samtok_eval.run.folder import Run
    from samtok_eval.run.questions import Questions

ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", help=f"{MODEL_HELP[:-1]}; several make one table."),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict-metrics",
        help="End with exit code 5 when a metric could not be computed, such as METEOR without Java.",
    ),
]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", help="Also write the metrics of all runs, and where they lie; - is standard output."),
]


@takes("answers", "scoring", "where", but=("model", "split"))
def run_command(
    given: Given,
    model: ModelOption = None,
    report: Annotated[bool, typer.Option(help="Write an HTML report into each run folder.")] = True,
    strict_metrics: StrictOption = False,
    json_file: JsonOption = None,
    list_tasks: Annotated[bool, typer.Option("--list-tasks", help="List the tasks and exit.")] = False,
) -> None:
    """Evaluate models on tasks: predict, score, print one table per task and split."""
    if list_tasks:
        listed(given.get("tasks_dirs"))
        return
    _evaluate(given, model, report, strict_metrics, json_file)


@takes("answers", "where", but=("split",))
def predict_command(given: Given) -> None:
    """Answer only: write predictions, to be scored later without a model."""
    _predict([RunOptions(**{**given, **named}) for named in _tasks(given)])


@takes("scoring", "where", also=("seed", "tokenizer"), settings=ScoreOptions)
def score_command(
    given: Given,
    predictions: Annotated[
        Path, typer.Option(help="A file of predictions, of this or another program, or a run folder.")
    ],
    strict_metrics: StrictOption = False,
    json_file: JsonOption = None,
) -> None:
    """Score saved predictions without a model and without torch; exit code 5 when some are missing."""
    from samtok_eval.registry import find_task, load_tasks
    from samtok_eval.reports.summary import runs_table
    from samtok_eval.run.evaluate import score_file

    named, *more = _tasks(given)
    if more:
        raise UsageError("--task: score one task at a time")
    options = ScoreOptions(**{**given, **named})
    done = score_file(options, predictions)
    task = find_task(load_tasks(options.tasks_dirs), options.task)
    results(json_file, [_told(done)], runs_table(task, [done], only_main="protocols" not in given))
    missing = done.metrics.counters.missing
    if missing:
        raise IncompleteRunError(
            f"{missing} samples have no prediction and were scored by rule; complete {predictions}, or give --limit"
        )
    _check_judged([done])
    if strict_metrics:
        _check_absent([done])


def _evaluate(
    given: Given, models: list[str] | None, report: bool, strict_metrics: bool, json_file: Path | None
) -> None:
    from samtok_eval.registry import find_task, load_tasks
    from samtok_eval.reports.page.page import write_reports
    from samtok_eval.reports.summary import overview_table, runs_table
    from samtok_eval.run.questions import Questions

    known = load_tasks(given.get("tasks_dirs", ()))
    everything = str(given.get("task", "")).strip() == ALL
    wanted = [{"task": name} for name in known] if everything else _tasks(given)
    tasks = [find_task(known, named["task"]) for named in wanted]
    for task, named in zip(tasks, wanted, strict=True):
        task.check_split(named.get("split"))
    answering = [{"model": model} for model in models] if models else [{}]
    several = [RunOptions(**{**given, **named, **model}) for named in wanted for model in answering]
    if several[0].shard:
        _predict(several)
        return
    questions = Questions()
    done = _carried_out(several, questions)
    if done is None:
        return
    count = len(answering)
    pairs = [(task, done[i * count : (i + 1) * count]) for i, task in enumerate(tasks)]
    tables = [runs_table(task, runs, only_main="protocols" not in given) for task, runs in pairs]
    tables += [overview_table(pairs)] if len(pairs) > 1 else []
    results(json_file, [_told(run) for run in done], "\n\n".join(tables))
    for _, runs in pairs if report else ():
        settings = runs[0].manifest.settings
        paths = [done.path for done in runs]
        for page in write_reports(paths, settings.tasks_dirs, settings.seed_of_statistics, questions):
            typer.echo(f"report {page}", err=json_file == STDOUT)
    _check_judged([done for _, runs in pairs for done in runs])
    if strict_metrics:
        _check_absent([done for _, runs in pairs for done in runs])


def _told(run: Run) -> dict[str, object]:
    """A run as JSON."""
    about = run.manifest
    named = {"task": about.task, "split": about.split, "model": about.model.name, "run": str(run.path)}
    return {**named, "signature": about.signature, "metrics": run.metrics.to_json()}


def _predict(several: Sequence[RunOptions]) -> None:
    for done in _carried_out(several, scoring=False) or ():
        typer.echo(f"predictions in {done.path / 'predictions'}")


def _carried_out(
    several: Sequence[RunOptions], questions: Questions | None = None, scoring: bool = True
) -> list[Run] | None:
    """The runs; None where this process is one of several and another one tells what came out."""
    from samtok_eval.run.evaluate import run_all
    from samtok_eval.run.ranks import OtherRankFailedError, launched

    launch = None if several[0].shard else launched(os.environ)
    first = launch is None or launch.rank == 0
    try:
        runs = run_all(several, console(), scoring, questions=questions)
    except OtherRankFailedError as error:
        # Who was interrupted may be anyone; the first process alone says so.
        if first and error.exit_code == INTERRUPTED:
            raise KeyboardInterrupt from error
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        if first:
            raise
        sys.exit(INTERRUPTED)
    return runs if first else None


def _check_judged(runs: Sequence[Run]) -> None:
    """Raise `IncompleteRunError` when a judge owes replies; what came is kept, and the metrics are left out."""
    for run in runs:
        owed, judge = run.metrics.counters.open_prompts, run.manifest.settings.judge or ""
        if owed and judge.startswith("replay:"):
            raise IncompleteRunError(f"{owed} prompts are not in {judge}; ask a judge with --judge openai:URL#NAME")
        if owed:
            raise IncompleteRunError(f"{owed} prompts have no reply of {judge}; the same command asks them again")


def _check_absent(runs: Sequence[Run]) -> None:
    """Raise `IncompleteRunError` when a metric could not be computed."""
    from samtok_eval.reports.summary import absences

    lacking = list(dict.fromkeys(f"{run.manifest.task} without {line}" for run in runs for line in absences(run)))
    if lacking:
        raise IncompleteRunError(f"--strict-metrics: {'; '.join(lacking)}; then `score` the run folders")


def _tasks(given: Given) -> list[dict[str, str]]:
    """Fields of each task that is named: `gres:testA,refcoco` -> task gres of split testA, and task refcoco."""
    text = str(given.get("task", ""))
    if not text.strip():
        raise UsageError("--task is missing; `--list-tasks` names the tasks")
    pairs = (part.strip().partition(":") for part in text.split(","))
    return [{"task": name} | ({"split": split} if split else {}) for name, _, split in pairs]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("run")(run_command)
    app.command("predict")(predict_command)
    app.command("score")(score_command)
