"""Lists of objects out of badly written answers."""

from __future__ import annotations

import pytest

from samtok_eval.metrics.tolerant_json import read_list, unescaped

ONE = [{"a": "x"}]


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ('```json\n[{"a": "x"}]\n```', ONE),
        ('[{"a": "x"}]', ONE),
        ('Here [sic] it is: [{"a": "x"}], I think.', ONE),
        ("[{'a': 'x'}]", ONE),
        ("[{a: x}]", ONE),
        ('[{"a": "x",},]', ONE),
        ('[{"a": "x"} {"a": "y"}]', [{"a": "x"}, {"a": "y"}]),
        ('{"a": "x"} {"a": "y"}', [{"a": "x"}, {"a": "y"}]),
        ('[{"a": "x"}, {"a": "y', [{"a": "x"}, {"a": None}]),
        ('[{"a": {"b": "x"}}, 7]', [{"a": {"b": "x"}}, None]),
        ('[{"a": {"b": {"c": "x"}}}]', [{"a": {"b": None}}]),
        ("[]", []),
    ],
)
def test_what_can_be_told_is_read(text, entries):
    found = read_list(text)
    assert found is not None
    assert found.entries == entries


@pytest.mark.parametrize("text", ["", "nothing here", "``` ```"])
def test_a_text_without_a_list_has_none(text):
    assert read_list(text) is None


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('```json\n[{"a": "x"}]\n```', True),
        ('[{"a": "x"}]', False),
        ('```json\n[{"a": "x",}]\n```', False),
        ('```json\n[{"a": "x"}]\n``` done', False),
    ],
)
def test_well_formed_is_a_fenced_json_list_and_nothing_else(text, verdict):
    assert read_list(text).well_formed is verdict


def test_escapes_that_are_broken_stay():
    assert unescaped(r"a \"red\" d\u006fg") == 'a "red" dog'
    assert unescaped("a\\") == "a\\"
