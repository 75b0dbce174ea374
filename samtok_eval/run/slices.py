"""By what results are broken down: what the reader says of a sample, and what its Record shows.

Object sizes are COCO's: small below 32 x 32 pixels, medium below 96 x 96, at the annotation's resolution.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from samtok_eval.prediction import Record
from samtok_eval.records import Records, Rows

SMALL, MEDIUM = 32**2, 96**2
"""Pixels."""
SHORT, MIDDLING = 2, 5
"""Words of an expression."""


def slices_of(record: Record) -> dict[str, str]:
    """Names and values of every slice that a record belongs to: its own, size, words, and status of the answer."""
    found = {"status": record.status}
    if record.gt_area:
        area = record.gt_area
        found["size"] = "small" if area < SMALL else "medium" if area < MEDIUM else "large"
    words = len(record.phrase.split())
    if words:
        found["words"] = "1-2" if words <= SHORT else "3-5" if words <= MIDDLING else "6+"
    return found | dict(record.slices)


def sliced(records: Sequence[Record]) -> dict[str, dict[str, Records]]:
    """Records by name and value of slice, see `rows_of_slices`."""
    columns = Records.of(records)
    found: dict[str, dict[str, Records]] = {}
    for name, value, rows in rows_of_slices(columns):
        found.setdefault(name, {})[value] = columns.take(rows)
    return found


DECIDING = ("status", "gt_area", "phrase", "slices")
"""The columns by which slices are made."""


def rows_of_slices(records: Records) -> Iterator[tuple[str, str, Rows]]:
    """Name, value and rows of each slice, one after the other; one with a single value says nothing and is left out."""
    kinds, firsts = _kinds(records)
    found: dict[str, dict[str, list[int]]] = {}
    for kind, first in enumerate(firsts):
        # All of a kind are in the same slices.
        for name, value in slices_of(records[first]).items():
            found.setdefault(name, {}).setdefault(value, []).append(kind)
    return (
        (name, value, np.flatnonzero(_members(members, len(firsts))[kinds]))
        for name, values in found.items()
        for value, members in values.items()
        if len(values) > 1
    )


def _kinds(records: Records) -> tuple[NDArray[np.int32], list[int]]:
    """Kind of each record, those alike in what decides their slices being of one, and the first row of each kind."""
    numbers: dict[Hashable, int] = {}
    firsts: list[int] = []
    kinds = np.empty(len(records), dtype=np.int32)
    sizes = np.digitize(records.gt_area, (1, SMALL, MEDIUM)).tolist()
    lengths = (1, SHORT + 1, MIDDLING + 1)
    deciding = zip(records.status, sizes, records.phrase, map(id, records.slices), strict=True)
    for row, (status, size, phrase, slices) in enumerate(deciding):
        kind = status, size, bisect(lengths, len(phrase.split())), slices
        if kind not in numbers:
            numbers[kind] = len(firsts)
            firsts.append(row)
        kinds[row] = numbers[kind]
    return kinds, firsts


def _members(kinds: Sequence[int], count: int) -> NDArray[np.bool_]:
    """Whether each of so many kinds is among some."""
    found = np.zeros(count, dtype=np.bool_)
    found[list(kinds)] = True
    return found
