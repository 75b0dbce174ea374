"""The command `samtok-eval train tokenizer`: a recipe, data as typed, options -> a trained tokenizer folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from samtok_eval.demo.benchmark import HELD_OUT
from samtok_eval.errors import DataError, UsageError
from samtok_eval.tokenizer.config import MaskTokenizerConfig
from samtok_eval.training.tokenizer.recipe import TokenizerRun, TokenizerTraining, with_overrides
from samtok_eval.training.tokenizer.streams import HeldOutPictures, JoinedSources, MaskStream, split_held_out
from samtok_eval.training.tokenizer.trainer import train_tokenizer

PAPER = TokenizerTraining(
    MaskTokenizerConfig(),
    steps=None,
    pictures_per_step=1024,
    masks_per_picture=1,
    learning_rate=4e-5,
    weight_decay=0.05,
    betas=(0.9, 0.999),
    warmup_share=0.05,
    final_rate=0.0,
    passes=20,
    trained="heads",
    augmentation="none",
    show_elsewhere=False,
    unquantized_share=0.0,
    frozen_share=0.0,
    book_start="normal",
    restart_count=1.0,
    second_code_dropout=0.0,
    loss_points=12544,
    candidates="picked",
    bce_weight=2.0,
    balanced_bce_weight=0.0,
    dice_weight=0.5,
    commitment_weight=1.0,
    iou_weight=0.0,
    dtype="auto",
    evaluate_every=1000,
)
"""The reference's settings. One of a picture's masks per visit; the released configuration visits SA-1B 20 times."""
DEVELOPMENT = HELD_OUT + 1_000_000
"""Seeds of held-out demo scenes for training reports; the benchmark's own held-out scenes stay unseen."""
DEMO_SCENES = 6000
DEMO_HELD_OUT = 150
SHORT_HELD_OUT = 8
"""Held-out scenes of a demo run with fewer steps than the recipe's."""
HELD_OUT_MASKS = 8
"""Masks of a held-out picture that are reconstructed."""
NAMES_HASHED = 1000


def run_tokenizer(settings: TokenizerTraining, out: Path, run: TokenizerRun, steps: int | None = None) -> None:
    """Train by a recipe: on `run.data`, or where there is none and the model is small on scenes of the demo world.

    Args:
        settings: the recipe.
        out: the run's folder.
        run: data, options and settings that replace the recipe's.
        steps: instead of the recipe's.

    Raises:
        UsageError: no data for a recipe that needs some, or anything `train_tokenizer` refuses.
        DataError: the data cannot be read.
        CheckpointError: nothing to resume, or `run.init` does not fit.
        TooManyErrorsError: more is broken than `run.max_errors`.
    """
    settings = with_overrides(settings, run.overrides)
    if steps is not None:
        every = run.overrides.get("evaluate_every") or max(steps // 2, 1)
        settings = replace(settings, steps=steps, evaluate_every=every)
    if run.data:
        _train_on_data(settings, out, run)
    elif settings.steps is None:
        raise UsageError("this recipe brings no data; give --data FORMAT:PATH, see docs/train_tokenizer.md")
    else:
        _train_on_scenes(settings, out, run, DEMO_HELD_OUT if steps is None else SHORT_HELD_OUT)


def _train_on_scenes(settings: TokenizerTraining, out: Path, run: TokenizerRun, held_out: int) -> None:
    from samtok_eval.demo.training.corpus import masked_picture

    picture = lru_cache(maxsize=None)(masked_picture)
    shown = [masked_picture(DEVELOPMENT + i) for i in range(held_out)]
    data = {"scenes": DEMO_SCENES, "held_out_scenes": held_out}
    train_tokenizer(settings, lambda i: picture(i % DEMO_SCENES), shown, out, run, data)


def _train_on_data(settings: TokenizerTraining, out: Path, run: TokenizerRun) -> None:
    source = JoinedSources.of_specs(run.data)
    if run.held_out:
        other = JoinedSources.of_specs(run.held_out)
        indices, shown = np.arange(len(source)), np.arange(min(len(other), run.held_out_pictures))
    else:
        other = source
        indices, shown = split_held_out(len(source), run.held_out_pictures, settings.seed)
    held_out = HeldOutPictures(other, shown, HELD_OUT_MASKS, settings.seed)
    if len(held_out) and all(held_out[i] is None for i in range(len(held_out))):
        raise DataError(f"none of the {len(held_out)} held-out pictures can be used; check --data and --held-out")
    data = {"pictures": fingerprint(source), "held_out": fingerprint(other), "held_out_pictures": len(held_out)}
    train_tokenizer(settings, MaskStream(source, indices, settings.seed), held_out, out, run, data)


def fingerprint(source: JoinedSources) -> dict[str, Any]:
    """Number of pictures and a hash over names evenly spread among them; folders may have moved."""
    places: Sequence[int] = np.unique(np.linspace(0, len(source) - 1, NAMES_HASHED).astype(int)).tolist()
    digest = hashlib.sha256("\n".join(source.key(place) for place in places).encode("utf-8", "surrogateescape"))
    return {"count": len(source), "names": digest.hexdigest()[:16]}
