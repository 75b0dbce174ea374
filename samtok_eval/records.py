"""Records of many samples as columns: what metrics, slices and intervals are computed from.

In: `Record`s of one protocol. Out: one array per field, which a million samples fit into, and the same `Record`s again
for whoever looks at one after another.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from samtok_eval.prediction import Record

Rows = NDArray[np.intp]
Texts = NDArray[np.object_]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]
NOTHING: Mapping[str, Any] = {}
"""Shared by all records without values, series or slices."""


@dataclass(frozen=True)
class Column:
    """A further statistic, which some of the records have."""

    values: NDArray[np.float64]
    """(n,); 0 where a record has none."""
    there: Flags
    """(n,)"""

    def take(self, rows: Rows) -> Column:
        """The same of some records."""
        return Column(self.values[rows], self.there[rows])


@dataclass(frozen=True, eq=False)
class Records(Sequence[Record]):
    """Records in order; every field is a column (n,) of `Record`'s field of that name."""

    id: Texts
    image_id: Texts
    protocol: Texts
    status: Texts
    inter: Whole
    union: Whole
    gt_area: Whole
    pred_area: Whole
    no_target: Flags
    failed: Flags
    crashed: Flags
    phrase: Texts
    values: Mapping[str, Column]
    series: Texts
    """Of mappings."""
    slices: Texts
    """Of mappings; equal ones are one object."""

    @classmethod
    def of(cls, records: Sequence[Record]) -> Records:
        """Columns of records; what is columns already comes back as it is.

        Raises:
            OverflowError: a number of pixels beyond 64 bits.
        """
        if isinstance(records, Records):
            return records
        seen: dict[Any, Any] = {}
        return cls(
            id=_texts([record.id for record in records]),
            image_id=_texts([sys.intern(record.image_id) for record in records]),
            protocol=_texts([sys.intern(record.protocol) for record in records]),
            status=_texts([sys.intern(record.status) for record in records]),
            inter=np.array([record.inter for record in records], dtype=np.int64),
            union=np.array([record.union for record in records], dtype=np.int64),
            gt_area=np.array([record.gt_area for record in records], dtype=np.int64),
            pred_area=np.array([record.pred_area for record in records], dtype=np.int64),
            no_target=np.array([record.no_target for record in records], dtype=np.bool_),
            failed=np.array([record.failed for record in records], dtype=np.bool_),
            crashed=np.array([record.crashed for record in records], dtype=np.bool_),
            phrase=_texts([record.phrase for record in records]),
            values=_columns([record.values for record in records]),
            series=_texts([record.series or NOTHING for record in records]),
            slices=_texts([_shared(record.slices, seen) for record in records]),
        )

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> Records:
        """Records of several parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.of([])
        seen: dict[Any, Any] = {}
        found: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in PLAIN if name != "slices"
        }
        # A part shares its own; few differ over all of them.
        slices = _texts([_shared(value, seen) for part in parts for value in part.slices])
        names = dict.fromkeys(name for part in parts for name in part.values)
        values = {name: _joined([part.column(name) for part in parts]) for name in names}
        return cls(**found, values=values, slices=slices)

    def take(self, rows: Rows) -> Records:
        """The records of some rows, in their order."""
        plain: dict[str, Any] = {name: getattr(self, name)[rows] for name in PLAIN}
        columns = {name: column.take(rows) for name, column in self.values.items()}
        return Records(**plain, values={name: column for name, column in columns.items() if column.there.any()})

    def column(self, name: str) -> Column:
        """One of the further statistics; a column of nothing where no record has it."""
        found = self.values.get(name)
        return found or Column(np.zeros(len(self)), np.zeros(len(self), dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.id)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Records: ...

    def __getitem__(self, index: int | slice) -> Record | Records:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        values = {name: float(column.values[index]) for name, column in self.values.items() if column.there[index]}
        plain = {name: _plain(getattr(self, name)[index]) for name in PLAIN}
        return Record(**plain, values=values)

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))


PLAIN = tuple(field.name for field in fields(Records) if field.name != "values")
"""Fields that are one array."""


def _texts(values: list[Any]) -> Texts:
    found = np.empty(len(values), dtype=np.object_)
    # Assigned as a list, mappings and texts stay single objects.
    found[:] = values
    return found


def _columns(values: Sequence[Mapping[str, float]]) -> dict[str, Column]:
    names = dict.fromkeys(name for mine in values for name in mine)
    return {
        name: Column(
            np.array([mine.get(name, 0.0) for mine in values], dtype=np.float64),
            np.array([name in mine for mine in values], dtype=np.bool_),
        )
        for name in names
    }


def _joined(columns: Sequence[Column]) -> Column:
    return Column(
        np.concatenate([column.values for column in columns]), np.concatenate([column.there for column in columns])
    )


def _shared(value: Mapping[str, str], seen: dict[Any, Mapping[str, str]]) -> Mapping[str, str]:
    return seen.setdefault(tuple(value.items()), value) if value else NOTHING


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
