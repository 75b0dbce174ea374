"""By what results are broken down: what the reader says of a sample, and what its Record shows.

Object sizes are COCO's: small below 32 x 32 pixels, medium below 96 x 96, at the annotation's resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

from samtok_eval.prediction import Record

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


def sliced(records: Sequence[Record]) -> dict[str, dict[str, list[Record]]]:
    """Records by name and value of slice; a slice with one value only says nothing and is left out."""
    groups: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        for name, value in slices_of(record).items():
            groups.setdefault(name, {}).setdefault(value, []).append(record)
    return {name: values for name, values in groups.items() if len(values) > 1}
