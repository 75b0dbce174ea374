"""Texts in a file are read like texts in memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from samtok_eval.errors import UsageError
from samtok_eval.text_column import BLOCK, TextColumn

FEW = ["", "a\0", 'the "dog" on the left, é \U0001f600\n', "half a pair \ud800"]
MANY = [f"text {i}" for i in range(2 * BLOCK + 3)]


@pytest.mark.parametrize("values", [[], FEW, MANY[:BLOCK], MANY], ids=["none", "few", "a block", "many"])
def test_texts_come_back(values):
    column = TextColumn(values)
    assert (len(column), list(column), column.tolist(), list(reversed(column))) == (
        len(values),
        values,
        values,
        values[::-1],
    )


def test_a_column_grows_at_its_end():
    column = TextColumn(MANY[:5])
    column.extend(MANY[5:BLOCK])
    assert column[BLOCK - 1] == MANY[BLOCK - 1]
    column.extend(MANY[BLOCK:])
    assert column.tolist() == MANY


@pytest.mark.parametrize(
    "index",
    [
        slice(0, 2),
        slice(BLOCK - 1, BLOCK + 1),
        slice(None),
        slice(3, 3),
        slice(None, None, -700),
        slice(-2, None),
        slice(1, 2 * BLOCK + 2),
    ],
    ids=str,
)
def test_a_slice_is_that_of_an_array(index):
    assert TextColumn(MANY)[index].tolist() == MANY[index]


def test_rows_are_taken_in_their_order():
    rows, column = [2 * BLOCK, 0, -1, BLOCK, 0], TextColumn(MANY)
    assert column[np.array(rows)].tolist() == column[rows].tolist() == [MANY[row] for row in rows]
    assert column[np.int64(-1)] == MANY[-1]


def test_flags_choose_and_equality_is_that_of_each_text():
    column = TextColumn(MANY)
    chosen = column == MANY[BLOCK + 1]
    assert column[chosen].tolist() == [MANY[BLOCK + 1]]
    assert np.flatnonzero(column != MANY[0]).tolist() == list(range(1, len(MANY)))
    assert (column == TextColumn(MANY)).all()


@pytest.mark.parametrize("row", [len(MANY), -len(MANY) - 1])
def test_a_row_beyond_the_column_is_refused(row):
    with pytest.raises(IndexError, match=f"below {len(MANY)}, got {row}"):
        TextColumn(MANY)[row]


def test_numpy_sees_texts_as_objects():
    column = TextColumn(FEW)
    assert np.asarray(column).tolist() == FEW
    assert np.concatenate([column, column]).tolist() == FEW * 2
    assert np.array_equal(column, np.array(FEW, dtype=object))


def test_a_full_disk_is_one_clear_error(monkeypatch, nearly_full_disk):
    column = TextColumn(MANY[: BLOCK + 1])
    refused = pytest.raises(UsageError, match=r"temporary file cannot be written \(File too large\); .* TMPDIR")
    with refused, nearly_full_disk():
        column.extend(MANY[BLOCK + 1 :])
    assert column.tolist() == MANY[: 2 * BLOCK]
    column.extend(MANY[2 * BLOCK :])
    assert column.tolist() == MANY
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(UsageError, match=r"No such file or directory"):
        TextColumn(MANY)


def test_memory_does_not_grow_with_the_texts():
    def size(count):
        tracemalloc.start()
        column = TextColumn(f"text number {i}" for i in range(count))
        try:
            return tracemalloc.get_traced_memory()[0] if len(column) == count else None
        finally:
            tracemalloc.stop()

    assert size(64 * BLOCK) - size(2 * BLOCK) < 62 * BLOCK
