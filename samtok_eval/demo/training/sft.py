"""Named recipes of the training commands. `demo`, then for the model `demo-choices`, made the bundled checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.training.language_model import SftTraining
from samtok_eval.demo.training.tokenizer import DEVELOPMENT as DEVELOPMENT
from samtok_eval.demo.training.tokenizer import PAPER, run_tokenizer
from samtok_eval.errors import UsageError
from samtok_eval.tokenizer.config import MaskTokenizerConfig
from samtok_eval.training.tokenizer.recipe import TokenizerRun, TokenizerTraining

Recipe = TypeVar("Recipe")
DEMO_TOKENIZER = MaskTokenizerConfig(
    image_size=128,
    embed_dim=16,
    num_heads=1,
    stages=(1, 1, 2, 1),
    global_att_blocks=(3,),
    window_pos_embed_bkg_spatial_size=(8, 8),
    window_spec=(8, 4, 8, 4),
    d_model=64,
    backbone_channel_list=(128, 64, 32, 16),
    latent_dim=64,
    decoder_heads=4,
    decoder_mlp_dim=128,
    decoder_downsample_rate=1,
)
TOKENIZERS = {"demo": TokenizerTraining(DEMO_TOKENIZER, steps=4000), "paper": PAPER}
CHOICES = SftTraining(
    warmup_tower_steps=0, steps=1800, pictures=10, row_tokens=300, choice_factor=3, learning_rate=1.2e-3, seed=1
)
SFTS = {
    "demo": SftTraining(warmup_tower_steps=1800, steps=4000, pictures=10, row_tokens=300),
    "demo-choices": CHOICES,
    "demo-early": replace(CHOICES, stop_after=800),
}
"""`demo-choices` goes on from the checkpoint that `demo` made. `demo-early` is its state after 800 steps, which leaves
reinforcement something to gain."""
DEMO_SFT_SCENES = 10000
ROLLED_SCENES = 48


def run_tokenizer_preset(
    preset: str, out: Path, steps: int | None = None, threads: int = 1, run: TokenizerRun | None = None
) -> None:
    """Train a mask tokenizer by a named recipe; see `run_tokenizer` for data, options and errors.

    Raises:
        UsageError: no such recipe.
    """
    run_tokenizer(_recipe(TOKENIZERS, preset), out, replace(run or TokenizerRun(), threads=threads), steps)


def run_sft_preset(
    preset: str,
    out: Path,
    tokenizer: Path | None,
    steps: int | None,
    scenes: int | None,
    threads: int,
    init: Path | None = None,
) -> None:
    """Fine-tune a tiny model by a named recipe: a fresh one, or the one in `init`.

    Raises:
        UsageError: no such recipe.
        CheckpointError: the mask tokenizer cannot be loaded.
    """
    from transformers import AutoProcessor, Qwen3VLForConditionalGeneration
    from transformers.utils import logging as transformers_logging

    from samtok_eval.demo.training.corpus import build_scene
    from samtok_eval.demo.training.language_model import Trainer
    from samtok_eval.demo.training.tiny_vlm import build_model, build_processor
    from samtok_eval.tokenizer.model import MaskTokenizer

    settings = _recipe(SFTS, preset)
    if steps is not None:
        settings = replace(
            settings,
            warmup_tower_steps=min(steps, settings.warmup_tower_steps),
            steps=steps,
            stop_after=None,
            evaluate_every=max(steps // 2, 1),
        )
    torch.set_num_threads(threads)
    transformers_logging.disable_progress_bar()
    mask_tokenizer = MaskTokenizer.from_pretrained(tokenizer or DEMO_CHECKPOINT)
    corpus = [build_scene(seed, mask_tokenizer) for seed in range(scenes or DEMO_SFT_SCENES)]
    held_out = [build_scene(DEVELOPMENT + i, mask_tokenizer) for i in range(ROLLED_SCENES)]
    if init is None:
        processor = build_processor()
        model = build_model(processor, settings.seed)
    else:
        processor = AutoProcessor.from_pretrained(init)
        model = Qwen3VLForConditionalGeneration.from_pretrained(init, dtype=torch.float32)
        # What is new beside the model, the head of the dense targets, must not start differently every time.
        torch.manual_seed(settings.seed)
    trainer = Trainer(settings, model, processor, lambda i: corpus[i % len(corpus)], held_out, out)
    trainer.run()


def _recipe(recipes: Mapping[str, Recipe], name: str) -> Recipe:
    if name not in recipes:
        raise UsageError(f"no preset {name!r}; choose from {', '.join(recipes)}")
    return recipes[name]
