"""Settings of tokenizer training: what changes a number (`TokenizerRecipe`) and what does not (`TokenizerJob`).

The first is written beside the weights and compared on resume; the second may change between parts of one run. The
names and values of the `paper` recipe follow the released SAMTok configuration, `vq_sam2_256x2_unshare.py` of
bytedance/Sa2VA.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from samtok_eval.errors import UsageError
from samtok_eval.setting import COUNT, FROM_ZERO, POSITIVE, SHARE, Setting, changed, check_ranges
from samtok_eval.tokenizer.config import MaskTokenizerConfig

TrainedParts = Literal["all", "heads"]
BookStart = Literal["kmeans", "normal"]
Augmentation = Literal["none", "mirror", "dihedral"]


@dataclass(frozen=True)
class TokenizerRecipe:
    """Every setting of one training run that its numbers depend on."""

    model: MaskTokenizerConfig
    steps: Annotated[
        int | None, Setting("Optimizer steps; without them the recipe's, or its passes over the data.", within=COUNT)
    ]
    pictures_per_step: Annotated[
        int, Setting("Pictures of a step, over all ranks and accumulated batches.", "--batch-size", within=COUNT)
    ] = 8
    masks_per_picture: Annotated[int, Setting("At most so many masks of a picture.", within=COUNT)] = 5
    learning_rate: Annotated[float, Setting("Learning rate at its peak.", within=POSITIVE)] = 6e-4
    weight_decay: Annotated[float, Setting("Weight decay of AdamW.", within=FROM_ZERO)] = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: Annotated[
        int,
        Setting(
            "Steps in which the rate rises; at most a quarter of the run is used.",
            within=FROM_ZERO,
            clears="warmup_share",
        ),
    ] = 200
    warmup_share: Annotated[float | None, Setting("The same as a share of the steps.", within=SHARE)] = None
    final_rate: Annotated[float, Setting("Share of the full rate at the end of the cosine.", within=SHARE)] = 0.02
    clip_norm: Annotated[float, Setting("Maximum norm of the gradient.", within=POSITIVE)] = 1.0
    passes: Annotated[int, Setting("Number of epochs, instead of a number of steps.", within=COUNT, clears="steps")] = 1
    trained: Annotated[
        TrainedParts,
        Setting("all: every part that takes part; heads: mask encoder, and mask decoder without its two score heads."),
    ] = "all"
    augmentation: Annotated[Augmentation, Setting("Mirror images, or these and quarter turns.")] = "dihedral"
    show_elsewhere: Annotated[
        bool,
        Setting("Encode masks on another picture of the batch, so that codes say place and shape only."),
    ] = True
    unquantized_share: Annotated[float, Setting("Share of the steps before the codebooks start.", within=SHARE)] = 0.35
    frozen_share: Annotated[float, Setting("Share of the steps, at the end, with frozen codebooks.", within=SHARE)] = (
        0.15
    )
    book_start: Annotated[BookStart, Setting("normal leaves the codebooks as drawn from N(0, 1).")] = "kmeans"
    kmeans_vectors: Annotated[int, Setting("Masks from which k-means starts the codebooks.", within=COUNT)] = 4096
    ema_decay: Annotated[float, Setting("Decay of the running averages of codebook entries.", within=SHARE)] = 0.99
    restart_below: Annotated[
        float,
        Setting(
            "Entries used less than this share of the mean are placed anew, without --restart-count.",
            within=FROM_ZERO,
            clears="restart_count",
        ),
    ] = 0.05
    restart_count: Annotated[
        float | None,
        Setting("Entries whose running count is below it are placed anew, as in the reference.", within=FROM_ZERO),
    ] = None
    second_code_dropout: Annotated[
        float,
        Setting(
            "Share of masks decoded from the first code alone, so that it carries as much as it can.", within=SHARE
        ),
    ] = 0.1
    loss_points: Annotated[
        int | None,
        Setting(
            "Points per mask of BCE and Dice; the demo recipe takes every pixel of twice the logits.", within=COUNT
        ),
    ] = None
    point_oversample: Annotated[float, Setting("Points that are drawn, for each that is kept.", within=COUNT)] = 3.0
    point_importance: Annotated[float, Setting("Share of points where the logit is nearest to 0.", within=SHARE)] = 0.75
    candidates: Annotated[
        Literal["all", "picked"],
        Setting("Candidate masks in the loss: all three, or the one with the highest predicted IoU."),
    ] = "all"
    bce_weight: Annotated[float, Setting("Weight of the BCE loss.", within=FROM_ZERO)] = 5.0
    balanced_bce_weight: Annotated[
        float, Setting("Weight of the BCE loss balanced by area; needs every pixel.", within=FROM_ZERO)
    ] = 0.5
    dice_weight: Annotated[float, Setting("Weight of the Dice loss.", within=FROM_ZERO)] = 1.0
    commitment_weight: Annotated[float, Setting("Weight of the distance to the chosen entries.", within=FROM_ZERO)] = (
        0.25
    )
    iou_weight: Annotated[float, Setting("Weight of the error of predicted IoUs.", within=FROM_ZERO)] = 1.0
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Setting("Precision of the heavy layers; auto is bfloat16 on CUDA, else float32."),
    ] = "float32"
    evaluate_every: Annotated[int, Setting("Steps between reports on held-out pictures.", free=True, within=COUNT)] = (
        250
    )
    seed: Annotated[int, Setting("Seed of weights and order.", within=FROM_ZERO)] = 0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            UsageError: names the setting, its value and its range.
        """
        check_ranges(self)

    def resolved(self, pictures: int | None, on_cuda: bool) -> TokenizerRecipe:
        """The same settings with `steps`, `warmup_steps` and `dtype` as numbers and names.

        Args:
            pictures: in the training data; None where it has no end.
            on_cuda: whether the run is on a CUDA device.

        Raises:
            UsageError: settings that cannot go together.
        """
        steps = self.steps
        if steps is None:
            if pictures is None:
                raise UsageError("this data has no end, so the recipe needs a number of steps; give --steps")
            steps = math.ceil(pictures * self.passes / self.pictures_per_step)
        warmup = self.warmup_steps if self.warmup_share is None else round(self.warmup_share * steps)
        dtype = self.dtype
        if dtype == "auto":
            dtype = "bfloat16" if on_cuda else "float32"
        settings = replace(self, steps=steps, warmup_steps=warmup, dtype=dtype)
        settings._check()
        return settings

    def _check(self) -> None:
        if self.loss_points is not None and self.balanced_bce_weight:
            raise UsageError("the balanced BCE needs every pixel; give --balanced-bce-weight 0, or no --loss-points")
        if self.show_elsewhere and self.pictures_per_step < 2:
            raise UsageError("showing masks on other pictures needs at least 2 pictures per step; raise --batch-size")

    @property
    def count(self) -> int:
        """Steps of a resolved recipe."""
        if self.steps is None:
            raise ValueError("the number of steps is not resolved yet")
        return self.steps

    @property
    def books_start(self) -> int:
        """First step with quantizer."""
        return int(self.count * self.unquantized_share)

    @property
    def books_stop(self) -> int:
        """First step with frozen books."""
        return int(self.count * (1 - self.frozen_share))

    def to_json(self) -> dict[str, Any]:
        """All settings, ready for JSON."""
        return asdict(self) | {"model": self.model.model_dump(mode="json"), "betas": list(self.betas)}


