"""One model of a table, and its writers: aligned text and Markdown here, HTML in `templates/table.html.j2`.

In: columns, rows of what `format` wrote, and the lines around them. Out: text in which nothing that a stranger wrote is
obeyed.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from tabulate import MIN_PADDING, tabulate

from samtok_eval.reports.format import ABSENT
from samtok_eval.reports.markup import markdown_cell, markdown_text
from samtok_eval.text import visible

BEST, SECOND = "best", "second"
GAP = 2
"""Blanks between columns of aligned text."""


@dataclass(frozen=True)
class Column:
    """One column."""

    title: str
    align: Literal["left", "right"] = "right"
    filtered: bool = False
    """Whether a page offers to show the rows of one of its values alone."""
    names_row: bool = False
    """Whether it stands again in each part of a table that a narrow terminal breaks."""


@dataclass(frozen=True)
class Cell:
    """A text with what only some writers show."""

    text: str
    value: float | None = None
    """What a page sorts by, where that is not the text."""
    mark: str = ""
    """`best`, `second` or empty."""
    note: str = ""
    """Set behind the text, outside its mark."""
    figure: object = None
    """What a page draws instead of the text, by the template's own means."""

    @property
    def sort_key(self) -> float | str | None:
        """What a page sorts by; empty for a missing value, which comes last, None for the text itself."""
        return "" if self.value is None and self.text == ABSENT else self.value


Row: TypeAlias = Sequence[str | Cell]


@dataclass(frozen=True)
class Table:
    """Rows under their columns, and the lines that belong to them."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    heading: Sequence[str] = ()
    """Lines above it."""
    notes: Sequence[str] = ()
    """Lines below it."""

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, every text as a cell."""
        return [[Cell(cell) if isinstance(cell, str) else cell for cell in row] for row in self.rows]

    def without(self, title: str) -> Table:
        """The table without its columns of a title."""
        kept = [index for index, column in enumerate(self.columns) if column.title != title]
        rows = [[row[index] for index in kept] for row in self.rows]
        return replace(self, columns=[self.columns[index] for index in kept], rows=rows)


Writer: TypeAlias = Callable[[Table], str]


def left(*titles: str) -> list[Column]:
    """Columns of words."""
    return [Column(title, "left") for title in titles]


def naming(*titles: str) -> list[Column]:
    """Columns of words that say together which row it is."""
    return [Column(title, "left", names_row=True) for title in titles]


def right(*titles: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(title) for title in titles]


def aligned_text(table: Table, width: int | None = None) -> str:
    """The table for a terminal.

    Args:
        table: what is shown.
        width: columns of the terminal, that of standard output by default; a file takes lines of any length.
    """
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    rows = [[visible(cell.text + cell.note) for cell in row] for row in table.cells]
    titles = [visible(column.title) for column in table.columns]
    aligns = [column.align for column in table.columns]
    widths = [max([len(title) + MIN_PADDING, *map(len, column)]) for title, *column in zip(titles, *rows, strict=True)]
    grids = [
        tabulate(
            [[row[i] for i in part] for row in rows],
            [titles[i] for i in part],
            tablefmt="simple",
            disable_numparse=True,
            colalign=[aligns[i] for i in part],
        )
        for part in _parts(table, widths, width)
    ]
    lines = ["\n".join(_wrapped(visible(line), width) for line in lines) for lines in (table.heading, table.notes)]
    return "\n\n".join(part for part in (lines[0], *grids, lines[1]) if part)


def _wrapped(line: str, width: int | None) -> str:
    """A line broken between words; a word that is too long by itself stays whole, so that a path can be copied."""
    if width is None or len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _parts(table: Table, widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Columns that stand side by side; those that name the row stand in each part."""
    every = range(len(table.columns))
    named = [i for i in every if table.columns[i].names_row] or [0]

    def room(part: Sequence[int]) -> int:
        return sum(widths[i] + GAP for i in part) - GAP

    if width is None or room(every) <= width:
        return [list(every)]
    parts = [list(named)]
    for i in every:
        if i in named:
            continue
        if len(parts[-1]) > len(named) and room([*parts[-1], i]) > width:
            parts.append(list(named))
        parts[-1].append(i)
    return parts


def markdown(table: Table) -> str:
    """The table for a file that GitHub shows, its lines as paragraphs."""
    heading, notes = ([markdown_text(line.strip()) for line in lines] for lines in (table.heading, table.notes))
    return "\n\n".join(part for part in (*heading, markdown_grid(table), *notes) if part)


def markdown_grid(table: Table) -> str:
    """The columns and rows alone."""
    titles = [markdown_cell(column.title) for column in table.columns]
    rules = ["---:" if column.align == "right" else "---" for column in table.columns]
    numbers = [column.align == "right" for column in table.columns]
    lines = [titles, rules, *(list(map(_markdown, row, numbers)) for row in table.cells)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown(cell: Cell, number: bool) -> str:
    around = {BEST: "**{}**", SECOND: "<u>{}</u>", "": "{}"}[cell.mark]
    return around.format(markdown_cell(cell.text, number=number)) + markdown_cell(cell.note)
