"""Training of the mask tokenizer: pictures with masks -> a `MaskTokenizer` folder.

Three phases in one run: without quantizer, with books started by k-means and moved by running averages, with frozen
books. The loss is binary cross-entropy + Dice on the masks, the commitment loss of the quantizer and the error of the
predicted IoU, because decoding picks its candidate by that prediction.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samtok_eval.errors import UsageError
from samtok_eval.metrics.codebooks import perplexity
from samtok_eval.run_store import write_json
from samtok_eval.tokenizer.config import MaskTokenizerConfig
from samtok_eval.tokenizer.model import ImageState, MaskTokenizer, normalised_boxes
from samtok_eval.training.codebooks import start_with_kmeans, update_books
from samtok_eval.training.schedule import one_cycle

logger = logging.getLogger(__name__)

LOSS_SIDE_FACTOR = 2
"""The loss is taken at twice the logit size, where thin parts still have pixels."""


@dataclass(frozen=True)
class TokenizerTraining:
    """Every setting of one training run."""

    model: MaskTokenizerConfig
    steps: int
    pictures_per_step: int = 8
    masks_per_picture: int = 5
    learning_rate: float = 6e-4
    weight_decay: float = 0.01
    warmup_steps: int = 200
    clip_norm: float = 1.0
    unquantized_share: float = 0.35
    """Share of the steps before the books start."""
    frozen_share: float = 0.15
    """Share of the steps at the end in which the books no longer move."""
    kmeans_vectors: int = 4096
    ema_decay: float = 0.99
    restart_below: float = 0.05
    second_code_dropout: float = 0.1
    """Share of masks decoded from the first code alone, so that it carries as much as it can."""
    bce_weight: float = 5.0
    balanced_bce_weight: float = 0.5
    dice_weight: float = 1.0
    commitment_weight: float = 0.25
    iou_weight: float = 1.0
    evaluate_every: int = 250
    seed: int = 0


class MaskedPicture(NamedTuple):
    """One training picture."""

    image: NDArray[np.uint8]
    """(S, S, 3) RGB at the model's size."""
    masks: NDArray[np.bool_]
    """(N, S, S)"""


class Reconstruction(NamedTuple):
    """Quality on held-out pictures, mean IoU over masks, each 0..1."""

    unquantized: float
    two_codes: float
    first_code: float
    used: tuple[int, ...]
    """Codes in use per book."""
    perplexities: tuple[float, ...]


