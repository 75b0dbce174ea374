"""Recipes of reinforcement on drawn scenes: `demo` is `demo-gres`, then `demo-gcg`; `demo-cycle`, `demo-cyclegrpo`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from samtok_eval.errors import UsageError
from samtok_eval.setting import changed, named
from samtok_eval.training.cycle import cycle_sources
from samtok_eval.training.grpo.recipe import PRESETS as PAPER
from samtok_eval.training.grpo.recipe import GrpoJob, GrpoRecipe

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer
    from samtok_eval.training.grpo.held_out import HeldOutQuestion
    from samtok_eval.training.grpo.prompts import GrpoPrompt

logger = logging.getLogger(__name__)

DRAWN = GrpoRecipe(
    steps=None,
    samples=8,
    sequences_per_device=64,
    schedule="linear",
    warmup_steps=5,
    kl_weight=0.02,
    scale_advantages="batch",
    temperature=0.7,
    held_out_tokens=128,
)


def _cycle_weights(variant: str) -> dict[str, dict[str, float]]:
    return {source: cycle_sources(variant)[source] for source in ("denseworld_single", "gres_no_target")}


PRESETS = {
    "demo-gres": replace(
        DRAWN,
        steps=130,
        prompts_per_step=16,
        learning_rate=1e-4,
        max_new_tokens=48,
        # Words said little about masks here (docs/train_grpo_experiments.md).
        weights={"gres": {"decoded_iou": 1.0}},
        gcg_share=0.0,
        evaluate_every=26,
        save_every=26,
    ),
    "demo-gcg": replace(
        DRAWN,
        steps=40,
        prompts_per_step=24,
        learning_rate=1.5e-4,
        max_new_tokens=80,
        # One-to-one matching, so that neither near copies of a right mask nor malformed spans pay.
        weights={
            "glamm_gcg": {
                "matched_answer": 1.0,
                "decoded_matched_iou": 1.0,
                "closed_phrases": 0.3,
                "non_repetition": 0.2,
            }
        },
        gcg_share=1.0,
        evaluate_every=10,
        save_every=10,
    ),
    "demo-cycle": replace(
        DRAWN,
        steps=40,
        prompts_per_step=8,
        samples=4,
        groundings=4,
        sequences_per_device=32,
        learning_rate=1e-4,
        max_new_tokens=48,
        weights=_cycle_weights("closed_cycle"),
        grounding_prompt="find-described",
        region_share=0.75,
        # What asks for no caption has no target, as in the released mix.
        no_target_share=1.0,
        gcg_share=0.0,
        evaluate_every=10,
        save_every=10,
    ),
}
PRESETS["demo-cyclegrpo"] = replace(PRESETS["demo-cycle"], weights=_cycle_weights("cyclegrpo"))
"""Recipes that draw their prompts."""
SEQUENCES = {"demo": ("demo-gres", "demo-gcg")}
"""Recipes in turn, each from the end of the one before; docs/train_grpo_experiments.md says why not at once."""
FIRST_SCENE = 20_000
"""Seed of the first training scene: none that fine-tuning has shown, whose answers the start may know by heart."""
PER_SCENE = 3
HELD_OUT_SCENES = 80


def stages_of(
    preset: str, changes: Mapping[str, Any] | None = None, rewards: Mapping[str, float] | None = None
) -> dict[str, GrpoRecipe]:
    """The recipes that a preset runs in turn, by name.

    Args:
        preset: a sequence, a recipe of the demo or one of the paper.
        changes: fields that replace every recipe's.
        rewards: weights by name that replace those of every source.

    Raises:
        UsageError: no such preset, or no such field.
    """
    recipes = PRESETS | {name: paper.recipe for name, paper in PAPER.items()}
    chosen = {name: recipes[name] for name in named(SEQUENCES | {name: (name,) for name in recipes}, preset)}
    weights = {source: rewards for recipe in chosen.values() for source in recipe.weights} if rewards else None
    laid_over = dict(changes or {}) | ({"weights": weights} if weights else {})
    return {name: changed(recipe, laid_over) for name, recipe in chosen.items()}


def train_on_scenes(stages: Mapping[str, GrpoRecipe], job: GrpoJob) -> list[dict[str, Any]]:
    """Train by recipes in turn.

    Args:
        stages: recipes by name, as `stages_of` gives them.
        job: checkpoint, prompts of one's own where there is one stage, and the folder of the trained checkpoint; stages
            before the last have folders of their names in it.

    Returns:
        The lines of the log of the stage that ran last. Where the watch ends a stage early, no later one runs.

    Raises:
        UsageError: prompts are given for several stages, or what `train_grpo` refuses.
        CheckpointError: a checkpoint cannot be loaded.
        DataError: prompts cannot be read.
    """
    from samtok_eval.training.folder import CARD

    *before, last = stages
    if before:
        job = _ready_for_stages(before, job)
    folders = [*(job.out / stage for stage in before), job.out]
    for stage, folder, following in zip(before, folders, folders[1:], strict=False):
        # A stage writes its settings only when the one before has ended.
        if not (job.resume and (following / CARD).is_file()):
            lines = _train_stage(stages[stage], replace(job, out=folder))
            if lines[-1]["step"] < (stages[stage].steps or 0):
                logger.warning("%s ended early, so that nothing is built on it; its run is in %s", stage, folder)
                return lines
        resume = job.resume and any(following.glob("checkpoint-*"))
        job = replace(job, model=str(folder), tokenizer=job.tokenizer or job.model, resume=resume)
    return _train_stage(stages[last], replace(job, out=folders[-1]))


def _ready_for_stages(before: list[str], job: GrpoJob) -> GrpoJob:
    """Refuse what several stages cannot do, and clear all their folders at once where the user starts anew.

    A folder that is cleared only when its stage begins would be taken for a finished one on resume.
    """
    from samtok_eval.training.folder import start_of
    from samtok_eval.training.grpo.trainer import grpo_folder
    from samtok_eval.training.ranks import Ranks

    if job.data is not None:
        raise UsageError(f"a preset of several stages draws its prompts; give --data to one of {', '.join(PRESETS)}")
    start = start_of(job.resume, job.fresh)
    ranks = Ranks(job.device)
    if start == "new":
        grpo_folder(job.out).refuse_over()
    if start == "fresh" and ranks.first:
        grpo_folder(job.out).clear(beside=before)
        for stage in before:
            grpo_folder(job.out / stage).clear()
    ranks.wait()
    return replace(job, fresh=False)


def _train_stage(recipe: GrpoRecipe, job: GrpoJob) -> list[dict[str, Any]]:
    from samtok_eval.tokenizer.model import MaskTokenizer
    from samtok_eval.training.grpo.trainer import train_grpo

    mask_tokenizer = MaskTokenizer.from_pretrained(job.tokenizer or job.start_model())
    prompts = _prompts(recipe, job, mask_tokenizer)
    return train_grpo(recipe, job, mask_tokenizer, prompts, held_out_questions(job.held_out_scenes))


def _prompts(recipe: GrpoRecipe, job: GrpoJob, tokenizer: MaskTokenizer) -> list[GrpoPrompt]:
    from samtok_eval.demo.training.corpus import build_scene
    from samtok_eval.demo.training.grpo_questions import NO_TARGET_CYCLE, scene_prompts
    from samtok_eval.training.grpo.prompts import GRES, read_prompts

    if job.data is not None:
        return read_prompts(job.data)
    # A scene has many questions, but one grounded caption.
    per_scene = 1 if recipe.gcg_share == 1 else PER_SCENE
    count = job.scenes or math.ceil((recipe.steps or 1) * recipe.prompts_per_step / per_scene)
    scenes = (build_scene(seed, tokenizer) for seed in range(FIRST_SCENE, FIRST_SCENE + count))
    source = NO_TARGET_CYCLE if NO_TARGET_CYCLE in recipe.weights else GRES
    shares = (recipe.no_target_share, recipe.gcg_share)
    return scene_prompts(scenes, per_scene, *shares, recipe.seed, recipe.region_share, source)


def held_out_questions(scenes: int | None = None) -> list[HeldOutQuestion]:
    """Questions about scenes that no recipe trains on.

    Args:
        scenes: how many; as many as the recipes were made with by default.
    """
    from samtok_eval.demo.training.corpus import DEVELOPMENT
    from samtok_eval.demo.training.grpo_questions import scene_questions

    return scene_questions(DEVELOPMENT, HELD_OUT_SCENES if scenes is None else scenes)