@dataclass(frozen=True)
class TokenizerJob:
    """Where and how a recipe runs; nothing here changes a number beyond rounding."""

    out: Annotated[Path, Setting("Folder of the tokenizer.")]
    data: Annotated[tuple[str, ...], Setting("FORMAT:PATH...; several make one collection.")] = ()
    held_out: Annotated[tuple[str, ...], Setting("Data for the reported reconstruction.")] = ()
    held_out_pictures: Annotated[
        int, Setting("Pictures of a report; without --held-out they are kept out of training.", within=FROM_ZERO)
    ] = 64
    init: Annotated[Path | None, Setting("SAM 2.1's weights, or a mask tokenizer to start from.")] = None
    resume: Annotated[bool, Setting("Resume from the checkpoint in --out.", "--resume")] = False
    fresh: Annotated[bool, Setting("Start anew over the run in --out.", "--fresh")] = False
    max_errors: Annotated[
        int, Setting("Broken pictures and masks that are skipped before the run ends.", within=FROM_ZERO)
    ] = 0
    pictures_at_once: Annotated[
        int | None, Setting("Pictures that a rank takes at once; its whole share by default.", "--batch-per-device")
    ] = None
    gradient_checkpointing: Annotated[bool, Setting("Less memory, more time.")] = False
    threads: Annotated[int, Setting("CPU threads per rank.", within=COUNT)] = 1
    workers: Annotated[int, Setting("Processes per rank that read pictures.", within=FROM_ZERO)] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], Setting("auto, cpu or cuda.")] = "auto"
    log_every: Annotated[int, Setting("Steps between lines of the log.", within=COUNT)] = 50
    save_every: Annotated[
        int | None, Setting("Steps between checkpoints; every evaluation by default. The last step always saves.")
    ] = None
    tensorboard: Annotated[bool, Setting("Also write TensorBoard's files.")] = True

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            UsageError: names the setting, its value and its range.
        """
        check_ranges(self)


PAPER = TokenizerRecipe(
    MaskTokenizerConfig(),
    steps=None,
    pictures_per_step=1024,
    masks_per_picture=1,
    learning_rate=4e-5,
    weight_decay=0.05,
    betas=(0.9, 0.999),
    warmup_share=0.05,
    final_rate=0.0,
    passes=20,
    trained="heads",
    augmentation="none",
    show_elsewhere=False,
    unquantized_share=0.0,
    frozen_share=0.0,
    book_start="normal",
    restart_count=1.0,
    second_code_dropout=0.0,
    loss_points=12544,
    candidates="picked",
    bce_weight=2.0,
    balanced_bce_weight=0.0,
    dice_weight=0.5,
    commitment_weight=1.0,
    iou_weight=0.0,
    dtype="auto",
    evaluate_every=1000,
)
"""The reference's settings. One of a picture's masks per visit; the released configuration visits SA-1B 20 times."""
PRESETS = {"paper": PAPER}
"""Recipes for data of one's own."""


def with_changes(recipe: TokenizerRecipe, changes: Mapping[str, Any], image_size: int | None = None) -> TokenizerRecipe:
    """A recipe with what a user changed. Another number of steps is evaluated twice, unless the user says otherwise.

    Args:
        recipe: a preset.
        changes: fields that replace the recipe's.
        image_size: side of the model's pictures, in pixels.

    Raises:
        UsageError: an unknown field, or an image size that the model cannot have.
    """
    steps = changes.get("steps")
    evaluated = {} if steps is None else {"evaluate_every": max(steps // 2, 1)}
    if image_size is None:
        return changed(recipe, evaluated | dict(changes))
    try:
        model = MaskTokenizerConfig.model_validate({**recipe.model.model_dump(), "image_size": image_size})
    except ValueError as error:
        raise UsageError(f"--image-size {image_size} does not fit this model: {error}") from error
    return changed(recipe, {**evaluated, **changes, "model": model})
