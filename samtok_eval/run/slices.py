"""By what results are broken down: what the reader says of a sample, and what its Record shows.

Object sizes are COCO's: small below 32 x 32 pixels, medium below 96 x 96, at the annotation's resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

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
    found = rows_of_slices(columns)
    return {name: {value: columns.take(rows) for value, rows in values.items()} for name, values in found.items()}


def rows_of_slices(records: Records) -> dict[str, dict[str, Rows]]:
    """Rows by name and value of slice; a slice with one value only says nothing and is left out."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for row, key in enumerate(_kinds(records)):
        groups.setdefault(key, []).append(row)
    found: dict[str, dict[str, list[list[int]]]] = {}
    for rows in groups.values():
        # All of a group are in the same slices.
        for name, value in slices_of(records[rows[0]]).items():
            found.setdefault(name, {}).setdefault(value, []).append(rows)
    return {
        name: {value: np.sort(np.concatenate(parts)) for value, parts in values.items()}
        for name, values in found.items()
        if len(values) > 1
    }


def _kinds(records: Records) -> Iterator[tuple[object, ...]]:
    """What decides the slices of each record."""
    bounds = np.digitize(records.gt_area, (1, SMALL, MEDIUM)).tolist()
    words = np.digitize([len(phrase.split()) for phrase in records.phrase], (1, SHORT + 1, MIDDLING + 1)).tolist()
    return zip(records.status.tolist(), bounds, words, map(id, records.slices), strict=True)
