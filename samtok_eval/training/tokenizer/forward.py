"""One batch through the mask tokenizer in training: what is drawn, how it is quantized, which parts learn.

In: pictures of a stream. Out: losses per mask, ready for backward, and the vectors that move the codebooks. Random
choices about a picture are drawn from its position in the stream, whatever rank or batch it comes to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import Dataset

from samtok_eval.errors import DataError
from samtok_eval.tokenizer.model import MaskTokenizer, normalised_boxes
from samtok_eval.training.tokenizer.losses import MaskLosses, mask_losses
from samtok_eval.training.tokenizer.recipe import Augmentation, TokenizerRecipe
from samtok_eval.training.tokenizer.streams import MaskedPicture, PictureStream, Problem

DRAW, ELSEWHERE = 11, 12
"""Keep these random numbers apart from the stream's own."""
HEADS = ("sam_mask_encoder.", "sam_mask_decoder.")
SCORE_HEADS = ("sam_mask_decoder.iou_prediction_head.", "sam_mask_decoder.pred_obj_score_head.")
UNUSED = (
    "memory_attention.", "memory_encoder.", "maskmem_tpos_enc", "no_mem_pos_enc", "no_obj_ptr", "no_obj_embed_spatial",
    "mask_downsample.", "obj_ptr_proj.", "obj_ptr_tpos_proj.", "sam_mask_decoder.pred_obj_score_head.",
)  # fmt: skip
"""SAM 2's video parts and its object score: in the file, never in the loss."""


class TrainingItem(NamedTuple):
    """One picture ready for the model."""

    image: NDArray[np.uint8]
    """(S, S, 3) at the model's size"""
    masks: NDArray[np.bool_]
    """(n, H, W) at their own size"""
    boxes: NDArray[np.float32]
    """(n, 4) as shares of the picture, corners inclusive"""
    shortened: NDArray[np.bool_]
    """(n,), decoded from the first code alone"""
    position: int
    point_seed: int
    problems: tuple[Problem, ...]


class TrainingItems(Dataset[TrainingItem | DataError]):
    """Items by position; a stream's error is returned, because a reading process cannot raise it as it is."""

    def __init__(self, stream: PictureStream, settings: TokenizerRecipe) -> None:
        self._stream, self._settings = stream, settings

    def __getitem__(self, position: int) -> TrainingItem | DataError:
        """The item at a position of the stream."""
        settings = self._settings
        rng = np.random.default_rng([settings.seed, DRAW, position])
        try:
            drawn = self._stream.draw(position, settings.masks_per_picture, rng)
        except DataError as error:
            return error
        image, masks = _turned(drawn.picture, settings.augmentation, rng)
        side = settings.model.image_size
        if image.shape[:2] != (side, side):
            image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
        return TrainingItem(
            image,
            masks,
            normalised_boxes(masks),
            rng.random(len(masks)) < settings.second_code_dropout,
            position,
            int(rng.integers(2**62)),
            drawn.problems,
        )


class Forward(NamedTuple):
    """Of N masks."""

    losses: MaskLosses
    commitment: Tensor
    """(N,), 0 while there is no quantizer"""
    total: Tensor
    """(N,), weighted sum"""
    vectors: Tensor
    """(N, dim), no gradient"""
    codes: Tensor | None
    """int64 (N, depth)"""


