"""A file of lines that grows while work is done, so that nothing finished is lost when the work is stopped.

In: lines, one after the other, of one process. Out: a file whose whole lines survive a kill at any moment; what a kill
leaves of a line is cut off before the next one is written.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from types import TracebackType
from typing import Self

from samtok_eval.errors import UsageError
from samtok_eval.files import writing


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
            self._file = path.open("ab")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._file.close()
                raise UsageError(f"another process is writing {path}; {remedy}") from error
            self._file.truncate(path.read_bytes().rfind(b"\n") + 1)

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
