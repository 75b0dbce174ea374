"""Commands of fine-tuning: `train sft`, `words`, `merge` and `configs`. Torch is imported when they run."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from samtok_eval.errors import UsageError

DEMO_PRESETS = ("demo", "demo-choices", "demo-early")
"""Recipes of the bundled checkpoint, trained from scratch on scenes; see docs/demo.md."""
LORA_OFF = "off"

OutOption = Annotated[Path, typer.Option(help="Folder of the checkpoint.")]
DtypeOption = Annotated[
    str, typer.Option(help="Of the written weights: auto (the checkpoint's own), bf16, fp16, fp32.")
]
SeedOption = Annotated[int, typer.Option(help="Of the new rows.")]


def finetune_command(
    out: OutOption,
    model: Annotated[str | None, typer.Option(help="Folder or hub id; the preset's own by default.")] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Conversations: FILE or FOLDER, with %N for N percent; several allowed.")
    ] = None,
    preset: Annotated[
        str,
        typer.Option(help="paper-3b, paper-4b, paper-7b or swift-4b; demo, demo-choices and demo-early need no data."),
    ] = "demo",
    data_root: Annotated[
        str | None, typer.Option(help="Where picture paths begin, or demo; beside the data file by default.")
    ] = None,
    held_out: Annotated[str | None, typer.Option(help="Conversations whose loss is reported.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps instead of the recipe's epochs.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest rate.")] = None,
    global_batch: Annotated[int | None, typer.Option(help="Samples per step, over all processes.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples at once on one device.")] = None,
    lora_rank: Annotated[str | None, typer.Option(help="Rank of the adapters, or off: train every weight.")] = None,
    lora_alpha: Annotated[int | None, typer.Option(help="Scale of the adapters.")] = None,
    lora_dropout: Annotated[float | None, typer.Option(help="Share of inputs that adapters miss.")] = None,
    embeddings: Annotated[
        Literal["trained", "frozen"] | None, typer.Option(help="Word embedding and head, beside adapters.")
    ] = None,
    vision: Annotated[Literal["frozen", "trained"] | None, typer.Option(help="Vision tower.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the steps.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Most tokens of a sample; longer ones are left out.")] = None,
    min_pixels: Annotated[int | None, typer.Option(help="Least pixels of a picture for the model.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Most pixels.")] = None,
    order: Annotated[
        Literal["random", "by_length"] | None, typer.Option(help="by_length saves padding: there is no packing.")
    ] = None,
    checkpointing: Annotated[bool | None, typer.Option(help="Recompute activations to save memory.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of order, adapters and dropout.")] = None,
    max_errors: Annotated[int, typer.Option(help="Unusable samples that may be left out.")] = 0,
    check: Annotated[
        Literal["whole", "header"], typer.Option(help="How much of each picture is read before training.")
    ] = "whole",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    merge: Annotated[bool, typer.Option(help="Write LoRA models whole, or the adapter alone.")] = True,
    dtype: DtypeOption = "auto",
    save_every: Annotated[int, typer.Option(help="Steps between states to go on from.", min=1)] = 500,
    evaluate_every: Annotated[int, typer.Option(help="Steps between held-out losses.", min=1)] = 500,
    log_every: Annotated[int, typer.Option(help="Steps between lines of the log.", min=1)] = 10,
    workers: Annotated[int | None, typer.Option(help="Processes that open pictures; 4 per GPU, 0 on CPU.")] = None,
    report_to: Annotated[list[str] | None, typer.Option(help="Also log to e.g. tensorboard.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Start anew, or go on where a run stopped.")] = False,
    tokenizer: Annotated[Path | None, typer.Option(help="Demo presets only: mask tokenizer.")] = None,
    init: Annotated[Path | None, typer.Option(help="Demo presets only: checkpoint to go on from.")] = None,
    scenes: Annotated[int | None, typer.Option(help="Demo presets only: training scenes.")] = None,
    threads: Annotated[int, typer.Option(help="Demo presets only: CPU threads.")] = 1,
) -> None:
    """Fine-tune a checkpoint on conversations, or train the bundled one from scratch."""
    logging.getLogger("samtok_eval").setLevel(logging.INFO)
    if preset in DEMO_PRESETS:
        if data or model:
            raise UsageError(f"--preset {preset} takes no --data or --model; name a recipe, e.g. --preset paper-4b")
        from samtok_eval.demo.training.presets import run_sft_preset

        run_sft_preset(preset, out, tokenizer, steps, scenes, threads, init)
        typer.echo(f"checkpoint in {out}")
        return
    if tokenizer or init or scenes:
        raise UsageError("--tokenizer, --init and --scenes belong to the demo presets; give --data and --model")
    if not data:
        raise UsageError("--data is missing; `samtok-eval tokenize` writes conversations")
    passed: dict[str, Any] = {
        "steps": steps, "epochs": epochs, "learning_rate": learning_rate, "global_batch": global_batch,
        "batch_size": batch_size, "lora_alpha": lora_alpha, "lora_dropout": lora_dropout, "embeddings": embeddings,
        "vision": vision, "weight_decay": weight_decay, "warmup": warmup, "max_length": max_length,
        "min_pixels": min_pixels, "max_pixels": max_pixels, "order": order, "checkpointing": checkpointing,
        "seed": seed,
    }  # fmt: skip
    from samtok_eval.run.samples import data_root as resolved_root
    from samtok_eval.training.sft.recipe import find_preset
    from samtok_eval.training.sft.trainer import FinetuneJob, finetune

    recipe = find_preset(preset)
    settings = replace(recipe.settings, **{k: v for k, v in passed.items() if v is not None}, **_rank(lora_rank))
    job = FinetuneJob(
        model=model or recipe.model, data=tuple(data), out=out, settings=settings,
        data_root=resolved_root(data_root) if data_root else None,
        held_out=held_out, max_errors=max_errors, check=check, device=device, merge=merge, dtype=dtype,
        save_every=save_every, evaluate_every=evaluate_every, log_every=log_every, workers=workers,
        report_to=tuple(report_to or ()), fresh=fresh,
    )  # fmt: skip
    typer.echo(f"checkpoint in {finetune(job)}")


def words_command(
    model: Annotated[str, typer.Option(help="Folder or hub id.")],
    out: OutOption,
    seed: SeedOption = 0,
    tokenizer: Annotated[
        str | None, typer.Option(help="Mask tokenizer whose codes the words name; 256x2 codes without it.")
    ] = None,
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
) -> None:
    """Write a checkpoint with a LoRA adapter merged into it."""
    from samtok_eval.hub import local_folder
    from samtok_eval.training.sft.export import merge_adapter

    if out.exists() and any(out.iterdir()):
        raise UsageError(f"--out {out} exists and is not empty; choose another folder")
    merge_adapter(local_folder(model), adapter, out, dtype)
    typer.echo(f"checkpoint in {out}")


def configs_command() -> None:
    """Name the shipped launch configurations of `accelerate`."""
    from samtok_eval.training.sft.recipe import CONFIGS

    for file in sorted(CONFIGS.glob("*.yaml")):
        typer.echo(f"{file}: {file.read_text().splitlines()[0].removeprefix('# ')}")


def register(train_app: typer.Typer) -> None:
    """Add the commands to `samtok-eval train`."""
    train_app.command("sft")(finetune_command)
    train_app.command("words")(words_command)
    train_app.command("merge")(merge_command)
    train_app.command("configs")(configs_command)


def _rank(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    if text == LORA_OFF:
        return {"lora_rank": None}
    if not text.isdigit():
        raise UsageError(f"--lora-rank {text}: expected a whole number or {LORA_OFF}")
    return {"lora_rank": int(text)}
