"""The command `samtok-eval train tokenizer`; it imports torch only when it runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer


def tokenizer_command(
    out: Annotated[Path, typer.Option(help="Folder of the tokenizer.")],
    preset: Annotated[str, typer.Option(help="demo, or paper with --data; see docs/train_tokenizer.md.")] = "demo",
    data: Annotated[list[str] | None, typer.Option(help="FORMAT:PATH...; several make one collection.")] = None,
    held_out: Annotated[list[str] | None, typer.Option(help="Data for the reported reconstruction.")] = None,
    held_out_pictures: Annotated[int, typer.Option(help="Else so many pictures, kept out of training.")] = 64,
    init: Annotated[Path | None, typer.Option(help="SAM 2.1's weights, or a mask tokenizer to go on from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    steps: Annotated[int | None, typer.Option(help="Fewer or more steps than the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures of a step, over all ranks.")] = None,
    batch_per_device: Annotated[int | None, typer.Option(help="Pictures that a rank takes at once.")] = None,
    masks_per_picture: Annotated[int | None, typer.Option(help="At most so many masks of a picture.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the model's pictures, in pixels.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its highest.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights and order.")] = None,
    gradient_checkpointing: Annotated[bool, typer.Option("--gradient-checkpointing", help="Less memory.")] = False,
    max_errors: Annotated[int, typer.Option(help="Broken pictures and masks allowed.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes per rank that read pictures.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads per rank.")] = 1,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto, cpu or cuda.")] = "auto",
    log_every: Annotated[int, typer.Option(help="Steps between lines of the log.")] = 50,
    save_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints; every evaluation by default.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard's files.")] = True,
) -> None:
    """Train the mask tokenizer; under torchrun on several GPUs or nodes."""
    from samtok_eval.demo.training.presets import run_tokenizer_preset
    from samtok_eval.training.tokenizer.recipe import TokenizerRun

    logging.getLogger("samtok_eval").setLevel(logging.INFO)
    overrides = {
        "pictures_per_step": batch_size,
        "masks_per_picture": masks_per_picture,
        "image_size": image_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    run = TokenizerRun(
        resume=resume,
        max_errors=max_errors,
        pictures_at_once=batch_per_device,
        gradient_checkpointing=gradient_checkpointing,
        threads=threads,
        workers=workers,
        device=device,
        log_every=log_every,
        save_every=save_every,
        tensorboard=tensorboard,
        init=init,
        data=tuple(data or ()),
        held_out=tuple(held_out or ()),
        held_out_pictures=held_out_pictures,
        overrides=overrides,
    )
    run_tokenizer_preset(preset, out, steps, threads, run)
    typer.echo(f"mask tokenizer in {out}")


def register(train_app: typer.Typer) -> None:
    """Add the command to `samtok-eval train`."""
    train_app.command("tokenizer")(tokenizer_command)
