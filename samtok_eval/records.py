"""Records of many samples as columns: what metrics, slices and intervals are computed from.

In: `Record`s of one protocol. Out: one array per field, which a million samples fit into, and the same `Record`s again
for whoever looks at one after another.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import chain, islice
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from samtok_eval.prediction import Record
from samtok_eval.text_column import TextColumn, texts

Rows = NDArray[np.intp]
Objects = NDArray[Any]
"""Texts or mappings."""
Texts = Objects | TextColumn
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]
Taken = dict[int, NDArray[Any]]
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

    @classmethod
    def nothing(cls, count: int) -> Column:
        """That of so many records which have none."""
        return cls(np.zeros(count), np.zeros(count, dtype=np.bool_))


@dataclass(frozen=True, eq=False)
class Records(Sequence[Record]):
    """Records in order; every field is a column (n,) of `Record`'s field of that name."""

    id: Texts
    image_id: Objects
    protocol: Objects
    status: Objects
    inter: Whole
    union: Whole
    gt_area: Whole
    pred_area: Whole
    no_target: Flags
    failed: Flags
    crashed: Flags
    phrase: Texts
    values: Mapping[str, Column]
    series: Objects
    """Of mappings."""
    slices: Objects
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
        columns |= {name: texts(list(found[name])) for name in ("id", "image_id", "protocol", "status", "phrase")}
        series = texts([value or NOTHING for value in found["series"]])
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

    def take(self, rows: Rows, taken: Taken | None = None) -> Records:
        """The records of some rows, in their order.

        Args:
            rows: indices.
            taken: columns of the same rows by the identity of those that they were taken of, added to here, so that
                records which share columns go on sharing them.
        """
        return _Rows(self, rows, {} if taken is None else taken)

    def column(self, name: str) -> Column:
        """One of the further statistics; a column of nothing where no record has it."""
        return self.values.get(name) or Column.nothing(len(self))

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
        columns = [self.further() if name == "values" else getattr(self, name).tolist() for name in FIELDS]
        return (Record(*row) for row in zip(*columns, strict=True))

    def further(self) -> Objects | list[Mapping[str, float]]:
        """The field `values` of each record."""
        if not self.values:
            return nothing(len(self))
        columns = [(name, column.values.tolist(), column.there.tolist()) for name, column in self.values.items()]
        return [{name: values[row] for name, values, there in columns if there[row]} for row in range(len(self))]


class _Rows(Records):
    """Records of some rows, whose columns are taken when they are looked at; most metrics look at a few."""

    def __init__(self, whole: Records, rows: Rows, taken: Taken) -> None:
        columns = {name: column.take(rows) for name, column in whole.values.items()}
        values = {name: column for name, column in columns.items() if column.there.any()}
        for name, value in {"_whole": whole, "_rows": rows, "_taken": taken, "values": values}.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in PLAIN:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        column = getattr(self._whole, name)
        if id(column) not in self._taken:
            one = _is_constant(column)
            self._taken[id(column)] = constant(column[0], len(self)) if one else column[self._rows]
        object.__setattr__(self, name, self._taken[id(column)])
        return self._taken[id(column)]

    def __len__(self) -> int:
        return len(self._rows)


FIELDS = tuple(field.name for field in fields(Record))
PLAIN = tuple(field.name for field in fields(Records) if field.name != "values")
"""Fields that are one array."""
IN_FILE = ("id", "phrase")
"""Fields whose texts many samples have of their own."""
COLLECTED = tuple(name for name in PLAIN if name != "protocol")
"""Of these, those that are known once all samples are scored."""
IN_PARTS = tuple(name for name in COLLECTED if name not in IN_FILE)
"""Of these, those that are held in memory."""
TYPES: Mapping[str, Any] = dict.fromkeys(("inter", "union", "gt_area", "pred_area"), np.int64) | dict.fromkeys(
    ("no_target", "failed", "crashed"), np.bool_
)
"""Of the fields that are numbers."""


class Collected:
    """Columns of a known number of samples under several protocols, filled a batch at a time.

    Protocols share every column in which they are equal, so that most of what they hold is held once.
    """

    def __init__(self, protocols: Sequence[str], count: int, expected: Mapping[str, Texts]) -> None:
        """Make room.

        Args:
            protocols: names.
            count: samples of each.
            expected: columns of all samples by field, which are kept as they are while the records hold the same.
        """
        self._count, self._filled = count, 0
        self._first, *self._others = protocols
        plain: dict[str, Any] = {
            name: expected[name] if name in expected else np.empty(count, dtype=TYPES.get(name, np.object_))
            for name in COLLECTED
        }
        self._expected = {*expected}
        self._plain: dict[str, dict[str, Any]] = {name: {} for name in protocols} | {self._first: plain}
        """By protocol and field; of all but the first protocol those that differ from the first's."""
        self._values: dict[str, dict[str, Column]] = {name: {} for name in protocols}
        self._mappings: dict[Any, Mapping[str, str]] = {(): NOTHING}

    def add(self, batch: Mapping[str, Records]) -> None:
        """Put the records of the next samples behind the others.

        Args:
            batch: by protocol, the same samples in the same order.
        """
        rows = slice(self._filled, self._filled + len(batch[self._first]))
        self._filled = rows.stop
        for field in COLLECTED:
            theirs, first = getattr(batch[self._first], field), self._plain[self._first][field]
            if field in self._expected and not np.array_equal(first[rows], theirs):
                first = self._plain[self._first][field] = texts(first.tolist())
                self._expected.remove(field)
            if field not in self._expected:
                first[rows] = theirs if field != "slices" else _shared(theirs, self._mappings)
            for name in self._others:
                mine, own = getattr(batch[name], field), self._plain[name]
                if field not in own and not (mine is theirs or np.array_equal(mine, theirs)):
                    own[field] = texts(first.tolist()) if field in self._expected else first.copy()
                if field in own:
                    own[field][rows] = mine if field != "slices" else _shared(mine, self._mappings)
        for name, records in batch.items():
            for value, column in records.values.items():
                whole = self._values[name].setdefault(value, Column.nothing(self._count))
                whole.values[rows], whole.there[rows] = column.values, column.there

    def records(self) -> dict[str, Records]:
        """The records by protocol, once all are there."""
        first = self._plain[self._first]
        return {
            name: Records(
                **first | own | {"protocol": constant(name, self._count)},
                values=self._values[name],
            )
            for name, own in self._plain.items()
        }


