"""How time grows with the size of the work, whatever the speed of the machine."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

TRIES = 6
LINEAR = 3.0
"""Work twice as large takes twice as long, or, where the time grows with the square, four times."""


def growth(small: Callable[[], object], large: Callable[[], object]) -> float:
    """Processor time of the large work / of the small one: the least of several tries, since a busy machine adds some.

    Args:
        small: work of some size, milliseconds at least.
        large: the same of twice the size.
    """
    found = []
    for _ in range(TRIES):
        found.append(_seconds(large) / _seconds(small))
        if found[-1] < LINEAR:
            break
    return min(found)


def _seconds(work: Callable[[], object]) -> float:
    # Collections grow with all that is alive, not with the work.
    gc.disable()
    began = time.process_time()
    work()
    taken = time.process_time() - began
    gc.enable()
    return max(taken, 1e-3)
