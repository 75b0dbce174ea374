"""A vision-language checkpoint on disk: its model and processor, and how large its pictures are.

In: a folder in the layout of `transformers`. Out: what evaluation, fine-tuning and reinforcement alike start from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor

from samtok_eval.errors import CheckpointError, UsageError

LOAD_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    TypeError,
    AttributeError,
    ImportError,
    SafetensorError,
)
"""What `transformers` raises for a folder that is no checkpoint, or one of a family that it does not know."""
LONGEST_REASON = 300


def load_vision_language(folder: Path, dtype: torch.dtype | str, name: str | Path | None = None) -> tuple[Any, Any]:
    """Model and processor.

    Args:
        folder: checkpoint folder.
        dtype: of the weights; `auto` takes the checkpoint's own.
        name: what the message calls the checkpoint; the folder by default.

    Raises:
        CheckpointError: nothing loadable there.
    """
    try:
        processor = AutoProcessor.from_pretrained(folder)
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype)
    except LOAD_ERRORS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:LONGEST_REASON]
        raise CheckpointError(
            f"{name or folder} cannot be loaded as a vision-language model: {reason}; "
            "the folder must hold config, weights, tokenizer and processor files, all complete"
        ) from error
    return model, processor


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
