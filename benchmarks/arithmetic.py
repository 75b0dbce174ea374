"""The least time of a whole evaluation, from sizes alone: `python -m benchmarks.arithmetic`. Nothing is measured.

Qwen3-VL-4B and a Hiera-L mask tokenizer at the data sheet's rates of an H100 (dense bf16, memory); sizes of the data as
the benchmarks publish them, each picture through each encoder once, its questions after one common beginning.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import torch

from benchmarks.random_models import QWEN3_VL_4B, qwen3
from samtok_eval.run.measure import sizes_of
from samtok_eval.run.profile import Rates, Work, least_seconds
from samtok_eval.tokenizer import MaskTokenizer, MaskTokenizerConfig

H100 = Rates(flops=989e12, copied_bytes=3.35e12)
PATCHES = 1200
"""Of a picture of 640x480: 40 x 30, four to a visual token."""
QUESTION = 30
"""Tokens of a question behind the picture, chat words included."""
BATCH = 256
"""Answers that are written together."""


class Benchmark(NamedTuple):
    """Sizes of all its splits for evaluation, and about how many tokens an answer has."""

    name: str
    pictures: int
    questions: int
    tokens: int


BENCHMARKS = (
    Benchmark("RefCOCO", 3000, 10834 + 5657 + 5095, 12),
    Benchmark("RefCOCO+", 3000, 10758 + 5726 + 4889, 12),
    Benchmark("RefCOCOg", 3900, 4896 + 9602, 12),
    # Questions are not published per split; all splits together have 278,232 on 19,994 pictures, 14 on each.
    Benchmark("GRES", 3000, 3000 * 14, 16),
    Benchmark("GCG", 7500, 7500, 120),
)


class Loaded(NamedTuple):
    """As `sizes_of` takes a back end."""

    model: object


def work_of(benchmark: Benchmark, shared: bool) -> Work:
    """What a benchmark asks of the models; without sharing every question sees its picture for itself, alone.

    Args:
        benchmark: its sizes.
        shared: whether pictures are encoded and read once, and answers written in batches.
    """
    pictures = benchmark.pictures if shared else benchmark.questions
    return Work(
        patches=pictures * PATCHES,
        read=pictures * PATCHES // 4 + benchmark.questions * QUESTION,
        written=benchmark.questions * benchmark.tokens,
        steps=benchmark.questions * benchmark.tokens // (BATCH if shared else 1),
        pictures=pictures,
    )


def table() -> str:
    """Seconds on one GPU and on eight, as Markdown."""
    tokenizer = MaskTokenizer(MaskTokenizerConfig())
    model, _ = qwen3(QWEN3_VL_4B, 640, torch.bfloat16, "meta")
    sizes = sizes_of(Loaded(model), tokenizer)
    lines = [
        "| benchmark | pictures | questions | 1 GPU, s | 8 GPUs, s | 1 GPU, nothing shared, s |",
        "|---|---|---|---|---|---|",
    ]
    sums = [0.0, 0.0]
    for benchmark in BENCHMARKS:
        least = [sum(least_seconds(sizes, work_of(benchmark, shared), H100).values()) for shared in (True, False)]
        sums = [before + seconds for before, seconds in zip(sums, least, strict=True)]
        lines.append(_row(benchmark.name, f"{benchmark.pictures:,}", f"{benchmark.questions:,}", *least))
    lines.append(_row("all", "", f"{sum(b.questions for b in BENCHMARKS):,}", *sums))
    return "\n".join(lines)


def _row(name: str, pictures: str, questions: str, shared: float, alone: float) -> str:
    return f"| {name} | {pictures} | {questions} | {shared:.0f} | {shared / 8:.1f} | {alone:.0f} |"


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