def train_tokenizer(
    settings: TokenizerTraining,
    picture: Callable[[int], MaskedPicture],
    held_out: list[MaskedPicture],
    out: Path,
    threads: int = 1,
) -> MaskTokenizer:
    """Train, saving the folder at every evaluation.

    Args:
        settings: the recipe.
        picture: the i-th training picture, for any i from 0.
        held_out: pictures for the reported reconstruction, never trained on.
        out: folder of `config.json`, `model.safetensors`, `training_log.jsonl` and `training.json`.
        threads: torch threads.

    Raises:
        UsageError: too few steps to start the codebooks.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    tokenizer = MaskTokenizer(settings.model, autocast_dtype=torch.float32).train()
    trained = [p for p in tokenizer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: one_cycle(step, settings.steps, settings.warmup_steps)
    )
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "training.json", asdict(settings) | {"model": settings.model.model_dump(mode="json")})
    log = (out / "training_log.jsonl").open("w")
    started = time.process_time()
    books_start, books_stop = (
        int(settings.steps * settings.unquantized_share),
        int(settings.steps * (1 - settings.frozen_share)),
    )
    recent: list[Tensor] = []
    for step in range(settings.steps):
        first = step * settings.pictures_per_step
        batch = [_flipped(picture(first + i), rng) for i in range(settings.pictures_per_step)]
        state, index, masks, vectors = _embed(tokenizer, batch, settings.masks_per_picture, rng)
        if step < books_start:
            recent = [*recent, vectors.detach()][-(settings.kmeans_vectors // max(len(vectors), 1) + 1) :]
            decoded, commitment = vectors, torch.zeros(())
        else:
            if step == books_start:
                collected = sum(map(len, recent))
                if collected < settings.model.codebook_size:
                    raise UsageError(
                        f"{settings.steps} steps collect {collected} masks before the codebooks start, which need "
                        f"{settings.model.codebook_size}; train for more steps"
                    )
                start_with_kmeans(tokenizer.quantizer, torch.cat(recent), generator)
                recent = []
            elif step < books_stop:
                update_books(
                    tokenizer.quantizer, vectors.detach(), settings.ema_decay, settings.restart_below, generator
                )
            decoded, commitment = _quantize(tokenizer, vectors, settings.second_code_dropout, generator)
        output = tokenizer.logits(state, index, decoded)
        loss = (
            mask_loss(output.candidates, output.predicted_iou, masks, settings)
            + settings.commitment_weight * commitment
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, settings.clip_norm)
        optimizer.step()
        schedule.step()
        if (step + 1) % settings.evaluate_every == 0 or step + 1 == settings.steps:
            quality = reconstruct(tokenizer, held_out)
            line = {
                "step": step + 1,
                "cpu_minutes": round((time.process_time() - started) / 60, 2),
                "loss": round(float(loss.detach()), 4),
                **quality._asdict(),
            }
            log.write(json.dumps(line) + "\n")
            log.flush()
            logger.info("tokenizer %s", line)
            tokenizer.save_pretrained(out)
    log.close()
    return tokenizer.eval()


def mask_loss(candidates: Tensor, predicted_iou: Tensor, masks: Tensor, settings: TokenizerTraining) -> Tensor:
    """Loss of all three candidates and of their predicted quality.

    Args:
        candidates: (N, 3, h, w) logits.
        predicted_iou: (N, 3).
        masks: float32 (N, H, W), 0 or 1.
        settings: weights.
    """
    side = candidates.shape[-1] * LOSS_SIDE_FACTOR
    logits = F.interpolate(candidates, (side, side), mode="bilinear", align_corners=False)
    target = F.interpolate(masks[:, None], (side, side), mode="area").expand_as(logits)
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    inside = (bce * target).sum((2, 3)) / target.sum((2, 3)).clamp_min(1)
    outside = (bce * (1 - target)).sum((2, 3)) / (1 - target).sum((2, 3)).clamp_min(1)
    probability = logits.sigmoid()
    dice = 1 - (2 * (probability * target).sum((2, 3)) + 1) / ((probability + target).sum((2, 3)) + 1)
    with torch.no_grad():
        hard, truth = logits > 0, target > 0.5
        iou = (hard & truth).sum((2, 3)) / (hard | truth).sum((2, 3)).clamp_min(1)
    return (
        settings.bce_weight * bce.mean()
        + settings.balanced_bce_weight * (inside + outside).mean() / 2
        + settings.dice_weight * dice.mean()
        + settings.iou_weight * F.mse_loss(predicted_iou, iou)
    )


@torch.no_grad()
def reconstruct(tokenizer: MaskTokenizer, pictures: list[MaskedPicture]) -> Reconstruction:
    """Mean IoU of masks after a round trip, without quantizer, with all codes and with the first code only."""
    was_training = tokenizer.training
    tokenizer.eval()
    totals: list[list[float]] = [[], [], []]
    codes_seen = []
    for image, masks in pictures:
        state = tokenizer.encode_pixels(tokenizer.pixels([image]))
        index = torch.zeros(len(masks), dtype=torch.int64)
        tensor = torch.from_numpy(masks.astype(np.float32))
        vectors = tokenizer.embed_regions(
            state, index, tokenizer.mask_prompt(tensor), torch.from_numpy(normalised_boxes(masks))
        )
        codes = tokenizer.quantizer.encode(vectors)
        codes_seen.append(codes)
        first_only = torch.where(torch.arange(codes.shape[1]) == 0, codes, -1)
        for total, variant in zip(
            totals, (vectors, tokenizer.quantizer.decode(codes), tokenizer.quantizer.decode(first_only)), strict=True
        ):
            found = tokenizer.masks_from_logits(tokenizer.logits(state, index, variant).best, *masks.shape[1:])
            total += [float((a & b).sum() / max((a | b).sum(), 1)) for a, b in zip(found, masks, strict=True)]
    counts = [
        torch.bincount(book, minlength=tokenizer.config.codebook_size) for book in torch.cat(codes_seen).unbind(1)
    ]
    tokenizer.train(was_training)
    unquantized, two_codes, first_code = (round(float(np.mean(total)), 4) for total in totals)
    return Reconstruction(
        unquantized,
        two_codes,
        first_code,
        used=tuple(int((c > 0).sum()) for c in counts),
        perplexities=tuple(round(perplexity(c), 1) for c in counts),
    )


def _embed(
    tokenizer: MaskTokenizer, batch: list[MaskedPicture], most: int, rng: np.random.Generator
) -> tuple[ImageState, Tensor, Tensor, Tensor]:
    """Encoded pictures, picture of each mask, masks (N, S, S) and their vectors.

    The region encoder is shown the masks on the wrong pictures of the batch. It can then say nothing of a mask but its
    place and shape. On the right pictures a small model found codes that decode well but do not depend on the place.
    """
    chosen = [picture.masks[rng.permutation(len(picture.masks))[:most]] for picture in batch]
    masks = np.concatenate(chosen)
    index = torch.from_numpy(np.repeat(np.arange(len(batch)), [len(c) for c in chosen]))
    tensor = torch.from_numpy(masks.astype(np.float32))
    state = tokenizer.encode_pixels(tokenizer.pixels([picture.image for picture in batch]))
    boxes = torch.from_numpy(normalised_boxes(masks))
    elsewhere = (index + 1 + int(rng.integers(len(batch) - 1))) % len(batch)
    return state, index, tensor, tokenizer.embed_regions(state, elsewhere, tokenizer.mask_prompt(tensor), boxes)


def _quantize(
    tokenizer: MaskTokenizer, vectors: Tensor, dropout: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Straight-through quantized vectors and the commitment loss, mean over the depths."""
    codes = tokenizer.quantizer.encode(vectors.detach())
    partial = [codes.where(torch.arange(codes.shape[1]) <= depth, torch.tensor(-1)) for depth in range(codes.shape[1])]
    sums = [tokenizer.quantizer.decode(part) for part in partial]
    commitment = torch.stack([F.mse_loss(vectors, total) for total in sums]).mean()
    shortened = torch.rand(len(vectors), 1, generator=generator) < dropout
    chosen = torch.where(shortened, sums[0], sums[-1])
    return vectors + (chosen - vectors).detach(), commitment


def _flipped(picture: MaskedPicture, rng: np.random.Generator) -> MaskedPicture:
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
    image, masks = np.rot90(picture.image, turns), np.rot90(picture.masks, turns, axes=(1, 2))
    if mirror:
        image, masks = image[:, ::-1], masks[:, :, ::-1]
    return MaskedPicture(np.ascontiguousarray(image), np.ascontiguousarray(masks))
