"""By what results are broken down: what the reader says of a sample, and what its Record shows.

Object sizes are COCO's: small below 32 x 32 pixels, medium below 96 x 96, at the annotation's resolution.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

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
    found: dict[str, dict[str, list[Rows]]] = {}
    for rows in _rows_of_kinds(records):
        # All of a kind are in the same slices.
        for name, value in slices_of(records[int(rows[0])]).items():
            found.setdefault(name, {}).setdefault(value, []).append(rows)
    return (
        (name, value, np.sort(np.concatenate(parts)))
        for name, values in found.items()
        for value, parts in values.items()
        if len(values) > 1
    )


def _rows_of_kinds(records: Records) -> list[Rows]:
    """Rows of the records that are alike in what decides their slices, by the first of each kind."""
    count = len(records)
    if not count:
        return []
    words = np.fromiter((len(phrase.split()) for phrase in records.phrase), dtype=np.int64, count=count)
    kinds = np.zeros(count, dtype=np.int64)
    for column in (
        _numbered(records.status, count),
        np.digitize(records.gt_area, (1, SMALL, MEDIUM)),
        np.digitize(words, (1, SHORT + 1, MIDDLING + 1)),
        _numbered(map(id, records.slices), count),
    ):
        kinds = kinds * (column.max() + 1) + column
    order = np.argsort(kinds, kind="stable")
    return sorted(np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1), key=lambda rows: int(rows[0]))


def _numbered(values: Iterable[Hashable], count: int) -> NDArray[np.int64]:
    """The number of each of so many values, counted in order of first sight."""
    numbers: dict[Hashable, int] = {}
    return np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), dtype=np.int64, count=count)
