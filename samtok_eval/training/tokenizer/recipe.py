"""Settings of tokenizer training: what changes a number (`TokenizerTraining`) and what does not (`TokenizerRun`).

The first is written beside the weights and compared on resume; the second may change between parts of one run. The
names and values of the `paper` recipe follow the released SAMTok configuration, `vq_sam2_256x2_unshare.py` of
bytedance/Sa2VA.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from samtok_eval.errors import UsageError
from samtok_eval.tokenizer.config import MaskTokenizerConfig

TrainedParts = Literal["all", "heads"]
"""`"heads"`: mask encoder and mask decoder without its two score heads; `"all"`: every part that takes part."""
BookStart = Literal["kmeans", "normal"]
Augmentation = Literal["none", "mirror", "dihedral"]


@dataclass(frozen=True)
class TokenizerTraining:
    """Every setting of one training run that its numbers depend on."""

    model: MaskTokenizerConfig
    steps: int | None
    """Optimizer steps; None takes `passes` over the data."""
    pictures_per_step: int = 8
    """Of one optimizer step, over all ranks and accumulated batches."""
    masks_per_picture: int = 5
    learning_rate: float = 6e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 200
    """At most a quarter of the run is used."""
    warmup_share: float | None = None
    """Takes the place of `warmup_steps`."""
    final_rate: float = 0.02
    """Share of the full learning rate at the end of the cosine."""
    clip_norm: float = 1.0
    passes: int = 1
    """Visits of every picture; used where `steps` is None."""
    trained: TrainedParts = "all"
    augmentation: Augmentation = "dihedral"
    show_elsewhere: bool = True
    """Show the region encoder the masks on another picture of the batch, so that codes say place and shape only."""
    unquantized_share: float = 0.35
    """Share of the steps before the books start."""
    frozen_share: float = 0.15
    """Share of the steps at the end in which the books no longer move."""
    book_start: BookStart = "kmeans"
    """`"normal"` leaves the books as drawn from N(0, 1)."""
    kmeans_vectors: int = 4096
    ema_decay: float = 0.99
    restart_below: float = 0.05
    """Entries used less than this share of the mean are placed anew; ignored where `restart_count` is set."""
    restart_count: float | None = None
    """Entries whose running count is below this number are placed anew (the reference's rule)."""
    second_code_dropout: float = 0.1
    """Share of masks decoded from the first code alone, so that it carries as much as it can."""
    loss_points: int | None = None
    """Points per mask at which BCE and Dice are taken; None takes every pixel at twice the logit size."""
    point_oversample: float = 3.0
    point_importance: float = 0.75
    """Share of the points chosen where the logit is nearest to 0 among `point_oversample` times as many."""
    candidates: Literal["all", "picked"] = "all"
    """Which of the three candidate masks the loss sees; `"picked"` the one with the highest predicted IoU."""
    bce_weight: float = 5.0
    balanced_bce_weight: float = 0.5
    """Of the BCE balanced by area; needs every pixel."""
    dice_weight: float = 1.0
    commitment_weight: float = 0.25
    iou_weight: float = 1.0
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the heavy layers; `"auto"` is bfloat16 on CUDA and float32 elsewhere."""
    evaluate_every: int = 250
    seed: int = 0

    def resolved(self, pictures: int | None, on_cuda: bool) -> TokenizerTraining:
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
        if self.count < 1 or self.pictures_per_step < 1 or self.masks_per_picture < 1:
            raise UsageError(
                f"steps, pictures per step and masks per picture must be at least 1, got {self.steps}, "
                f"{self.pictures_per_step} and {self.masks_per_picture}"
            )
        if self.loss_points is not None and self.balanced_bce_weight:
            raise UsageError("the balanced BCE needs every pixel; set balanced_bce_weight to 0 or loss_points to None")
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
class TokenizerRun:
    """Where and how a recipe runs; nothing here changes a number beyond rounding."""

    resume: bool = False
    """Go on from the checkpoint in the output folder."""
    max_errors: int = 0
    """Broken pictures and masks that are skipped before the run ends."""
    pictures_at_once: int | None = None
    """Pictures per rank that go through the model together; None takes a rank's whole share of a step."""
    gradient_checkpointing: bool = False
    threads: int = 1
    """Torch threads per rank."""
    workers: int = 0
    """Processes per rank that read pictures."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_every: int = 50
    save_every: int | None = None
    """Steps between checkpoints; None saves at every evaluation. The last step always saves."""
    tensorboard: bool = True
    init: Path | None = None
    """Start from these weights: SAM 2.1's own file or a mask tokenizer."""
    data: tuple[str, ...] = ()
    """Training data, each `FORMAT:PATH...`; none for recipes that bring their own."""
    held_out: tuple[str, ...] = ()
    """Data for the reported reconstruction; none takes `held_out_pictures` out of the training data."""
    held_out_pictures: int = 64
    overrides: dict[str, Any] = field(default_factory=dict)
    """Fields of `TokenizerTraining` (and `image_size`) that replace the recipe's."""


def with_overrides(settings: TokenizerTraining, overrides: dict[str, Any]) -> TokenizerTraining:
    """The recipe with some settings replaced; `None` values are left as they are.

    Raises:
        UsageError: an unknown name, or an image size the model cannot have.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    size = given.pop("image_size", None)
    unknown = set(given) - set(asdict(settings))
    if unknown:
        raise UsageError(f"no training setting {sorted(unknown)[0]!r}; choose from {', '.join(asdict(settings))}")
    if size is not None:
        try:
            model = MaskTokenizerConfig.model_validate({**settings.model.model_dump(), "image_size": size})
        except ValueError as error:
            raise UsageError(f"--image-size {size} does not fit this model: {error}") from error
        given["model"] = model
    return replace(settings, **given)
