"""The command `tokenize`: masks of benchmarks to fine-tuning conversations. torch is imported when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from samtok_eval.errors import UsageError
from samtok_eval.run.settings import RunSettings


def tokenize_command(
    task: Annotated[str, typer.Option(help="NAME[:SPLIT][,NAME[:SPLIT]...], see `samtok-eval tasks`.")] = "",
    data_root: Annotated[str, typer.Option(help="Folder of the benchmarks' own files, or demo.")] = "demo",
    out: Annotated[Path, typer.Option(help="Conversations go to OUT/TASK/SPLIT.")] = Path("conversations"),
    tokenizer: Annotated[str, typer.Option(help="Mask tokenizer: demo, a folder, a file or a hub id.")] = "demo",
    answers: Annotated[
        Literal["json", "words"],
        typer.Option(help="Segmentations as a JSON list with labels, as released data has them, or mask words alone."),
    ] = "json",
    prompt: Annotated[str | None, typer.Option(help="Another published wording of the task's question.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only N samples, the first of the file.")] = None,
    seed: Annotated[int | None, typer.Option(help="Draw the --limit samples from the whole split.")] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures encoded together.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto (bf16 on CUDA, fp32 on CPU), fp32, bf16, fp16.")] = "auto",
    max_errors: Annotated[int, typer.Option(help="Skipped samples allowed before exit code 3.")] = 0,
    rank: Annotated[int | None, typer.Option(help="This process's share; torchrun's own by default.")] = None,
    world_size: Annotated[int | None, typer.Option(help="Processes; torchrun's own by default.")] = None,
    tasks_dir: Annotated[list[Path] | None, typer.Option("--tasks-dir", help="Further folder of task files.")] = None,
    validate: Annotated[Path | None, typer.Option(help="Only check this finished file, and its pictures.")] = None,
) -> None:
    """Write a benchmark's masks as fine-tuning conversations; the same command goes on where it stopped."""
    if validate is not None:
        _validate(validate, data_root)
        return
    if not task.strip():
        raise UsageError("--task is missing; `samtok-eval tasks` names the tasks")
    from samtok_eval.conversations.tokenize import tokenize
    from samtok_eval.models.select import ModelOptions, load_mask_tokenizer
    from samtok_eval.registry import find_task, load_tasks

    share = _share(rank, world_size)
    known = load_tasks(tasks_dir or ())
    chosen = []
    for name, _, split in (part.strip().partition(":") for part in task.split(",")):
        asked = find_task(known, name).asked_with(prompt)
        chosen.append((asked, asked.check_split(split or None)))
    options = ModelOptions("oracle", RunSettings(tokenizer=tokenizer, device=_device(device, rank), dtype=dtype))
    loaded = load_mask_tokenizer(options)
    for asked, split in chosen:
        done = tokenize(
            asked, split, data_root, loaded, out / asked.metadata.name / split, limit=limit, seed=seed,
            batch_size=batch_size, answers=answers, max_errors=max_errors, rank=share[0], world_size=share[1],
            console=Console(stderr=True),
        )  # fmt: skip
        if done.waiting:
            typer.echo(f"{done.path.parent}: {done.written} written, {done.waiting} left to other processes")
        else:
            typer.echo(f"{done.path}: {done.written} written now, {done.skipped} skipped in all")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("tokenize")(tokenize_command)


def _validate(path: Path, data_root: str) -> None:
    from samtok_eval.datasets.sft import validate
    from samtok_eval.run.samples import data_root as resolved_root

    found = validate(path, resolved_root(data_root))
    typer.echo(
        f"{path}: {found.conversations} conversations, {found.pictures} pictures, {found.views} views, "
        f"{found.masks} masks, all well formed"
    )


def _share(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Which share of how many; `torchrun` tells its processes by RANK and WORLD_SIZE."""
    if (rank is None) != (world_size is None):
        raise UsageError("--rank and --world-size belong together; give both or neither")
    if rank is not None and world_size is not None:
        return rank, world_size
    try:
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError as error:
        raise UsageError(f"RANK and WORLD_SIZE must be numbers ({error}); give --rank and --world-size") from error


def _device(device: str, rank: int | None) -> str:
    """Under `torchrun` each process takes a GPU of its own, unless the user named one."""
    local = os.environ.get("LOCAL_RANK")
    if device not in ("auto", "cuda") or rank is not None or local is None or not local.isdigit():
        return device
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{int(local) % count}" if count else device
