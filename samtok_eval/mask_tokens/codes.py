"""The codes of one mask, and the keys under which prediction files hold their decoded masks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import takewhile

from samtok_eval.mask_tokens.layout import DEFAULT_LAYOUT, Layout

MISSING = -1
"""Stands for an absent code; all codes behind it are absent, too."""
_KEY = re.compile(r"\d{1,7}(,\d{1,7})*(,-)*", re.ASCII)


class Codes(tuple[int, ...]):
    """One entry per codebook; -1 for those that are absent, which are the last ones."""

    def __new__(cls, *entries: int) -> Codes:
        """`Codes(44, 186)`."""
        return super().__new__(cls, entries)

    def __getnewargs__(self) -> tuple[int, ...]:
        """The entries, for copies and other processes."""
        return tuple(self)

    def __repr__(self) -> str:
        """`Codes(44, 186)`."""
        return f"Codes({', '.join(map(str, self))})"

    @property
    def first(self) -> int:
        """Entry of the first book."""
        return self[0]

    @property
    def second(self) -> int:
        """Entry of the second book, -1 when it is absent or there is no such book."""
        return self[1] if len(self) > 1 else MISSING

    @cached_property
    def key(self) -> str:
        """`"44,186"`, or `"44,-"` without a second code: the key of decoded masks in prediction files."""
        return ",".join("-" if entry == MISSING else str(entry) for entry in self)

    @classmethod
    def from_key(cls, key: str, layout: Layout | None = DEFAULT_LAYOUT) -> Codes:
        """Inverse of `key`.

        Args:
            key: e.g. `44,186`.
            layout: what the codes must fit; None where only the form counts.

        Raises:
            ValueError: not of the form `c1,c2` or `c1,-`, or codes of another layout.
        """
        codes = _codes_of(key)
        if codes is None or (layout is not None and not codes.fit(layout)):
            wanted = "" if layout is None else f" with {layout.depth} codes 0..{layout.size - 1} (layout {layout})"
            raise ValueError(f"a code key must look like '44,186' or '44,-'{wanted}, got {key!r}")
        return codes

    def fit(self, layout: Layout) -> bool:
        """Whether there is one entry per book of a layout, each in its range or absent."""
        return len(self) == layout.depth and all(MISSING <= entry < layout.size for entry in self)

    def up_to(self, count: int) -> Codes:
        """The first `count` entries, the others absent."""
        return Codes(*self[:count], *[MISSING] * (len(self) - count))

    def filled(self, entry: int = 0) -> Codes:
        """The same with an entry in place of every absent one."""
        return Codes(*(entry if own == MISSING else own for own in self))


MOST_KEYS = 1 << 17
"""Keys that are remembered; 256x2 has half as many, and answers name all of them alike."""


def is_key(text: str) -> bool:
    """Whether a text has the form of `Codes.key`, of whatever layout."""
    return _KEY.fullmatch(text) is not None


def _codes_of(key: str) -> Codes | None:
    """Codes of a key; None where it is not of that form."""
    return Codes(*(MISSING if e == "-" else int(e) for e in key.split(","))) if _KEY.fullmatch(key) else None


def up_to_gap(entries: Sequence[int]) -> Codes | None:
    """Codes up to the first absent one, since later books refine what earlier ones say; None without the first."""
    kept = list(takewhile(lambda entry: entry != MISSING, entries))
    return Codes(*entries).up_to(len(kept)) if kept else None
