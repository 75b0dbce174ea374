"""Reading and writing mask tokenizers: the published `.pth` and our own folder of `config.json` + `model.safetensors`.

Every failure names what was expected, what was found and what to do; nothing is loaded partly.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from torch import Tensor

from samtok_eval.errors import CheckpointError, DataError
from samtok_eval.files import MISFITS, first_problem, read_object, shortened, write_json, writing
from samtok_eval.hub import local_folder
from samtok_eval.text import shortened as shortened_text
from samtok_eval.tokenizer.config import MaskTokenizerConfig
from samtok_eval.unfinished import flush, unfinished
from samtok_eval.weight_headers import COPY_AGAIN, refuse_unfilled, weight_shapes

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer

PUBLISHED_FILE = "mask_tokenizer_256x2.pth"
SUBFOLDER = "mask_tokenizer"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
MODEL_TYPE = "samtok_mask_tokenizer"
KEYS_SHOWN, KEY_SHOWN = 5, 80


def find_tokenizer(path_or_hub_id: str | Path) -> Path:
    """The published file or our folder that `path_or_hub_id` holds.

    Raises:
        CheckpointError: neither is there.
    """
    path = Path(path_or_hub_id)
    if path.is_file():
        return path
    if not path.exists():
        path = local_folder(path_or_hub_id, [PUBLISHED_FILE, CONFIG_FILE, f"{SUBFOLDER}/*"])
    for candidate in (path / SUBFOLDER / CONFIG_FILE, path / CONFIG_FILE):
        if candidate.is_file() and _read_json(candidate).get("model_type") == MODEL_TYPE:
            return candidate.parent
    if (path / PUBLISHED_FILE).is_file():
        return path / PUBLISHED_FILE
    raise CheckpointError(
        f"no mask tokenizer in {path}: expected {PUBLISHED_FILE}, or {SUBFOLDER}/{CONFIG_FILE} with {WEIGHTS_FILE}; "
        "give its place with --tokenizer"
    )


def read_config(place: Path) -> MaskTokenizerConfig:
    """Configuration of what `find_tokenizer` found.

    Raises:
        CheckpointError: missing or broken.
    """
    return MaskTokenizerConfig() if place.is_file() else _read_config(place / CONFIG_FILE)


def read_config_and_weights(place: Path) -> tuple[MaskTokenizerConfig, dict[str, Tensor]]:
    """Configuration and float32 weights of what `find_tokenizer` found.

    Raises:
        CheckpointError: missing or broken.
    """
    config = read_config(place)
    weights = _read_pth(place) if place.is_file() else _read_safetensors(place / WEIGHTS_FILE)
    # Before a model of these sizes is built.
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    for name in ("embed_dim", "d_model", "codebook_size", "decoder_mlp_dim"):
        refuse_unfilled(place, name, getattr(config, name), shapes, counts=False)
    for name, count in (("stages", sum(config.stages)), ("codebook_depth", config.codebook_depth)):
        refuse_unfilled(place, name, count, shapes, counts=True)
    return config, {name: value.float() for name, value in weights.items()}


def save_folder(tokenizer: MaskTokenizer, folder: Path, weights_dtype: torch.dtype) -> None:
    """Write a tokenizer as our folder format; each file appears whole or not at all, the configuration last.

    Raises:
        UsageError: the system refuses, e.g. because the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    weights = {
        name: value.detach().to("cpu", weights_dtype).contiguous() for name, value in tokenizer.state_dict().items()
    }
    place, beside = folder / WEIGHTS_FILE, folder / CONFIG_FILE
    config = {"model_type": MODEL_TYPE, **tokenizer.config.model_dump(mode="json")}
    with writing(place), unfinished(place) as part:
        try:
            save_file(weights, part)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        flush(part)
        # New weights never lie beside an older configuration, with which they would be taken for whole.
        if beside.is_file() and _unlike(beside, config):
            beside.unlink()
    write_json(beside, config)


def _unlike(path: Path, config: dict[str, object]) -> bool:
    try:
        return _read_json(path) != config
    except CheckpointError:
        return True


def _read_json(path: Path) -> dict[str, object]:
    try:
        return read_object(path, COPY_AGAIN)
    except DataError as error:
        raise CheckpointError(str(error)) from error


def _read_config(path: Path) -> MaskTokenizerConfig:
    values = _read_json(path)
    values.pop("model_type", None)
    try:
        return MaskTokenizerConfig.model_validate(values)
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_problem(error)}; copy the checkpoint again") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weight_shapes([path])
    try:
        return load_file(path)
    except (SafetensorError, OSError, *MISFITS, RuntimeError) as error:
        raise CheckpointError(f"{path} is broken ({shortened(error)}); {COPY_AGAIN}") from error


def read_tensors(path: Path, remedy: str, *, mapped: bool = False) -> Any:
    """What `torch.save` wrote, on the CPU; tensors and plain values alone, since anything else would be code.

    Args:
        path: the file.
        remedy: ends the message of an error: what to do.
        mapped: leave weights on the disk until they are used.

    Raises:
        CheckpointError: it cannot be read, or holds something else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError, *MISFITS) as error:
        what = "holds something other than tensors and is not loaded" if _is_code(error) else "cannot be read"
        raise CheckpointError(f"{path} {what} ({shortened(error)}); {remedy}") from error


def _is_code(error: Exception) -> bool:
    return isinstance(error, pickle.UnpicklingError) and "weights" in str(error).lower()


def _read_pth(path: Path) -> dict[str, Tensor]:
    value = read_tensors(path, COPY_AGAIN)
    if not isinstance(value, dict) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise CheckpointError(f"{path} must hold a flat dictionary of tensors; this is not a SAMTok mask tokenizer")
    return value


def fill(tokenizer: MaskTokenizer, weights: dict[str, Tensor], place: Path) -> None:
    """Copy weights into a tokenizer, all of them or none.

    Raises:
        CheckpointError: other keys or shapes than the tokenizer's, named in the message.
    """
    expected = {name: tuple(value.shape) for name, value in tokenizer.state_dict().items()}
    problems = []
    for title, names in (
        ("missing", [name for name in expected if name not in weights]),
        ("unexpected", [name for name in weights if name not in expected]),
    ):
        if names:
            more = f" and {len(names) - KEYS_SHOWN} more" if len(names) > KEYS_SHOWN else ""
            shown = [shortened_text(name, KEY_SHOWN) for name in names[:KEYS_SHOWN]]
            problems.append(f"{len(names)} {title}: {', '.join(shown)}{more}")
    for name, shape in expected.items():
        if name in weights and tuple(weights[name].shape) != shape:
            problems.append(f"{name} has shape {tuple(weights[name].shape)}, expected {shape}")
            break
    if problems:
        raise CheckpointError(f"{place} is not a mask tokenizer of this configuration; " + "; ".join(problems))
    tokenizer.load_state_dict(weights)
