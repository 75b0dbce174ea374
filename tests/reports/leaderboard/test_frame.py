"""The frame of all numbers is the CSV file, and pivots into the tables that are printed."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard.build import read_results
from samtok_eval.reports.leaderboard.frame import COLUMNS, numbers_frame
from samtok_eval.reports.leaderboard.published_file import read_published
from samtok_eval.reports.leaderboard.table import PUBLISHED as PUBLISHED_LABEL
from samtok_eval.reports.leaderboard.table import sections
from samtok_eval.reports.leaderboard.text import csv_text
from samtok_eval.reports.table import BEST, SECOND
from tests.support.results import PUBLISHED, REPOSITORY, printed


@pytest.fixture(scope="module")
def shipped():
    tasks = load_tasks()
    return sections(read_published(PUBLISHED), read_results(REPOSITORY / "leaderboards" / "results", tasks), tasks)


def test_the_file_holds_the_frame_to_the_digit(shipped):
    frame = numbers_frame(shipped)
    read = pd.read_csv(io.StringIO(csv_text(shipped)), dtype=str, keep_default_na=False)
    written = frame.astype(object).where(frame.notna(), "").map(str)
    pd.testing.assert_frame_equal(read, written, check_dtype=False)
    assert tuple(read) == COLUMNS and {type(n) for n in frame["n"].dropna()} == {int}
    assert frame["low"].notna().any() and frame["low"].isna().any()


def test_names_of_any_kind_are_read_back_as_they_are():
    names = ['a, "b"', "line\nbreak", "=1+1", "  blanks ", "ümläut 中", "NA"]
    found = sections(printed(*((name, "70.1") for name in names)), [], {})
    read = pd.read_csv(io.StringIO(csv_text(found)), keep_default_na=False)
    assert sorted(read["method"]) == sorted("'=1+1" if name == "=1+1" else name for name in names)


def test_the_frame_pivots_into_the_tables(shipped):
    frame = numbers_frame(shipped)
    table = next(section for section in shipped if section.name == "GRES (gRefCOCO)").tables[0]
    mine = frame[frame["table"] == table.title]
    wide = mine.pivot(index=["method", "params", "source", "via"], columns=["split", "metric"], values="value")
    assert len(wide) == len(table.rows) == 20
    for row in table.rows:
        line = wide.loc[(row.name, row.size, row.sources[0].address, row.sources[0].via)]
        for column, cell in zip(table.columns, row.cells, strict=True):
            shown = line[column.split, column.metric]
            assert pd.isna(shown) if cell is None else shown == cell.text


def test_order_and_marks_are_those_that_pandas_gives(shipped):
    tables = [table for section in shipped for table in section.tables]
    marks = {1: BEST, 2: SECOND}
    counted = 0
    for table in tables:
        values = pd.DataFrame([[cell.value if cell else None for cell in row.cells] for row in table.rows], dtype=float)
        order = [table.main, *(i for i in values if i != table.main)]
        order = [i for i in order if table.columns[i].ranked]
        if order:
            assert values.sort_values(order, ascending=False, na_position="last").index.tolist() == list(values.index)
        for i, column in values.items():
            if table.protocol != PUBLISHED_LABEL or not table.columns[i].ranked:
                continue
            places = column.rank(method="dense", ascending=False) if column.count() > 1 else column * 0
            expected = [marks.get(place, "") for place in places]
            assert [row.cells[i].mark if row.cells[i] else "" for row in table.rows] == expected
            counted += sum(map(bool, expected))
    assert len(tables) > 30 and counted > 100
