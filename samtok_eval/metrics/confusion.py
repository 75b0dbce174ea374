"""Which answers are given for which right ones, where both are of a few kinds: letters of options, or mask and no mask.

In: the right and the given answer of each sample. Out: counts, whose right ones add up to an accuracy of the task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Confusion:
    """Counts of samples by right and given answer."""

    what: str
    """What the answers are, e.g. `letters`."""
    rows: tuple[str, ...]
    """Right answers."""
    columns: tuple[str, ...]
    """Given answers."""
    counts: tuple[tuple[int, ...], ...]
    """(rows, columns)."""
    right: tuple[str, ...]
    """Per row the column that is right."""

    @property
    def correct(self) -> int:
        """Samples in the right column of their row."""
        places = [self.columns.index(name) for name in self.right]
        return sum(row[place] for row, place in zip(self.counts, places, strict=True))

    @property
    def total(self) -> int:
        """All samples."""
        return sum(map(sum, self.counts))


def confusion(
    what: str, pairs: Iterable[tuple[str, str]], columns: Sequence[str], right: dict[str, str] | None = None
) -> Confusion | None:
    """Count pairs of a right and a given answer; None without any.

    Args:
        what: what the answers are.
        pairs: right and given answer of each sample.
        columns: given answers in their order; those that never occur are left out unless they are right somewhere.
        right: the right column of each row, in the order of rows; by default rows are named as columns are.
    """
    listed = list(pairs)
    order = list(right) if right else list(columns)
    rows, given = {row for row, _ in listed}, {column for _, column in listed}
    known = [name for name in order if name in rows]
    meant = [right[name] if right else name for name in known]
    kept = [name for name in columns if name in meant or name in given]
    tally = Counter(listed)
    counts = tuple(tuple(tally[row, column] for column in kept) for row in known)
    return Confusion(what, tuple(known), tuple(kept), counts, tuple(meant)) if listed else None
