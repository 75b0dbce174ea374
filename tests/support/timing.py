"""How time grows with the size of the work, whatever the speed of the machine."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from itertools import pairwise

TRIES = 8
_FEWEST_TRIES = 3
"""One disturbed measurement of the smallest size alone would hide any growth."""
LINEAR = 3.0
"""Work twice as large takes twice as long, or, where the time grows with the square, four times."""
_CLEAR = 2.5
"""Below this no further try is needed."""


def growth(work: Callable[[int], Callable[[], object]], size: int) -> float:
    """How many times the processor time that work of twice the size takes; the lesser growth of two doublings.

    Time leaps once where work outgrows a cache or where its memory comes from the system in fresh pages (measured: five
    times as long for the same length of text); what grows with the square does so in both doublings.

    Args:
        work: the work of a size; calling what it returns is timed.
        size: the smallest of three sizes, a millisecond of work at least.
    """
    works = [work(size * factor) for factor in (1, 2, 4)]
    works[0]()
    least = [math.inf] * len(works)
    for tries in range(1, TRIES + 1):
        # A busy machine only adds time.
        least = [min(known, _seconds(run)) for known, run in zip(least, works, strict=True)]
        found = min(large / small for small, large in pairwise(least))
        if tries >= _FEWEST_TRIES and found < _CLEAR:
            break
    return found


def _seconds(work: Callable[[], object]) -> float:
    # Collections grow with all that is alive, not with the work.
    gc.disable()
    began = time.process_time()
    work()
    taken = time.process_time() - began
    gc.enable()
    return max(taken, 1e-4)
