"""Recipes of the bundled model, a tiny one trained from scratch on scenes: `demo`, then `demo-choices`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.errors import UsageError
from samtok_eval.setting import COUNT, Setting, check_ranges, named


@dataclass(frozen=True)
class SceneRecipe:
    """Every setting of one training run."""

    warmup_tower_steps: int
    """Steps of dense supervision of the vision tower alone."""
    steps: int
    """Steps on questions."""
    stop_after: int | None = None
    """End after so many of them, while the rate is still high."""
    tower_pictures: int = 16
    pictures: int = 16
    dialogues: int = 8
    """Dialogues drawn per picture and step."""
    row_tokens: int = 340
    """Tokens behind a picture in one step; drawn dialogues beyond that are left out."""
    choice_factor: float = 1.0
    """Multiplies how often choice questions, the hardest to learn, are drawn."""
    tower_rate: float = 1e-3
    learning_rate: float = 1.5e-3
    tower_rate_factor: float = 0.4
    """The vision tower's share of the learning rate once questions are asked."""
    dense_weight: float = 0.1
    """Weight of the dense loss while questions are asked."""
    token_rms: float = 0.4
    """Root mean square to which visual tokens are pulled, so that they do not drown the words."""
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 150
    clip_norm: float = 1.0
    evaluate_every: int = 400
    seed: int = 0


@dataclass(frozen=True)
class SceneJob:
    """What a user says of training on scenes beside the name of a recipe."""

    init: Annotated[Path | None, Setting("Demo presets only: checkpoint to go on from.")] = None
    scenes: Annotated[int | None, Setting("Demo presets only: training scenes.", within=COUNT)] = None
    threads: Annotated[int, Setting("Demo presets only: CPU threads.", within=COUNT)] = 1

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            UsageError: names the setting, its value and its range.
        """
        check_ranges(self)


CHOICES = SceneRecipe(
    warmup_tower_steps=0, steps=1800, pictures=10, row_tokens=300, choice_factor=3, learning_rate=1.2e-3, seed=1
)
PRESETS = {
    "demo": SceneRecipe(warmup_tower_steps=1800, steps=4000, pictures=10, row_tokens=300),
    "demo-choices": CHOICES,
    "demo-early": replace(CHOICES, stop_after=800),
}
"""`demo-choices` goes on from the checkpoint that `demo` made. `demo-early` is its state after 800 steps, which leaves
reinforcement something to gain."""
SCENES = 10000
ROLLED_SCENES = 48


def scene_recipe(preset: str, changes: Mapping[str, Any]) -> SceneRecipe:
    """A named recipe, perhaps with another number of steps.

    Args:
        preset: one of `PRESETS`.
        changes: what a user typed of the recipes for data of one's own; only `steps` means something here.

    Raises:
        UsageError: no such recipe, or another change.
    """
    recipe = named(PRESETS, preset)
    others = sorted(changes.keys() - {"steps"})
    if others:
        raise UsageError(
            f"--preset {preset} takes no --{others[0].replace('_', '-')}; of the recipe only --steps can be changed"
        )
    steps = changes.get("steps")
    if steps is None:
        return recipe
    return replace(
        recipe,
        warmup_tower_steps=min(steps, recipe.warmup_tower_steps),
        steps=steps,
        stop_after=None,
        evaluate_every=max(steps // 2, 1),
    )


def train_on_scenes(recipe: SceneRecipe, job: SceneJob, out: Path, tokenizer: Path | None = None) -> None:
    """Train a tiny model on scenes: a fresh one, or the one in `job.init`.

    Args:
        recipe: settings.
        job: scenes and where to begin.
        out: folder of the checkpoint.
        tokenizer: mask tokenizer; the bundled one by default.

    Raises:
        CheckpointError: the mask tokenizer cannot be loaded.
        UsageError: it is of another layout than 256x2.
    """
    import torch
    from transformers import AutoProcessor, Qwen3VLForConditionalGeneration
    from transformers.utils import logging as transformers_logging

    from samtok_eval.demo.training.corpus import DEVELOPMENT, build_scene
    from samtok_eval.demo.training.language_model import Trainer
    from samtok_eval.demo.training.tiny_vlm import build_model, build_processor
    from samtok_eval.models.checkpoint import NO_CODE
    from samtok_eval.tokenizer.model import MaskTokenizer

    torch.set_num_threads(job.threads)
    transformers_logging.disable_progress_bar()
    mask_tokenizer = MaskTokenizer.from_pretrained(tokenizer or DEMO_CHECKPOINT)
    corpus = [build_scene(seed, mask_tokenizer) for seed in range(job.scenes or SCENES)]
    held_out = [build_scene(DEVELOPMENT + i, mask_tokenizer) for i in range(ROLLED_SCENES)]
    if job.init is None:
        processor = build_processor()
        model = build_model(processor, recipe.seed)
    else:
        processor = AutoProcessor.from_pretrained(job.init, **NO_CODE)
        model = Qwen3VLForConditionalGeneration.from_pretrained(job.init, dtype=torch.float32)
        # What is new beside the model, the head of the dense targets, must not start differently every time.
        torch.manual_seed(recipe.seed)
    Trainer(recipe, model, processor, lambda i: corpus[i % len(corpus)], held_out, out).run()
