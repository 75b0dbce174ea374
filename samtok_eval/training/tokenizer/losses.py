"""Losses of decoded masks, one number per mask, so that sums over batches, ranks and accumulation are the same sum.

In: candidate logits, their predicted IoU, true masks. Out: named losses (N,). Points are drawn as in PointRend (arXiv
1912.08193): many at random, those nearest to the boundary kept, the rest at random.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from samtok_eval.tokenizer.model import MaskLogits
from samtok_eval.training.tokenizer.recipe import TokenizerRecipe

LOSS_SIDE_FACTOR = 2
"""Without points the loss is taken at twice the logit size, where thin parts still have pixels."""


class MaskLosses(NamedTuple):
    """Each (N,), unweighted, mean over the candidates that count."""

    bce: Tensor
    balanced_bce: Tensor
    dice: Tensor
    iou_error: Tensor
    """Squared error of the predicted IoU."""
    iou: Tensor
    """IoU of the picked candidate at logit size, no gradient; for the log."""

    def weighted(self, settings: TokenizerRecipe) -> Tensor:
        """(N,), the part of the loss that masks give."""
        return (
            settings.bce_weight * self.bce
            + settings.balanced_bce_weight * self.balanced_bce
            + settings.dice_weight * self.dice
            + settings.iou_weight * self.iou_error
        )


def mask_losses(output: MaskLogits, masks: list[Tensor], settings: TokenizerRecipe, keys: list[int]) -> MaskLosses:
    """Losses of N masks that lie on B pictures.

    Args:
        output: of the decoder, in the order of the masks.
        masks: B tensors (n, H, W), 0 or 1, at any sizes; together N masks.
        settings: which candidates, points and sizes.
        keys: B seeds of the drawn points.
    """
    if settings.candidates == "picked":
        logits, predicted = output.best[:, None], output.predicted_iou.amax(1, keepdim=True)
    else:
        logits, predicted = output.candidates, output.predicted_iou
    logits, predicted = logits.float(), predicted.float()
    side = logits.shape[-1]
    if settings.loss_points is None:
        side *= LOSS_SIDE_FACTOR
        logits = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        target = torch.cat([_resized(part, side, "area") for part in masks]).expand_as(logits)
        seen, truth = logits.flatten(2), target.flatten(2)
    else:
        target = torch.cat([_resized(part, side, "nearest") for part in masks]).expand_as(logits)
        points = _points_of_all(logits, masks, settings, keys)
        seen, truth = at_points(logits, points), at_points(target, points)
    bce = F.binary_cross_entropy_with_logits(seen, truth, reduction="none")
    inside = (bce * truth).sum(2) / truth.sum(2).clamp_min(1)
    outside = (bce * (1 - truth)).sum(2) / (1 - truth).sum(2).clamp_min(1)
    probability = seen.sigmoid()
    dice = 1 - (2 * (probability * truth).sum(2) + 1) / ((probability + truth).sum(2) + 1)
    with torch.no_grad():
        hard, right = logits > 0, target > 0.5
        iou = (hard & right).sum((2, 3)) / (hard | right).sum((2, 3)).clamp_min(1)
        picked = iou.gather(1, predicted.argmax(1, keepdim=True))[:, 0]
    return MaskLosses(
        bce.mean((1, 2)), (inside + outside).mean(1) / 2, dice.mean(1), ((predicted - iou) ** 2).mean(1), picked
    )


def uncertain_points(logits: Tensor, count: int, settings: TokenizerRecipe, generator: torch.Generator) -> Tensor:
    """Places at which a mask's loss is taken.

    Args:
        logits: (n, C, h, w); the candidates of one mask share their points, which are uncertain for the first.
        count: points per mask.
        settings: oversampling and the share of uncertain points.
        generator: on the logits' device.

    Returns:
        (n, count, 2), x and y in 0..1.
    """
    device = logits.device
    many = int(count * settings.point_oversample)
    offered = torch.rand(len(logits), many, 2, generator=generator, device=device)
    near = int(count * settings.point_importance)
    with torch.no_grad():
        doubt = -at_points(logits[:, :1], offered)[:, 0].abs()
    chosen = doubt.topk(near, dim=1).indices
    kept = offered.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat([kept, torch.rand(len(logits), count - near, 2, generator=generator, device=device)], dim=1)


def at_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of maps (n, C, h, w) at points (n, P, 2) in 0..1 -> (n, C, P)."""
    return F.grid_sample(maps, 2 * points[:, :, None] - 1, mode="bilinear", align_corners=False)[..., 0]


def _points_of_all(logits: Tensor, masks: list[Tensor], settings: TokenizerRecipe, keys: list[int]) -> Tensor:
    """Points of every mask; each picture draws with its own seed, so they do not depend on what shares the batch."""
    parts = logits.detach().split([len(part) for part in masks])
    count = settings.loss_points or 0
    return torch.cat(
        [
            uncertain_points(part, count, settings, torch.Generator(part.device).manual_seed(key))
            for part, key in zip(parts, keys, strict=True)
        ]
    )


def _resized(masks: Tensor, side: int, mode: str) -> Tensor:
    return F.interpolate(masks[:, None].float(), (side, side), mode=mode)
