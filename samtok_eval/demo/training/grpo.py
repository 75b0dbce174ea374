"""Named recipes of reinforcement learning: `demo-gres`, `demo-gcg` on drawn scenes, `paper-gres`, `paper-gcg` on files.

`demo` is the first two, one after the other.

The paper's values are those of `rl/config.yaml` and its shell scripts: groups of 8 (GRES) or 16 (GCG) answers, 512
prompts per rollout and 128 per update, learning rate 1e-6 held constant, divergence 1e-2, clipping 0.2 below and 0.3
above with a dual clip of 3, pictures of 3,136 to 1,605,632 pixels, 16 epochs (GRES) or 1 (GCG), 8 GPUs, the language
model trained in full with the vision tower frozen. They start from a supervised checkpoint.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.errors import UsageError

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer
    from samtok_eval.training.grpo.held_out import HeldOutQuestion
    from samtok_eval.training.grpo.prompts import GrpoPrompt
    from samtok_eval.training.grpo.recipe import GrpoTraining

logger = logging.getLogger(__name__)

PAPER: dict[str, Any] = {
    "steps": None,
    "prompts_per_step": 128,
    "updates_per_rollout": 4,
    "sequences_per_device": 4,
    "min_pixels": 3136,
    "max_pixels": 1605632,
    "thinking": True,
    "evaluate_every": 20,
    "save_every": 20,
    "held_out_tokens": 2048,
}
DRAWN: dict[str, Any] = {
    "samples": 8,
    "sequences_per_device": 64,
    "schedule": "linear",
    "warmup_steps": 5,
    "kl_weight": 0.02,
    "scale_advantages": "batch",
    "temperature": 0.7,
    "held_out_tokens": 128,
}
RECIPES: dict[str, dict[str, Any]] = {
    "demo-gres": {
        **DRAWN,
        "steps": 130,
        "prompts_per_step": 16,
        "learning_rate": 1e-4,
        "max_new_tokens": 48,
        # Words said little about masks here (docs/train_grpo.md).
        "weights": {"gres": {"decoded_iou": 1.0}},
        "gcg_share": 0.0,
        "evaluate_every": 26,
        "save_every": 26,
    },
    "demo-gcg": {
        **DRAWN,
        "steps": 40,
        "prompts_per_step": 24,
        "learning_rate": 1.5e-4,
        "max_new_tokens": 80,
        # One-to-one matching, so that neither near copies of a right mask nor malformed spans pay.
        "weights": {
            "glamm_gcg": {
                "matched_answer": 1.0,
                "decoded_matched_iou": 1.0,
                "closed_phrases": 0.3,
                "non_repetition": 0.2,
            }
        },
        "gcg_share": 1.0,
        "evaluate_every": 10,
        "save_every": 10,
    },
    "paper-gres": {**PAPER, "samples": 8, "epochs": 16},
    "paper-gcg": {**PAPER, "samples": 16, "epochs": 1},
}
DEMOS = ("demo-gres", "demo-gcg")
"""Recipes that draw their prompts."""
SEQUENCES = {"demo": ("demo-gres", "demo-gcg")}
"""Recipes that are others in turn, each from the end of the one before; docs/train_grpo.md says why not at once."""
FIRST_SCENE = 20_000
"""Seed of the first training scene: none that fine-tuning has shown, whose answers the start may know by heart."""
PER_SCENE = 3
HELD_OUT_SCENES = 80
HELD_OUT_SAMPLES = 200
HELD_OUT_TASKS = {"paper-gres": ("gres", "gres"), "paper-gcg": ("gcg", "glamm_gcg")}
"""Task whose default split is held out, and the source under which its answers are compared."""


@dataclass(frozen=True)
class GrpoRun:
    """What a user says about one run beside the name of its recipe."""

    model: str | Path = DEMO_CHECKPOINT
    """Checkpoint to start from."""
    tokenizer: str | Path | None = None
    """Mask tokenizer; the one beside the model by default."""
    data: Path | None = None
    """Prompts, `.parquet` or `.jsonl`; the demos draw their own."""
    data_root: str | None = None
    """Where the paper recipes find the benchmark that is held out; drawn scenes without it."""
    overrides: Mapping[str, Any] | None = None
    """Fields of `GrpoTraining` to change."""
    scenes: int | None = None
    """Drawn training scenes; by default so many that every drawn prompt is met once."""
    held_out_scenes: int = HELD_OUT_SCENES
    resume: bool = False
    device: str = "auto"
    threads: int = 1


def stages(preset: str) -> tuple[str, ...]:
    """The recipes that a preset runs in turn.

    Raises:
        UsageError: no such preset.
    """
    if preset in SEQUENCES:
        return SEQUENCES[preset]
    if preset not in RECIPES:
        raise UsageError(f"no preset {preset!r}; choose from {', '.join([*SEQUENCES, *RECIPES])}")
    return (preset,)


def recipe(stage: str, overrides: Mapping[str, Any] | None = None) -> GrpoTraining:
    """Settings of one of `RECIPES`.

    Raises:
        UsageError: no such setting.
    """
    from samtok_eval.training.grpo.recipe import GrpoTraining

    unknown = sorted(set(overrides or {}) - set(GrpoTraining.__dataclass_fields__))
    if unknown:
        raise UsageError(f"no setting {unknown[0]!r}; choose from {', '.join(GrpoTraining.__dataclass_fields__)}")
    return replace(GrpoTraining(**RECIPES[stage]), **(overrides or {}))


def run_grpo_preset(preset: str, out: Path, run: GrpoRun | None = None) -> list[dict[str, Any]]:
    """Train by a named recipe, or by those that `demo` runs in turn.

    Args:
        preset: `demo`, `demo-gres`, `demo-gcg`, `paper-gres` or `paper-gcg`.
        out: folder of the trained checkpoint; stages before the last have folders of their names in it.
        run: everything else; what it overrides holds for every stage.

    Returns:
        The lines of the log, of the last stage that ran: one that the watch ended is the last.

    Raises:
        UsageError: no such recipe, no prompts given where the recipe draws none, or what `train_grpo` refuses.
        CheckpointError: a checkpoint cannot be loaded.
        DataError: prompts or held-out data cannot be read.
    """
    from samtok_eval.training.grpo.recipe import SETTINGS_FILE, refuse_over

    run = run or GrpoRun()
    *before, last = stages(preset)
    if before and run.data is not None:
        raise UsageError(f"preset {preset} draws its prompts; give --data to one of {', '.join(RECIPES)}")
    if before and not run.resume:
        refuse_over(out)
    folders = [*(out / stage for stage in before), out]
    for stage, folder, following in zip(before, folders, folders[1:], strict=False):
        # A stage writes its settings only when the one before has ended.
        if not (run.resume and (following / SETTINGS_FILE).is_file()):
            lines = _run_stage(stage, folder, run)
            if lines[-1]["step"] < (recipe(stage, run.overrides).steps or 0):
                logger.warning("%s ended early, so that nothing is built on it; its run is in %s", stage, folder)
                return lines
        resume = run.resume and any(following.glob("checkpoint-*"))
        run = replace(run, model=folder, tokenizer=run.tokenizer or run.model, resume=resume)
    return _run_stage(last, out, run)


def _run_stage(stage: str, out: Path, run: GrpoRun) -> list[dict[str, Any]]:
    from samtok_eval.tokenizer.model import MaskTokenizer
    from samtok_eval.training.grpo.trainer import train_grpo

    settings = recipe(stage, run.overrides)
    mask_tokenizer = MaskTokenizer.from_pretrained(run.tokenizer or run.model)
    return train_grpo(
        settings,
        run.model,
        mask_tokenizer,
        _prompts(stage, settings, run, mask_tokenizer),
        _held_out(stage, run),
        out,
        resume=run.resume,
        device=run.device,
        threads=run.threads,
    )


def _prompts(stage: str, settings: GrpoTraining, run: GrpoRun, tokenizer: MaskTokenizer) -> list[GrpoPrompt]:
    from samtok_eval.demo.training.corpus import build_scene
    from samtok_eval.demo.training.grpo_questions import scene_prompts
    from samtok_eval.training.grpo.prompts import read_prompts

    if run.data is not None:
        return read_prompts(run.data)
    if stage not in DEMOS:
        raise UsageError(
            f"preset {stage} needs prompts; give a .parquet or .jsonl file with problem, answer, images and source"
        )
    # A scene has many questions, but one grounded caption.
    per_scene = 1 if settings.gcg_share == 1 else PER_SCENE
    count = run.scenes or math.ceil((settings.steps or 1) * settings.prompts_per_step / per_scene)
    scenes = (build_scene(seed, tokenizer) for seed in range(FIRST_SCENE, FIRST_SCENE + count))
    return scene_prompts(scenes, per_scene, settings.no_target_share, settings.gcg_share, settings.seed)


def _held_out(stage: str, run: GrpoRun) -> list[HeldOutQuestion]:
    from samtok_eval.demo.training.grpo_questions import scene_questions
    from samtok_eval.demo.training.presets import DEVELOPMENT
    from samtok_eval.training.grpo.held_out import sample_questions

    if run.data_root is None or stage in DEMOS:
        return scene_questions(DEVELOPMENT, run.held_out_scenes)
    from samtok_eval.registry import load_tasks
    from samtok_eval.run.samples import read_samples

    name, source = HELD_OUT_TASKS[stage]
    task = load_tasks()[name]
    return sample_questions(read_samples(task, task.metadata.default_split, run.data_root, HELD_OUT_SAMPLES), source)
