"""The leaderboard as HTML: one page of all tables, and one page per method of all its numbers.

The page of all tables has contents, tabs by what a model is asked to do, filters over benchmark, size, protocol, trust
and text that the address keeps, heads that sort, and plots of size against score. Neither needs the network.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from samtok_eval.reports.format import ABSENT
from samtok_eval.reports.html import render
from samtok_eval.reports.leaderboard.authors import METHOD, NOBODY, Authors
from samtok_eval.reports.leaderboard.layout import DEMO_TAB, OTHER_TAB, TABS
from samtok_eval.reports.leaderboard.plot import billions, plot_of
from samtok_eval.reports.leaderboard.published_file import BENCHMARK, COPIED, MARKS_EXPLAINED, OWN
from samtok_eval.reports.leaderboard.ranks import rank_text
from samtok_eval.reports.leaderboard.table import MEASURED, Cell, Row, Section, Source, Table
from samtok_eval.reports.leaderboard.text import (
    GENERATED,
    LEGEND,
    UNITS,
    row_name,
    section_slug,
    source_line,
    source_numbers,
)
from samtok_eval.reports.markup import one_line

STYLE = "leaderboard.css"
TRUST = (
    (MEASURED, "measured here"),
    (OWN, "the method's authors"),
    (BENCHMARK, "the benchmark's authors"),
    (COPIED, "a third party"),
)
SIZE_CLASSES = (("to-2b", "up to 2B", 2.0), ("to-5b", "2B to 5B", 5.0), ("to-10b", "5B to 10B", 10.0))
"""Key, label and upper bound in billions; 2B itself is in the first."""
LARGER = ("larger", "above 10B")
BOUND = ("bound", "only a bound")
"""`<=8B`: the source does not say which size, so it fits no class."""
UNSTATED = ("unstated", "not stated")


def html_page(sections: Sequence[Section], authors: Authors = NOBODY) -> str:
    """The page of all tables; it needs no network and, but for the pages of methods, no file beside it.

    Args:
        sections: all of them.
        authors: which method a name is of.
    """
    pages = method_files(sections, authors)
    shown = [_section(section, authors, pages) for section in sections]
    return render(
        "leaderboard.html.j2",
        style=STYLE,
        units=UNITS,
        legend=LEGEND,
        filters=_filters(sections),
        tabs=[(slug(tab), tab, [s for s in shown if s["tab"] == slug(tab)]) for tab in _tabs(sections)],
        sections=[section for section in shown if not section["demo"]],
        demo=[section for section in shown if section["demo"]],
        methods=[(name, pages[name]) for name in sorted(pages, key=lambda name: (name.casefold(), name))],
    )


def method_pages(sections: Sequence[Section], authors: Authors = NOBODY) -> dict[str, str]:
    """A page per method with all its numbers: file name under `methods/` -> content.

    Args:
        sections: all of them.
        authors: which method a name is of, and where its authors publish.
    """
    files = method_files(sections, authors)
    rows: dict[str, list[tuple[Section, Table, Row]]] = {name: [] for name in files}
    for section in sections:
        for table in section.tables:
            for row in table.rows:
                rows[authors.method(row.name)].append((section, table, row))
    return {file: _method_page(name, rows[name], authors) for name, file in files.items()}


def _method_page(name: str, rows: Sequence[tuple[Section, Table, Row]], authors: Authors) -> str:
    places = list(dict.fromkeys(source for _, _, row in rows for source in row.sources))
    return render(
        "method.html.j2",
        style=STYLE,
        generated=GENERATED,
        legend=MARKS_EXPLAINED,
        name=one_line(name),
        sources=authors.sources(METHOD, name),
        numbers=[number for section, table, row in rows for number in _numbers(section, table, row, places)],
        places=[_source(source) for source in places],
    )


def method_files(sections: Sequence[Section], authors: Authors = NOBODY) -> dict[str, str]:
    """The file name of every method's page; no two methods share one."""
    names = _once(authors.method(row.name) for section in sections for table in section.tables for row in table.rows)
    used = Counter(slug(name) for name in names)
    return {
        name: f"{slug(name)}.html" if used[slug(name)] == 1 and slug(name) else f"{slug(name)}-{_short_hash(name)}.html"
        for name in names
    }


