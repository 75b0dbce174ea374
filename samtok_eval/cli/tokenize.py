"""The command `tokenize`: masks of benchmarks to fine-tuning conversations. torch is imported when it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from samtok_eval.cli.options import console, takes_settings
from samtok_eval.conversations.recipe import ConversationJob, ConversationRecipe
from samtok_eval.device import own_device
from samtok_eval.errors import UsageError
from samtok_eval.run.settings import RunSettings


@takes_settings(job=ConversationJob, recipe=ConversationRecipe)
def tokenize_command(
    job: ConversationJob,
    recipe: ConversationRecipe,
    task: Annotated[str, typer.Option(help="NAME[:SPLIT][,NAME[:SPLIT]...], see `samtok-eval tasks`.")] = "",
    validate: Annotated[Path | None, typer.Option(help="Only check this finished file, and its pictures.")] = None,
) -> None:
    """Write a benchmark's masks as fine-tuning conversations; the same command goes on where it stopped."""
    if validate is not None:
        _validate(validate, job)
        return
    if not task.strip():
        raise UsageError("--task is missing; `samtok-eval tasks` names the tasks")
    from samtok_eval.conversations.tokenize import tokenize
    from samtok_eval.models.select import ModelOptions, load_mask_tokenizer
    from samtok_eval.registry import find_task, load_tasks

    job.share()
    known = load_tasks(job.tasks_dirs)
    chosen = []
    for name, _, split in (part.strip().partition(":") for part in task.split(",")):
        found = find_task(known, name)
        chosen.append((found, found.check_split(split or None)))
    device = job.device if job.rank is not None else own_device(job.device)
    loaded = load_mask_tokenizer(
        ModelOptions("oracle", RunSettings(tokenizer=job.tokenizer, device=device, dtype=job.dtype))
    )
    for found, split in chosen:
        here = replace(job, out=job.out / found.metadata.name / split)
        done = tokenize(found, split, loaded, recipe, here, console=console())
        if done.waiting:
            typer.echo(f"{done.path.parent}: {done.written} written, {done.waiting} left to other processes")
        else:
            typer.echo(f"{done.path}: {done.written} written now, {done.skipped} skipped in all")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("tokenize")(tokenize_command)


def _validate(path: Path, job: ConversationJob) -> None:
    from samtok_eval.datasets.sft import layout_of, validate
    from samtok_eval.run.samples import data_root as resolved_root

    named = None
    # The demo's mask tokenizer is also what nobody named.
    if job.tokenizer != "demo":
        from samtok_eval.models.select import named_layout

        named = named_layout(job.tokenizer)
    found = validate(path, resolved_root(job.data_root), layout_of([path], named))
    typer.echo(
        f"{path}: {found.conversations} conversations, {found.pictures} pictures, {found.views} views, "
        f"{found.masks} masks, all well formed"
    )
