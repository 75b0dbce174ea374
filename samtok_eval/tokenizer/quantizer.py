"""Residual vector quantizer: one mask vector -> `depth` code indices -> the sum of `depth` code vectors.

Follows the SAMTok tokenizer (arXiv 2601.16093): nearest entry by squared Euclidean distance in the first book, then the
nearest entry to what is left in the second. Each book stores one extra all-zero row, so that the index
`codebook_size` means "nothing from this book".
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

MissingSecond = Literal["zero", "skip"]
"""How an absent code (-1) decodes: `"skip"` adds nothing, `"zero"` entry 0 of that book, as the released code does."""


class Codebook(nn.Module):
    """One table of code vectors with the running averages that train it.

    Attributes:
        weight: float32 (size + 1, dim); the last row is the zero padding row.
        cluster_size_ema: float32 (size,), running number of vectors per entry.
        embed_ema: float32 (size, dim), running sum of vectors per entry.
    """

    weight: nn.Parameter
    cluster_size_ema: Tensor
    embed_ema: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size + 1, dim), requires_grad=False)
        self.weight.data[-1] = 0
        self.register_buffer("cluster_size_ema", torch.ones(size))
        self.register_buffer("embed_ema", self.weight.data[:-1].clone())

    def nearest(self, vectors: Tensor) -> Tensor:
        """Index of the nearest entry.

        Args:
            vectors: float32 (N, dim).

        Returns:
            int64 (N,), each in 0..size-1; the lowest index wins a tie.
        """
        entries = self.weight[:-1]
        distance = (vectors**2).sum(1, keepdim=True) - 2 * vectors @ entries.T + (entries**2).sum(1)
        return distance.argmin(dim=1)


class ResidualQuantizer(nn.Module):
    """`depth` codebooks applied one after another to what the earlier ones left."""

    def __init__(self, size: int, depth: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.codebooks = nn.ModuleList(Codebook(size, dim) for _ in range(depth))

    @property
    def books(self) -> list[Codebook]:
        """The codebooks in order of use."""
        return cast(list[Codebook], list(self.codebooks))

    def encode(self, vectors: Tensor) -> Tensor:
        """Quantize vectors.

        Args:
            vectors: (N, dim), any float type; compared in float32.

        Returns:
            int64 (N, depth) code indices, each in 0..size-1.
        """
        residual = vectors.float()
        codes = []
        for book in self.books:
            index = book.nearest(residual)
            residual = residual - book.weight[index]
            codes.append(index)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor, missing: MissingSecond = "skip") -> Tensor:
        """Sum the code vectors.

        Args:
            codes: int64 (N, depth), each in -1..size; -1 is an absent code, `size` the zero padding row.
                The caller's tensor is never changed.
            missing: what -1 adds, see `MissingSecond`.

        Returns:
            float32 (N, dim).

        Raises:
            ValueError: a code is outside -1..size or the shape is wrong.
        """
        if codes.ndim != 2 or codes.shape[1] != len(self.codebooks):
            raise ValueError(f"codes must have shape (N, {len(self.codebooks)}), got {tuple(codes.shape)}")
        if codes.numel() and not (int(codes.min()) >= -1 and int(codes.max()) <= self.size):
            raise ValueError(
                f"codes must lie in -1..{self.size}, got {int(codes.min())}..{int(codes.max())}; "
                "subtract the book offset from mask words first"
            )
        stand_in = 0 if missing == "zero" else self.size
        rows = codes.where(codes >= 0, torch.full_like(codes, stand_in))
        vectors = torch.zeros(len(codes), self.books[0].weight.shape[1], device=codes.device)
        for book, row in zip(self.books, rows.unbind(1), strict=True):
            vectors = vectors + book.weight[row]
        return vectors