def slug(name: str) -> str:
    """Letters and digits of a name, in lower case, for addresses; empty where it has none."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _short_hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


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


def _tabs(sections: Sequence[Section]) -> list[str]:
    """Tabs that hold something, in the order of the layout, the demo last."""
    present = {section.tab for section in sections}
    return [tab for tab in (*(name for name, _ in TABS), OTHER_TAB, DEMO_TAB) if tab in present]


def _section(section: Section, authors: Authors, pages: Mapping[str, str]) -> dict[str, object]:
    anchor = section_slug(section)
    return {
        "slug": anchor,
        "title": one_line(section.title),
        "tab": slug(section.tab),
        "demo": section.demo,
        "notes": section.notes,
        "rows": sum(len(table.rows) for table in section.tables),
        "tables": [
            _table(table, f"{anchor}-{number}", authors, pages) for number, table in enumerate(section.tables, start=1)
        ],
    }


def _table(table: Table, anchor: str, authors: Authors, pages: Mapping[str, str]) -> dict[str, object]:
    main = table.columns[table.main]
    return {
        "anchor": anchor,
        "ranked": table.ranked,
        "title": one_line(table.title),
        "protocol": table.protocol,
        "main_index": table.main,
        "main": one_line(f"{main.split} {main.metric}"),
        "spans": [(one_line(split), len(list(same))) for split, same in groupby(c.split for c in table.columns)],
        "metrics": [one_line(column.metric) for column in table.columns],
        "rows": [_row(table, row) | {"page": f"methods/{pages[authors.method(row.name)]}"} for row in table.rows],
        "sources": [_source(source) for source in table.sources],
        "plot": plot_of(table),
    }


def _row(table: Table, row: Row) -> dict[str, object]:
    exact = billions(row.size)
    sources = (text for source in row.sources for text, _ in source_line(source))
    return {
        "name": one_line(row_name(row)),
        "rank": rank_text(table.rank(row)),
        "rank_value": sum(table.rank(row) or ()) or "",
        "size": one_line(row.size),
        "size_value": "" if exact is None else exact,
        "size_class": size_class(row.size),
        "trust": row.trust,
        "marks": row.marks,
        "cells": [
            _cell(cell) | {"label": one_line(f"{column.split} {column.metric}")}
            for column, cell in zip(table.columns, row.cells, strict=True)
        ],
        "numbers": source_numbers(table, row),
        "text": one_line(" ".join((table.title, *sources))),
    }


def _cell(cell: Cell | None) -> dict[str, object]:
    if cell is None:
        return {"value": "", "text": ABSENT, "interval": "", "mark": "", "known": False}
    text, _, interval = cell.text.partition(" ")
    return {"value": cell.value, "text": text, "interval": interval, "mark": cell.mark, "known": True}


def _source(source: Source) -> list[tuple[str, bool]]:
    return [(one_line(text), link) for text, link in source_line(source)]


def _numbers(section: Section, table: Table, row: Row, places: Sequence[Source]) -> list[dict[str, object]]:
    """The numbers of one row, as the page of its method lists them; sources by their place in its list."""
    trust = dict(TRUST)[row.trust]
    found: list[dict[str, object]] = []
    for place, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True)):
        if cell is None:
            continue
        others = [other.cells[place] for other in table.rows]
        values = [other.value for other in others if other is not None]
        standing = rank_text(cell.rank) or (str(1 + sum(v > cell.value for v in values)) if column.ranked else "")
        found.append(
            {
                "section": section_slug(section),
                "benchmark": one_line(section.title),
                "column": one_line(f"{column.split} {column.metric}"),
                "protocol": one_line(table.protocol),
                "name": one_line(row_name(row)),
                "size": one_line(row.size),
                "standing": f"{standing} of {len(values)}" if standing else "",
                "trust": trust,
                "marks": row.marks,
                "cell": _cell(cell),
                "source": places.index(cell.source) + 1,
            }
        )
    return found
