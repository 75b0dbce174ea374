"""The command `samtok-eval train grpo`; it imports torch and trl only when it runs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Annotated

import typer

from samtok_eval.cli.options import Given, takes_settings
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.training.grpo import held_out_questions, stages_of, train_on_scenes
from samtok_eval.training.grpo.recipe import PRESETS, GrpoJob, GrpoRecipe, read_weights


@takes_settings(job=GrpoJob, changes=GrpoRecipe)
def grpo_command(
    job: GrpoJob,
    changes: Given,
    preset: Annotated[
        str,
        typer.Option(
            help="demo, demo-gres, demo-gcg, demo-cycle, demo-cyclegrpo, paper-gres, paper-gcg, paper-cyclegrpo or "
            "paper-closed-cycle; see docs/train_grpo.md."
        ),
    ] = "demo",
    reward: Annotated[
        list[str] | None, typer.Option(help="NAME=WEIGHT, repeated: instead of the recipe's, for every source.")
    ] = None,
) -> None:
    """Reinforce a checkpoint with rewards on its mask words; held-out masks are watched beside the reward."""
    logging.getLogger("samtok_eval").setLevel(logging.INFO)
    bundled = str(DEMO_CHECKPOINT)
    job = replace(job, model=job.model or bundled, tokenizer=bundled if job.tokenizer == "demo" else job.tokenizer)
    stages = stages_of(preset, changes, read_weights(reward or ()))
    if preset in PRESETS:
        job.prompt_file()
        from samtok_eval.training.grpo.from_data import benchmark_questions, train_from_data

        root = job.data_root
        held_out = benchmark_questions(PRESETS[preset], root) if root else held_out_questions(job.held_out_scenes)
        train_from_data(stages[preset], job, held_out)
    else:
        train_on_scenes(stages, job)
    typer.echo(f"checkpoints and log in {job.out}")


def register(train_app: typer.Typer) -> None:
    """Add the command to `samtok-eval train`."""
    train_app.command("grpo")(grpo_command)
