"""What is written stays what it is, whatever names, ids and reasons stand in it."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from samtok_eval.reports.format import ABSENT
from samtok_eval.reports.gate.text import gate_table, junit, step_summary
from samtok_eval.reports.gate.verdict import Fall, GateResult, Verdict
from samtok_eval.reports.markup import csv_cell, csv_lines, latex_text, markdown_cell, markdown_text, one_line
from samtok_eval.text import without_middle
from tests.fuzz.mutations import FORMULAS, MARKUP, PATHS
from tests.fuzz.outputs import FORMULA, check_csv, check_markdown, check_xml

KNOWN = [text for text in (*FORMULAS, *MARKUP, *PATHS) if text]
MARKS = st.text(st.sampled_from("@#*_[]()<>|`!&\\:/w.-=+\n\t\ra1"), max_size=20)
TEXT = st.one_of(st.text(max_size=40), st.sampled_from(KNOWN), MARKS)
SYMBOLS = {"textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar",
           "textquotesingle", "textasciigrave", "times", "textendash"}  # fmt: skip


@settings(max_examples=60)
@given(TEXT)
def test_text_in_markdown_becomes_no_link_picture_mention_or_markup(text):
    written = markdown_text(text)
    check_markdown(f"a {written} b")
    check_markdown(f"| a | {markdown_cell(text)} |\n| --- | --- |\n| {markdown_cell(text)} | 1 |\n")
    (paragraph,) = [token for token in MarkdownIt("commonmark").parse(f"a {written} b") if token.type == "inline"]
    shown = "".join(child.content for child in paragraph.children or [])
    assert shown.replace("\u200b", "") == f"a {one_line(text)} b".replace("\u200b", "")


@pytest.mark.parametrize("text", ["@octocat", "cc @org/team", "#1", "org/name#12", "GH-3", "a@b.example"])
def test_people_and_issues_are_not_mentioned(text):
    shown = "".join(MarkdownIt("commonmark").render(markdown_text(text)))
    assert "\u200b" in shown
    check_markdown(markdown_text(text))


def test_names_of_metrics_stay_as_they_are():
    assert markdown_text("R@20, mR@100, #tuples") == "R@20, mR@100, #tuples"


@settings(max_examples=100)
@given(st.one_of(TEXT, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none()))
@example("=1+1")
@example("-1.5")
@example("\r=")
def test_a_cell_of_csv_is_no_formula_and_a_number_stays_one(value):
    check_csv(csv_lines(["name", "other"], [[value, 1.5], [2, value]]))
    if not isinstance(value, str):
        assert csv_cell(value) == value
    else:
        assert str(csv_cell(value)).removeprefix("'") == re.sub("\r\n?", "\n", value).removeprefix("'")


@pytest.mark.parametrize("text", FORMULAS[:1] + FORMULAS[2:])
def test_a_formula_is_marked_as_text(text):
    assert csv_cell(text) == f"'{text}".replace("\r", "\n")


@pytest.mark.parametrize("text", ["-1.5", "+3", "1e-5", "-.5", ABSENT, "", "a=b", "12 %"])
def test_numbers_and_plain_texts_are_not(text):
    assert csv_cell(text) == text


@settings(max_examples=60)
@given(TEXT)
def test_latex_is_given_no_command(text):
    written = latex_text(text)
    known = {
        r"\{",
        r"\}",
        r"\$",
        r"\&",
        r"\#",
        r"\%",
        r"\_",
        r"\pm",
        r"\S",
        r"\dagger",
        r"\ddagger",
        r"\ldots",
        r"\char",
    }
    assert {word for word in re.findall(r"\\([a-zA-Z]+|.)", written) if f"\\{word}" not in known} <= SYMBOLS
    assert "\n" not in written


def result(name: str) -> GateResult:
    """A gate's result in which every text is the name."""
    verdict = Verdict(
        0.5, 0.4, -0.2, -0.05, 0.001, 0.02, 0.01, 9, metric="giou", tolerance=0.01, tolerance_is_default=False,
        verdict="regression", loss=0.1, largest_loss=0.2, shown_worse=True, pictures_needed=None,
    )  # fmt: skip
    falls = [Fall(name, 0.5, 0.4)]
    return GateResult(
        name, name, name, 0.05, "warn", (name, name), True, [verdict], None, falls, "giou", [name]
    )  # fmt: skip


@settings(max_examples=60)
@given(TEXT)
@example("\x08")
def test_a_gate_writes_legal_xml_and_harmless_markdown(name):
    check_xml(junit([result(name)]))
    check_markdown(step_summary([result(name)]))
    assert "\x1b" not in gate_table([result(name)])


def test_a_long_error_keeps_its_beginning_and_its_end():
    line = without_middle("file.json: " + "x" * 5000 + "; correct it", 300)
    assert len(line) == 300
    assert line.startswith("file.json: xxx") and line.endswith("xxx; correct it") and "…" in line
    assert without_middle("short", 300) == "short"
    assert FORMULA.match("=1")
