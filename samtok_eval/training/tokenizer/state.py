"""Starting and resuming tokenizer training: first weights, the run's folder, and checkpoints that resume exactly.

In: settings and an output folder. Out: `training.json` (settings and data) and `checkpoint.pt` (everything that moves).
A stream's position is the number of steps, so it needs no state of its own.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samtok_eval.errors import CheckpointError, UsageError
from samtok_eval.files import write_json
from samtok_eval.tokenizer.model import MaskTokenizer
from samtok_eval.training.tokenizer.recipe import TokenizerRun, TokenizerTraining

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
SETTINGS = "training.json"
MAY_CHANGE = ("evaluate_every", "init")
"""Settings that decide no weight."""


def prepare_folder(
    out: Path, settings: TokenizerTraining, data: dict[str, Any], run: TokenizerRun, first: bool
) -> None:
    """Write `training.json`, or on resume compare with it.

    Args:
        out: the run's folder.
        settings: resolved recipe.
        data: what the stream consists of, ready for JSON.
        run: whether it goes on, and from which weights it started.
        first: whether this rank writes.

    Raises:
        UsageError: a run is there without `run.resume`, or settings or data changed.
        CheckpointError: there is nothing to resume.
    """
    wanted = json.loads(json.dumps({**settings.to_json(), "data": data, "init": run.init and str(run.init)}))
    if run.resume:
        if not (out / CHECKPOINT).is_file() or not (out / SETTINGS).is_file():
            raise CheckpointError(f"{out} holds no {CHECKPOINT} to resume; give the run's own --out or leave --resume")
        changes = _changes(json.loads((out / SETTINGS).read_text()), wanted)
        if changes:
            raise UsageError(
                f"the run in {out} was started with other settings: {'; '.join(changes)}; give the old ones, or "
                "another --out for a new run"
            )
    elif (out / CHECKPOINT).exists():
        raise UsageError(f"{out} holds a run already; give --resume to go on with it, or another --out")
    elif first:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / SETTINGS, wanted)


def _changes(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """`name was X, now Y` for every value that differs."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        before, now = old.get(name), new.get(name)
        if name in MAY_CHANGE or before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            found += _changes(before, now, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name} was {before}, now {now}")
    return found


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load_checkpoint(out: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return dict(torch.load(out / CHECKPOINT, map_location="cpu", weights_only=True))
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{out / CHECKPOINT} cannot be read ({error}); start anew with another --out") from error


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
    try:
        value = torch.load(place, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{place} cannot be read ({error}); download it again") from error
    inner = value.get("model") if isinstance(value, dict) else None
    return {name: weight.float() for name, weight in inner.items()} if isinstance(inner, dict) else None
