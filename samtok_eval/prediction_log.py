"""Files of predictions: appended to and flushed per sample, so that they are also the resume log, and read back."""

from __future__ import annotations

import json
import os
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from samtok_eval.append_log import AppendLog
from samtok_eval.errors import DataError
from samtok_eval.files import MEND_THE_LINE, first_problem, numbered_lines, placed_lines
from samtok_eval.name_index import NameIndex
from samtok_eval.prediction import Answers, Prediction, read_answer

Read = TypeVar("Read")
Text = TypeVar("Text", str, bytes)
BROUGHT = ("masks", "phrases")
"""Fields of a prediction that stand in its line only where the answer brings them; no answer brings a box."""
GIVE_PREDICTIONS = "give a predictions file"
WAIT = "wait for it, or use --fresh"
"""What to do while another process answers the same questions."""


class PredictionLog(AppendLog):
    """Appends predictions, each on disk before the next is made; one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open the log.

        Raises:
            UsageError: another process is writing it.
        """
        super().__init__(path, WAIT)

    def append(self, prediction: Prediction) -> None:
        """Write one line and flush it."""
        absent = {"box", *(name for name in BROUGHT if getattr(prediction, name) is None)}
        line = prediction.model_dump(mode="json", exclude=absent)
        self.write_line(json.dumps(line, ensure_ascii=False))


class StoredPredictions(Mapping[str, Prediction]):
    """Predictions by sample id, each read from its file when it is asked for; in memory is where it stands."""

    def __init__(self, paths: Iterable[Path], own: bool = False) -> None:
        """Look where every prediction stands.

        A question of a run of ours that failed is asked again, so that its error may stand in a log beside a later
        line; that one counts.

        Args:
            paths: files of lines.
            own: whether these are the logs of a run; a line that a kill cut off is then left out.

        Raises:
            DataError: a file is missing or broken, or answers a sample twice.
        """
        self._paths = list(paths)
        self._files: dict[int, BinaryIO] = {}
        weakref.finalize(self, _close, self._files)
        self._places = array("I"), array("I"), array("Q"), array("I")
        """Of each row: number of the file, of the line, the byte at which it begins, and its bytes."""
        failed = bytearray()
        self._index = NameIndex(self._scanned(own, failed))
        self._later: dict[int, int] = {}
        """Rows whose prediction a later one replaces."""
        self._dropped: set[int] = set()
        for rows in self._index.repeated():
            counting = [row for row in rows if not (own and failed[row])]
            if len(counting) > 1:
                raise DataError(f"prediction {self._read(rows[0]).id!r} occurs twice; remove one of the two lines")
            self._later[rows[0]] = (counting or rows)[-1]
            self._dropped |= {*rows[1:]}

    def check_known(self, samples: NameIndex) -> None:
        """Refuse predictions that answer no sample.

        Raises:
            DataError: there is one.
        """
        unknown = self._index.unknown_to(samples)
        if unknown:
            raise unknown_prediction(self._read(unknown[0]).id)

    def __getitem__(self, name: str) -> Prediction:
        row = self._index.row(name)
        if row is None:
            raise KeyError(name)
        return self._read(self._later.get(row, row))

    def rows_of(self, samples: NameIndex) -> NDArray[np.intp]:
        """Where the prediction of each sample stands, (samples,); -1 where there is none."""
        counting = np.append(np.arange(len(self._index)), -1)
        counting[list(self._later)] = list(self._later.values())
        return counting[self._index.rows_of(samples)]

    def at(self, rows: Mapping[str, int]) -> Answers:
        """Predictions by sample id that stand at some of `rows_of`; samples without one are left out."""
        there = {name: row for name, row in rows.items() if row >= 0}
        return Answers({name: self._read_as(read_answer, row) for name, row in there.items()})

    def __iter__(self) -> Iterator[str]:
        return (self._read(row).id for row in range(len(self._index)) if row not in self._dropped)

    def __len__(self) -> int:
        return len(self._index) - len(self._dropped)

    def _scanned(self, own: bool, failed: bytearray) -> Iterator[str]:
        """Names in the order of the files; keeps where each line stands, and whether it holds an error."""
        for number, path in enumerate(self._paths):
            for line_number, begins, line in placed_lines(path, GIVE_PREDICTIONS, torn_tail=own):
                name, error = _name_and_error(line, path, line_number)
                for column, value in zip(self._places, (number, line_number, begins, len(line)), strict=True):
                    column.append(value)
                failed.append(error is not None)
                yield name

    def _read(self, row: int) -> Prediction:
        return self._read_as(Prediction.model_validate_json, row)

    def _read_as(self, read: Callable[[bytes], Read], row: int) -> Read:
        number, line_number, begins, length = [column[row] for column in self._places]
        if number not in self._files:
            self._files[number] = self._paths[number].open("rb")
        # A file that is sought in reads a block each time.
        line = os.pread(self._files[number].fileno(), length, begins)
        return _of_line(line, self._paths[number], line_number, read)


def _close(files: dict[int, BinaryIO]) -> None:
    for file in files.values():
        file.close()


def unknown_prediction(name: str) -> DataError:
    """What is wrong with a prediction that answers no sample."""
    return DataError(
        f"prediction {name!r} belongs to no sample of this split; check --task, --split, --limit and --data-root"
    )


class _Named(msgspec.Struct, gc=False):
    """Which sample a line answers, where no error stands in it."""

    id: str
    error: None = None


_named = msgspec.json.Decoder(_Named).decode


def _name_and_error(line: bytes, path: Path, number: int) -> tuple[str, str | None]:
    """Sample and error of a line; what is more than that is checked when the line is read for its answer."""
    try:
        return _named(line).id, None
    except (msgspec.DecodeError, RecursionError):
        prediction = _of_line(line, path, number, Prediction.model_validate_json)
        return prediction.id, prediction.error


def _of_line(line: Text, path: Path, number: int, read: Callable[[Text], Read]) -> Read:
    # Told apart here, since `reading` takes as long as an answer.
    try:
        return read(line)
    except ValidationError as error:
        raise DataError(f"{path}:{number}: {first_problem(error)}; {MEND_THE_LINE}") from error


def read_own_predictions(parts: Iterable[Path]) -> StoredPredictions:
    """Answers of a run of ours by sample id, from the logs of its processes; see `StoredPredictions`."""
    return StoredPredictions(parts, own=True)


def read_predictions(paths: Iterable[Path], torn_tail: bool = False) -> Iterator[Prediction]:
    """Predictions of several files.

    Args:
        paths: JSON-lines files.
        torn_tail: leave out a last line without its line end, as a killed run leaves one.

    Raises:
        DataError: a file is missing, or a line is not a prediction; the message names file and line.
    """
    for path in paths:
        for number, line in numbered_lines(path, GIVE_PREDICTIONS, torn_tail):
            yield _of_line(line, path, number, Prediction.model_validate_json)
