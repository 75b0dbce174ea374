"""How well a mask tokenizer gives back masks: without quantizer (upper bound), with all codes, with the first alone."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch

from samtok_eval.metrics.codebooks import perplexity
from samtok_eval.tokenizer.model import MASKS_AT_ONCE, MaskTokenizer, normalised_boxes
from samtok_eval.training.ranks import Ranks
from samtok_eval.training.tokenizer.streams import MaskedPicture


class HeldOut(Protocol):
    """A list of pictures, or something that reads them when asked; None stands for one that cannot be used."""

    def __len__(self) -> int:
        """Pictures, unusable ones included."""

    def __getitem__(self, index: int, /) -> MaskedPicture | None:
        """One picture."""


class Reconstruction(NamedTuple):
    """Quality on held-out pictures, mean IoU over masks, each 0..1."""

    unquantized: float
    two_codes: float
    first_code: float
    used: tuple[int, ...]
    """Codes in use per book."""
    perplexities: tuple[float, ...]


def reconstruct(tokenizer: MaskTokenizer, pictures: HeldOut, ranks: Ranks | None = None) -> Reconstruction:
    """Mean IoU of masks after a round trip.

    Args:
        tokenizer: left in the mode in which it came.
        pictures: masks of any size; None entries are skipped.
        ranks: each process takes every `world`-th picture; None for one process.

    Raises:
        ValueError: no picture can be used.
    """
    was_training = tokenizer.training
    tokenizer.eval()
    first, step = (ranks.rank, ranks.world) if ranks else (0, 1)
    rows = []
    for i in range(first, len(pictures), step):
        picture = pictures[i]
        if picture is not None:
            for start in range(0, len(picture.masks), MASKS_AT_ONCE):
                some = picture.masks[start : start + MASKS_AT_ONCE]
                rows += _round_trip(tokenizer, MaskedPicture(picture.image, some))
    tokenizer.train(was_training)
    rows = ranks.objects(rows) if ranks else rows
    if not rows:
        raise ValueError("there is no held-out mask to reconstruct")
    ious, codes = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    counts = [np.bincount(book, minlength=tokenizer.config.codebook_size) for book in codes.T]
    unquantized, two_codes, first_code = (round(float(mean), 4) for mean in ious.mean(0))
    return Reconstruction(
        unquantized,
        two_codes,
        first_code,
        used=tuple(int((c > 0).sum()) for c in counts),
        perplexities=tuple(round(perplexity(c), 1) for c in counts),
    )


@torch.no_grad()
def _round_trip(tokenizer: MaskTokenizer, picture: MaskedPicture) -> list[tuple[list[float], list[int]]]:
    """Per mask: IoU without quantizer, with all codes, with the first; and its codes."""
    masks, device = picture.masks, tokenizer.device
    state = tokenizer.encode_pixels(tokenizer.pixels([picture.image]))
    index = torch.zeros(len(masks), dtype=torch.int64, device=device)
    prompts = tokenizer.mask_prompt(torch.from_numpy(masks.astype(np.float32)).to(device))
    boxes = torch.from_numpy(normalised_boxes(masks)).to(device)
    vectors = tokenizer.embed_regions(state, index, prompts, boxes)
    codes = tokenizer.quantizer.encode(vectors)
    first_only = torch.where(torch.arange(codes.shape[1], device=device) == 0, codes, -1)
    columns = []
    for variant in (vectors, tokenizer.quantizer.decode(codes), tokenizer.quantizer.decode(first_only)):
        found = tokenizer.masks_from_logits(tokenizer.logits(state, index, variant).best, *masks.shape[1:])
        columns.append([float((a & b).sum() / max((a | b).sum(), 1)) for a, b in zip(found, masks, strict=True)])
    return [(list(ious), row) for ious, row in zip(zip(*columns, strict=True), codes.tolist(), strict=True)]
