"""How the residual codebooks learn: k-means start, running averages, restart of dead entries, and signs of collapse.

In: mask vectors of one step, of all ranks. Out: changed codebooks. Kept apart from the quantizer, which evaluation
also uses. Random choices are drawn on the CPU, so that they are the same on every device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from samtok_eval.metrics.codebooks import perplexity
from samtok_eval.tokenizer.quantizer import Codebook, ResidualQuantizer

KMEANS_ROUNDS = 25
COLLAPSED_SHARE = 0.25
"""A book is collapsing when it uses less than this share of the codes that even use would show."""
ENOUGH_VECTORS = 2
"""Times the codebook size; with fewer vectors nothing is said about collapse."""


@torch.no_grad()
def start_with_kmeans(quantizer: ResidualQuantizer, vectors: Tensor, generator: torch.Generator) -> None:
    """Place every book on clusters of what the earlier books leave (k-means++ seeding, Lloyd rounds).

    Args:
        quantizer: changed in place, running averages included.
        vectors: float32 (N, dim), N at least the codebook size.
        generator: on the CPU; source of the random seeding.

    Raises:
        ValueError: fewer vectors than entries.
    """
    if len(vectors) < quantizer.size:
        raise ValueError(f"k-means needs at least {quantizer.size} mask vectors, got {len(vectors)}; collect more")
    residual = vectors.clone()
    for book in quantizer.books:
        entries = book.weight.data[:-1]
        entries.copy_(_spread_seeds(residual, quantizer.size, generator))
        for _ in range(KMEANS_ROUNDS):
            counts, sums = _assign(book, residual)
            used = counts > 0
            entries[used] = sums[used] / counts[used, None]
        counts, _ = _assign(book, residual)
        book.cluster_size_ema.copy_(counts)
        book.embed_ema.copy_(entries * counts[:, None])
        residual = residual - book.weight[book.nearest(residual)]


@torch.no_grad()
def update_books(
    quantizer: ResidualQuantizer,
    vectors: Tensor,
    decay: float,
    restart_below: float,
    generator: torch.Generator,
    restart_count: float | None = None,
) -> int:
    """Move every book towards the step's vectors by running averages and re-seed entries that are hardly used.

    The restart threshold is relative to the mean use: with small batches an absolute count would re-seed nearly all.

    Args:
        quantizer: changed in place.
        vectors: float32 (N, dim).
        decay: share of the old average kept, e.g. 0.99.
        restart_below: entries used less than this share of the mean are re-seeded from the batch.
        generator: on the CPU; source of the re-seeding choice.
        restart_count: re-seed instead where the running count is below this number, and give it this count.

    Returns:
        Number of re-seeded entries over all books.
    """
    residual = vectors
    restarted = 0
    for book in quantizer.books:
        counts, sums = _assign(book, residual)
        book.cluster_size_ema.mul_(decay).add_(counts, alpha=1 - decay)
        book.embed_ema.mul_(decay).add_(sums, alpha=1 - decay)
        entries = book.weight.data[:-1]
        entries.copy_(book.embed_ema / book.cluster_size_ema.clamp_min(1e-5)[:, None])
        mean_use = book.cluster_size_ema.mean()
        threshold, given = (restart_below * mean_use, mean_use)
        if restart_count is not None:
            threshold = given = torch.full_like(mean_use, restart_count)
        dead = torch.nonzero(book.cluster_size_ema < threshold).flatten()[: len(residual)]
        if len(dead):
            chosen = torch.randperm(len(residual), generator=generator)[: len(dead)].to(residual.device)
            entries[dead] = residual[chosen]
            book.cluster_size_ema[dead] = given
            book.embed_ema[dead] = residual[chosen] * given
            restarted += len(dead)
        residual = residual - book.weight[book.nearest(residual)]
    return restarted


def book_tensors(quantizer: ResidualQuantizer) -> list[Tensor]:
    """Everything that the functions here change."""
    return [tensor for book in quantizer.books for tensor in (book.weight.data, book.cluster_size_ema, book.embed_ema)]


def collapse_warning(book: int, counts: Tensor) -> str | None:
    """What to say about a book that uses few of its codes, None where it is well or little was seen.

    Args:
        book: its number, from 0.
        counts: int64 (size,), how often each code was used lately.
    """
    size, seen = len(counts), int(counts.sum())
    if seen < ENOUGH_VECTORS * size:
        return None
    used = int((counts > 0).sum())
    expected = size * (1 - math.exp(-seen / size))
    spread = perplexity(counts.cpu())
    if min(used, spread) >= COLLAPSED_SHARE * expected:
        return None
    return (
        f"codebook {book + 1} is collapsing: {used} of {size} codes used by the last {seen} masks, perplexity "
        f"{spread:.1f}; give --book-start kmeans, raise --restart-below, lower --commitment-weight or "
        "--learning-rate, or use a larger --batch-size"
    )


def _assign(book: Codebook, vectors: Tensor) -> tuple[Tensor, Tensor]:
    index = book.nearest(vectors)
    size, dim = book.weight.shape[0] - 1, book.weight.shape[1]
    counts = torch.bincount(index, minlength=size).to(vectors.dtype)
    return counts, torch.zeros(size, dim, device=vectors.device).index_add_(0, index, vectors)


def _spread_seeds(vectors: Tensor, wanted: int, generator: torch.Generator) -> Tensor:
    chosen = [int(torch.randint(len(vectors), (1,), generator=generator))]
    distance = ((vectors - vectors[chosen[0]]) ** 2).sum(1)
    for _ in range(wanted - 1):
        weights = distance if float(distance.sum()) > 0 else torch.ones_like(distance)
        chosen.append(int(torch.multinomial(weights.cpu(), 1, generator=generator)))
        distance = torch.minimum(distance, ((vectors - vectors[chosen[-1]]) ** 2).sum(1))
    return vectors[chosen]
