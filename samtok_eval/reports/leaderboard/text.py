"""The leaderboard as Markdown, LaTeX, CSV and JSON; `page.py` writes the page.

Names and sources come from files that anybody may have written: `markup` makes them text of the target format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict

from samtok_eval.reports import table as plain
from samtok_eval.reports.format import ABSENT
from samtok_eval.reports.leaderboard.frame import COLUMNS, numbers_frame, unit_of
from samtok_eval.reports.leaderboard.published_file import MARKS_EXPLAINED, wrong_address
from samtok_eval.reports.leaderboard.ranks import rank_text
from samtok_eval.reports.leaderboard.table import Cell, Row, Section, Source, Table
from samtok_eval.reports.markup import csv_lines, latex_text, markdown_text
from samtok_eval.reports.table import BEST, SECOND, left, markdown_grid, right

SCHEMA_VERSION = 1
GENERATED = "Written by `samtok-eval leaderboard build`; edit published.csv or results/ and build again."
RANKS = (
    "Rank: the places by the main metric that noise leaves open, from paired differences where both results keep their "
    "records, else from intervals that do not overlap; pairs are judged one by one at 95 %. Of our own numbers bold is "
    "best and underlined second where no other row may have that place."
)
LEGEND = (
    f"Rows stand best first. {RANKS} Published numbers come without intervals: bold is the highest printed value, "
    f"underlined the next, and nobody knows which of these differences are noise. {MARKS_EXPLAINED}"
)
UNITS = (
    "Numbers measured here are x 100, ± half of the 95 % interval over pictures; published ones stand as printed. "
    "Every table holds one protocol: no column mixes scoring rules."
)
_LATEX_HEAD = f"% {GENERATED}\n% Needs \\usepackage{{booktabs,graphicx,textcomp}}.\n"


def section_slug(section: Section) -> str:
    """A file name and anchor of a section; `RefCOCO+` and `RefCOCO` differ."""
    words = re.sub(r"[^a-z0-9]+", "-", section.name.lower().replace("+", "-plus")).strip("-")
    return f"demo-{words}" if section.demo else words


def markdown(sections: Sequence[Section]) -> str:
    """The whole leaderboard as one Markdown file."""
    parts = ["# Leaderboards", GENERATED, f"{UNITS} {LEGEND}"]
    for section in sections:
        parts += [f"## {markdown_text(section.title)}", *(markdown_text(note) for note in section.notes)]
        for table in section.tables:
            parts += [f"### {markdown_text(table.title)}", markdown_table(table), *_markdown_notes(table)]
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """One table: method, size, values, numbers of the sources."""
    values = (f"{column.split} {column.metric}" for column in table.columns)
    rows: list[plain.Row] = [
        [
            *_rank(table, row),
            row_name(row),
            row.size,
            *(_markdown_cell(cell, row) for cell in row.cells),
            _numbers(table, row),
        ]
        for row in table.rows
    ]
    rank = right("rank") if table.ranked else []
    return markdown_grid(plain.Table([*rank, *left("method", "size"), *right(*values, "source")], rows))


def latex(section: Section) -> str:
    r"""All tables of a section for `\input`, in booktabs' manner."""
    return _LATEX_HEAD + "\n".join(latex_table(table) for table in section.tables)


def latex_table(table: Table) -> str:
    """One `table` environment, scaled down where it is wider than the column."""
    rows = [
        " & ".join(
            [
                *_rank(table, row),
                latex_text(row_name(row)),
                latex_text(row.size),
                *(_latex_cell(cell, row) for cell in row.cells),
                _numbers(table, row),
            ]
        )
        + r" \\"
        for row in table.rows
    ]
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{latex_text(f'{table.title}.{_latex_legend(table)}')}}}",
        r"\sbox0{%",
        rf"\begin{{tabular}}{{{'r' * table.ranked}ll{'r' * len(table.columns)}r}}",
        r"\toprule",
        *_latex_heads(table),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
        r"\par\smallskip\footnotesize\raggedright",
        *(f"[{number}] {_latex_source(source)}\\par" for number, source in enumerate(table.sources, start=1)),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def csv_text(sections: Sequence[Section]) -> str:
    """One line per number, in the unit of the tables."""
    return csv_lines(COLUMNS, numbers_frame(sections).itertuples(index=False))


