"""Settings of fine-tuning and the published recipes, as data.

The recipes are those of the released configurations (SAMTok, arXiv 2601.16093; `docs/TRAIN_VLM.md` and the xtuner and
swift files of the released code), for eight GPUs with four samples each.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from samtok_eval.errors import UsageError

CONFIGS = Path(__file__).parents[1] / "configs"
"""Launch configurations of `accelerate`: `ddp`, `zero2`, `zero3`, `fsdp`."""
FREE = {"free": True}
"""Marks settings under whose other values a run may go on."""


@dataclass(frozen=True)
class FinetuneSettings:
    """Everything that decides what is learned from given data."""

    lora_rank: int | None = 128
    """None trains every weight of the language model."""
    lora_alpha: int = 256
    lora_dropout: float = 0.05
    embeddings: Literal["trained", "frozen"] = "trained"
    """Beside adapters: input embedding and head as a whole. Full training always trains them."""
    vision: Literal["frozen", "trained"] = "frozen"
    """Vision tower with its merger."""
    learning_rate: float = 2e-5
    epochs: float = 1.0
    steps: int | None = None
    """Ends earlier or later than the epochs do."""
    global_batch: int = 32
    """Samples per step over all processes; gradients are accumulated where they do not fit at once."""
    batch_size: int = 4
    """Samples at once on one device."""
    weight_decay: float = 0.05
    warmup: float = 0.05
    """Share of the steps; then cosine to zero."""
    clip_norm: float = 1.0
    max_length: int = 8192
    """Most tokens of a sample, picture included; longer ones are left out."""
    min_pixels: int | None = None
    max_pixels: int | None = None
    """None keeps the processor's own."""
    order: Literal["random", "by_length"] = "random"
    """`by_length` puts samples of like length into a batch, which saves padding."""
    checkpointing: bool = field(default=True, metadata=FREE)
    """Compute activations twice instead of keeping them."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            UsageError: names the setting, its value and its range.
        """
        for name, least in (("epochs", 0), ("learning_rate", 0), ("clip_norm", 0)):
            if not getattr(self, name) > least:
                raise UsageError(f"{_option(name)} {getattr(self, name)}: expected a number above {least}")
        for name in ("steps", "lora_rank", "lora_alpha", "global_batch", "batch_size", "max_length"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{_option(name)} {getattr(self, name)}: expected a whole number from 1")
        for name in ("warmup", "lora_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{_option(name)} {getattr(self, name)}: expected a share from 0, below 1")

    def accumulation(self, processes: int) -> int:
        """Batches per step on one process.

        Raises:
            UsageError: the global batch cannot be cut into equal parts.
        """
        at_once = self.batch_size * processes
        if self.global_batch % at_once:
            raise UsageError(
                f"--global-batch {self.global_batch} is no multiple of {processes} processes x --batch-size "
                f"{self.batch_size}; change one of them"
            )
        return self.global_batch // at_once

    def binding(self) -> dict[str, Any]:
        """The settings that a resumed run must share."""
        return {f.name: getattr(self, f.name) for f in fields(self) if not f.metadata.get("free")}


class Preset(NamedTuple):
    """A recipe with where it comes from."""

    model: str
    """Checkpoint that it starts from."""
    settings: FinetuneSettings
    origin: str


QWEN2_5_TOKEN = 28 * 28
"""Pixels that one visual token of Qwen2.5-VL covers."""
QWEN3_TOKEN = 32 * 32
XTUNER = FinetuneSettings(min_pixels=4 * QWEN2_5_TOKEN, max_pixels=2048 * QWEN2_5_TOKEN)
"""LoRA of rank 128 on the language model, embeddings and head trained, vision tower frozen."""
PRESETS = {
    "paper-3b": Preset("Qwen/Qwen2.5-VL-3B-Instruct", XTUNER, "released xtuner configuration of Qwen2.5-VL-3B"),
    "paper-4b": Preset("Qwen/Qwen3-VL-4B-Instruct", XTUNER, "released xtuner configuration of Qwen3-VL-4B"),
    "paper-7b": Preset(
        "Qwen/Qwen2.5-VL-7B-Instruct", XTUNER, "the 3B configuration; none was released for the 7B model"
    ),
    "swift-4b": Preset(
        "Qwen/Qwen3-VL-4B-Instruct",
        replace(
            XTUNER,
            lora_rank=64,
            lora_alpha=128,
            global_batch=64,
            weight_decay=0.1,
            min_pixels=None,
            max_pixels=2048 * QWEN3_TOKEN,
        ),
        "released swift command of Qwen3-VL-4B; its weight decay is swift's default",
    ),
}


def find_preset(name: str) -> Preset:
    """A recipe by name.

    Raises:
        UsageError: no such recipe.
    """
    if name not in PRESETS:
        raise UsageError(f"no preset {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
