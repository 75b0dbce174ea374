"""The leaderboard as one HTML page: tables that sort, and filters over benchmark, size, protocol, trust and text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from samtok_eval.reports.html import render
from samtok_eval.reports.leaderboard.published_file import BENCHMARK, COPIED, OWN
from samtok_eval.reports.leaderboard.ranks import rank_text
from samtok_eval.reports.leaderboard.table import MEASURED, Cell, Row, Section, Table
from samtok_eval.reports.leaderboard.text import LEGEND, UNITS, row_name, section_slug, source_line, source_numbers
from samtok_eval.reports.markup import one_line

TRUST = (
    (MEASURED, "measured here"),
    (OWN, "the method's own paper or repository"),
    (BENCHMARK, "the benchmark's authors"),
    (COPIED, "a third party"),
)
SIZE_CLASSES = (("to-2b", "up to 2B", 2.0), ("to-5b", "2B to 5B", 5.0), ("to-10b", "5B to 10B", 10.0))
"""Key, label and upper bound in billions; 2B itself is in the first."""
LARGER = ("larger", "above 10B")
BOUND = ("bound", "only a bound")
"""`<=8B`: the source does not say which size, so it fits no class."""
UNSTATED = ("unstated", "not stated")
BILLIONS = {"K": 1e-6, "M": 1e-3, "B": 1.0, "T": 1e3}


def html_page(sections: Sequence[Section]) -> str:
    """The whole page; it needs no network and no file beside it."""
    return render(
        "leaderboard.html.j2",
        units=UNITS,
        legend=LEGEND,
        filters=_filters(sections),
        sections=[
            {
                "slug": section_slug(section),
                "title": one_line(section.title),
                "demo": section.demo,
                "notes": section.notes,
                "tables": [
                    _table(table, f"{section_slug(section)}-{number}")
                    for number, table in enumerate(section.tables, start=1)
                ],
            }
            for section in sections
        ],
    )


def billions(size: str) -> float | None:
    """Parameters in billions; None where the text does not say exactly."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMBT])", size)
    return float(found[1]) * BILLIONS[found[2]] if found else None


def size_class(size: str) -> str:
    """The key of the class that a stated size falls into."""
    exact = billions(size)
    if exact is None:
        return BOUND[0] if size else UNSTATED[0]
    return next((key for key, _, bound in SIZE_CLASSES if exact <= bound), LARGER[0])


def _filters(sections: Sequence[Section]) -> dict[str, list[tuple[str, str]]]:
    tables = [table for section in sections for table in section.tables]
    sizes = {size_class(row.size) for table in tables for row in table.rows}
    trusts = {row.trust for table in tables for row in table.rows}
    classes = [*((key, label) for key, label, _ in SIZE_CLASSES), LARGER, BOUND, UNSTATED]
    return {
        "benchmark": [(section_slug(section), one_line(section.title)) for section in sections],
        "size": [(key, label) for key, label in classes if key in sizes],
        "protocol": [(protocol, one_line(protocol)) for protocol in _once(table.protocol for table in tables)],
        "trust": [(key, label) for key, label in TRUST if key in trusts],
    }


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _table(table: Table, anchor: str) -> dict[str, object]:
    return {
        "anchor": anchor,
        "ranked": table.ranked,
        "title": one_line(table.title),
        "protocol": table.protocol,
        "spans": [(one_line(split), len(list(same))) for split, same in groupby(c.split for c in table.columns)],
        "metrics": [one_line(column.metric) for column in table.columns],
        "rows": [_row(table, row) for row in table.rows],
        "sources": [[(one_line(text), link) for text, link in source_line(source)] for source in table.sources],
    }


def _row(table: Table, row: Row) -> dict[str, object]:
    exact = billions(row.size)
    return {
        "name": one_line(row_name(row)),
        "rank": rank_text(table.rank(row)),
        "rank_value": sum(table.rank(row) or ()) or "",
        "size": one_line(row.size),
        "size_value": "" if exact is None else exact,
        "size_class": size_class(row.size),
        "trust": row.trust,
        "marks": row.marks,
        "cells": [_cell(cell) for cell in row.cells],
        "numbers": source_numbers(table, row),
        "text": one_line(" ".join((table.title, *(text for source in row.sources for text, _ in source_line(source))))),
    }


def _cell(cell: Cell | None) -> dict[str, object] | None:
    if cell is None:
        return None
    text, _, interval = cell.text.partition(" ")
    return {"value": cell.value, "text": text, "interval": interval, "mark": cell.mark}
