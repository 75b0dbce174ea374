"""The command `samtok-eval train grpo`; it imports torch and trl only when it runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from samtok_eval.errors import UsageError


def grpo_command(
    out: Annotated[Path, typer.Option(help="Folder of the run; the best checkpoint is OUT/best.")],
    preset: Annotated[
        str, typer.Option(help="demo, demo-gres, demo-gcg, paper-gres or paper-gcg; see docs/train_grpo.md.")
    ] = "demo",
    model: Annotated[str | None, typer.Option(help="Checkpoint to start from; the bundled one by default.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Mask tokenizer, when not beside the model: demo, a folder, a file or a hub id.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Prompts, .parquet or .jsonl; the demos draw their own.")] = None,
    data_root: Annotated[str | None, typer.Option(help="Benchmark that is held out; drawn scenes without it.")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates instead of the recipe's.")] = None,
    prompts_per_step: Annotated[int | None, typer.Option(help="Prompts of an update, over all devices.")] = None,
    samples: Annotated[int | None, typer.Option(help="Answers per prompt.")] = None,
    sequences_per_device: Annotated[int | None, typer.Option(help="Answers that a device takes at once.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its highest.")] = None,
    kl_weight: Annotated[float | None, typer.Option(help="Weight of the divergence from the start.")] = None,
    temperature: Annotated[float | None, typer.Option(help="At which answers are drawn.")] = None,
    reward: Annotated[
        list[str] | None, typer.Option(help="NAME=WEIGHT, repeated: instead of the recipe's, for every source.")
    ] = None,
    evaluate_every: Annotated[int | None, typer.Option(help="Updates between held-out reports.")] = None,
    scenes: Annotated[int | None, typer.Option(help="Drawn training scenes; as many as are needed by default.")] = None,
    held_out_scenes: Annotated[int | None, typer.Option(help="Drawn scenes of a report.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of prompts and sampling.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Reinforce a checkpoint with rewards on its mask words; held-out masks are watched beside the reward."""
    from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
    from samtok_eval.demo.training.grpo import HELD_OUT_SCENES, GrpoRun, run_grpo_preset

    logging.getLogger("samtok_eval").setLevel(logging.INFO)
    overrides = {
        "steps": steps,
        "prompts_per_step": prompts_per_step,
        "samples": samples,
        "sequences_per_device": sequences_per_device,
        "learning_rate": learning_rate,
        "kl_weight": kl_weight,
        "temperature": temperature,
        "weights": _weights(preset, reward) if reward else None,
        "evaluate_every": evaluate_every,
        "seed": seed,
    }
    run = GrpoRun(
        model=model or DEMO_CHECKPOINT,
        tokenizer=DEMO_CHECKPOINT if tokenizer == "demo" else tokenizer,
        data=data,
        data_root=data_root,
        overrides={name: value for name, value in overrides.items() if value is not None},
        scenes=scenes,
        resume=resume,
        device=device,
        threads=threads,
        held_out_scenes=HELD_OUT_SCENES if held_out_scenes is None else held_out_scenes,
    )
    run_grpo_preset(preset, out, run)
    typer.echo(f"checkpoints and log in {out}")


def _weights(preset: str, rewards: list[str]) -> dict[str, dict[str, float]]:
    """NAME=WEIGHT texts as the weights of every source that the recipe knows.

    Raises:
        UsageError: a text is not of that form.
    """
    from samtok_eval.demo.training.grpo import recipe, stages

    weights = {}
    for text in rewards:
        name, _, weight = text.partition("=")
        try:
            weights[name] = float(weight)
        except ValueError as error:
            raise UsageError(f"--reward must be NAME=WEIGHT, such as matched_answer=1, got {text!r}") from error
    return {source: weights for stage in stages(preset) for source in recipe(stage).weights}


def register(train_app: typer.Typer) -> None:
    """Add the command to `samtok-eval train`."""
    train_app.command("grpo")(grpo_command)
