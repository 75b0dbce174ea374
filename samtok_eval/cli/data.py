"""Commands about data and machine: `tasks`, `data`, `demo`, `doctor`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from samtok_eval.cli.fetch import fetch_command
from samtok_eval.cli.options import TasksDirOption, console
from samtok_eval.errors import DataError, UsageError
from samtok_eval.run.settings import RunOptions, RunSettings

if TYPE_CHECKING:
    from samtok_eval.run.folder import Run

DataOption = Annotated[str, typer.Option("--data-root", help="Folder of the benchmarks' own files, or demo.")]
OutOption = Annotated[Path, typer.Option("--out", help="Where run folders go.")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="With --precision: as for `run`.")]
MaskDtypeOption = Annotated[
    Literal["fp32", "bf16", "fp16"] | None, typer.Option("--mask-dtype", help="With --precision: as for `run`.")
]
AttnOption = Annotated[
    Literal["sdpa", "eager", "flash_attention_2", "flex_attention"] | None,
    typer.Option("--attn", help="With --precision: as for `run`."),
]
LimitOption = Annotated[int | None, typer.Option("--limit", help="Only the first N samples.")]


def list_tasks(tasks_dir: Sequence[Path] | None) -> None:
    """Name the tasks, their splits, protocols and metrics."""
    from samtok_eval.registry import load_tasks

    for name, task in load_tasks(tasks_dir or ()).items():
        card = task.metadata
        typer.echo(f"{name}: {card.title}; {card.paper}; version {card.version}; licence: {card.licence}")
        typer.echo(f"  splits {', '.join(card.splits)} (default {card.default_split}); sizes {card.sizes}")
        typer.echo(f"  protocols {', '.join(p.name for p in task.protocols)}; metrics {', '.join(card.metrics)}")
        prompt = f"{task.prompt.template!r} ({task.prompt.origin})" if task.prompt else "none"
        typer.echo(f"  prompt {prompt}")
        for split, (usual, *_) in task.split_prompts.items():
            typer.echo(f"  prompt of {split} {usual.template!r} ({usual.origin})")
        typer.echo(f"  files {', '.join(card.files)}")


def tasks_command(context: typer.Context, tasks_dir: TasksDirOption = None) -> None:
    """Name the tasks, their splits, protocols and metrics; `tasks new` writes a task file to begin with."""
    if context.invoked_subcommand is None:
        list_tasks(tasks_dir)
    elif tasks_dir:
        raise UsageError(f"--tasks-dir belongs to the list alone; `tasks {context.invoked_subcommand}` takes --dir")


def new_task_command(
    name: Annotated[str, typer.Argument(help="Of the task, such as red_things.")],
    folder: Annotated[Path, typer.Option("--dir", help="Folder of task files.")] = Path("tasks"),
) -> None:
    """Write a task file with comments, and its test; both run as they are, on two pictures that the file draws."""
    from samtok_eval.new_task import write_task

    task, test = write_task(name, folder)
    typer.echo(f"task {task}\ntest {test}")
    where = shlex.quote(str(folder))
    typer.echo(
        f"try samtok-eval run --task {name} --tasks-dir {where} --data-root {where} --model oracle --model random"
    )
    typer.echo(f"and python -m pytest {shlex.quote(str(test))}")


def demo_command(
    out: OutOption = Path("runs"),
    limit: LimitOption = None,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    replay: Annotated[
        bool, typer.Option("--replay", help="Score answers that ship with the program: no model, no torch, seconds.")
    ] = False,
) -> None:
    """Evaluate the bundled checkpoint on the bundled benchmark, between its ceiling and its floor, and report."""
    if replay:
        _replay(out, limit, seed)
        return
    from samtok_eval.run.evaluate import run

    runs = [
        run(RunOptions(task="gres", split="val", model=model, out=out, limit=limit, seed=seed), console())
        for model in ("demo", "oracle", "random")
    ]
    _show(runs, limit, seed)


def _replay(out: Path, limit: int | None, seed: int) -> None:
    """`demo` with the shipped answers, of more tasks than that asks."""
    if limit is not None:
        raise UsageError("--limit: --replay scores all shipped answers, which takes seconds; leave one of the two out")
    from samtok_eval.demo.replay import replayed
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.page.page import write_reports
    from samtok_eval.reports.summary import overview_table

    (_, first), *others = replayed(out, seed)
    about = first[0].manifest
    _show(first, None, seed)
    tasks = load_tasks()
    typer.echo("\n" + overview_table([(tasks[name], runs) for name, runs in (("gres", first), *others)]) + "\n")
    for _, runs in others:
        typer.echo(f"report {write_reports([done.path for done in runs], seed=seed)[0]}")
    typer.echo(
        f"replayed: the answers ship with this program (samtok-eval {about.samtok_eval}, torch "
        f"{about.packages.get('torch')}, {about.times.started[:10]}); scored here, `samtok-eval demo` asks the model"
    )


def _show(runs: list[Run], limit: int | None, seed: int) -> None:
    """Tables of GRES on the demo benchmark, and the report of its first run."""
    from samtok_eval.demo.baselines import kinds_table
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.page.page import write_reports
    from samtok_eval.reports.summary import runs_table
    from samtok_eval.run.samples import read_samples

    task = load_tasks()["gres"]
    typer.echo(runs_table(task, runs, only_main=True))
    typer.echo("")
    typer.echo(kinds_table(read_samples(task, "val", "demo", limit), runs))
    page = write_reports([done.path for done in runs], seed=seed)[0]
    typer.echo(f"\nreport {page}")


def doctor_command(
    model: Annotated[str, typer.Option(help="Checkpoint to look at.")] = "demo",
    data_root: DataOption = "demo",
    tokenizer: Annotated[str | None, typer.Option(help="Mask tokenizer, when not beside the model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        bool, typer.Option("--precision", help="Only compare the asked way to compute with fp32, on demo questions.")
    ] = False,
    dtype: DtypeOption = "auto",
    mask_dtype: MaskDtypeOption = None,
    attn: AttnOption = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="With --precision: as for `run`.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="With --precision: as for `run`.")] = False,
) -> None:
    """Check versions, device, weights, mask words, one round trip, and which benchmarks are present."""
    from samtok_eval.doctor import check_precision, examine

    asked: dict[str, Any] = {"dtype": dtype, "mask_dtype": mask_dtype, "attn": attn, "tf32": tf32, "compile": compiled}
    if precision:
        checks = check_precision(model, RunSettings(tokenizer=tokenizer, device=device, **asked))
    elif asked == {name: RunSettings.model_fields[name].default for name in asked}:
        checks = examine(model, data_root, tokenizer, device)
    else:
        raise UsageError("how to compute is looked at with --precision; give it, too")
    healthy = True
    for check in checks:
        typer.echo(f"{'ok  ' if check.ok else 'FAIL' if check.required else 'none'} {check.name}: {check.found}")
        healthy = healthy and (check.ok or not check.required)
    if not healthy:
        raise typer.Exit(1)


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


def verify_command(data_root: DataOption = "demo", tasks_dir: TasksDirOption = None) -> None:
    """Read every task whose files are present and check that its pictures are; exit code 2 when something is broken."""
    from samtok_eval.doctor import verify_data

    broken = 0
    for check in verify_data(data_root, tuple(tasks_dir or ())):
        typer.echo(f"{'ok  ' if check.ok else 'FAIL' if check.required else 'none'} {check.name}: {check.found}")
        broken += check.required and not check.ok
    if broken:
        raise DataError(f"{broken} of the benchmarks under {data_root} are broken; see the lines marked FAIL")


def overlap_command(
    train: Annotated[
        list[Path],
        typer.Option(help="Training file: conversations, COCO-like annotations, or a list of names; may be repeated."),
    ],
    task: Annotated[str, typer.Option(help="NAME[:SPLIT], see `samtok-eval tasks`.")],
    data_root: DataOption = "demo",
    images: Annotated[
        list[Path] | None, typer.Option(help="Folder of the training files' pictures; may be repeated.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write which file holds which picture.")] = None,
    tasks_dir: TasksDirOption = None,
) -> None:
    """Say which pictures of a split occur in a training mix; `report --overlap` shows scores without them."""
    from samtok_eval.datasets.overlap import find_overlap
    from samtok_eval.files import write_json
    from samtok_eval.registry import find_task, load_tasks
    from samtok_eval.run.samples import read_samples

    name, _, asked = task.partition(":")
    found = find_task(load_tasks(tasks_dir or ()), name)
    split = found.check_split(asked or None)
    samples = read_samples(found, split, data_root, None)
    overlap = find_overlap(name, split, (sample.image for sample in samples), train, images or ())
    typer.echo(overlap.summary)
    for by in ("COCO id", "bytes", "file name"):
        typer.echo(f"  by {by}: {overlap.recognised(by)}")
    for file in overlap.train:
        typer.echo(f"{file.path}: {file.names} names of pictures, {file.shared} pictures of the split")
    if overlap.absent:
        typer.echo(f"{overlap.absent} pictures of the split are not on disk; their bytes were not compared")
    if json_file:
        write_json(json_file, overlap.model_dump(mode="json"))


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    tasks_app = typer.Typer(invoke_without_command=True, help=tasks_command.__doc__)
    tasks_app.callback()(tasks_command)
    tasks_app.command("new")(new_task_command)
    app.add_typer(tasks_app, name="tasks")
    app.command("demo")(demo_command)
    app.command("doctor")(doctor_command)
    data_app = typer.Typer(
        no_args_is_help=True,
        help="Benchmark data: fetch it, verify it, find it in training data, or build the demo benchmark.",
    )
    data_app.command("build-demo")(build_demo_command)
    data_app.command("verify")(verify_command)
    data_app.command("overlap")(overlap_command)
    data_app.command("fetch")(fetch_command)
    app.add_typer(data_app, name="data")
