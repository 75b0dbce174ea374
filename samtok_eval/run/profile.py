"""The least seconds that a run's work takes on a device: operations and bytes over the device's rates.

Arithmetic alone. In: sizes of the models, what was computed, and rates that `run.measure` takes in the same run. Out:
seconds per stage that no program for these models goes below; attention, the last layer of each word and the mask
decoder are left out, since they are small beside the rest, so the true limit is a little higher.
"""

from __future__ import annotations

from dataclasses import dataclass

STAGES = ("read", "encode", "generate", "parse", "decode", "score")
"""Of a run, in order."""
FLOPS_PER_PARAMETER = 2
"""One product and one sum for each weight that a token passes."""


@dataclass(frozen=True)
class Sizes:
    """Of the models that compute; 0 where there is none."""

    language: int = 0
    """Parameters of the language model's layers, which every token passes."""
    language_bytes: int = 0
    """Of the weights that are read for every word written: the same layers and the output layer."""
    vision: int = 0
    """Parameters of the vision encoder's layers, which every patch passes."""
    mask_encoder: int = 0
    """Sum over the layers of the mask tokenizer's image encoder: parameters x places of one picture."""


@dataclass(frozen=True)
class Work:
    """What was computed."""

    patches: int = 0
    """That the vision encoder read."""
    read: int = 0
    """Tokens of prompts, shared ones once."""
    written: int = 0
    """Tokens of answers."""
    steps: int = 0
    """Decoding steps; a batch takes as many as its longest answer has tokens."""
    pictures: int = 0
    """That the mask tokenizer encoded."""


@dataclass(frozen=True)
class Rates:
    """Of a device, per second."""

    flops: float
    copied_bytes: float
    """Read; a copy reads and writes each byte, which counts as two."""


def least_seconds(sizes: Sizes, work: Work, rates: Rates) -> dict[str, float]:
    """Lower bound of the stages that compute: `encode`, `generate` and `decode`."""
    reading = FLOPS_PER_PARAMETER * sizes.language * work.read / rates.flops
    writing = max(
        FLOPS_PER_PARAMETER * sizes.language * work.written / rates.flops,
        sizes.language_bytes * work.steps / rates.copied_bytes,
    )
    return {
        "encode": FLOPS_PER_PARAMETER * sizes.vision * work.patches / rates.flops,
        "generate": reading + writing,
        "decode": FLOPS_PER_PARAMETER * sizes.mask_encoder * work.pictures / rates.flops,
    }
