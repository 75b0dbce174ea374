"""Texts of many samples in a file instead of in memory.

In: texts in their order. Out: a sequence that reads a block of them when one is looked at. The file is a temporary one
without a name, which ends with the column; fewer texts than a block never reach it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

from samtok_eval.errors import UsageError

BLOCK = 1024
"""Texts that are written and read together."""


def texts(values: Sequence[Any]) -> NDArray[np.object_]:
    """A column of texts, or of mappings, in memory."""
    found = np.empty(len(values), dtype=np.object_)
    # Assigned as a list, mappings and texts stay single objects.
    found[:] = values
    return found


def same_texts(first: Iterable[str], second: Iterable[str]) -> bool:
    """Whether two columns hold the same texts in the same order."""
    return first is second or all(one == other for one, other in zip_longest(first, second))


class TextColumn:
    """A column of texts (n,), of which one block is in memory; it grows at its end.

    It is indexed and compared like an array of objects, which it becomes wherever numpy is given it.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        """Hold the texts.

        Raises:
            UsageError: the system refuses, e.g. because the disk of temporary files is full.
        """
        self._file: IO[bytes] | None = None
        self._begins = [0]
        """The byte at which each block of the file begins, and the end of the last one."""
        self._rest: list[str] = []
        """Texts that do not fill a block yet."""
        self._latest: tuple[int, list[str]] = -1, []
        """The number of the block that was read last, and its texts."""
        self.extend(values)

    def extend(self, values: Iterable[str]) -> None:
        """Put texts behind the others.

        Raises:
            UsageError: the system refuses.
        """
        for value in values:
            self._rest.append(value)
            if len(self._rest) == BLOCK:
                self._write_block()

    def tolist(self) -> list[str]:
        """All texts, in memory."""
        return list(self)

    def __len__(self) -> int:
        return (len(self._begins) - 1) * BLOCK + len(self._rest)

    def __iter__(self) -> Iterator[str]:
        for number in range(len(self._begins)):
            yield from self._block(number)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice | NDArray[Any] | Sequence[int]) -> NDArray[np.object_]: ...

    def __getitem__(self, index: int | slice | NDArray[Any] | Sequence[int]) -> str | NDArray[np.object_]:
        if isinstance(index, slice):
            return texts(self._part(range(*index.indices(len(self)))))
        if not isinstance(index, int | np.integer):
            # Also flags, and rows from behind.
            return texts([self._text(row) for row in np.arange(len(self))[index].tolist()])
        row = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= row < len(self):
            raise IndexError(f"expected a row below {len(self)}, got {index}")
        return self._text(row)

    def __eq__(self, other: object) -> Any:
        return np.asarray(self) == other

    def __ne__(self, other: object) -> Any:
        return np.asarray(self) != other

    __hash__ = object.__hash__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        # Without it numpy would give every text the room of the longest.
        return texts(self.tolist())

    def _part(self, rows: range) -> list[str]:
        if rows.step != 1 or not rows:
            return [self._text(row) for row in rows]
        first, last = rows[0] // BLOCK, rows[-1] // BLOCK
        found = chain.from_iterable(map(self._block, range(first, last + 1)))
        return list(islice(found, rows.start - first * BLOCK, rows.stop - first * BLOCK))

    def _text(self, row: int) -> str:
        return self._block(row // BLOCK)[row % BLOCK]

    def _block(self, number: int) -> list[str]:
        if number == len(self._begins) - 1:
            return self._rest
        known, found = self._latest
        if known != number and self._file is not None:
            begins, ends = self._begins[number : number + 2]
            found = json.loads(os.pread(self._file.fileno(), ends - begins, begins))
            self._latest = number, found
        return found

    def _write_block(self) -> None:
        # JSON in ASCII also holds halves of surrogate pairs, which UTF-8 cannot.
        content = json.dumps(self._rest).encode()
        left, place = memoryview(content), self._begins[-1]
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the column
            # The system may take a part of it.
            while left:
                done = os.pwrite(self._file.fileno(), left, place)
                left, place = left[done:], place + done
        except OSError as error:
            raise UsageError(
                f"a temporary file cannot be written ({error.strerror}); free room, or name another folder in TMPDIR"
            ) from error
        self._begins.append(place)
        self._rest = []
