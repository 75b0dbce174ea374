"""A recipe as `trl` has it.

In: a recipe as a user states it, per update and over all devices. Out: `trl`'s configuration per device, or an error
that says which settings do not fit together.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

from trl.trainer.grpo_config import GRPOConfig

from samtok_eval.errors import DataError, UsageError
from samtok_eval.training.cycle import CYCLES, cycle_of
from samtok_eval.training.grpo.decoded import DECODED
from samtok_eval.training.grpo.prompts import GrpoPrompt
from samtok_eval.training.grpo.recipe import GrpoRecipe
from samtok_eval.training.rewards import check_weights, has_mask_word


def check_sources(recipe: GrpoRecipe, prompts: Sequence[GrpoPrompt]) -> None:
    """Refuse prompts without rewards, rewards that do not exist, and captions without a region to be found again.

    Raises:
        UsageError: the message names them.
        DataError: the right answer to such a prompt holds no mask words.
    """
    for source, weights in recipe.weights.items():
        check_weights(weights, {*DECODED, *CYCLES})
        variants = [name for name in weights if name in CYCLES]
        if len(variants) > 1:
            raise UsageError(f"{' and '.join(variants)} reward prompts of the source {source!r}; give one of them")
    unknown = sorted({prompt.source for prompt in prompts} - set(recipe.weights))
    if unknown:
        raise UsageError(
            f"prompts of the source {unknown[0]!r} have no rewards; expected one of {', '.join(recipe.weights)}"
        )
    cycled = cycle_of(recipe.weights)
    for prompt in prompts:
        if prompt.source in cycled and not (prompt.images and has_mask_word(prompt.reference)):
            raise DataError(
                f"the prompt {prompt.text[:60]!r} of the source {prompt.source!r} asks for the caption of a region; "
                f"expected a picture and the region's mask words as its right answer, got {prompt.reference[:60]!r}"
            )


def trl_config(recipe: GrpoRecipe, out: Path, prompts: int, cpu: bool) -> GRPOConfig:
    """Our recipe as `trl` has it.

    Two things cannot be set there: it divides advantages by the standard deviation + 1e-4 (released: 1e-6), and it
    cuts no prompt (released: at 8192 tokens).

    Raises:
        UsageError: the answers of an update cannot be shared out evenly, there are too few prompts, or a checkpoint
            would fall between the updates of one rollout, from where nothing can be resumed exactly.
    """
    per_pass, answers = recipe.sequences_per_device * _processes(), recipe.prompts_per_step * recipe.samples
    if answers % per_pass:
        raise UsageError(
            f"{recipe.prompts_per_step} prompts x {recipe.samples} samples = {answers} answers per update cannot "
            f"be shared out in passes of {per_pass}; choose --sequences-per-device so that they can"
        )
    if recipe.save_every % recipe.updates_per_rollout:
        raise UsageError(
            f"--save-every {recipe.save_every} must be a multiple of --updates-per-rollout {recipe.updates_per_rollout}"
        )
    if prompts < recipe.prompts_per_step * recipe.updates_per_rollout:
        raise UsageError(
            f"{prompts} prompts are fewer than the {recipe.prompts_per_step * recipe.updates_per_rollout} of one "
            "rollout; give more prompts, or lower --prompts-per-step"
        )
    accumulated = answers // per_pass * (1 + _passes_of_groundings(recipe))
    return GRPOConfig(
        output_dir=str(out),
        max_steps=recipe.steps if recipe.steps is not None else -1,
        num_train_epochs=1,
        per_device_train_batch_size=recipe.sequences_per_device,
        gradient_accumulation_steps=accumulated,
        steps_per_generation=accumulated * recipe.updates_per_rollout,
        num_generations=recipe.samples,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.clip_norm,
        beta=recipe.kl_weight,
        epsilon=recipe.clip_low,
        epsilon_high=recipe.clip_high,
        delta=recipe.dual_clip,
        loss_type="dapo",
        scale_rewards=recipe.scale_advantages,
        temperature=recipe.temperature,
        top_p=recipe.top_p,
        max_completion_length=recipe.max_new_tokens,
        shuffle_dataset=False,
        use_vllm=recipe.vllm,
        use_cpu=cpu,
        bf16=not cpu,
        gradient_checkpointing=not cpu,
        save_strategy="steps",
        save_steps=recipe.save_every,
        save_total_limit=2,
        logging_steps=1,
        report_to="tensorboard" if importlib.util.find_spec("tensorboard") else "none",
        disable_tqdm=True,
        seed=recipe.seed,
    )


def _passes_of_groundings(recipe: GrpoRecipe) -> int:
    """Passes through answers to grounding questions for each one through the answers to prompts."""
    return recipe.groundings if cycle_of(recipe.weights) and recipe.train_groundings else 0


def passes_per_update(recipe: GrpoRecipe) -> int:
    """Passes of a device through the answers to the prompts of an update."""
    return recipe.prompts_per_step * recipe.samples // (recipe.sequences_per_device * _processes())


def epochs_needed(recipe: GrpoRecipe, prompts: int) -> int:
    """How often the prompts are laid out, so that so many steps never run out of them."""
    if recipe.steps is None:
        return recipe.epochs
    rollouts = math.ceil(recipe.steps / recipe.updates_per_rollout)
    return max(1, math.ceil(rollouts * recipe.prompts_per_step * recipe.updates_per_rollout / prompts))


def _processes() -> int:
    from accelerate import PartialState

    return int(PartialState().num_processes)
