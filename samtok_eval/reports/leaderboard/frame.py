"""The leaderboard as one pandas frame: a row per number, as the CSV file has them.

In: sections of the table model. Out: `COLUMNS`, in the unit of the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from samtok_eval.reports.leaderboard.table import MEASURED, PUBLISHED, Row, Section, Source, Table

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = (
    "benchmark", "demo", "table", "protocol", "split", "metric", "method", "revision", "params", "value", "low", "high",
    "n", "unit", "rank_first", "rank_last", "mark", "trust", "source", "via", "detail",
)  # fmt: skip


def numbers_frame(sections: Sequence[Section]) -> DataFrame:
    """Every number with what stands beside it; published values are text, as they are printed."""
    import pandas as pd

    numbers = [number for section in sections for table in section.tables for number in _numbers(section, table)]
    # As objects, so that a count stays whole where others have none.
    return pd.DataFrame(numbers, columns=list(COLUMNS), dtype=object)


def unit_of(table: Table) -> str:
    """What one of its numbers is."""
    return "as published" if table.protocol == PUBLISHED else "x 100, counts as they are"


def _numbers(section: Section, table: Table) -> Iterator[tuple[object, ...]]:
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell is not None:
                place = (section.name, section.demo, table.title, table.protocol, column.split, column.metric)
                value = cell.text if row.trust != MEASURED else cell.value
                numbers = (value, cell.low, cell.high, cell.n, unit_of(table))
                yield *place, *_who(row), *numbers, *(cell.rank or ("", "")), cell.mark, row.trust, *_from(cell.source)


def _who(row: Row) -> tuple[str, str, str]:
    return row.name, row.revision, row.size


def _from(source: Source) -> tuple[str, str, str]:
    """Address, what was read instead, and what a reader must know; of our own the signature alone."""
    return (source.address, source.via, source.text) if source.address else (source.text, "", "")
