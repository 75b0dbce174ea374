"""Commands of fine-tuning: `train sft`, `words`, `merge` and `configs`. Torch is imported when they run."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from samtok_eval.cli.options import Given, takes_settings
from samtok_eval.demo.training.sft import PRESETS as DEMO_PRESETS
from samtok_eval.demo.training.sft import SceneJob, scene_recipe, train_on_scenes
from samtok_eval.errors import UsageError
from samtok_eval.setting import changed, named, options_given
from samtok_eval.training.sft.recipe import PRESETS, FinetuneJob, FinetuneRecipe

OutOption = Annotated[Path, typer.Option(help="Folder of the checkpoint.")]
DtypeOption = Annotated[
    str, typer.Option(help="Precision of the written weights: auto (the checkpoint's own), bf16, fp16, fp32.")
]
TokenizerOption = Annotated[
    str | None, typer.Option(help="Mask tokenizer whose codes the words name; 256x2 codes without it.")
]
SeedOption = Annotated[int, typer.Option(help="Of the new rows.")]


@takes_settings(job=FinetuneJob, scenes=SceneJob, changes=FinetuneRecipe)
def finetune_command(
    job: FinetuneJob,
    scenes: SceneJob,
    changes: Given,
    preset: Annotated[
        str,
        typer.Option(help="paper-3b, paper-4b, paper-7b or swift-4b; demo, demo-choices and demo-early need no data."),
    ] = "demo",
) -> None:
    """Fine-tune a checkpoint on conversations, or train the bundled one from scratch."""
    logging.getLogger("samtok_eval").setLevel(logging.INFO)
    named(dict.fromkeys([*PRESETS, *DEMO_PRESETS]), preset)
    if preset in DEMO_PRESETS:
        idle = [option for option in options_given(job) if option != "--tokenizer"]
        if idle:
            raise UsageError(f"--preset {preset} takes no {idle[0]}; name a recipe, e.g. --preset paper-4b")
        train_on_scenes(scene_recipe(preset, changes), scenes, job.out, job.tokenizer)
        typer.echo(f"checkpoint in {job.out}")
        return
    idle = options_given(scenes)
    if idle:
        raise UsageError(f"{' and '.join(idle)} belong to the demo presets; leave them out, or give --preset demo")
    source = PRESETS[preset]
    recipe, job = changed(source.recipe, changes), replace(job, model=job.model or source.model)
    job.inputs()
    from samtok_eval.training.sft.trainer import finetune

    typer.echo(f"checkpoint in {finetune(recipe, job)}")


def words_command(
    model: Annotated[str, typer.Option(help="Folder or hub id.")],
    out: OutOption,
    seed: SeedOption = 0,
    tokenizer: TokenizerOption = None,
) -> None:
    """Write a checkpoint with the words of a mask tokenizer in its vocabulary, 514 for the published one."""
    from samtok_eval.hub import local_folder
    from samtok_eval.mask_tokens import DEFAULT_LAYOUT
    from samtok_eval.models.select import named_layout
    from samtok_eval.training.sft.vocabulary import write_with_mask_words

    layout = DEFAULT_LAYOUT if tokenizer is None else named_layout(tokenizer)
    added = write_with_mask_words(local_folder(model), out, seed, layout)
    typer.echo(f"checkpoint in {out}, {added or 'no'} words added")


def merge_command(
    model: Annotated[str, typer.Option(help="Checkpoint that the adapter was trained on.")],
    adapter: Annotated[Path, typer.Option(help="Folder `adapter` of a training run.")],
    out: OutOption,
    dtype: DtypeOption = "auto",
    tokenizer: TokenizerOption = None,
) -> None:
    """Write a checkpoint with a LoRA adapter merged into it."""
    from samtok_eval.hub import local_folder
    from samtok_eval.models.select import named_layout
    from samtok_eval.training.sft.export import adapter_layout, merge_adapter

    if out.exists() and any(out.iterdir()):
        raise UsageError(f"--out {out} exists and is not empty; choose another folder")
    layout = adapter_layout(adapter, None if tokenizer is None else named_layout(tokenizer))
    merge_adapter(local_folder(model), adapter, out, dtype, layout)
    typer.echo(f"checkpoint in {out}")


def configs_command() -> None:
    """List the launch configurations for `accelerate` that come with the program."""
    from samtok_eval.training.sft.recipe import CONFIGS

    for file in sorted(CONFIGS.glob("*.yaml")):
        typer.echo(f"{file}: {file.read_text().splitlines()[0].removeprefix('# ')}")


def register(train_app: typer.Typer) -> None:
    """Add the commands to `samtok-eval train`."""
    train_app.command("sft")(finetune_command)
    train_app.command("words")(words_command)
    train_app.command("merge")(merge_command)
    train_app.command("configs")(configs_command)
