"""Whose work a source is: `leaderboards/authors.csv`, from which the trust of every published number follows.

In: lines `kind,name,source`: a method or a benchmark, and an address under which its own authors publish. Out: for a
published number whether its source is the method's own (`own`), of the benchmark's authors (`benchmark`) or of anybody
else (`copied`), and the method that a name such as `GLaMM (ft)` is a variant of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samtok_eval.errors import DataError
from samtok_eval.reports.leaderboard.published_file import (
    BENCHMARK,
    COPIED,
    OWN,
    PublishedValue,
    csv_lines,
    wrong_address,
)

AUTHORS_FILE = "authors.csv"
COLUMNS = ("kind", "name", "source")
METHOD = "method"
KINDS = (METHOD, BENCHMARK)


@dataclass(frozen=True)
class Authors:
    """The lines of the file."""

    lines: tuple[tuple[str, str, str], ...] = ()
    """(kind, name, source)."""

    def method(self, name: str) -> str:
        """The method that a name is of: the longest one of the file that stands in it as a word.

        What stands in brackets does not count: `Qwen3-VL-4B-SAMTok (re-run by CycleGRPO authors)` is a SAMTok.

        Returns:
            The name before its brackets where the file knows no such method.
        """
        plain = name.partition(" (")[0].rstrip("*")
        words = {line[1] for line in self.lines if line[0] == METHOD}
        found = [word for word in words if re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", plain)]
        return max(found, key=lambda word: (len(word), word), default=plain)

    def sources(self, kind: str, name: str) -> list[str]:
        """Addresses under which the authors of a method or benchmark publish."""
        return [line[2] for line in self.lines if line[:2] == (kind, name)]

    def trust(self, row: PublishedValue) -> str:
        """Who prints a number, as `published.csv` writes it."""
        if any(_within(row.source, own) for own in self.sources(METHOD, self.method(row.method))):
            return OWN
        if any(_within(row.source, theirs) for theirs in self.sources(BENCHMARK, row.benchmark)):
            return BENCHMARK
        return COPIED


NOBODY = Authors()
"""Of a leaderboard that does not say whose work its sources are."""


def read_authors(path: Path) -> Authors:
    """Read the file.

    Raises:
        DataError: missing or malformed, with the line.
    """
    lines = []
    for number, (kind, name, source) in csv_lines(path, COLUMNS):
        if kind not in KINDS or not name:
            raise DataError(f"{path}:{number}: expected {METHOD} or {BENCHMARK} and its name, got {kind!r}, {name!r}")
        wanted = wrong_address(source)
        if wanted:
            raise DataError(f"{path}:{number}: source must be {wanted}; got {source!r}")
        lines.append((kind, name, source))
    return Authors(tuple(lines))


def check_trust(rows: Sequence[PublishedValue], authors: Authors) -> None:
    """Refuse a published number whose trust does not follow from its source.

    Raises:
        DataError: the first one, and how many there are.
    """
    wrong = [row for row in rows if row.trust != authors.trust(row)]
    if wrong:
        row = wrong[0]
        raise DataError(
            f"{len(wrong)} published numbers have another trust than their source gives them, first {row.method} on "
            f"{row.benchmark}: {row.source} makes it {authors.trust(row)}, not {row.trust}; correct it, or add whose "
            f"source that is to {AUTHORS_FILE}"
        )


def _within(address: str, home: str) -> bool:
    """Whether an address is another's, a file of its repository, or a version of its paper."""
    return address == home or address.startswith(f"{home}/") or bool(re.fullmatch(rf"{re.escape(home)}v\d+", address))
