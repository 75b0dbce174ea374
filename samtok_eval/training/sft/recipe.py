"""Settings of fine-tuning and the published recipes, as data.

`FinetuneRecipe` holds what decides what is learned, `FinetuneJob` what it is learned from and everything around it that
changes no weight. The recipes are those of the released configurations (SAMTok, arXiv 2601.16093; `docs/TRAIN_VLM.md`
and the xtuner and swift files of the released code), for eight GPUs with four samples each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from samtok_eval.device import dtype_name
from samtok_eval.errors import UsageError
from samtok_eval.setting import COUNT, FROM_ZERO, POSITIVE, SHARE_BELOW_ALL, Setting, check_ranges
from samtok_eval.training.eval_options import EvaluatedWhileTraining

CONFIGS = Path(__file__).parents[1] / "configs"
"""Launch configurations of `accelerate`: `ddp`, `zero2`, `zero3`, `fsdp`."""
LORA_OFF = "off"


def read_rank(text: str) -> int | None:
    """A rank of adapters as it is typed.

    Raises:
        UsageError: neither a number nor `off`.
    """
    if text == LORA_OFF:
        return None
    if not text.isdecimal():
        raise UsageError(f"--lora-rank {text}: expected a whole number or {LORA_OFF}")
    return int(text)


@dataclass(frozen=True)
class FinetuneRecipe:
    """Everything that decides what is learned from given data."""

    lora_rank: Annotated[
        int | None,
        Setting(
            "Rank of the adapters, or off: train every weight of the language model.", reads=read_rank, within=COUNT
        ),
    ] = 128
    lora_alpha: Annotated[int, Setting("Scale of the adapters.", within=COUNT)] = 256
    lora_dropout: Annotated[float, Setting("Share of inputs that adapters miss.", within=SHARE_BELOW_ALL)] = 0.05
    embeddings: Annotated[
        Literal["trained", "frozen"],
        Setting("Word embedding and head as a whole, beside adapters. Full training always trains them."),
    ] = "trained"
    vision: Annotated[Literal["frozen", "trained"], Setting("Vision tower with its merger.")] = "frozen"
    learning_rate: Annotated[float, Setting("At its highest.", within=POSITIVE)] = 2e-5
    epochs: Annotated[float, Setting("Passes over the data.", within=POSITIVE, clears="steps")] = 1.0
    steps: Annotated[int | None, Setting("Steps instead of the recipe's epochs.", within=COUNT)] = None
    global_batch: Annotated[
        int,
        Setting(
            "Samples per step, over all processes; gradients are accumulated where they do not fit at once.",
            within=COUNT,
        ),
    ] = 32
    batch_size: Annotated[int, Setting("Samples at once on one device.", within=COUNT)] = 4
    weight_decay: Annotated[float, Setting("Of AdamW.", within=FROM_ZERO)] = 0.05
    warmup: Annotated[
        float, Setting("Share of the steps in which the rate rises; then cosine to zero.", within=SHARE_BELOW_ALL)
    ] = 0.05
    clip_norm: Annotated[float, Setting("Longest gradient; a longer one is shortened to it.", within=POSITIVE)] = 1.0
    max_length: Annotated[
        int, Setting("Most tokens of a sample, pictures included; longer ones are left out.", within=COUNT)
    ] = 8192
    min_pixels: Annotated[
        int | None, Setting("Least pixels of a picture; the processor's own by default.", within=COUNT)
    ] = None
    max_pixels: Annotated[
        int | None, Setting("Most pixels of a picture; the processor's own by default.", within=COUNT)
    ] = None
    order: Annotated[
        Literal["random", "by_length"],
        Setting("by_length puts samples of like length into a batch, which saves padding: there is no packing."),
    ] = "random"
    checkpointing: Annotated[
        bool, Setting("Compute activations twice instead of keeping them, to save memory.", free=True)
    ] = True
    seed: Annotated[int, Setting("Of order, adapters and dropout.", within=FROM_ZERO)] = 0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            UsageError: names the setting, its value and its range.
        """
        check_ranges(self)

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


@dataclass(frozen=True)
class FinetuneJob(EvaluatedWhileTraining):
    """What to train on what, and everything around it that changes no weight."""

    out: Annotated[Path, Setting("Folder of the checkpoint.")]
    model: Annotated[str | None, Setting("Folder or hub id; the preset's own by default.")] = None
    data: Annotated[
        tuple[str, ...], Setting("Conversations: FILE or FOLDER, with %N for N percent; several allowed.")
    ] = ()
    data_root: Annotated[
        str | None, Setting("Where picture paths begin, or demo; beside the data file by default.")
    ] = None
    tokenizer: Annotated[
        Path | None,
        Setting("Mask tokenizer of the words, where no manifest beside the data says their layout; 256x2 without it."),
    ] = None
    held_out: Annotated[
        str | None, Setting("Conversations whose loss is reported, with their own pictures and with each other's.")
    ] = None
    max_errors: Annotated[int, Setting("Unusable samples that may be left out.", within=FROM_ZERO)] = 0
    check: Annotated[Literal["whole", "header"], Setting("How much of each picture is read before training.")] = "whole"
    device: Annotated[str, Setting("auto, cpu or cuda.")] = "auto"
    merge: Annotated[bool, Setting("Write LoRA models whole, or the adapter alone.")] = True
    dtype: Annotated[str, Setting("Of the written weights: auto (the checkpoint's own), bf16, fp16, fp32.")] = "auto"
    save_every: Annotated[int, Setting("Steps between states to go on from.", within=COUNT)] = 500
    log_every: Annotated[int, Setting("Steps between lines of the log.", within=COUNT)] = 10
    evaluate_every: Annotated[int, Setting("Steps between held-out losses.", within=COUNT)] = 500
    keep: Annotated[int, Setting("Newest states that are kept.", within=COUNT)] = 2
    keep_steps: Annotated[bool, Setting("Keep these states when training ends, e.g. for `watch`.")] = False
    workers: Annotated[
        int | None, Setting("Processes that open pictures; 4 per GPU and none on a CPU by default.", within=FROM_ZERO)
    ] = None
    report_to: Annotated[tuple[str, ...], Setting("Also log to e.g. tensorboard.")] = ()
    fresh: Annotated[bool, Setting("Start anew, or go on where a run stopped.", "--fresh/--resume")] = False

    def __post_init__(self) -> None:
        """Check ranges and names, before hours of training that end in one of them.

        Raises:
            UsageError: names the setting, its value and what it may be.
        """
        check_ranges(self)
        dtype_name(self.dtype)

    def inputs(self) -> tuple[str, tuple[str, ...]]:
        """Checkpoint and data.

        Raises:
            UsageError: one of them is missing.
        """
        if not self.data:
            raise UsageError("--data is missing; `samtok-eval tokenize` writes conversations")
        if self.model is None:
            raise UsageError("--model is missing; give a folder or a hub id")
        return self.model, self.data


class Preset(NamedTuple):
    """A recipe with where it comes from."""

    model: str
    """Checkpoint that it starts from."""
    recipe: FinetuneRecipe
    origin: str


QWEN2_5_TOKEN = 28 * 28
"""Pixels that one visual token of Qwen2.5-VL covers."""
QWEN3_TOKEN = 32 * 32
XTUNER = FinetuneRecipe(min_pixels=4 * QWEN2_5_TOKEN, max_pixels=2048 * QWEN2_5_TOKEN)
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
