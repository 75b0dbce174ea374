"""Texts of strangers, shown as what they are.

In: a text that a model, a data set or a file holds. Out: the same, with every character that has no shape spelt out:
controls, which a terminal obeys, and marks that hide or turn what a reader sees.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

SHAPELESS = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Unicode categories: control, format, unassigned, private, surrogate, ends of lines and paragraphs."""

SHORT_WORD = 40
"""Characters of a word that are kept where a line is too long."""


def escaped(character: str) -> str:
    r"""A character as Python writes it, e.g. `\x1b`, `\u202e`, `\U000e0001`."""
    return character.encode("unicode_escape").decode("ascii")


def code_point(character: str) -> str:
    """A character as `[U+202E]`, for languages in which a backslash is a mark of its own."""
    return f"[U+{ord(character):04X}]"


def visible(text: str, *, keep: str = "", spelling: Callable[[str], str] = escaped) -> str:
    """A text whose hidden and control characters are spelt out.

    Args:
        text: of any origin.
        keep: characters that stay as they are, e.g. ends of lines.
        spelling: how a hidden character is written.
    """
    # As nearly all are; of the categories that have a shape this leaves out blanks other than the plain one.
    if text.isprintable():
        return text
    return "".join(c if c in keep or unicodedata.category(c) not in SHAPELESS else spelling(c) for c in text)


def shortened(text: str, length: int) -> str:
    """The beginning of a text on one line, `…` where something was left out."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def without_middle(text: str, length: int) -> str:
    """A text whose beginning and end are kept, `…` where its middle was left out: what it is about, and what to do."""
    if len(text) <= length:
        return text
    end = length * 2 // 5
    return f"{text[: length - end - 1]}…{text[-end:]}"


def fitted(line: str, length: int) -> str:
    """A line of at most so many characters, shortened first in the middle of its longest words, which are mostly paths.

    Args:
        line: words parted by single blanks.
        length: characters; where words of `SHORT_WORD` are still too many, the middle of the line goes.
    """
    words = line.split(" ")
    while (surplus := sum(map(len, words)) + len(words) - 1 - length) > 0:
        longest = max(range(len(words)), key=lambda i: len(words[i]))
        if len(words[longest]) <= SHORT_WORD:
            break
        words[longest] = without_middle(words[longest], max(SHORT_WORD, len(words[longest]) - surplus))
    return without_middle(" ".join(words), length)
