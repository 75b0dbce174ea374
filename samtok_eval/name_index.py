"""Rows by name, in 24 bytes a name, where a dictionary would hold a text and several objects.

In: names, such as the ids of samples. Out: where each stands, and which occur twice. Names are told apart by 128 bits
of a hash, so that any two of a billion names are confused with a chance of one to 10^20.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

DIGEST_BYTES = 16


class NameIndex:
    """Names in their order."""

    def __init__(self, names: Iterable[str]) -> None:
        digests = np.frombuffer(b"".join(map(_digest, names)), dtype=f"S{DIGEST_BYTES}")
        self._order = np.argsort(digests, kind="stable")
        self._sorted = digests[self._order]

    def __len__(self) -> int:
        return len(self._order)

    def row(self, name: str) -> int | None:
        """The first row of a name; None where it does not occur."""
        wanted = _digest(name)
        place = int(self._sorted.searchsorted(wanted))
        # NumPy leaves zeros at the end of bytes out.
        found = place < len(self) and self._sorted[place] == wanted.rstrip(b"\0")
        return int(self._order[place]) if found else None

    def repeated(self) -> list[list[int]]:
        """Rows of every name that occurs several times, by the first of them."""
        same = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        groups: dict[bytes, list[int]] = {}
        for place in same.tolist():
            groups.setdefault(self._sorted[place], [int(self._order[place])]).append(int(self._order[place + 1]))
        return sorted(groups.values())

    def unknown_to(self, other: NameIndex) -> list[int]:
        """Rows of the names that another index does not hold, in order."""
        return sorted(self._order[~np.isin(self._sorted, other._sorted)].tolist())


def _digest(name: str) -> bytes:
    # Half a surrogate pair is a name like any other here.
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