def json_text(sections: Sequence[Section]) -> str:
    """The table model itself."""
    content: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "sections": [
            {**asdict(section), "slug": section_slug(section), "tables": [_json_table(t) for t in section.tables]}
            for section in sections
        ],
    }
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def row_name(row: Row) -> str:
    """The method, with the revision where it is a model of ours."""
    return f"{row.name} @ {row.revision}" if row.revision else row.name


def source_numbers(table: Table, row: Row) -> list[int]:
    """Places of a row's sources in the table's list, from 1."""
    return [table.sources.index(source) + 1 for source in row.sources]


def source_line(source: Source) -> list[tuple[str, bool]]:
    """A source as one line: pieces of text, each with whether it is an address that may be followed."""
    pieces = [(source.address, wrong_address(source.address) is None)] if source.address else []
    if source.text:
        pieces += [(", ", False)] * bool(pieces) + [(source.text, False)]
    if source.via:
        pieces += [("; seen only in ", False), (source.via, wrong_address(source.via) is None)]
    return pieces


def _rank(table: Table, row: Row) -> list[str]:
    """The row's first field where the table has ranks."""
    return [rank_text(table.rank(row))] if table.ranked else []


def _numbers(table: Table, row: Row) -> str:
    return ", ".join(map(str, source_numbers(table, row)))


def _json_table(table: Table) -> dict[str, object]:
    return {**asdict(table), "unit": unit_of(table), "sources": [asdict(source) for source in table.sources]}


def _markdown_cell(cell: Cell | None, row: Row) -> str | plain.Cell:
    if cell is None:
        return ABSENT
    return plain.Cell(cell.text, mark=cell.mark, note=row.marks)


def _markdown_notes(table: Table) -> list[str]:
    return ["\n".join(f"{number}. {_markdown_source(source)}" for number, source in enumerate(table.sources, start=1))]


def _markdown_source(source: Source) -> str:
    return "".join(f"<{text}>" if link else markdown_text(text) for text, link in source_line(source))


def _latex_legend(table: Table) -> str:
    interval = any(cell and cell.low is not None for row in table.rows for cell in row.cells)
    ranked = any(cell and cell.mark for row in table.rows for cell in row.cells)
    parts = ["Best bold, second underlined"] if ranked else []
    parts += ["Rank: the places that noise leaves open"] if table.ranked else []
    parts += ["± half of the 95 % interval"] if interval else []
    parts += [MARKS_EXPLAINED.rstrip(".")] if any(row.marks for row in table.rows) else []
    return "".join(f" {part}." for part in parts)


def _latex_source(source: Source) -> str:
    return latex_text("".join(text for text, _ in source_line(source)))


def _latex_heads(table: Table) -> list[str]:
    """Splits over their metrics."""
    spans: list[tuple[str, int]] = []
    for column in table.columns:
        if spans and spans[-1][0] == column.split:
            spans[-1] = (column.split, spans[-1][1] + 1)
        else:
            spans.append((column.split, 1))
    over = " & ".join(rf"\multicolumn{{{width}}}{{c}}{{{latex_text(split)}}}" for split, width in spans)
    rules, first = [], 3 + table.ranked
    for _, width in spans:
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    metrics = " & ".join(latex_text(column.metric) for column in table.columns)
    blank, rank = (" & ", "rank & ") if table.ranked else ("", "")
    return [rf"{blank} & & {over} & \\", "".join(rules), rf"{rank}method & size & {metrics} & source \\"]


def _latex_cell(cell: Cell | None, row: Row) -> str:
    if cell is None:
        return "--"
    around = {BEST: r"\textbf{%s}", SECOND: r"\underline{%s}", "": "%s"}[cell.mark]
    return around % latex_text(cell.text) + latex_text(row.marks)
