"""A file of lines that grows while work is done, so that nothing finished is lost when the work is stopped.

In: lines, one after the other, of one process. Out: a file whose whole lines survive a kill at any moment; what a kill
leaves of a line is cut off before the next one is written.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Self

from samtok_eval.errors import UsageError
from samtok_eval.files import writing

BLOCK = 1 << 16
"""Bytes that are looked through at a time."""


class AppendLog:
    """Appends lines, each handed to the system before the next is made; one process at a time."""

    def __init__(self, path: Path, remedy: str = "wait for it") -> None:
        """Open the log, and cut off a last line without its line end.

        Args:
            path: the file; it is made where it is missing.
            remedy: what to do when another process is writing it.

        Raises:
            UsageError: another process is writing it, or the system refuses.
        """
        self._path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            try:
                lock_for_writing(self._file, path, remedy)
            except UsageError:
                self._file.close()
                raise
            self._file.truncate(_end_of_lines(self._file))

    def write_line(self, line: str) -> None:
        """Write one line.

        Args:
            line: without a line end.

        Raises:
            UsageError: the system refuses, e.g. because the disk is full; the lines before it stay.
        """
        with writing(self._path):
            self._file.write(line.encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Let another process write."""
        with writing(self._path):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lock_for_writing(file: IO[bytes], path: Path, remedy: str, shared: bool = False) -> None:
    """Keep other processes from writing, until the file is closed.

    Args:
        file: what is locked.
        path: what is written.
        remedy: ends the message.
        shared: let others in that share it, too.

    Raises:
        UsageError: another process is writing.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"another process is writing {path}; {remedy}") from error


def _end_of_lines(file: BinaryIO) -> int:
    """The byte behind the last line end, looked for from behind."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = file.seek(max(0, end - BLOCK))
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0
