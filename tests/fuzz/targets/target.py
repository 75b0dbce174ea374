"""What a target is, and how a command is run for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.mutations import damaged
from tests.support.command import command as typed

LONGEST_LINE = 300
"""Characters of an error that a user gets, without the word before it."""
REFUSED = frozenset({0, 1, 2, 5})
"""Fine, usage, data, incomplete: what bad files may end in."""
GATED = REFUSED | {4, 6}


class FindingError(AssertionError):
    """Something that must not happen."""


@dataclass(frozen=True)
class Target:
    """Something that reads files."""

    name: str
    prepare: Callable[[Path], None]
    """Writes the good files into an empty folder."""
    damaged: tuple[str, ...]
    """Patterns of those that are damaged."""
    read: Callable[[Path], None]
    """Reads them; raises `FindingError`, or whatever slipped through."""
    damage: Callable[[Random, str, bytes], bytes] = damaged
    weight: int = 10
    """How often it is drawn, beside the others."""
    tags: frozenset[str] = field(default=frozenset())


def command(*words: str | Path, codes: frozenset[int] = REFUSED) -> int:
    """Run a command as the shell does; its exit code.

    Raises:
        FindingError: another exit code, or an error that is not one short line.
    """
    done = typed(*words)
    code, err = done.returncode, done.stderr
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    if code not in codes:
        raise FindingError(f"exit code {code}: {told}")
    # A gate says its verdict as an error.
    if code and len(told) != 1:
        raise FindingError(f"exit code {code} with {len(told)} lines of error: {err[-600:]}")
    for line in told:
        if len(line) > LONGEST_LINE + len("error: "):
            raise FindingError(f"a line of {len(line)} characters: {line[:400]}")
    return code


def refused(read: Callable[[], object]) -> None:
    """Read something that no command reads alone."""
    from samtok_eval.errors import SamtokError

    try:
        read()
    except SamtokError as error:
        if len(str(error)) > 1000:
            raise FindingError(f"no short line: {error}") from error
