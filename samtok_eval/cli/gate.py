"""Commands that judge checkpoints: gate, watch, plan. A gate or watch that asks a model imports torch then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from samtok_eval.cli.options import (
    STDOUT,
    Given,
    JsonOption,
    ProtocolOption,
    SeedOption,
    TasksDirOption,
    console,
    results,
    takes,
)
from samtok_eval.errors import DataError, UsageError
from samtok_eval.run.settings import flags_of

if TYPE_CHECKING:
    from samtok_eval.reports.gate.early import EarlyRules

LOOKS = 15
"""As `samtok_eval.sequential.LOOKS`, which takes scipy to import."""

SET_BY_THE_BASELINE = ("task", "split", "model", "limit", "shard", "reuse_decoded", "prompt")
"""Settings of a run that nobody gives for a candidate that is asked here."""
WATCHED = ("regression", "undecided")
"""Verdicts that a watch names at its end."""


@takes(
    "answers",
    "where",
    also=("seed", "tasks_dirs"),
    but=SET_BY_THE_BASELINE,
    panel="With --model: options of its run, by default as the baseline was asked",
)
def gate_command(
    given: Given,
    baseline: Annotated[Path, typer.Option(help="Run folder, folder of runs, or stored result file to compare with.")],
    candidate: Annotated[Path | None, typer.Option(help="The same of the new checkpoint, which is judged.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Instead of --candidate: the new checkpoint, which is asked until the verdict is known."),
    ] = None,
    tolerances: Annotated[
        Path | None, typer.Option(help="TOML file with the points that each metric may lose.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Level of each one-sided test; 0.05 by default.")] = None,
    on_undecided: Annotated[
        Literal["pass", "fail", "warn"] | None,
        typer.Option(help="What undecided metrics do: warn by default, fail with exit code 6, or pass."),
    ] = None,
    protocol: ProtocolOption = None,
    looks: Annotated[int, typer.Option(help="With --model: how often the two are compared.", min=1, max=100)] = LOOKS,
    budget: Annotated[
        str | None, typer.Option(help="With --model: most pictures (500) or minutes (30min) to ask.")
    ] = None,
    until: Annotated[
        Literal["verdict", "every-metric"],
        typer.Option(help="With --model: stop at a regression already, or only once every metric is decided."),
    ] = "verdict",
    repeat_baseline: Annotated[
        float | None,
        typer.Option(help="With --model: ask the baseline's model again on this share (0..1), and add that noise."),
    ] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML.")] = None,
    json_file: JsonOption = None,
    summary: Annotated[Path | None, typer.Option(help='Append Markdown, e.g. to "$GITHUB_STEP_SUMMARY".')] = None,
) -> None:
    """Pass or fail a checkpoint: exit code 4 when it is really worse, 5 when a run is incomplete.

    Each metric passes (a loss of the tolerance is ruled out), regressed (worse, by more than the tolerance) or is
    undecided. With --model the checkpoint is asked here, like the baseline was, until that is known.
    """
    from samtok_eval.files import write_text
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.gate.gate import gate
    from samtok_eval.reports.gate.text import failure_line, gate_table, junit, step_summary, undecided_line
    from samtok_eval.reports.gate.tolerances import read_tolerances
    from samtok_eval.reports.gate.verdict import RegressionError, UndecidedError

    if alpha is not None and not 0 < alpha < 1:
        raise UsageError(f"--alpha {alpha}: expected a number between 0 and 1")
    if (candidate is None) == (model is None):
        raise UsageError("give --candidate RUN, or --model CHECKPOINT to ask it here")
    dirs, seed = given.get("tasks_dirs") or (), given.get("seed", 0)
    allowed = read_tolerances(tolerances, alpha, load_tasks(dirs), on_undecided)
    if candidate is not None:
        _check_unused(given, {"looks": looks != LOOKS, "budget": budget, "repeat-baseline": repeat_baseline})
        judged = gate(baseline, candidate, allowed, protocol, seed, dirs)
    else:
        from samtok_eval.reports.gate.asked import ask_and_gate

        rules = _early_rules(looks, budget, until)
        asked = {**given, "model": model}
        judged = ask_and_gate(baseline, asked, allowed, protocol, rules, repeat_baseline, console())
    results(json_file, [result.to_json() for result in judged], gate_table(judged))
    if junit_file:
        write_text(junit_file, junit(judged))
    if summary:
        with summary.open("a", encoding="utf-8") as file:
            file.write(step_summary(judged))
    if any(result.regressed for result in judged):
        raise RegressionError(f"worse than the baseline: {failure_line(judged)}")
    undecided = undecided_line(judged)
    if undecided and allowed.on_undecided == "fail":
        raise UndecidedError(f"undecided: {undecided}; the table says how many pictures would decide")
    if undecided:
        typer.echo(
            f"WARNING: undecided: {undecided}; the table says how many pictures would decide", err=json_file == STDOUT
        )


def _check_unused(given: Given, options: Mapping[str, object]) -> None:
    """Refuse options that mean nothing for two finished runs."""
    names = [flags_of(name)[0] for name in given if name not in ("seed", "tasks_dirs")]
    names += [f"--{name}" for name, value in options.items() if value]
    if names:
        raise UsageError(f"{', '.join(names)}: only with --model; a finished --candidate is not asked again")


def _early_rules(looks: int, budget: str | None, until: Literal["verdict", "every-metric"]) -> EarlyRules:
    from samtok_eval.reports.gate.early import EarlyRules

    if budget is None:
        return EarlyRules(looks, until=until)
    number, minutes = budget.removesuffix("min"), budget.endswith("min")
    try:
        amount = float(number) if minutes else int(number)
    except ValueError:
        amount = 0
    if not 0 < amount < math.inf:
        raise UsageError(f"--budget {budget}: expected a number of pictures, e.g. 500, or of minutes, e.g. 30min")
    if minutes:
        return EarlyRules(looks, minutes=float(amount), until=until)
    return EarlyRules(looks, pictures=int(amount), until=until)


@takes(
    "answers",
    "where",
    also=("seed", "tasks_dirs"),
    but=SET_BY_THE_BASELINE,
    panel="Options of the checkpoints' runs, by default as the baseline was asked",
)
def watch_command(
    given: Given,
    folder: Annotated[Path, typer.Argument(help="Folder into which a trainer writes checkpoint-STEP.")],
    baseline: Annotated[Path, typer.Option(help="Run folder, or folder of runs, to compare with.")],
    task: Annotated[
        str | None, typer.Option(help="TASK[:SPLIT], separated by commas; all runs of the baseline by default.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder of log, curve and page; FOLDER/watch by default.")] = None,
    tolerances: Annotated[
        Path | None, typer.Option(help="TOML file with the points that each metric may lose.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Level of each one-sided test; 0.05 by default.")] = None,
    on_undecided: Annotated[
        Literal["pass", "fail", "warn"] | None,
        typer.Option(help="With --once: what undecided metrics do: warn by default, fail with exit code 6, or pass."),
    ] = None,
    protocol: ProtocolOption = None,
    looks: Annotated[int, typer.Option(help="How often the two are compared.", min=1, max=100)] = LOOKS,
    budget: Annotated[str | None, typer.Option(help="Most pictures (500) or minutes (30min) to ask.")] = None,
    log_to: Annotated[
        str | None,
        typer.Option(help="Also write scalars over the steps: tensorboard, wandb, mlflow, or several with commas."),
    ] = None,
    every: Annotated[float, typer.Option(help="Seconds between two looks at the folder.", min=1)] = 60.0,
    once: Annotated[bool, typer.Option("--once", help="Gate what is there, and end with the worst verdict.")] = False,
) -> None:
    """Gate every checkpoint that a training run writes, and draw what they gain or lose over the steps.

    Checkpoints that are in the log are not gated again, so the same command goes on after a stop.
    """
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.gate.text import gate_table
    from samtok_eval.reports.gate.tolerances import read_tolerances
    from samtok_eval.reports.gate.verdict import GateResult, RegressionError, UndecidedError
    from samtok_eval.reports.scalars import scalars_to
    from samtok_eval.reports.watch.checkpoints import Checkpoint
    from samtok_eval.reports.watch.watch import Watch, curves_of, gate_what_is_there, watch_forever

    if alpha is not None and not 0 < alpha < 1:
        raise UsageError(f"--alpha {alpha}: expected a number between 0 and 1")
    _check_plots()
    place = to or folder / "watch"
    watch = Watch(
        folder=folder,
        baseline=baseline,
        to=place,
        given=given,
        tolerances=read_tolerances(tolerances, alpha, load_tasks(given.get("tasks_dirs") or ()), on_undecided),
        tasks=[name.strip() for name in task.split(",")] if task else (),
        protocol=protocol,
        rules=_early_rules(looks, budget, "verdict"),
        console=console(),
        scalars=scalars_to(log_to, curves_of(place)) if log_to else (),
    )

    def shown(checkpoint: Checkpoint, result: GateResult) -> None:
        typer.echo(f"{checkpoint.path.name}\n{gate_table([result])}\n")

    if not once:
        watch_forever(watch, every, shown)
    lines = gate_what_is_there(watch, shown)
    if not lines:
        raise DataError(f"{folder} holds no whole checkpoint-STEP; give the folder that the trainer writes them into")
    typer.echo(f"page {watch.to / 'index.html'}")
    named = {word: [f"{x.checkpoint} {x.task}:{x.split}" for x in lines if x.verdict == word] for word in WATCHED}
    on_undecided = watch.tolerances.on_undecided
    if named["regression"]:
        raise RegressionError(f"worse than the baseline: {', '.join(named['regression'])}")
    if named["undecided"] and on_undecided == "fail":
        raise UndecidedError(f"undecided: {', '.join(named['undecided'])}")
    if named["undecided"] and on_undecided == "warn":
        typer.echo(f"WARNING: undecided: {', '.join(named['undecided'])}")


def _check_plots() -> None:
    """Fail before a checkpoint is asked where the curve cannot be drawn."""
    import matplotlib  # noqa: F401


def plan_command(
    baseline: Annotated[Path, typer.Option(help="Finished run folder of the task and split to gate.")],
    tolerance: Annotated[
        list[str] | None, typer.Option(help="METRIC=POINTS that may be lost, e.g. giou=0.5; may be repeated.")
    ] = None,
    candidate: Annotated[
        Path | None, typer.Option(help="Run whose difference to the baseline is like that of candidates to come.")
    ] = None,
    power: Annotated[float, typer.Option(help="Probability with which a verdict shall be reached.")] = 0.9,
    alpha: Annotated[float | None, typer.Option(help="Level of each one-sided test; 0.05 by default.")] = None,
    protocol: ProtocolOption = None,
    seed: SeedOption = 0,
    json_file: JsonOption = None,
    tasks_dir: TasksDirOption = None,
) -> None:
    """Say how many pictures a gate needs for a verdict on each metric, before the candidate is run."""
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.gate.plan import plan, plan_table
    from samtok_eval.reports.gate.tolerances import parse_tolerances
    from samtok_eval.reports.runs import read_scored

    if not 0.5 < power < 1:
        raise UsageError(f"--power {power}: expected a number between 0.5 and 1, such as 0.9")
    dirs = tasks_dir or ()
    allowed = parse_tolerances(tolerance or (), alpha, load_tasks(dirs))
    other = None if candidate is None else read_scored(candidate, dirs)
    found = plan(read_scored(baseline, dirs), other, allowed, power, protocol, seed)
    results(json_file, found.to_json(), plan_table(found))


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("gate")(gate_command)
    app.command("watch")(watch_command)
    app.command("plan")(plan_command)
