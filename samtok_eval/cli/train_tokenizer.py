"""The command `samtok-eval train tokenizer`; it imports torch only when it runs."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from samtok_eval.cli.options import Given, takes_settings
from samtok_eval.errors import UsageError
from samtok_eval.setting import named
from samtok_eval.training.tokenizer.recipe import PRESETS, TokenizerJob, TokenizerRecipe, with_changes


@takes_settings(job=TokenizerJob, changes=TokenizerRecipe)
def tokenizer_command(
    job: TokenizerJob,
    changes: Given,
    preset: Annotated[str, typer.Option(help="demo, or paper with --data; see docs/train_tokenizer.md.")] = "demo",
    image_size: Annotated[int | None, typer.Option(help="Side of the model's pictures, in pixels.")] = None,
) -> None:
    """Train the mask tokenizer; under torchrun on several GPUs or nodes."""
    from samtok_eval.demo.training import tokenizer as demo

    logging.getLogger("samtok_eval").setLevel(logging.INFO)
    recipe = with_changes(named({**demo.PRESETS, **PRESETS}, preset), changes, image_size)
    if job.data:
        from samtok_eval.training.tokenizer.from_data import train_from_data

        train_from_data(recipe, job)
    elif preset in demo.PRESETS:
        demo.train_on_scenes(recipe, job, demo.FEW_HELD_OUT_SCENES if "steps" in changes else demo.HELD_OUT_SCENES)
    else:
        raise UsageError(f"--preset {preset} brings no data; give --data FORMAT:PATH, see docs/train_tokenizer.md")
    typer.echo(f"mask tokenizer in {job.out}")


def register(train_app: typer.Typer) -> None:
    """Add the command to `samtok-eval train`."""
    train_app.command("tokenizer")(tokenizer_command)
