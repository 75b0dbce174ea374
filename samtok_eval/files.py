"""Files: read with bounded sizes and clear errors, written whole or not at all.

A file is data of a stranger. Nothing in it is run, and nothing in it decides how much memory is taken: what it declares
(lengths, sizes, ids) is checked before a library acts on it.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from samtok_eval.errors import DataError

MAX_BYTES = 2**32
"""Of a file that is read whole; COCO's largest annotations have an eighth of it."""
MAX_NUMBER = 2**63
"""Of an id or a coordinate; the libraries below compute in 64 bits."""
MAX_NAME, MAX_PARTS = 255, 15
"""Bytes of one part of a path, and parts; file systems end at 4096 bytes."""
MAX_MESSAGE = 300
MISFITS = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What reading raises when a file is valid JSON, or a plain pickle, but not of the structure that it should have."""


def read_bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    """The file's bytes.

    Args:
        path: an ordinary file; reading a pipe or a device might never end.
        most: bytes that it may have.

    Raises:
        DataError: it is missing, cannot be read, or is too large.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DataError(f"{path} is not an ordinary file; put the benchmark's own file there")
        if size > most:
            raise DataError(f"{path} has {size} bytes, more than {most}; the benchmark's own file is smaller")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; put the benchmark's own file there or give another --data-root") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        DataError: missing, unreadable, not JSON, or nested too deeply.
    """
    with reading(f"{path} is not valid JSON"):
        return json.loads(read_bytes(path))


def numbered_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers, from 1, and values of a file with one JSON value a line; blank lines are passed over.

    Raises:
        DataError: missing, unreadable, or a line is not JSON; the message names it.
    """
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        if line.strip():
            with reading(f"{path}:{number} is not valid JSON", "correct or remove the line"):
                value = json.loads(line)
            yield number, value


def read_json_lines(path: Path) -> list[Any]:
    """The values of a file with one JSON value a line.

    Raises:
        DataError: missing, unreadable, or a line is not JSON; the message names it.
    """
    return [value for _, value in numbered_json_lines(path)]


@contextmanager
def reading(what: str, remedy: str = "download it again") -> Iterator[None]:
    """Turn whatever goes wrong with the structure of a file into one clear error.

    Args:
        what: begins the message, e.g. `psg.json is not PSG's own file`.
        remedy: ends the message.

    Raises:
        DataError: something in `MISFITS` was raised inside.
    """
    try:
        yield
    except KeyError as error:
        raise DataError(f"{what}: {shortened(error)} is missing; {remedy}") from error
    except MISFITS as error:
        raise DataError(f"{what}: {shortened(error)}; {remedy}") from error


def shortened(error: Exception) -> str:
    """The message of an error, which may repeat a value of the file, as one line of bounded length."""
    message = " ".join(str(error).split()) or type(error).__name__
    return message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}..."


def whole_number(value: Any) -> int:
    """An id or a count as a file gives it: a whole number, or its digits as text.

    Raises:
        ValueError: anything else, such as NaN or a number beyond 64 bits.
    """
    digits = isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 20
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer()) or digits
    if isinstance(value, bool) or not whole or not -MAX_NUMBER <= (number := int(value)) < MAX_NUMBER:
        raise ValueError(f"a whole number of at most 64 bits is needed, got {reprlib.repr(value)}")
    return number


def finite_number(value: Any) -> float:
    """A coordinate or points as a file gives them.

    Raises:
        ValueError: anything but a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NUMBER:
        raise ValueError(f"a finite number is needed, got {reprlib.repr(value)}")
    return float(value)


def text(value: Any) -> str:
    """A text that a file gives; nothing else is made one, since a list may hold itself many times over.

    Raises:
        ValueError: anything but text.
    """
    if not isinstance(value, str):
        raise ValueError(f"a text is needed, got {reprlib.repr(value)}")
    return value


def inside(folder: Path, name: Any) -> Path:
    """A file that a benchmark names, below the folder it belongs to.

    Raises:
        ValueError: no name, or one that leaves the folder.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"a file name is needed, got {reprlib.repr(name)}")
    path, parts = PurePosixPath(name), name.encode().split(b"/")
    if max(map(len, parts)) > MAX_NAME or len(parts) > MAX_PARTS:
        raise ValueError(f"the file name {reprlib.repr(name)} is longer than a file system's")
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"the file name {reprlib.repr(name)} leads out of {folder}")
    return folder / path


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
