"""Files: read with bounded sizes and clear errors, written whole or not at all.

A file is data of a stranger. Nothing in it is run, and nothing in it decides how much memory is taken: what it declares
(lengths, sizes, ids) is checked before a library acts on it.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
import sys
import tomllib
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import msgspec
from pydantic import ValidationError

from samtok_eval.errors import DataError, MissingFileError, UsageError
from samtok_eval.text import without_middle
from samtok_eval.unfinished import unfinished

MAX_BYTES = 2**32
"""Of a file that is read whole; COCO's largest annotations have an eighth of it."""
MAX_SETTINGS_BYTES = 2**20
"""Of a file that a person writes."""
MAX_NUMBER = 2**63
"""Of an id or a coordinate; the libraries below compute in 64 bits."""
MAX_NAME, MAX_PARTS = 255, 15
"""Bytes of one part of a path, and parts; file systems end at 4096 bytes."""
MAX_MESSAGE = 300
LONGEST_PLACE = 120
"""Characters of the name of a field, which a file may have made up."""
# What a message of an error tells the user to do.
PUT_IT_THERE = "put the benchmark's own file there (see `samtok-eval data fetch`) or give another --data-root"
CORRECT_IT = "correct it"
MEND_THE_LINE = "correct or remove the line"
WHERE_TO_WRITE = "free space, or choose a folder that may be written"
WINDOW = 2**20
"""Bytes of a long file that are looked at together, at least."""
_BLANKS, _AFTER_VALUE = re.compile(r"[ \t\n\r]+"), re.compile(r"[ \t\n\r]*[,\]]")
_NEXT_OBJECT = re.compile(r"[ \t\n\r]*,[ \t\n\r]*\{")
GUESSES = 4
"""Places at which a part of a list is tried to be cut; objects inside of others mislead some."""
_DECODER = json.JSONDecoder()
MISFITS = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What reading raises when a file is valid JSON, or a plain pickle, but not of the structure that it should have."""


def read_bytes(path: Path, most: int = MAX_BYTES, remedy: str = PUT_IT_THERE) -> bytes:
    """The file's bytes.

    Args:
        path: an ordinary file; reading a pipe or a device might never end.
        most: bytes that it may have.
        remedy: ends the message of an error: what to do.

    Raises:
        DataError: it is missing, cannot be read, or is too large.
    """
    with _opened(path, most, remedy) as file:
        return file.read()


def read_beginning(path: Path, length: int, remedy: str = PUT_IT_THERE) -> bytes:
    """The first bytes of a file that may be too large to be read whole.

    Raises:
        DataError: it is missing or cannot be read.
    """
    with _opened(path, sys.maxsize, remedy) as file:
        return file.read(length)


def read_chunks(path: Path, remedy: str = PUT_IT_THERE) -> Iterator[bytes]:
    """The file's bytes, a few at a time.

    Raises:
        DataError: as `read_bytes`.
    """
    with _opened(path, MAX_BYTES, remedy) as file:
        while chunk := file.read(WINDOW):
            yield chunk


def read_text(path: Path, most: int = MAX_BYTES, remedy: str = PUT_IT_THERE) -> str:
    """A file of UTF-8 text, with or without a byte-order mark; its line ends stay as they are.

    Raises:
        DataError: missing, unreadable, too large, or not UTF-8.
    """
    return _decoded(read_bytes(path, most, remedy).removeprefix(BOM_UTF8), str(path), remedy)


def read_json(path: Path, remedy: str = PUT_IT_THERE) -> Any:
    """A JSON file.

    Raises:
        DataError: missing, unreadable, not JSON, nested too deeply, or with a longer number than can be read.
    """
    content = read_text(path, remedy=remedy)
    with reading(f"{path} is not valid JSON", remedy):
        return parsed(content)


def parsed(content: str) -> Any:
    """`json.loads`, in half its time where nothing is odd; what msgspec refuses is left to it with the message."""
    with suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(content)
    return json.loads(content)


def json_items(
    path: Path, remedy: str = PUT_IT_THERE, decode: Callable[[str], list[Any]] = msgspec.json.decode
) -> Iterator[Any]:
    """The values of a JSON file that holds one list, one after another; neither file nor list is held in memory.

    Args:
        path: the file.
        remedy: what to do where it cannot be read.
        decode: makes something else than plain values of many objects at once; a few come as plain values all the same.

    Raises:
        DataError: as `read_json`, or it holds something else.
    """
    with _opened(path, MAX_BYTES, remedy) as file, reading(f"{path} is not valid JSON", remedy):
        try:
            yield from _items(_Window(file), decode)
        except UnicodeDecodeError as error:
            raise _not_text(str(path), error, remedy) from error


class _Window:
    """The part of a text file that is being looked at."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = getincrementaldecoder("utf-8-sig")().decode
        self._text, self._at, self._complete = "", 0, False
        self._guessed = False
        """Whether `objects` has looked at what is in the window; it does so once, so that the time stays linear."""

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._at = blanks.end() if blanks else self._at
            if self._at < len(self._text) or self._complete:
                return self._text[self._at : self._at + 1]
            self._more()

    def mark(self) -> str:
        """`peek`, passed over."""
        found = self.peek()
        self._at += len(found)
        return found

    def value(self) -> Any:
        """The next value, passed over.

        Raises:
            JSONDecodeError: there is none.
        """
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if self._complete:
                    raise
            else:
                # What ends at the end of the window, or not at a mark, may be the beginning of a longer number.
                if self._complete or _AFTER_VALUE.match(self._text, end):
                    self._at = end
                    return value
            self._more()

    def objects(self, decode: Callable[[str], list[Any]]) -> list[Any]:
        """Objects of a list, all but the last ones in the window, passed over; none where they are not told at once.

        What parses between brackets is a part of the list, so that an end inside of a text or of a value does no harm.
        """
        guesses, end = 0 if self._guessed else GUESSES, len(self._text)
        self._guessed = True
        while guesses and (end := self._text.rfind("}", self._at, end)) >= 0:
            if _NEXT_OBJECT.match(self._text, end + 1):
                guesses -= 1
                with suppress(msgspec.DecodeError, RecursionError):
                    found = decode(f"[{self._text[self._at : end + 1]}]")
                    self._at = end + 1
                    return found
        return []

    def _more(self) -> None:
        """Look further; twice as far where the window was too small, so that the time stays linear."""
        rest = self._text[self._at :]
        chunk = self._file.read(max(WINDOW, len(rest)))
        self._complete = not chunk
        self._text, self._at = rest + self._decode(chunk, final=not chunk), 0
        self._guessed = False


