"""Mask words <-> spans: `render` writes codes; `parse` and `parse_ids` read an answer under the default policy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from samtok_eval.mask_tokens.codes import MISSING, Codes, up_to_gap
from samtok_eval.mask_tokens.layout import DEFAULT_LAYOUT, END, START, Layout, numbered_word

Status = Literal["ok", "missing_second", "extra", "swapped", "bad_range", "no_end", "no_start"]
"""What was found: `ok` well formed; `missing_second` no code of the second or a later book; `extra` more codes than
books, the first of each book kept; `swapped` books not in their order; `bad_range` a number of no book or one more of
another book where a book has none; `no_end`, `no_start` a missing delimiter. A span with several faults carries the
first that applies, in the order bad_range, swapped, extra, missing_second, no_start, no_end."""


@dataclass(frozen=True)
class Span:
    """One mask mentioned in an answer."""

    status: Status
    codes: Codes | None
    """None when nothing can be decoded."""
    start: int
    """Position of its first character (or token) in what was parsed."""
    end: int
    """Position after its last character (or token)."""


def render(codes: Iterable[Sequence[int]], layout: Layout = DEFAULT_LAYOUT) -> str:
    """Mask words of codes, without blanks between them.

    Args:
        codes: one entry per book each, e.g. pairs `(c1, c2)`, each 0..255.
        layout: of the mask tokenizer that made them.

    Raises:
        ValueError: a code outside its book, or another number of codes than there are books.
    """
    text = []
    for entries in codes:
        if len(entries) != layout.depth or not all(0 <= entry < layout.size for entry in entries):
            raise ValueError(
                f"a mask of layout {layout} has {layout.depth} codes with values 0..{layout.size - 1}, "
                f"got {tuple(entries)}"
            )
        numbers = (book * layout.size + entry for book, entry in enumerate(entries))
        text.append(f"{START}{''.join(map(numbered_word, numbers))}{END}")
    return "".join(text)


def parse(answer: str, layout: Layout = DEFAULT_LAYOUT) -> list[Span]:
    """Spans of an answer text under the default policy, in order of mention; never raises.

    A span ends at its end word, at the next start word, at other text, or at the end of the answer.

    Args:
        answer: any text.
        layout: of the checkpoint that wrote it.
    """
    words = [_Word(match[1], match.start(), match.end()) for match in layout.pattern.finditer(answer)]
    return [_read_span(group, layout) for group in _groups(words)]


def parse_ids(token_ids: Sequence[int], first_id: int, layout: Layout = DEFAULT_LAYOUT) -> list[Span]:
    """Spans of generated token ids; the same policy as `parse`, positions counted in tokens.

    Args:
        token_ids: generated ids.
        first_id: id of `<|mt_start|>`; the mask words must have consecutive ids in the order of `Layout.words`.
        layout: of the checkpoint that wrote them.
    """
    words, last = [], layout.count + 1
    for position, token in enumerate(token_ids):
        offset = token - first_id
        if 0 <= offset <= last:
            name = "start" if offset == 0 else "end" if offset == last else str(offset - 1)
            words.append(_Word(name, position, position + 1))
    return [_read_span(group, layout) for group in _groups(words)]


class _Word(NamedTuple):
    name: str
    start: int
    end: int


def _groups(words: list[_Word]) -> list[list[_Word]]:
    """Split mask words into spans: a start word, an end word or a gap of other text closes the group before it."""
    groups: list[list[_Word]] = []
    current: list[_Word] = []
    for word in words:
        if current and (word.name == "start" or word.start != current[-1].end):
            groups.append(current)
            current = []
        current.append(word)
        if word.name == "end":
            groups.append(current)
            current = []
    return groups + ([current] if current else [])


def _read_span(group: list[_Word], layout: Layout) -> Span:
    numbers = [int(word.name) for word in group if word.name not in ("start", "end")]
    found: dict[int, int] = {}
    for number in numbers:
        found.setdefault(number // layout.size, number % layout.size)
    codes = up_to_gap([found.get(book, MISSING) for book in range(layout.depth)])
    status = _status(list(found), len(numbers), codes, layout.depth)
    if status == "ok" and group[0].name != "start":
        status = "no_start"
    elif status == "ok" and group[-1].name != "end":
        status = "no_end"
    return Span(status, codes, group[0].start, group[-1].end)


def _status(books: Sequence[int], count: int, codes: Codes | None, depth: int) -> Status:
    """What the numbers of a span have to say about it, whatever its delimiters.

    Args:
        books: of its numbers, in order of first mention.
        count: its numbers.
        codes: what is read from it.
        depth: books of the layout.
    """
    kept = 0 if codes is None else sum(entry != MISSING for entry in codes)
    if not kept or max(books) >= depth or (kept < depth and count > kept):
        return "bad_range"
    if list(books) != sorted(books):
        return "swapped"
    if count > depth:
        return "extra"
    return "missing_second" if kept < depth else "ok"
