"""Members of a zip archive, put where the table of sources says.

In: an archive and patterns of names. Out: files, each whole or not at all. Nothing that is there already is written
over: a file of the same length and checksum counts as unpacked, another one is an error.
"""

from __future__ import annotations

import shutil
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile, ZipInfo

from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import WHERE_TO_WRITE, inside, reading, shortened, writing
from samtok_eval.unfinished import unfinished, workspace

CHUNK = 2**20
ENCRYPTED = 1
"""Bit of a member's flags."""


class BrokenArchiveError(DataError):
    """An archive that holds something else than it declares."""


class _Member(NamedTuple):
    info: ZipInfo
    target: Path


def unpack(
    archive: Path,
    root: Path,
    members: Mapping[str, str],
    inner: Mapping[str, Mapping[str, str]],
    stopped: Callable[[], None] = lambda: None,
) -> int:
    """Unpack what matches, and say how many files that is, including those that were there.

    Args:
        archive: the zip file.
        root: the targets' folder.
        members: pattern of names -> file under `root`, or folder where it ends in `/`; a folder takes what a name has
            after the pattern's last `/`.
        inner: the same of archives inside the archive.
        stopped: raises what ends the work; asked before each file.

    Raises:
        BrokenArchiveError: it is no zip archive, is damaged or encrypted, or a member's name leads elsewhere.
        DataError: no member matches a pattern, or a target holds something else.
        UsageError: there is no room for what it declares, or the system refuses to write.
    """
    with _opened(archive) as file:
        count = 0
        if members:
            found = _chosen(file, archive, root, members)
            _check_room(root, found)
            for member in found:
                stopped()
                _write(file, member, archive)
            count += len(found)
        for name, wanted in inner.items():
            with writing(archive.parent), workspace(archive.parent) as folder:
                nested = folder / "inner.zip"
                found = _chosen(file, archive, folder, {name: nested.name})
                _check_room(root, found)
                _write(file, found[0], archive)
                count += unpack(nested, root, wanted, {}, stopped)
        return count


@contextmanager
def _opened(archive: Path) -> Iterator[ZipFile]:
    try:
        with ZipFile(archive) as file:
            yield file
    except (BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise BrokenArchiveError(f"{archive} is not a whole zip archive: {shortened(error)}") from error


def _chosen(file: ZipFile, archive: Path, root: Path, members: Mapping[str, str]) -> list[_Member]:
    """The members that match, with their targets."""
    found = []
    for pattern, target in members.items():
        matching = [info for info in file.infolist() if not info.is_dir() and fnmatchcase(info.filename, pattern)]
        if not matching:
            raise DataError(f"{archive} has no member {pattern}; its publisher changed it")
        for info in matching:
            if stat.S_ISLNK(info.external_attr >> 16) or info.flag_bits & ENCRYPTED:
                raise BrokenArchiveError(f"{archive}: {info.filename} is a link or encrypted; it is not unpacked")
            with reading(f"{archive} is not a harmless archive", "do not use it"):
                place = inside(root / target, info.filename[pattern.rfind("/") + 1 :]) if target[-1] == "/" else None
            found.append(_Member(info, place or root / target))
    return found


def _check_room(root: Path, members: list[_Member]) -> None:
    declared = sum(member.info.file_size for member in members if not member.target.exists())
    free = shutil.disk_usage(root).free
    if declared > free:
        raise UsageError(f"{root} has {free} bytes left, and {declared} are needed to unpack; {WHERE_TO_WRITE}")


def _write(file: ZipFile, member: _Member, archive: Path) -> None:
    """Write one member, unless the same bytes are there."""
    info, target = member
    if target.exists():
        if not _same(target, info):
            raise DataError(f"{target} is there, and is not {info.filename} of {archive.name}; move it away first")
        return
    with writing(target), unfinished(target) as part, file.open(info) as source, part.open("wb") as out:
        # `ZipFile` compares the checksum when the last byte was read.
        shutil.copyfileobj(source, out, CHUNK)


def _same(path: Path, info: ZipInfo) -> bool:
    if not path.is_file() or path.stat().st_size != info.file_size:
        return False
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum == info.CRC