def _items(window: _Window, decode: Callable[[str], list[Any]]) -> Iterator[Any]:
    """The values of a list.

    Raises:
        ValueError: it is none.
    """
    if window.mark() != "[":
        raise ValueError("it holds no list")
    mark = "," if window.peek() != "]" else window.mark()
    while mark == ",":
        yield from window.objects(decode) or [window.value()]
        mark = window.mark()
    if mark != "]" or window.mark():
        raise ValueError("a list in it does not end as it should")


def read_object(path: Path, remedy: str = PUT_IT_THERE) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        DataError: as `read_json`, or it holds something else.
    """
    content = read_json(path, remedy)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object; {remedy}")
    return content


def numbered_lines(path: Path, remedy: str = PUT_IT_THERE, torn_tail: bool = False) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and lines of a UTF-8 file that ends its lines with a line feed; blank ones are passed over.

    Args:
        path: the file.
        remedy: what to do where the whole file cannot be read.
        torn_tail: leave out a last line without its line end, as a killed run leaves one.

    Raises:
        DataError: missing, unreadable, too large, or a line is not UTF-8; the message names it.
    """
    return ((number, line.decode()) for number, _, line in placed_lines(path, remedy, torn_tail))


def placed_lines(path: Path, remedy: str = PUT_IT_THERE, torn_tail: bool = False) -> Iterator[tuple[int, int, bytes]]:
    """`numbered_lines` with the place of each line: its number, the byte at which it begins, and its bytes.

    Raises:
        DataError: as `numbered_lines`.
    """
    begins = 0
    with _opened(path, MAX_BYTES, remedy) as file:
        for number, line in enumerate(file, start=1):
            whole = line if number > 1 else line.removeprefix(BOM_UTF8)
            if whole.strip() and not (torn_tail and not line.endswith(b"\n")):
                if not whole.isascii():
                    _decoded(whole, f"{path}:{number}", MEND_THE_LINE)
                yield number, begins + len(line) - len(whole), whole
            begins += len(line)


def numbered_json_lines(path: Path, remedy: str = PUT_IT_THERE) -> Iterator[tuple[int, Any]]:
    """Line numbers, from 1, and values of a file with one JSON value a line; blank lines are passed over.

    Raises:
        DataError: missing, unreadable, or a line is not JSON; the message names it.
    """
    for number, line in numbered_lines(path, remedy):
        with reading(f"{path}:{number} is not valid JSON", MEND_THE_LINE):
            value = json.loads(line)
        yield number, value


