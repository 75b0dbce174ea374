"""Texts of strangers in Markdown, LaTeX and CSV: whatever they hold, they stay text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from samtok_eval.reports.format import ABSENT
from samtok_eval.text import code_point, visible

_MARKDOWN = (
    (re.compile(r"&"), "&amp;"),
    # Issues, people and addresses of mail: GitHub looks for them in what entities stand for, so that a blank without
    # width parts them. `R@20` is none of them. Numbers come first, since the entities below have some.
    (re.compile(r"#(?=\d)"), "#&ZeroWidthSpace;"),
    (re.compile(r"(?<=\bGH)-(?=\d)", re.IGNORECASE), "-&ZeroWidthSpace;"),
    (re.compile(r"(?<!\w)@(?=\w)|@(?=[\w-]+\.)"), "@&ZeroWidthSpace;"),
    (re.compile(r"<"), "&lt;"),
    (re.compile(r">"), "&gt;"),
    (re.compile(r"([\\`*_\[\]~$])"), r"\\\1"),
    # What GitHub turns into a link by itself.
    (re.compile(r"://"), "&#58;//"),
    (re.compile(r"(?<=www)\.", re.IGNORECASE), "&#46;"),
)
_MARKDOWN_BLOCKS = (
    (re.compile(r"^([-+#=])"), r"\\\1"),
    (re.compile(r"^(\d+)([.)])"), r"\1\\\2"),
)
"""What begins a list or a heading, at the beginning of a line."""
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""Beginnings at which a spreadsheet computes a cell, or may."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "'": r"{\textquotesingle}",
    "`": r"\textasciigrave{}",
    # A bracket or star after a line's end would be read as its argument.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "§": r"$^{\S}$",
    "–": r"\textendash{}",
    "…": r"\ldots{}",
}


def one_line(text: str) -> str:
    """Text in one line, with every character that has no shape written as `[U+202E]`."""
    return visible(re.sub(r"[ \t\r\n]+", " ", text), spelling=code_point)


def markdown_text(text: str) -> str:
    """Text as Markdown shows it, wherever it stands."""
    return _replaced(_replaced(one_line(text), _MARKDOWN), _MARKDOWN_BLOCKS)


def markdown_cell(text: str, *, number: bool = False) -> str:
    """Text as a cell of a Markdown table shows it.

    Args:
        text: of any origin.
        number: whether it is a number of ours, whose sign and decimal point begin no list.
    """
    shown = _replaced(one_line(text), _MARKDOWN) if number else markdown_text(text)
    # An entity and not `\|`: a backslash before it would undo that.
    return shown.replace("|", "&#124;")


def csv_lines(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lines of CSV under their head, in which no text is a formula.

    Args:
        names: of the columns.
        rows: numbers, which stay numbers, texts, and None for what is missing.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(map(csv_cell, row) for row in rows)
    return written.getvalue()


def csv_cell(value: object) -> object:
    """A value as a cell of CSV; before a text that a spreadsheet would compute stands an apostrophe."""
    if not isinstance(value, str):
        return value
    formula = _FORMULA.match(value) and value != ABSENT and not _NUMBER.fullmatch(value)
    # A lone carriage return is written without quotes, and read as the end of a line.
    return ("'" if formula else "") + re.sub(r"\r\n?", "\n", value)


def latex_text(text: str) -> str:
    """Text as LaTeX sets it; what pdflatex has no glyph for is spelt `[U+4E2D]`."""
    # Two hyphens would become a dash.
    return re.sub("-(?=-)", "-{}", "".join(_latex_character(c) for c in one_line(text)))


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    known = character.isascii() or "À" <= character <= "ÿ"
    return character if known else "".join(_LATEX.get(c, c) for c in code_point(character))


def _replaced(text: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for pattern, written in rules:
        text = pattern.sub(written, text)
    return text
