"""Audit of a faster way to compute: the same questions in float32 and in the asked way, and how far both agree.

In: a checkpoint, settings that may change its numbers (`dtype`, `mask_dtype`, `tf32`, `compile`, `attn`) and a few
questions. Out: shares of equal codes and texts, and the IoU between masks that both ways decode from the same codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samtok_eval import masks
from samtok_eval.device import float32_products
from samtok_eval.errors import UsageError
from samtok_eval.images import read_image
from samtok_eval.messages import messages
from samtok_eval.models.backend import Picture, request_of
from samtok_eval.models.select import (
    ModelOptions,
    is_fixed,
    is_python,
    is_served,
    is_vllm,
    load_backend,
    load_mask_tokenizer,
)
from samtok_eval.run.settings import RunSettings
from samtok_eval.sample import ImageRef, Sample
from samtok_eval.task import Task
from samtok_eval.tokenizer.pictures import encoder

LEAST_MEAN_IOU = 0.995
LEAST_IOU = 0.95
LEAST_EQUAL = 0.98
"""Of codes and of texts; below any of these the asked way changes what a benchmark says."""


@dataclass(frozen=True)
class Agreement:
    """Between float32 and the asked way; shares are 0..1."""

    masks: int
    equal_codes: float
    mean_iou: float
    least_iou: float
    texts: int
    equal_texts: float

    @property
    def is_close(self) -> bool:
        """Whether a benchmark would say the same, up to its noise."""
        equal = min(self.equal_codes, self.equal_texts) >= LEAST_EQUAL
        return equal and self.mean_iou >= LEAST_MEAN_IOU and self.least_iou >= LEAST_IOU


@dataclass(frozen=True)
class Computed:
    """One way's results."""

    codes: list[NDArray[np.int64]]
    """(N, depth) per picture."""
    decoded: list[NDArray[np.bool_]]
    """(N, H, W) per picture."""
    texts: list[str]


def audit(model: str, settings: RunSettings, task: Task, samples: Sequence[Sample]) -> Agreement:
    """Compute in float32 and in the asked way, one after the other.

    Args:
        model: checkpoint.
        settings: the asked way; also device and mask tokenizer.
        task: of the samples.
        samples: questions with masks as targets.

    Raises:
        UsageError: the model is no checkpoint that is loaded here.
    """
    if any(kind(model) for kind in (is_fixed, is_served, is_python, is_vllm)):
        raise UsageError(
            f"--precision loads a checkpoint twice, --model {model} is none; give a folder, a hub id or demo"
        )
    plain = RunSettings(device=settings.device, tokenizer=settings.tokenizer, dtype="fp32", mask_dtype="fp32")
    exact = compute(ModelOptions(model, plain), task, samples, None)
    asked = compute(ModelOptions(model, settings), task, samples, exact.codes)
    return agreement(exact, asked)


def agreement(exact: Computed, asked: Computed) -> Agreement:
    """How far two ways agree; masks that are empty both ways agree wholly."""
    equal = np.concatenate([(a == b).all(axis=1) for a, b in zip(exact.codes, asked.codes, strict=True)])
    ious = np.concatenate([_ious(a, b) for a, b in zip(exact.decoded, asked.decoded, strict=True)])
    texts = [a == b for a, b in zip(exact.texts, asked.texts, strict=True)]
    return Agreement(
        len(equal), float(equal.mean()), float(ious.mean()), float(ious.min()), len(texts), float(np.mean(texts))
    )


def _ious(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    inter, union = (a & b).sum((1, 2)), (a | b).sum((1, 2))
    return np.asarray(np.where(union > 0, inter / np.maximum(union, 1), 1.0))


def compute(
    options: ModelOptions, task: Task, samples: Sequence[Sample], codes: list[NDArray[np.int64]] | None
) -> Computed:
    """Codes of the true masks, masks of given codes (its own by default), and texts."""
    pictures: dict[ImageRef, Picture] = {sample.image: read_image(sample.image) for sample in samples}
    targets: dict[ImageRef, list[NDArray[np.bool_]]] = {image: [] for image in pictures}
    for sample in samples:
        targets[sample.image] += [masks.decode(rle) for rle in sample.target.masks]
    shown = {image: np.stack(regions) for image, regions in targets.items() if regions}
    with float32_products(options.settings.tf32):
        tokenizer = load_mask_tokenizer(options)
        found = [tokenizer.encode(pictures[image], regions).numpy() for image, regions in shown.items()]
        decoded = tokenizer.decode_pictures([pictures[image] for image in shown], codes or found)
        backend = load_backend(options, tokenizer, task, samples)
        encode = encoder(tokenizer)
        requests = [
            request_of(
                sample.id,
                pictures[sample.image],
                messages(sample.turns, pictures[sample.image], encode, tokenizer.config.layout),
            )
            for sample in samples
        ]
        texts = [answer.text for answer in backend.generate(requests, task.max_new_tokens)]
    return Computed(found, decoded, texts)