class Appended:
    """Columns of one protocol, of which part after part comes.

    Parts that equal those of another protocol are the other's, so that most of what they hold is held once.
    """

    def __init__(self, other: Appended | None = None) -> None:
        """Begin without records.

        Args:
            other: of the other protocol.
        """
        self._other, self._count = other, 0
        self.texts: dict[str, TextColumn] = dict(other.texts) if other else {name: TextColumn() for name in IN_FILE}
        """Ids and phrases by field. While they are the other's, only as many as there are records are meant."""
        self._parts: list[dict[str, Any]] = []
        self._values: list[tuple[int, Mapping[str, Column]]] = []
        self._mappings: dict[Any, Mapping[str, str]] = other._mappings if other else {(): NOTHING}

    def add(self, part: Records) -> None:
        """Put records behind the others."""
        rows = slice(self._count, self._count + len(part))
        self._count = rows.stop
        for name, column in self.texts.items():
            mine = getattr(part, name)
            if self._other is None or column is not self._other.texts[name]:
                column.extend(mine)
            elif not np.array_equal(column[rows], mine):
                self.texts[name] = TextColumn(chain(islice(column, rows.start), mine))
        columns = {name: getattr(part, name) for name in IN_PARTS} | {"slices": _shared(part.slices, self._mappings)}
        if not any(part.series):
            columns["series"] = nothing(len(part))
        theirs = self._other._parts[len(self._parts) :] if self._other else []
        for name, known in theirs[0].items() if theirs else ():
            if np.array_equal(known, columns[name]):
                columns[name] = known
        self._parts.append(columns)
        self._values.append((len(part), part.values))

    @staticmethod
    def records(found: Mapping[str, Appended]) -> dict[str, Records]:
        """The records by protocol, once all are there; the parts are used up."""
        columns: dict[str, dict[str, Any]] = {
            protocol: mine._whole_columns(protocol) for protocol, mine in found.items()
        }
        for name in IN_PARTS:
            joined: dict[tuple[int, ...], tuple[Any, Objects]] = {}
            for protocol, mine in found.items():
                parts = [part.pop(name) for part in mine._parts]
                key = tuple(map(id, parts))
                if key not in joined:
                    joined[key] = parts, _one_behind_another(parts)
                columns[protocol][name] = joined[key][1]
        return {protocol: Records(**mine) for protocol, mine in columns.items()}

    def _whole_columns(self, protocol: str) -> dict[str, Any]:
        names = dict.fromkeys(name for _, part in self._values for name in part)
        values = {
            name: _joined([part.get(name) or Column.nothing(count) for count, part in self._values]) for name in names
        }
        cut = {
            name: column if len(column) == self._count else column[: self._count] for name, column in self.texts.items()
        }
        return {"protocol": constant(protocol, self._count), "values": values, **cut}


def constant(value: Any, count: int) -> Objects:
    """A column of one value, which takes no memory; not to be written."""
    return np.broadcast_to(texts([value]), count)


def _one_behind_another(columns: Sequence[Objects]) -> Objects:
    if all(_is_constant(column) and column[0] is columns[0][0] for column in columns):
        return constant(columns[0][0], sum(map(len, columns)))
    return np.concatenate(columns)


def _is_constant(column: Texts) -> bool:
    return isinstance(column, np.ndarray) and len(column) > 0 and column.strides == (0,)


@lru_cache(maxsize=1 << 4)
def nothing(count: int) -> Objects:
    """A column of empty mappings, the same object for the same count."""
    return constant(NOTHING, count)


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


def _shared(mappings: Iterable[Mapping[str, str]], known: dict[Any, Mapping[str, str]] | None = None) -> Objects:
    """The same mappings, equal ones as one object.

    Args:
        mappings: in order.
        known: one for each content, added to here.
    """
    by_content: dict[Any, Mapping[str, str]] = {(): NOTHING} if known is None else known
    by_identity: dict[int, Mapping[str, str]] = {}
    found = []
    for mapping in mappings:
        if id(mapping) not in by_identity:
            by_identity[id(mapping)] = by_content.setdefault(tuple(mapping.items()), mapping)
        found.append(by_identity[id(mapping)])
    return texts(found)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
