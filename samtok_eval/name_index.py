"""Rows by name, in 20 bytes a name, where a dictionary would hold a text and several objects.

In: names, such as the ids of samples. Out: where each stands, and which occur twice. Names are told apart by two of
Python's hashes of 64 bits, whose key is drawn anew for every process, so that any two of a billion names are confused
with a chance of one to 10^20.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from samtok_eval.text_column import TextColumn

Value = TypeVar("Value")
Hashes = NDArray[np.int64]
INT32 = 2**31
TOGETHER = 1024
"""Names that are hashed at a time; more would be held meanwhile."""


class NameIndex:
    """Names in their order."""

    def __init__(self, names: Iterable[str]) -> None:
        hashes, others = _hashes(names)
        self._order = np.argsort(hashes, kind="stable").astype(np.int32 if len(hashes) < INT32 else np.int64)
        self._sorted, self._others = hashes[self._order], others[self._order]

    def __len__(self) -> int:
        return len(self._order)

    def row(self, name: str) -> int | None:
        """The first row of a name; None where it does not occur."""
        places, there = self._places(*_hashes([name]))
        return int(self._order[places[0]]) if there[0] else None

    def rows_of(self, other: NameIndex) -> NDArray[np.intp]:
        """`row` of all names of another index, in their order, (names,); -1 where one does not occur."""
        places, there = self._places(other._sorted, other._others)
        rows = np.full(len(other), -1, dtype=np.intp)
        if len(self):
            rows[other._order] = np.where(there, self._order[places], -1)
        return rows

    def repeated(self) -> list[list[int]]:
        """Rows of every name that occurs several times, by the first of them."""
        same = (self._sorted[1:] == self._sorted[:-1]) & (self._others[1:] == self._others[:-1])
        groups: dict[int, list[int]] = {}
        for place in np.flatnonzero(same).tolist():
            groups.setdefault(int(self._sorted[place]), [int(self._order[place])]).append(int(self._order[place + 1]))
        return sorted(groups.values())

    def unknown_to(self, other: NameIndex) -> list[int]:
        """Rows of the names that another index does not hold, in order."""
        _, there = other._places(self._sorted, self._others)
        return sorted(self._order[~there].tolist())

    def _places(self, hashes: Hashes, others: Hashes) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Where names stand among the sorted ones, and whether they do."""
        if not len(self):
            return np.zeros(len(hashes), dtype=np.intp), np.zeros(len(hashes), dtype=np.bool_)
        places = self._sorted.searchsorted(hashes)
        places[places == len(self)] = 0
        return places, (self._sorted[places] == hashes) & (self._others[places] == others)


class ByName(Mapping[str, Value]):
    """Values by name, of a sequence that may build each when it is asked for.

    Whoever looks at one after another, in any mapping of the same names, pays for no search.
    """

    def __init__(self, names: Sequence[str] | TextColumn | NDArray[Any], values: Sequence[Value]) -> None:
        """Look at the values by the names, which are all different, in the same order."""
        self._names, self._values = names, values
        self._next = 0

    @cached_property
    def _index(self) -> NameIndex:
        return NameIndex(self._names)

    def __getitem__(self, name: str) -> Value:
        row = self._row(name)
        if row is None:
            raise KeyError(name)
        self._next = row + 1
        return self._values[row]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._row(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def items(self) -> ItemsView[str, Value]:
        """Pairs in order, without a search."""
        return _Items(self)

    def _row(self, name: str) -> int | None:
        # The same sample again, or the next one.
        for row in (self._next - 1, self._next):
            if 0 <= row < len(self._names) and self._names[row] == name:
                return row
        return self._index.row(name)


class _Items(ItemsView[str, Value]):
    _mapping: ByName[Value]

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return zip(self._mapping._names, self._mapping._values, strict=True)


def _hashes(names: Iterable[str]) -> tuple[Hashes, Hashes]:
    """Two hashes of each name, (names,)."""
    found: list[tuple[Hashes, Hashes]] = [(np.empty(0, dtype=np.int64),) * 2]
    rest = iter(names)
    while some := list(islice(rest, TOGETHER)):
        found.append((_hashed(some), _hashed([f"{name}." for name in some])))
    hashes, others = zip(*found, strict=True)
    return np.concatenate(hashes), np.concatenate(others)


def _hashed(names: Sequence[str]) -> Hashes:
    return np.fromiter(map(hash, names), dtype=np.int64, count=len(names))
