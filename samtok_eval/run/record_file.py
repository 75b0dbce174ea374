"""`records.jsonl`: one line per sample and protocol, written while they are made and read back as columns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec
import numpy as np
from pydantic import TypeAdapter

from samtok_eval.errors import DataError
from samtok_eval.files import placed_lines, reading, writing
from samtok_eval.name_index import NameIndex
from samtok_eval.prediction import Record
from samtok_eval.records import FIELDS, PLAIN, Appended, Records
from samtok_eval.run.manifest import SCORE_AGAIN
from samtok_eval.unfinished import workspace

_JSON = json.JSONEncoder(ensure_ascii=False)
_quoted = json.encoder.encode_basestring
NO_NUMBERS = '"values": {}, "series": {}'
_FLAG = {False: "false", True: "true"}
_FLAGS = {(a, b): f'"failed": {_FLAG[a]}, "crashed": {_FLAG[b]}, ' for a in _FLAG for b in _FLAG}
BATCH = 4096
"""Lines that are read before they become columns."""


class RecordsWriter:
    """Writes records while they are made, one JSON object a line, protocol after protocol; whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[str, BinaryIO] = {}
        self._open = ExitStack()
        """What ends with the writer: the place of the parts, then they themselves."""
        self._place: Path | None = None

    def add(self, batch: Mapping[str, Sequence[Record]]) -> None:
        """Write records of each protocol behind its earlier ones.

        Raises:
            UsageError: the system refuses, e.g. because the disk is full.
        """
        written: Pieces = {}
        for protocol, records in batch.items():
            content = "".join(record_lines(records, written)).encode()
            with writing(self._path):
                if protocol not in self._parts:
                    self._parts[protocol] = self._part(len(self._parts))
                self._parts[protocol].write(content)

    def finish(self) -> None:
        """Make one file of everything.

        Raises:
            UsageError: the system refuses.
        """
        with writing(self._path):
            if not self._parts:
                self._parts[""] = self._part(0)
            first, *others = self._parts.values()
            for file in others:
                file.seek(0)
                shutil.copyfileobj(file, first)
            first.close()
            Path(first.name).replace(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._parts.values():
            # What could not be written is written again by closing.
            with suppress(OSError):
                file.close()
        self._open.close()

    def _part(self, number: int) -> BinaryIO:
        if self._place is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._place = self._open.enter_context(workspace(self._path.parent))
        return (self._place / str(number)).open("w+b")


Pieces = dict[tuple[int, ...], tuple[list[Any], list[str]]]
"""Parts of lines by the identity of the columns that they are made of, which are kept beside them."""


def record_lines(records: Sequence[Record], written: Pieces | None = None) -> Iterator[str]:
    """The line of each record, which is JSON of its `to_json`, in a fifth of the time.

    Args:
        records: of one protocol.
        written: parts of the lines of the same samples under other protocols, added to here; columns that protocols
            share are written out once.
    """
    known: Pieces = {} if written is None else written
    columns = _fields_of(records)

    def pieces(write: Callable[..., list[str]], names: Sequence[str]) -> list[str]:
        mine = [columns[name] for name in names]
        key = tuple(map(id, mine))
        if key not in known:
            known[key] = mine, write(*mine)
        return known[key][1]

    protocols = {name: f'"protocol": {_quoted(name)}, ' for name in set(columns["protocol"])}
    return map(
        "".join,
        zip(
            pieces(_names, FIELDS[:2]),
            map(protocols.__getitem__, columns["protocol"]),
            pieces(_counts, FIELDS[3:9]),
            pieces(_flags, FIELDS[9:11]),
            pieces(_rest, FIELDS[11:]),
            strict=True,
        ),
    )


def _fields_of(records: Sequence[Record]) -> dict[str, Any]:
    """Columns by field; numbers as they are, since those of records that are no columns may be whole."""
    if isinstance(records, Records):
        return {name: getattr(records, name) for name in PLAIN} | {"values": records.further()}
    return {name: [getattr(record, name) for record in records] for name in FIELDS}


def _names(names: Iterable[str], images: Iterable[str]) -> list[str]:
    return [f'{{"id": {_quoted(a)}, "image_id": {_quoted(b)}, ' for a, b in zip(names, images, strict=True)]


def _plain(columns: Iterable[Any]) -> list[Any]:
    return [column.tolist() if isinstance(column, np.ndarray) else column for column in columns]


def _counts(*columns: Any) -> list[str]:
    return [
        f'"status": {_quoted(status)}, "inter": {inter}, "union": {union}, "gt_area": {gt_area}, '
        f'"pred_area": {pred_area}, "no_target": {_FLAG[empty]}, '
        for status, inter, union, gt_area, pred_area, empty in zip(*_plain(columns), strict=True)
    ]


def _flags(*columns: Any) -> list[str]:
    return [_FLAGS[flags] for flags in zip(*_plain(columns), strict=True)]


def _rest(*columns: Any) -> list[str]:
    texts: dict[int, str] = {}
    found = []
    for phrase, values, series, slices in zip(*columns, strict=True):
        # Many samples share their slices.
        if id(slices) not in texts:
            texts[id(slices)] = _encoded(slices)
        numbers = f'"values": {_encoded(values)}, "series": {_encoded(series)}' if values or series else NO_NUMBERS
        found.append(f'"phrase": {_quoted(phrase)}, {numbers}, "slices": {texts[id(slices)]}}}\n')
    return found


def _encoded(mapping: Mapping[str, Any]) -> str:
    return _JSON.encode(dict(mapping)) if mapping else "{}"


class _Line(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of a `Record` in their order, which msgspec reads in a fifth of the time."""

    id: str
    image_id: str
    protocol: str
    status: str
    inter: int = 0
    union: int = 0
    gt_area: int = 0
    pred_area: int = 0
    no_target: bool = False
    failed: bool = False
    crashed: bool = False
    phrase: str = ""
    values: dict[str, float] = {}
    series: dict[str, list[float]] = {}
    slices: dict[str, str] = {}


_Fields = tuple[Any, ...]
PROTOCOL = FIELDS.index("protocol")
_RECORD = TypeAdapter(Record)
_line = msgspec.json.Decoder(_Line).decode


def read_records(path: Path) -> dict[str, Records]:
    """Records by protocol, in the order of the file; protocols share the columns in which they are equal.

    Raises:
        DataError: the file is missing, a line is no record, or a sample occurs twice under one protocol.
    """
    found: dict[str, Appended] = {}
    for rows in _batches(path):
        protocol = rows[0][PROTOCOL]
        if protocol not in found:
            found[protocol] = Appended(next(iter(found.values()), None))
        with reading(str(path), SCORE_AGAIN):
            found[protocol].add(Records.of_rows(rows))
    for names in {id(mine.texts["id"]): mine.texts["id"] for mine in found.values()}.values():
        if NameIndex(names).repeated():
            raise _repeated(path)
    return Appended.records(found)


def _batches(path: Path) -> Iterator[list[_Fields]]:
    """Fields of the next records, of one protocol."""
    batch: list[_Fields] = []
    for number, _, line in placed_lines(path, SCORE_AGAIN):
        fields = _fields(path, number, line)
        if batch and (fields[PROTOCOL] != batch[0][PROTOCOL] or len(batch) == BATCH):
            yield batch
            batch = []
        batch.append(fields)
    if batch:
        yield batch


def _fields(path: Path, number: int, line: bytes) -> _Fields:
    try:
        return msgspec.structs.astuple(_line(line))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # What needs a conversion, or is wrong, which is told.
        with reading(f"{path}:{number}", SCORE_AGAIN):
            return tuple(_RECORD.validate_json(line).__dict__.values())


def _repeated(path: Path) -> DataError:
    """What is wrong with a file in which a sample occurs twice under one protocol."""
    seen: set[tuple[str, str]] = set()
    for number, _, line in placed_lines(path, SCORE_AGAIN):
        fields = _fields(path, number, line)
        key = fields[0], fields[PROTOCOL]
        if key in seen:
            return DataError(f"{path}:{number}: sample {key[0]!r} occurs twice under {key[1]}")
        seen.add(key)
    raise AssertionError(f"{path}: no sample occurs twice")
