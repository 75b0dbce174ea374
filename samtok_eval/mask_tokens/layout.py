"""Layouts of codebooks, and the words that a checkpoint of one adds to its vocabulary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

START = "<|mt_start|>"
END = "<|mt_end|>"
MOST_CODES = 1 << 20
"""Codes of the largest layout that is read; the largest released one, 65536x1, has a sixteenth of it."""
SHORTEST_NUMBER = 4
"""Digits to which the numbers of words are filled up with zeros."""


@dataclass(frozen=True)
class Layout:
    """Size and depth of the codebooks of a mask tokenizer; entry c of book d has the word of number `d * size + c`."""

    size: int = 256
    """Entries of each codebook."""
    depth: int = 2
    """Codebooks, and so numbered words of a mask."""

    def __post_init__(self) -> None:
        """Refuse sizes that no codebook has.

        Raises:
            ValueError: size or depth below 1, or more than `MOST_CODES` codes.
        """
        if self.size < 1 or self.depth < 1 or self.count > MOST_CODES:
            raise ValueError(
                f"a layout must have size and depth from 1 on and at most {MOST_CODES} codes, got {self}; "
                "give that of the mask tokenizer"
            )

    def __str__(self) -> str:
        """`256x2`."""
        return f"{self.size}x{self.depth}"

    @classmethod
    def from_text(cls, text: str) -> Layout:
        """Inverse of `str`.

        Raises:
            ValueError: not of the form `256x2`, or see `__post_init__`.
        """
        match = re.fullmatch(r"(\d{1,7})x(\d{1,7})", text, re.ASCII)
        if match is None:
            raise ValueError(f"a layout must look like 256x2 (size x depth), got {text!r}")
        return cls(int(match[1]), int(match[2]))

    @property
    def count(self) -> int:
        """Numbered words."""
        return self.size * self.depth

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Words that a checkpoint of this layout adds to its vocabulary, in the order of their token ids."""
        return (START, *(numbered_word(number) for number in range(self.count)), END)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Any mask word; longer numbers than those of four digits are not filled up."""
        longest = len(str(self.count - 1))
        longer = rf"|[1-9]\d{{{SHORTEST_NUMBER},{longest - 1}}}" if longest > SHORTEST_NUMBER else ""
        return re.compile(rf"<\|mt_(start|end|\d{{{SHORTEST_NUMBER}}}{longer})\|>", re.ASCII)


def numbered_word(number: int) -> str:
    """The word of a number, whichever book it lies in."""
    return f"<|mt_{number:0{SHORTEST_NUMBER}d}|>"


DEFAULT_LAYOUT = Layout()
"""That of the published SAMTok checkpoints."""
NUMBERED_WORD = re.compile(r"<\|mt_\d+\|>", re.ASCII)
"""A word of some codebook, of whatever layout."""
CODEBOOK_SIZE = DEFAULT_LAYOUT.size
WORDS = DEFAULT_LAYOUT.words
"""The 514 words that a published SAMTok checkpoint adds to its vocabulary, in the order of their token ids."""