class TokenizerForward:
    """The tokenizer with its training settings."""

    def __init__(self, tokenizer: MaskTokenizer, settings: TokenizerRecipe, gradient_checkpointing: bool) -> None:
        self.tokenizer, self.settings = tokenizer, settings
        self.trained = choose_trained(tokenizer, settings)
        self._run: Callable[..., Any] = lambda function, *arguments: function(*arguments)
        if gradient_checkpointing:
            self._run = partial(checkpoint, use_reentrant=False)
            if settings.trained == "all":
                for block in tokenizer.sam.image_encoder.trunk.blocks:
                    block.forward = partial(checkpoint, block.forward, use_reentrant=False)

    def __call__(self, batch: list[TrainingItem], quantized: bool) -> Forward:
        """Losses of one batch.

        Args:
            batch: B items.
            quantized: decode from codes instead of from the vectors themselves.
        """
        tokenizer, settings = self.tokenizer, self.settings
        device = tokenizer.device
        masks = [torch.from_numpy(item.masks).to(device) for item in batch]
        counts = [len(part) for part in masks]
        index = torch.arange(len(batch)).repeat_interleave(torch.tensor(counts)).to(device)
        state = tokenizer.encode_pixels(tokenizer.pixels([item.image for item in batch]))
        prompts = torch.cat([tokenizer.mask_prompt(part) for part in masks])
        boxes = torch.from_numpy(np.concatenate([item.boxes for item in batch])).to(device)
        # On the wrong pictures the region encoder can say nothing of a mask but its place and shape. On the right ones
        # a small model found codes that decode well but do not depend on the place.
        shown = self._elsewhere(index, batch) if settings.show_elsewhere else index
        vectors = self._run(tokenizer.embed_regions, state, shown, prompts, boxes)
        codes, decoded, commitment = None, vectors, vectors.new_zeros(len(vectors))
        if quantized:
            shortened = torch.from_numpy(np.concatenate([item.shortened for item in batch])).to(device)
            codes, decoded, commitment = quantize(tokenizer, vectors, shortened)
        output = self._run(tokenizer.logits, state, index, decoded)
        losses = mask_losses(output, masks, settings, [item.point_seed for item in batch])
        total = losses.weighted(settings) + settings.commitment_weight * commitment
        return Forward(losses, commitment, total, vectors.detach(), codes)

    def _elsewhere(self, index: Tensor, batch: list[TrainingItem]) -> Tensor:
        rng = np.random.default_rng([self.settings.seed, ELSEWHERE, batch[0].position])
        return (index + 1 + int(rng.integers(len(batch) - 1))) % len(batch)


def quantize(tokenizer: MaskTokenizer, vectors: Tensor, shortened: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, straight-through quantized vectors, and the commitment loss per mask, mean over the depths.

    Args:
        tokenizer: its quantizer is used.
        vectors: float32 (N, dim).
        shortened: bool (N,), take the first code alone.

    Returns:
        int64 (N, depth), float32 (N, dim), float32 (N,).
    """
    codes = tokenizer.quantizer.encode(vectors.detach())
    depths = torch.arange(codes.shape[1], device=codes.device)
    sums = [tokenizer.quantizer.decode(codes.where(depths <= depth, -1)) for depth in depths]
    commitment = torch.stack([((vectors - total) ** 2).mean(1) for total in sums]).mean(0)
    chosen = torch.where(shortened[:, None], sums[0], sums[-1])
    return codes, vectors + (chosen - vectors).detach(), commitment


def choose_trained(tokenizer: MaskTokenizer, settings: TokenizerRecipe) -> list[nn.Parameter]:
    """Mark the parameters that learn and return them in the order of the state dict."""
    chosen = []
    for name, parameter in tokenizer.named_parameters():
        inner = name.removeprefix("model.sam2_model.")
        learns = inner != name and not inner.startswith(UNUSED)
        if settings.trained == "heads":
            learns = learns and inner.startswith(HEADS) and not inner.startswith(SCORE_HEADS)
        parameter.requires_grad_(learns)
        if learns:
            chosen.append(parameter)
    return chosen


def _turned(picture: MaskedPicture, how: Augmentation, rng: np.random.Generator) -> MaskedPicture:
    image, masks = picture
    if how == "dihedral":
        turns = int(rng.integers(4))
        image, masks = np.rot90(image, turns), np.rot90(masks, turns, axes=(1, 2))
    if how != "none" and bool(rng.integers(2)):
        image, masks = image[:, ::-1], masks[:, :, ::-1]
    return MaskedPicture(np.ascontiguousarray(image), np.ascontiguousarray(masks))
