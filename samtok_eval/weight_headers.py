"""What a checkpoint's weights are, from the headers of their files: names and shapes, without a byte of the weights.

A configuration says how large a model is built, and building comes before loading. Sizes that the weights cannot fill
are refused here, before they take memory or time.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samtok_eval.errors import CheckpointError, DataError
from samtok_eval.files import read_beginning, read_object, reading

LONGEST_HEADER = 100_000_000
"""Bytes; the library refuses longer ones."""
COPY_AGAIN = "the checkpoint is incomplete or truncated, copy it again"
LAYERS = frozenset({"num_hidden_layers", "num_layers", "n_layer", "depth"})
"""Settings that say how many modules are built; each has a tensor at least."""
WIDTHS = frozenset(
    {"hidden_size", "intermediate_size", "vocab_size", "embed_dim", "out_hidden_size", "moe_intermediate_size"}
)
"""Settings that say how long a side of some tensor is."""

Shapes = Mapping[str, Sequence[int]]


def weight_shapes(paths: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """Shapes by name of all tensors of safetensors files.

    Raises:
        CheckpointError: a header cannot be read, or says what the file does not hold.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path in paths:
        try:
            with reading(f"{path} is broken", COPY_AGAIN):
                found |= _shapes(path)
        except DataError as error:
            raise CheckpointError(str(error)) from error
    return found


def check_sizes(folder: Path) -> None:
    """Refuse a model whose `config.json` is of another size than its weights; a folder without safetensors passes.

    Raises:
        CheckpointError: a setting is larger than the weights can fill, or a file cannot be read.
    """
    config, files = folder / "config.json", sorted(folder.glob("*.safetensors"))
    if not files or not config.is_file():
        return
    shapes = weight_shapes(files)
    try:
        content = read_object(config, COPY_AGAIN)
    except DataError as error:
        raise CheckpointError(str(error)) from error
    for name, value in _numbers(content):
        if name in LAYERS | WIDTHS:
            refuse_unfilled(config, name, value, shapes, counts=name in LAYERS)


def refuse_unfilled(place: Path, name: str, value: float, shapes: Shapes, *, counts: bool) -> None:
    """Refuse a size that the weights cannot fill.

    Args:
        place: what the message names.
        name: of the setting.
        value: its value.
        shapes: of the weights.
        counts: whether it counts modules, instead of giving the side of a tensor.

    Raises:
        CheckpointError: there are fewer tensors, or no tensor has such a side.
    """
    most = len(shapes) if counts else max((side for shape in shapes.values() for side in shape), default=0)
    if value > most:
        what = f"weights of {most} tensors" if counts else f"weights whose longest side is {most}"
        raise CheckpointError(f"{place}: {name} is {value:.12g} beside {what}; copy the checkpoint again")


def _shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    (length,) = struct.unpack("<Q", read_beginning(path, 8, COPY_AGAIN).ljust(8, b"\0"))
    size = path.stat().st_size
    if not 0 < length <= min(LONGEST_HEADER, size - 8):
        raise ValueError(f"its header should have {length} bytes of {size}")
    header = json.loads(read_beginning(path, 8 + length, COPY_AGAIN)[8:])
    for name, entry in header.items():
        if name != "__metadata__":
            yield name, tuple(int(side) for side in entry["shape"])


def _numbers(value: Any) -> Iterator[tuple[str, float]]:
    """Numbers of a configuration and of the configurations inside it, with their names."""
    for name, entry in value.items():
        if isinstance(entry, dict):
            yield from _numbers(entry)
        elif isinstance(entry, int | float) and not isinstance(entry, bool):
            yield name, entry
