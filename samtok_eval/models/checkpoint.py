"""A vision-language checkpoint on disk: its model and processor, and how large its pictures are.

In: a folder in the layout of `transformers`. Out: what evaluation, fine-tuning and reinforcement alike start from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from samtok_eval.errors import CheckpointError, UsageError
from samtok_eval.weight_headers import check_sizes

LONGEST_REASON = 120
NO_CODE = {"trust_remote_code": False}
"""A folder that brings code of its own is refused; without this a terminal would be asked whether to run it."""


DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Ways of `accelerate` to spread a model over devices."""
COMPILED_PER_LAYER = 8
"""Graphs that a decoder layer may have: first batch and later ones, prompt and decoding, with or without a prefix."""


def load_vision_language(
    folder: Path,
    dtype: torch.dtype | str,
    name: str | Path | None = None,
    *,
    attn: str | None = None,
    device_map: str | None = None,
) -> tuple[Any, Any]:
    """Model and processor.

    Args:
        folder: checkpoint folder.
        dtype: of the weights; `auto` takes the checkpoint's own.
        name: what the message calls the checkpoint; the folder by default.
        attn: attention kernel, as `transformers` names it; its own choice by default.
        device_map: one of `DEVICE_MAPS`; the weights stay on the CPU by default.

    Raises:
        CheckpointError: nothing loadable there, or not with this attention kernel.
        UsageError: no such device map, or its package is absent.
    """
    _check_device_map(device_map)
    asked = {"attn_implementation": attn, "device_map": device_map}
    check_sizes(folder)
    with loading(name or folder, attn):
        processor = AutoProcessor.from_pretrained(folder, **NO_CODE)
        _check_processor(processor)
        model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, **NO_CODE, **{key: value for key, value in asked.items() if value is not None}
        )
    return model, processor


def _check_processor(processor: Any) -> None:
    """Refuse what `transformers` takes where a folder's processor files are broken: a tokenizer alone."""
    sizes = getattr(getattr(processor, "image_processor", None), "size", None)
    if not hasattr(processor, "tokenizer") or not {"shortest_edge", "longest_edge"} <= set(dict(sizes or {})):
        raise ValueError("its processor reads no pictures, or says nothing of their size")


@contextmanager
def loading(name: str | Path, attn: str | None = None) -> Iterator[None]:
    """Say in one line what is wrong with a folder that is loaded.

    Args:
        name: what the message calls the checkpoint.
        attn: attention kernel that was asked for.

    Raises:
        CheckpointError: nothing loadable there.
    """
    try:
        yield
    # `transformers` and what it calls raise errors of some twenty kinds for a folder that is no checkpoint, or one of a
    # family that it does not know; memory alone is no matter of the folder.
    except MemoryError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:LONGEST_REASON]
        otherwise = f"; or leave --attn {attn} out" if attn else ""
        raise CheckpointError(
            f"{name} cannot be loaded as a vision-language model: {reason}; "
            f"the folder must hold config, weights, tokenizer and processor files, all complete{otherwise}"
        ) from error


def compile_language_model(model: Any) -> None:
    """Let `torch.compile` translate the language model when it is first called; lengths are not compiled in.

    Args:
        model: a vision-language model; its vision encoder, which sees pictures of many sizes, stays as it is.
    """
    language_model = model.model.language_model
    # Each layer is a graph of its own, since each has its own place in the cache.
    limit = COMPILED_PER_LAYER * len(language_model.layers)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, limit)
    language_model.compile(dynamic=True)


def _check_device_map(name: str | None) -> None:
    if name is None:
        return
    if name not in DEVICE_MAPS:
        raise UsageError(f"--device-map {name}: expected {', '.join(DEVICE_MAPS)}; for one device give --device")
    if find_spec("accelerate") is None:
        raise UsageError("--device-map needs the package accelerate; install samtok-eval[model]")


def bound_pixels(processor: Any, least: int | None, most: int | None) -> None:
    """Set the pixels of a picture after the processor's resize; None keeps the checkpoint's own.

    Raises:
        UsageError: the bounds exclude each other.
    """
    size = dict(processor.image_processor.size)
    size |= {"shortest_edge": least} if least is not None else {}
    size |= {"longest_edge": most} if most is not None else {}
    if least is not None or most is not None:
        if size["shortest_edge"] > size["longest_edge"]:
            raise UsageError(
                f"pictures would have at least {size['shortest_edge']} and at most {size['longest_edge']} pixels; "
                "give --min-pixels and --max-pixels that fit together"
            )
        processor.image_processor.size = size


def pixel_bounds(processor: Any) -> dict[str, int]:
    """Least and most pixels of a picture after the processor's resize, by the processor's own names."""
    return {key: int(pixels) for key, pixels in dict(processor.image_processor.size).items() if pixels is not None}
