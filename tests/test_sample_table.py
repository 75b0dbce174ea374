"""Samples that are built at each access are those that a reader would have held."""

from __future__ import annotations

from pathlib import Path

import pytest

from samtok_eval.run.fingerprints import samples_sha256
from samtok_eval.sample import ImageRef, Sample, Target, Turn
from samtok_eval.sample_table import Common, SampleTable, in_columns, index_of, sample_ids

DOG = Common(ImageRef("7", Path("7.jpg"), 4, 4), Target(), {"targets": "none"})


def asked(phrase):
    return f"Where is {phrase}?"


@pytest.fixture
def table():
    return SampleTable([("1", "the dog", DOG), ("2", "a dog", DOG), ("3", "it", DOG)], asked)


def test_a_sample_is_its_row_with_what_it_shares(table):
    assert table[1] == Sample("2", DOG.image, (Turn("user", (asked("a dog"),)),), DOG.target, "a dog", DOG.slices)
    assert table[1].target is table[2].target


def test_a_table_reads_like_a_list(table):
    whole = list(table)
    assert len(table) == 3
    assert table[-1] == whole[2]
    assert list(table[:2]) == whole[:2]
    assert list(reversed(table)) == whole[::-1]


def test_a_phrase_that_utf8_cannot_hold_stays_as_it_is():
    table = SampleTable([("1", "half a pair \ud800", DOG), ("2", "a dog", DOG)], asked)
    assert [sample.phrase for sample in table] == ["half a pair \ud800", "a dog"]


def test_ids_are_known_without_building_samples(table):
    assert list(sample_ids(table)) == list(sample_ids(list(table))) == ["1", "2", "3"]
    assert (
        [index_of(table).row(name) for name in "34"] == [index_of(list(table)).row(name) for name in "34"] == [2, None]
    )


def test_columns_are_those_of_the_samples_that_would_be_built(table):
    ids, phrases, asked_about = in_columns(table)
    built = in_columns(list(table))
    assert (list(ids), list(phrases)) == (list(built[0]), list(built[1]))
    assert [(row.image, row.target, row.slices) for row in asked_about] == [
        (sample.image, sample.target, sample.slices) for sample in built[2]
    ]


def test_the_hash_of_a_table_is_that_of_its_samples(table):
    assert samples_sha256(table) == samples_sha256(list(table)) != samples_sha256(table[:2])
