"""Values of a sequence are found by their names, as in a dictionary."""

from __future__ import annotations

import pytest

from samtok_eval.name_index import ByName
from samtok_eval.text_column import BLOCK, TextColumn

NAMES = [f"sample {i}" for i in range(BLOCK + 5)]


class Counted(list):
    """A list that counts what is asked of it."""

    asked = 0

    def __getitem__(self, row):
        self.asked += 1
        return super().__getitem__(row)


@pytest.fixture
def mapping():
    return ByName(TextColumn(NAMES), Counted(range(len(NAMES))))


def test_it_is_the_dictionary(mapping):
    known = dict(zip(NAMES, range(len(NAMES)), strict=True))
    assert dict(mapping) == known
    assert list(mapping.items()) == list(known.items())
    assert list(mapping.values()) == list(known.values())
    assert (list(mapping), len(mapping), mapping == known) == (NAMES, len(NAMES), True)


def test_names_are_found_in_any_order(mapping):
    for row in (3, BLOCK + 4, 0, 0, 1, BLOCK - 1, BLOCK, 2):
        assert mapping[NAMES[row]] == row
    assert mapping.get("another") is None
    assert "another" not in mapping
    assert 3 not in mapping
    with pytest.raises(KeyError, match="another"):
        mapping["another"]


def test_a_value_is_built_when_it_is_asked_for_alone(mapping):
    assert NAMES[7] in mapping
    assert mapping._values.asked == 0
    assert mapping[NAMES[7]] == 7
    assert mapping._values.asked == 1


def test_one_after_another_is_found_without_a_search(mapping, monkeypatch):
    monkeypatch.setattr("samtok_eval.name_index.NameIndex", None)
    assert [mapping[name] for name in NAMES for _ in range(2)] == [row for row in range(len(NAMES)) for _ in range(2)]
