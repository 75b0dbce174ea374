"""Opening benchmark files: clear errors, and pickles that can hold plain containers only."""

from __future__ import annotations

import io
import json
import pickle
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

from samtok_eval.errors import DataError


class PlainUnpickler(pickle.Unpickler):
    """Refuses every global: lists, dictionaries, numbers and text need none."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Always refuses.

        Raises:
            pickle.UnpicklingError: the file wants to import something.
        """
        raise pickle.UnpicklingError(f"it wants to import {module_name}.{global_name}")


def read_bytes(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        DataError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; put the benchmark's own file there or give another --data-root") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        DataError: missing, unreadable or not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not valid JSON ({error}); download it again") from error


def read_json_lines(path: Path) -> list[Any]:
    """The values of a file with one JSON value a line; blank lines do not count.

    Raises:
        DataError: missing, unreadable, or a line is not JSON; the message names it.
    """
    found = []
    for number, line in enumerate(read_bytes(path).removeprefix(BOM_UTF8).splitlines(), start=1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise DataError(f"{path}:{number} is not valid JSON ({error}); correct or remove the line") from error
    return found


def read_plain_pickle(path: Path) -> Any:
    """A pickle of plain containers, also one written by Python 2.

    Raises:
        DataError: missing, broken, or it wants to import anything.
    """
    try:
        return PlainUnpickler(io.BytesIO(read_bytes(path)), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not a pickle of plain lists and dictionaries: {error}; it was not loaded"
        ) from error
