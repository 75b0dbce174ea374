"""What a stranger wrote is shown as what it is."""

from __future__ import annotations

import pytest

from samtok_eval.text import code_point, shortened, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é模 \xa0", "plain, é模 \xa0"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\u202ereversed\u200b", "\\u202ereversed\\u200b"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_hidden_and_control_characters_are_spelt_out(text, shown):
    assert visible(text) == shown


def test_lines_stay_where_they_are_asked_for():
    assert visible("a\nb\x00", keep="\n") == "a\nb\\x00"


def test_a_language_with_backslashes_gets_code_points():
    assert visible("a\u202eb\x00", spelling=code_point) == "a[U+202E]b[U+0000]"


@pytest.mark.parametrize(("text", "expected"), [(" a \n b ", "a b"), ("abcdef", "abcdef"), ("abcdefg", "abcde…")])
def test_a_phrase_is_cut_to_one_line(text, expected):
    assert shortened(text, 6) == expected
