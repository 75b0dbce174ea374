"""Opening benchmark files: clear errors, bounded sizes, and pickles that can hold plain containers only.

A benchmark file is data of a stranger. Nothing in it is run, and nothing in it decides how much memory is taken: what
it declares (lengths, memo indices, sizes, ids) is checked before a library acts on it.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from samtok_eval.errors import DataError

MAX_BYTES = 2**32
"""Of a file that is read whole; COCO's largest annotations have an eighth of it."""
MAX_PICKLE_BYTES = 2**27
"""Of a pickle, which can fill 70 times its size in memory; RefCOCO's have 30 million."""
MAX_TUPLES = 10_000
"""In a pickle. Python's hash of tuples inside tuples overflows the stack at some 100,000; the benchmarks have none."""
MAX_NUMBER = 2**63
"""Of an id or a coordinate; the libraries below compute in 64 bits."""
MAX_NAME, MAX_PARTS = 255, 15
"""Bytes of one part of a path, and parts; file systems end at 4096 bytes."""
MAX_MESSAGE = 300
MISFITS = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What reading raises when a file is valid JSON, or a plain pickle, but not of the structure that it should have."""


class PlainUnpickler(pickle.Unpickler):
    """Refuses every global: lists, dictionaries, numbers and text need none."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Always refuses.

        Raises:
            pickle.UnpicklingError: the file wants to import something.
        """
        raise pickle.UnpicklingError(f"it wants to import {module_name}.{global_name}")


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


def read_plain_pickle(path: Path) -> Any:
    """A pickle of plain containers, also one written by Python 2.

    Raises:
        DataError: missing, broken, it wants to import anything, or it declares more than it holds.
    """
    try:
        content = read_bytes(path, MAX_PICKLE_BYTES)
        _check_opcodes(content)
        return PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, MemoryError, *MISFITS) as error:
        raise DataError(
            f"{path} is not a pickle of plain lists and dictionaries: {shortened(error)}; it was not loaded"
        ) from error


_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_TUPLES = b"t\x85\x86\x87"
_PUT, _LONG_BINPUT, _STOP = b"pr."
_TWO_LINES = b"ci"
_ARGUMENTS = {ord(opcode.code): opcode.arg.n if opcode.arg else 0 for opcode in pickletools.opcodes}
"""Bytes of the argument; below 0 where they depend on the file."""
_STEPS = [0 if code in (*_TUPLES, _LONG_BINPUT, _STOP) else max(1 + _ARGUMENTS.get(code, -1), 0) for code in range(256)]
"""Bytes of an opcode with its argument; 0 where something needs to be checked."""
_LINES = {code for code, size in _ARGUMENTS.items() if size == pickletools.UP_TO_NEWLINE}
_COUNTED = {code: _LENGTH_BYTES[size] for code, size in _ARGUMENTS.items() if size in _LENGTH_BYTES}
"""Opcodes whose argument begins with its own length: bytes of that length."""


def _check_opcodes(content: bytes) -> None:
    """Walk through a pickle without loading it; about as long as loading takes.

    Raises:
        pickle.UnpicklingError: a length or a memo index that the file is too short for, more tuples than can be
            hashed inside one another, or an unknown opcode.
        ValueError: a line that does not end, or a memo index that is no number.
        IndexError: the file ends without its end mark.
    """
    size, at, tuples = len(content), 0, 0
    while True:
        code = content[at]
        if step := _STEPS[code]:
            at += step
        elif code in _LINES:
            end = content.index(b"\n", at) + 1
            if code == _PUT and int(content[at + 1 : end]) > size:
                raise pickle.UnpicklingError("a memo index in it is larger than the file")
            at = content.index(b"\n", end) + 1 if code in _TWO_LINES else end
        elif width := _COUNTED.get(code):
            at += 1 + width + int.from_bytes(content[at + 1 : at + 1 + width], "little")
            if at > size:
                raise pickle.UnpicklingError("a text in it is longer than the file")
        elif code == _LONG_BINPUT:
            # The memo is a table up to the largest index.
            if int.from_bytes(content[at + 1 : at + 5], "little") > size:
                raise pickle.UnpicklingError("a memo index in it is larger than the file")
            at += 5
        elif code in _TUPLES:
            tuples += 1
            if tuples > MAX_TUPLES:
                raise pickle.UnpicklingError(f"it holds more than {MAX_TUPLES} tuples")
            at += 1
        elif code == _STOP:
            return
        else:
            raise pickle.UnpicklingError(f"it holds the unknown opcode {code}")
