"""Rows by name, in 24 bytes a name, where a dictionary would hold a text and several objects.

In: names, such as the ids of samples. Out: where each stands, and which occur twice. Names are told apart by 128 bits
of a hash, so that any two of a billion names are confused with a chance of one to 10^20.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 16


class NameIndex:
    """Names in their order."""

    def __init__(self, names: Iterable[str]) -> None:
        digests = _digests(names)
        self._order = np.argsort(digests, kind="stable")
        self._sorted = digests[self._order]

    def __len__(self) -> int:
        return len(self._order)

    def row(self, name: str) -> int | None:
        """The first row of a name; None where it does not occur."""
        return self.rows([name])[0]

    def rows(self, names: Sequence[str]) -> list[int | None]:
        """`row` of several names, in a fraction of the time."""
        wanted = _digests(names)
        places = self._sorted.searchsorted(wanted)
        places[places == len(self)] = 0
        there = self._sorted[places] == wanted if len(self) else np.zeros(len(names), dtype=np.bool_)
        rows = self._order[places].tolist() if len(self) else [0] * len(names)
        return [row if found else None for row, found in zip(rows, there.tolist(), strict=True)]

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


def _digests(names: Iterable[str]) -> NDArray[np.bytes_]:
    return np.frombuffer(b"".join(map(_digest, names)), dtype=f"S{DIGEST_BYTES}")


def _digest(name: str) -> bytes:
    # Half a surrogate pair is a name like any other here.
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
