"""Records of many samples as columns: what metrics, slices and intervals are computed from.

In: `Record`s of one protocol. Out: one array per field, which a million samples fit into, and the same `Record`s again
for whoever looks at one after another.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
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
        return cls.of_rows([tuple(record.__dict__.values()) for record in records])

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[Any, ...]]) -> Records:
        """Columns of the fields of records, each in the order of `Record`'s.

        Raises:
            OverflowError: a number of pixels beyond 64 bits.
        """
        found: dict[str, Iterable[Any]] = dict(
            zip(FIELDS, zip(*rows, strict=True) if rows else [()] * len(FIELDS), strict=True)
        )
        for name in ("image_id", "protocol", "status"):
            found[name] = map(sys.intern, found[name])
        columns: dict[str, Any] = {name: np.array(found[name], dtype=TYPES[name]) for name in TYPES}
        columns |= {name: _texts(list(found[name])) for name in ("id", "image_id", "protocol", "status", "phrase")}
        series = _texts([value or NOTHING for value in found["series"]])
        return cls(**columns, values=_columns(list(found["values"])), series=series, slices=_shared(found["slices"]))

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> Records:
        """Records of several parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.of([])
        found: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in PLAIN}
        names = dict.fromkeys(name for part in parts for name in part.values)
        values = {name: _joined([part.column(name) for part in parts]) for name in names}
        # A part shares its own; few differ over all of them.
        return cls(**found | {"slices": _shared(found["slices"])}, values=values)

    def sharing(self, other: Records) -> Records:
        """The same, with the other's texts and slices where they are equal: protocols of a run hold them once."""
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in SHARED)
        return replace(self, **{name: theirs for name, mine, theirs in pairs if np.array_equal(mine, theirs)})

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
        return (Record(*row) for row in self.rows())

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The fields of each record, in their order."""
        before, after = PLAIN[: PLAIN.index("series")], PLAIN[PLAIN.index("series") :]
        columns = [[getattr(self, name).tolist() for name in names] for names in (before, after)]
        return zip(*columns[0], self._values(), *columns[1], strict=True)

    def _values(self) -> Iterable[Mapping[str, float]]:
        """The further statistics of each record."""
        if not self.values:
            return [NOTHING] * len(self)
        columns = [(name, column.values.tolist(), column.there.tolist()) for name, column in self.values.items()]
        return ({name: values[row] for name, values, there in columns if there[row]} for row in range(len(self)))


FIELDS = tuple(field.name for field in fields(Record))
PLAIN = tuple(field.name for field in fields(Records) if field.name != "values")
"""Fields that are one array."""
SHARED = ("id", "image_id", "status", "phrase", "series", "slices")
TYPES: Mapping[str, Any] = dict.fromkeys(("inter", "union", "gt_area", "pred_area"), np.int64) | dict.fromkeys(
    ("no_target", "failed", "crashed"), np.bool_
)
"""Of the fields that are numbers."""


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


def _shared(mappings: Iterable[Mapping[str, str]]) -> Texts:
    """The same mappings, equal ones as one object."""
    by_content: dict[Any, Mapping[str, str]] = {(): NOTHING}
    by_identity: dict[int, Mapping[str, str]] = {}
    found = []
    for mapping in mappings:
        if id(mapping) not in by_identity:
            by_identity[id(mapping)] = by_content.setdefault(tuple(mapping.items()), mapping)
        found.append(by_identity[id(mapping)])
    return _texts(found)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
