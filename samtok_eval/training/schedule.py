"""The learning-rate schedule of every recipe here."""

from __future__ import annotations

import math

FLOOR = 0.02
"""Share of the full rate at the end, where a recipe names none."""


def one_cycle(step: int, steps: int, warmup: int, floor: float = FLOOR) -> float:
    """Factor of the learning rate: linear warm-up, then cosine to `floor`.

    Args:
        step: from 0.
        steps: of the whole run.
        warmup: steps of the warm-up, at most a quarter of the run.
        floor: share of the full rate at the end, 0..1.
    """
    warmup = min(warmup, max(steps // 4, 1))
    if step < warmup:
        return (step + 1) / warmup
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min((step - warmup) / max(steps - warmup, 1), 1)))