def read_json_lines(path: Path, remedy: str = PUT_IT_THERE) -> list[Any]:
    """The values of a file with one JSON value a line.

    Raises:
        DataError: missing, unreadable, or a line is not JSON; the message names it.
    """
    return [value for _, value in numbered_json_lines(path, remedy)]


def read_toml(path: Path, remedy: str = CORRECT_IT) -> dict[str, Any]:
    """A file of settings in TOML.

    Raises:
        DataError: missing, unreadable, too large, or not well-formed.
    """
    content = read_text(path, MAX_SETTINGS_BYTES, remedy)
    with reading(f"{path} is not a well-formed TOML file", remedy):
        return tomllib.loads(content)


def read_yaml(path: Path, remedy: str = CORRECT_IT) -> Any:
    """A file of settings in YAML, of plain values only.

    Raises:
        DataError: missing, unreadable, too large, or not well-formed.
    """
    import yaml

    content = read_text(path, MAX_SETTINGS_BYTES, remedy)
    with reading(f"{path} is not a well-formed YAML file", remedy):
        try:
            return yaml.safe_load(content)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error


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
    except ValidationError as error:
        raise DataError(f"{what}: {first_problem(error)}; {remedy}") from error
    except MISFITS as error:
        raise DataError(f"{what}: {shortened(error)}; {remedy}") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what keeps a file from being written into one clear error.

    Raises:
        UsageError: an `OSError` was raised inside, such as a full disk or a folder that may not be written.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({reason(error)}); {WHERE_TO_WRITE}") from error


def reason(error: Exception) -> str:
    """Why the system refused a file, in its own words."""
    return (isinstance(error, OSError) and error.strerror) or shortened(error)


def first_problem(error: ValidationError, named: Callable[[str], str] = str) -> str:
    """The first thing that a model refuses, as one line: where it stands, what is wrong, and which plain value came.

    Args:
        error: of the model.
        named: what the user calls a field.
    """
    first = error.errors(include_url=False)[0]
    field, *inner = [*map(str, first["loc"])] or [""]
    where = without_middle(".".join([named(field) if field else "", *inner]), LONGEST_PLACE)
    problem, came = first["msg"].removeprefix("Value error, "), first["input"]
    # Broken JSON comes as the whole text; a rule of our own says itself what came.
    told = first["type"] in ("json_invalid", "value_error")
    got = f", got {reprlib.repr(came)}" if isinstance(came, str | int | float | None) and not told else ""
    return " ".join(f"{where}: {problem}{got}".removeprefix(": ").split())


def cache_folder() -> Path:
    """Where this user's copies of what can be made again lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "samtok-eval"


@contextmanager
def _opened(path: Path, most: int, remedy: str) -> Iterator[BinaryIO]:
    """A file to read, see `read_bytes`."""
    try:
        size = path.stat().st_size
        # Asked before it is opened, since opening a pipe waits for its writer.
        if not path.is_file():
            raise DataError(f"{path} is not an ordinary file; {remedy}")
        if size > most:
            raise DataError(f"{path} has {size} bytes, more than the {most} that are read; {remedy}")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} is missing; {remedy}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)}); {remedy}") from error


def _decoded(content: bytes, where: str, remedy: str) -> str:
    # Not `reading`, which takes several times as long as decoding a line.
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _not_text(where, error, remedy) from error


def _not_text(where: str, error: UnicodeDecodeError, remedy: str) -> DataError:
    return DataError(f"{where} is not UTF-8 text: {shortened(error)}; {remedy}")


def shortened(error: Exception) -> str:
    """The message of an error, which may repeat a value of the file, as one line of bounded length."""
    message = " ".join(str(error).split()) or type(error).__name__
    return message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}..."


def whole_number(value: Any) -> int:
    """An id or a count as a file gives it: a whole number, or its digits as text.

    Raises:
        ValueError: anything else, such as NaN or a number beyond 64 bits.
    """
    if type(value) is int and -MAX_NUMBER <= value < MAX_NUMBER:
        return value
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
        ValueError: anything but text, or half a surrogate pair in it, which no file of ours could hold.
    """
    if not isinstance(value, str):
        raise ValueError(f"a text is needed, got {reprlib.repr(value)}")
    if not value.isascii():
        value.encode()
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
    """Write JSON whole or not at all, see `write_text`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        UsageError: the system refuses, e.g. because the disk is full.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        UsageError: the system refuses, e.g. because the disk is full.
    """
    with writing(path), unfinished(path) as part:
        part.write_bytes(content)
