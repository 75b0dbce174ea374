"""Training a mask tokenizer on collections that the user names: a recipe and `FORMAT:PATH` texts -> a tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from samtok_eval.errors import DataError
from samtok_eval.training.tokenizer.recipe import TokenizerJob, TokenizerRecipe
from samtok_eval.training.tokenizer.streams import HeldOutPictures, JoinedSources, MaskStream, split_held_out
from samtok_eval.training.tokenizer.trainer import train_tokenizer

HELD_OUT_MASKS = 8
"""Masks of a held-out picture that are reconstructed."""
NAMES_HASHED = 1000


def train_from_data(recipe: TokenizerRecipe, job: TokenizerJob) -> None:
    """Train on `job.data`.

    Args:
        recipe: settings.
        job: data, folder and everything around.

    Raises:
        UsageError: anything `train_tokenizer` refuses.
        DataError: the data cannot be read.
        CheckpointError: `job.init` does not fit.
        TooManyErrorsError: more is broken than `job.max_errors`.
    """
    source = JoinedSources.of_specs(job.data)
    if job.held_out:
        other = JoinedSources.of_specs(job.held_out)
        indices, shown = np.arange(len(source)), np.arange(min(len(other), job.held_out_pictures))
    else:
        other = source
        indices, shown = split_held_out(len(source), job.held_out_pictures, recipe.seed)
    held_out = HeldOutPictures(other, shown, HELD_OUT_MASKS, recipe.seed)
    if len(held_out) and all(held_out[i] is None for i in range(len(held_out))):
        raise DataError(f"none of the {len(held_out)} held-out pictures can be used; check --data and --held-out")
    data = {"pictures": fingerprint(source), "held_out": fingerprint(other), "held_out_pictures": len(held_out)}
    train_tokenizer(recipe, job, MaskStream(source, indices, recipe.seed), held_out, data)


def fingerprint(source: JoinedSources) -> dict[str, Any]:
    """Number of pictures and a hash over names evenly spread among them; folders may have moved."""
    places: Sequence[int] = np.unique(np.linspace(0, len(source) - 1, NAMES_HASHED).astype(int)).tolist()
    digest = hashlib.sha256("\n".join(source.key(place) for place in places).encode("utf-8", "surrogateescape"))
    return {"count": len(source), "names": digest.hexdigest()[:16]}
