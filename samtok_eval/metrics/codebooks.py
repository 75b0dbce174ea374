"""How evenly a codebook is used."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def perplexity(counts: ArrayLike) -> float:
    """2 to the entropy (in bits) of code use; equals the number of codes when all are used alike.

    Args:
        counts: (size,) how often each code occurred; at least one did.
    """
    used = np.asarray(counts, dtype=float)
    share = used[used > 0] / used.sum()
    return float(2 ** -(share * np.log2(share)).sum())
