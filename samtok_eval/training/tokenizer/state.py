"""Weights of tokenizer training: those it starts from, and `checkpoint.pt`, from which it goes on exactly.

The checkpoint holds everything that moves. A stream's position is the number of steps, so it needs no state of its own.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samtok_eval.errors import CheckpointError
from samtok_eval.files import writing
from samtok_eval.tokenizer.checkpoint import read_tensors
from samtok_eval.tokenizer.model import MaskTokenizer
from samtok_eval.unfinished import flush, unfinished

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
START_ANEW = "start anew with --fresh or another --out"


def newest(out: Path) -> Path | None:
    """The checkpoint of a run, None before its first."""
    return out / CHECKPOINT if (out / CHECKPOINT).is_file() else None


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write whole or not at all.

    Raises:
        UsageError: the system refuses, e.g. because the disk is full.
    """
    with writing(path), unfinished(path) as part:
        try:
            torch.save(state, part)
        except RuntimeError as error:
            # So torch says that the system refused.
            raise OSError(str(error)) from error
        flush(part)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU.

    Raises:
        CheckpointError: it cannot be read.
    """
    state = read_tensors(path, START_ANEW)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds no state of a run; {START_ANEW}")
    return state


def load_start(tokenizer: MaskTokenizer, place: Path) -> None:
    """Fill a fresh tokenizer from SAM 2.1's own file (`sam2.1_hiera_*.pt`) or from another mask tokenizer.

    From SAM's file everything but the mask encoder and the codebooks comes; these keep their random start.

    Raises:
        CheckpointError: keys or shapes do not fit this model.
    """
    from samtok_eval.tokenizer.checkpoint import fill, find_tokenizer, read_config_and_weights

    weights = _sam_weights(place) if place.is_file() else None
    if weights is None:
        found = find_tokenizer(place)
        _, weights = read_config_and_weights(found)
        fill(tokenizer, weights, found)
        return
    own = {
        name: value for name, value in tokenizer.sam.state_dict().items() if not name.startswith("sam_mask_encoder.")
    }
    given = {name: value for name, value in weights.items() if name in own}
    missing = sorted(own.keys() - given.keys())
    wrong = sorted(name for name, value in given.items() if value.shape != own[name].shape)
    if missing or wrong:
        name = (wrong or missing)[0]
        what = f"{name} has shape {tuple(given[name].shape)}, expected {tuple(own[name].shape)}" if wrong else name
        raise CheckpointError(
            f"{place} does not fit this model ({'shape' if wrong else 'missing'}: {what}); take the SAM 2.1 file of "
            "the model's size"
        )
    tokenizer.sam.load_state_dict(given, strict=False)
    logger.info("SAM 2 weights from %s; mask encoder and codebooks start at random", place)


def _sam_weights(place: Path) -> dict[str, Tensor] | None:
    """The weights of SAM's own file layout, None for any other file."""
    value = read_tensors(place, "download it again", mapped=True)
    inner = value.get("model") if isinstance(value, dict) else None
    if not isinstance(inner, dict) or not all(isinstance(weight, Tensor) for weight in inner.values()):
        return None
    return {name: weight.float() for name, weight in inner.items()}
