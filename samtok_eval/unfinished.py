"""Files and folders that appear whole or not at all, and what killed processes left of them.

In: a target. Out: a place beside it to write to, `.TOKEN.part/content`, which takes the target's name when everything
is written. `.TOKEN.part/lock` stays locked until then, and a lock ends with its process: who writes into the same
folder next tells a living writer from a dead one, also where several machines share a disk, and removes what a dead
one left.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK, CONTENT = "lock", "content"
_NAME = re.compile(r"\.[0-9a-f]{16}\.part")
LOOKED_AT = 64
"""Entries of a folder that are looked at per file that is written, so that many files are written in linear time."""
_CURRENT, _EXCHANGE = -100, 2
"""`AT_FDCWD` and `RENAME_EXCHANGE` of Linux."""
_writes_left: dict[str, int] = {}
"""By folder, how many more are written before it is looked through again."""


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """A place to write a file or a folder to, which appears as the target at the end; nothing of it stays if not.

    A file in the target's place is replaced, and so is a folder, by a folder.

    Raises:
        OSError: the system refuses.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with workspace(target.parent) as place:
        yield place / CONTENT
        put(place / CONTENT, target)


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A hidden folder for this process alone, within a folder that exists; removed at the end, or after a kill later.

    Raises:
        OSError: the system refuses.
    """
    _look_through(folder)
    place, lock = _taken(folder)
    try:
        yield place
    finally:
        _remove(place, lock)


def put(content: Path, target: Path) -> None:
    """Give a finished file or folder its place, within one file system.

    Raises:
        OSError: the system refuses; what was there before then stays.
    """
    if not (content.is_dir() and target.is_dir() and not target.is_symlink()):
        content.replace(target)
    elif not _exchanged(content, target):
        # A folder that is not empty cannot be replaced in one step.
        before = content.with_name(f"{content.name}.before")
        target.replace(before)
        try:
            content.replace(target)
        except OSError:
            before.replace(target)
            raise


def flush(path: Path) -> None:
    """Have a file, or all files of a folder, on the disk itself, so that no loss of power leaves half of them.

    Raises:
        OSError: the system refuses.
    """
    for place in [path, *path.rglob("*")] if path.is_dir() else [path]:
        # A folder's own entries are flushed alike.
        file = os.open(place, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _taken(folder: Path) -> tuple[Path, int]:
    """A new workspace and its lock, held."""
    while True:
        place = folder / f".{secrets.token_hex(8)}.part"
        place.mkdir()
        with suppress(FileNotFoundError):
            lock = os.open(place / LOCK, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
            # Nobody makes a lock of the same name again, and not every file system counts links.
            if _locked(lock) is not False and (place / LOCK).exists():
                return place, lock
            os.close(lock)
        # Another process took it for a dead one's in the moment before it was locked, and removes it.


def _locked(lock: int) -> bool | None:
    """Lock a file: whether it is locked now; None where the file system knows no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _look_through(folder: Path) -> None:
    """Remove what dead processes left in a folder."""
    key = os.fspath(folder.absolute())
    left = _writes_left.get(key, 0)
    if left:
        _writes_left[key] = left - 1
        return
    entries = [*folder.iterdir()]
    _writes_left[key] = len(entries) // LOOKED_AT
    for place in entries:
        if _NAME.fullmatch(place.name):
            _remove_dead(place)


def _remove_dead(place: Path) -> None:
    """Remove a workspace whose process is no more; one that lives, or that may not be removed, stays."""
    with suppress(OSError):
        try:
            lock = os.open(place / LOCK, os.O_RDWR)
        except FileNotFoundError:
            # Killed before the lock was made, or after it was removed: nothing else is in it.
            place.rmdir()
            return
        if _locked(lock):
            _remove(place, lock)
        else:
            os.close(lock)


def _remove(place: Path, lock: int) -> None:
    """Remove a workspace whose lock is held, the lock last, so that nobody else does the same."""
    try:
        with suppress(OSError):
            for path in [path for path in place.iterdir() if path.name != LOCK]:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink()
            (place / LOCK).unlink()
    finally:
        os.close(lock)
    with suppress(OSError):
        place.rmdir()


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot."""
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    return call is not None and call(_CURRENT, os.fsencode(one), _CURRENT, os.fsencode(other), _EXCHANGE) == 0
