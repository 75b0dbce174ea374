"""The command line. Every command catches `SamtokError`, prints its one line and leaves with its exit code.

Nothing here imports torch; commands that need it import it when they run.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from samtok_eval.cli import reports as cli_reports
from samtok_eval.cli import tokenize as cli_tokenize
from samtok_eval.cli import train_grpo as cli_grpo
from samtok_eval.cli import train_sft as cli_finetune
from samtok_eval.cli import train_tokenizer as cli_train_tokenizer
from samtok_eval.cli.options import Given, takes
from samtok_eval.errors import DataError, IncompleteRunError, SamtokError, UsageError
from samtok_eval.files import WHERE_TO_WRITE, first_problem, reason
from samtok_eval.run.settings import RunOptions, ScoreOptions, flags_of

if TYPE_CHECKING:
    from samtok_eval.run.folder import Run

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Evaluate models that read and write masks as words."
)
data_app = typer.Typer(no_args_is_help=True, help="Benchmark data: verify it, or build the demo benchmark.")
train_app = typer.Typer(no_args_is_help=True, help="Train the mask tokenizer or fine-tune a model.")
app.add_typer(data_app, name="data")
app.add_typer(train_app, name="train")
cli_reports.register(app)
cli_tokenize.register(app)
cli_train_tokenizer.register(train_app)
cli_finetune.register(train_app)
cli_grpo.register(train_app)

INTERRUPTED = 130
MOST_TOLD = 2000
"""Characters of an error that are shown."""
ALL = "all"
"""As `--task`: every task, each on its default split."""
EXTRAS = {
    "model": ("torch", "torchvision", "transformers", "tokenizers", "sam2", "safetensors", "accelerate"),
    "train": ("trl", "peft", "datasets", "tensorboard"),
    "publish": ("huggingface_hub",),
}
"""Which extra brings a package in."""
WRONG_USAGE: type[Any] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
"""Base of typer's own errors; typer may carry its own copy of click, so click cannot be asked for it."""

ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", help="demo, a folder, a hub id, oracle, random or replay:FILE; several make one table."),
]
DataOption = Annotated[str, typer.Option("--data-root", help="Folder of the benchmarks' own files, or demo.")]
OutOption = Annotated[Path, typer.Option("--out", help="Where run folders go.")]
LimitOption = Annotated[int | None, typer.Option("--limit", help="Only the first N samples.")]
StrictOption = Annotated[
    bool,
    typer.Option("--strict-metrics", help="Exit code 5 when a metric could not be computed, e.g. for want of Java."),
]
TasksDirOption = Annotated[list[Path] | None, typer.Option("--tasks-dir", help="Further folder of task files.")]


def main() -> None:
    """Entry point of `samtok-eval`."""
    _run(app)


def main_run() -> None:
    """Entry point of `run_eval.py`: the `run` command alone."""
    single = typer.Typer(add_completion=False)
    single.command()(run_command)
    _run(single)


