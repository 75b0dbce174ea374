"""Pickles that can hold plain containers only, as the RefCOCO family has them."""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

from samtok_eval.errors import DataError
from samtok_eval.files import MISFITS, read_bytes, shortened

MAX_PICKLE_BYTES = 2**27
"""Of a pickle, which can fill 70 times its size in memory; RefCOCO's have 30 million."""
MAX_TUPLES = 10_000
"""In a pickle. Python's hash of tuples inside tuples overflows the stack at some 100,000; the benchmarks have none."""


class PlainUnpickler(pickle.Unpickler):
    """Refuses every global: lists, dictionaries, numbers and text need none."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Always refuses.

        Raises:
            pickle.UnpicklingError: the file wants to import something.
        """
        raise pickle.UnpicklingError(f"it wants to import {module_name}.{global_name}")


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