def _run(program: typer.Typer) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        code = program(standalone_mode=False)
    except SamtokError as error:
        _fail(str(error))
        sys.exit(error.exit_code)
    except ValidationError as error:
        _fail(first_problem(error, _option))
        sys.exit(UsageError.exit_code)
    except WRONG_USAGE as error:
        _fail(error.format_message())
        sys.exit(UsageError.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
        if extra is None:
            raise
        _fail(f"{error.name} is not installed, this command needs it; install samtok-eval[{extra}], see the README")
        sys.exit(UsageError.exit_code)
    except (OSError, MemoryError) as error:
        refusal = _refusal(error)
        _fail(str(refusal))
        sys.exit(refusal.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    # Typer itself turns Ctrl-C into this code.
    if code == INTERRUPTED:
        _fail("interrupted; the same command goes on where this one stopped")
    sys.exit(code if isinstance(code, int) else 0)


def _refusal(error: OSError | MemoryError) -> SamtokError:
    """What the system's refusal means to the user; what was finished is kept by those who write it."""
    if isinstance(error, MemoryError):
        return UsageError("out of memory; use a smaller --batch-size or --limit, or a machine with more memory")
    # Writers make the folders that they write to, so only a reader misses a file.
    if isinstance(error, FileNotFoundError):
        return DataError(f"{error.filename} is missing; put it there, or name another")
    place = f"{error.filename}: " if error.filename is not None else ""
    return UsageError(f"{place}{reason(error)}; {WHERE_TO_WRITE}")


def _fail(message: str) -> None:
    # A message may repeat a value of a file: of any length, and with characters that a terminal obeys.
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(message.split())[:MOST_TOLD])
    sys.stderr.write(f"error: {line}\n")


def _option(field: str) -> str:
    return flags_of(field)[0] if field in RunOptions.model_fields else f"--{field.replace('_', '-')}"


def _console() -> Console:
    return Console(stderr=True)


@takes("answers", "scoring", "where", but=("model", "split"))
def run_command(
    given: Given,
    model: ModelOption = None,
    report: Annotated[bool, typer.Option(help="Write an HTML report into each run folder.")] = True,
    strict_metrics: StrictOption = False,
    list_tasks: Annotated[bool, typer.Option("--list-tasks", help="List the tasks and exit.")] = False,
) -> None:
    """Evaluate models on tasks: predict, score, print one table per task and split."""
    if list_tasks:
        tasks_command(given.get("tasks_dirs"))
        return
    _evaluate(given, model, report, strict_metrics)


app.command("run")(run_command)


@app.command("predict")
@takes("answers", "where", but=("split",))
def predict_command(given: Given) -> None:
    """Answer only: write predictions, to be scored later without a model."""
    from samtok_eval.run.evaluate import run

    for named in _tasks(given):
        done = run(RunOptions(**{**given, **named}), _console(), scoring=False)
        typer.echo(f"predictions in {done.path / 'predictions'}")


@app.command("score")
@takes("scoring", "where", also=("seed", "tokenizer"), settings=ScoreOptions)
def score_command(
    given: Given,
    predictions: Annotated[Path, typer.Option(help="A predictions file, ours or foreign, or a run folder.")],
    strict_metrics: StrictOption = False,
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
    typer.echo(runs_table(find_task(load_tasks(options.tasks_dirs), options.task), [done]))
    missing = done.metrics.counters.missing
    if missing:
        raise IncompleteRunError(
            f"{missing} samples have no prediction and were scored by rule; complete {predictions}, or give --limit"
        )
    _check_judged([done])
    if strict_metrics:
        _check_absent([done])


@app.command("tasks")
def tasks_command(tasks_dir: TasksDirOption = None) -> None:
    """Name the tasks, their splits, protocols and metrics."""
    from samtok_eval.registry import load_tasks

    for name, task in load_tasks(tasks_dir or ()).items():
        card = task.metadata
        typer.echo(f"{name}: {card.title}; {card.paper}; version {card.version}; licence: {card.licence}")
        typer.echo(f"  splits {', '.join(card.splits)} (default {card.default_split}); sizes {card.sizes}")
        typer.echo(f"  protocols {', '.join(p.name for p in task.protocols)}; metrics {', '.join(card.metrics)}")
        prompt = f"{task.prompt.template!r} ({task.prompt.origin})" if task.prompt else "none"
        typer.echo(f"  prompt {prompt}")
        typer.echo(f"  files {', '.join(card.files)}")


@app.command("demo")
def demo_command(
    out: OutOption = Path("runs"), limit: LimitOption = None, seed: Annotated[int, typer.Option(help="Seed.")] = 0
) -> None:
    """Evaluate the bundled checkpoint on the bundled benchmark, between its ceiling and its floor, and report."""
    from samtok_eval.demo.baselines import kinds_table
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.page.page import write_reports
    from samtok_eval.reports.summary import runs_table
    from samtok_eval.run.evaluate import run
    from samtok_eval.run.samples import read_samples

    task = load_tasks()["gres"]
    runs = [
        run(RunOptions(task="gres", split="val", model=model, out=out, limit=limit, seed=seed), _console())
        for model in ("demo", "oracle", "random")
    ]
    typer.echo(runs_table(task, runs))
    typer.echo("")
    typer.echo(kinds_table(read_samples(task, "val", "demo", limit), runs))
    page = write_reports([done.path for done in runs], seed=seed)[0]
    typer.echo(f"\nreport {page}")


@app.command("doctor")
def doctor_command(
    model: Annotated[str, typer.Option(help="Checkpoint to look at.")] = "demo",
    data_root: DataOption = "demo",
    tokenizer: Annotated[str | None, typer.Option(help="Mask tokenizer, when not beside the model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Check versions, device, weights, mask words, one round trip, and which benchmarks are present."""
    from samtok_eval.doctor import examine

    healthy = True
    for check in examine(model, data_root, tokenizer, device):
        typer.echo(f"{'ok  ' if check.ok else 'FAIL' if check.required else 'none'} {check.name}: {check.found}")
        healthy = healthy and (check.ok or not check.required)
    if not healthy:
        raise typer.Exit(1)


@data_app.command("build-demo")
def build_demo_command(
    out: Annotated[Path, typer.Option(help="New folder.")],
    first_scene: Annotated[
        int | None, typer.Option(help="Seed of the first held-out scene, such as 30000000 for scenes never judged yet.")
    ] = None,
    times: Annotated[int, typer.Option(min=1, help="Number of scenes, as a multiple of the held-out ones.")] = 1,
) -> None:
    """Write the demo benchmark in the benchmarks' own file formats (fresh scenes: without multi-round files)."""
    from samtok_eval.demo.benchmark import HELD_OUT, build_demo

    try:
        build_demo(out, HELD_OUT if first_scene is None else first_scene, times)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"--out {out} exists and is not an empty folder; choose another") from error
    typer.echo(f"demo benchmark in {out}")


@data_app.command("verify")
def verify_command(data_root: DataOption = "demo", tasks_dir: TasksDirOption = None) -> None:
    """Read every task whose files are present and check that its pictures are; exit code 2 when something is broken."""
    from samtok_eval.doctor import verify_data

    broken = 0
    for check in verify_data(data_root, tuple(tasks_dir or ())):
        typer.echo(f"{'ok  ' if check.ok else 'FAIL' if check.required else 'none'} {check.name}: {check.found}")
        broken += check.required and not check.ok
    if broken:
        raise DataError(f"{broken} of the benchmarks under {data_root} are broken; see the lines marked FAIL")


def _evaluate(given: Given, models: list[str] | None, report: bool, strict_metrics: bool) -> None:
    from samtok_eval.registry import find_task, load_tasks
    from samtok_eval.reports.page.page import write_reports
    from samtok_eval.reports.summary import overview_table, runs_table
    from samtok_eval.run.evaluate import run

    known = load_tasks(given.get("tasks_dirs", ()))
    everything = str(given.get("task", "")).strip() == ALL
    wanted = [{"task": name} for name in known] if everything else _tasks(given)
    tasks = [find_task(known, named["task"]) for named in wanted]
    for task, named in zip(tasks, wanted, strict=True):
        task.check_split(named.get("split"))
    answering = [{"model": model} for model in models] if models else [{}]
    pairs = []
    for task, named in zip(tasks, wanted, strict=True):
        runs = [run(RunOptions(**{**given, **named, **model}), _console()) for model in answering]
        pairs.append((task, runs))
    typer.echo("\n\n".join(runs_table(task, runs) for task, runs in pairs))
    if len(pairs) > 1:
        typer.echo("\n" + overview_table(pairs))
    for _, runs in pairs if report else ():
        settings = runs[0].manifest.settings
        for page in write_reports([done.path for done in runs], settings.tasks_dirs, settings.seed_of_statistics):
            typer.echo(f"report {page}")
    _check_judged([done for _, runs in pairs for done in runs])
    if strict_metrics:
        _check_absent([done for _, runs in pairs for done in runs])


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
