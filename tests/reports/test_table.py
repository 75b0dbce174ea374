"""One table, written for a terminal, for Markdown and for a page."""

from __future__ import annotations

import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from samtok_eval.reports.html import shown
from samtok_eval.reports.table import BEST, SECOND, Cell, Column, Table, aligned_text, left, markdown, naming, right

TABLE = Table(
    [*left("name"), *right("score")],
    [["a|b", Cell("61.2", 0.612, mark=BEST, note="†")], ["\u202ec", Cell("9.0", 0.09, mark=SECOND)], ["d", "-"]],
    ["Scores of *two*."],
    ["  A note."],
)


def test_a_terminal_gets_words_left_numbers_right_and_lines_around():
    assert aligned_text(TABLE) == (
        "Scores of *two*.\n"
        "\n"
        "name       score\n"
        "-------  -------\n"
        "a|b        61.2†\n"
        "\\u202ec      9.0\n"
        "d              -\n"
        "\n"
        "  A note."
    )


def test_markdown_gets_marks_of_its_own_and_obeys_no_others():
    assert markdown(TABLE) == (
        "Scores of \\*two\\*.\n"
        "\n"
        "| name | score |\n"
        "| --- | ---: |\n"
        "| a&#124;b | **61.2**† |\n"
        "| \\[U+202E\\]c | <u>9.0</u> |\n"
        "| d | - |\n"
        "\n"
        "A note."
    )


@pytest.mark.parametrize("write", [aligned_text, markdown])
def test_lines_that_are_not_there_leave_no_gap(write):
    grid = write(Table(TABLE.columns, TABLE.rows))
    assert grid.strip() == grid and "\n\n" not in grid


def test_a_page_gets_what_cells_sort_by_and_draws_figures_itself():
    table = Table(
        [*left("metric"), Column("protocol", "left", filtered=True), *right("value", "bar")],
        [["<b>", "strict", Cell("61.2", 0.612), Cell("61.2 of 100", 0.612, figure=7)], ["d", "samtok", "-", "-"]],
    )
    environment = Environment(
        loader=PackageLoader("samtok_eval.reports", "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["shown"] = shown
    call = '{% call(bar, text) table(t, "L") %}<i>{{ bar }}: {{ text }}</i>{% endcall %}'
    page = environment.from_string('{% from "table.html.j2" import table %}' + call).render(t=table)
    for part in (
        '<tr data-protocol="strict">',
        '<th class="name" scope="row"><bdi>&lt;b&gt;</bdi></th>',
        '<td class="text"><bdi>strict</bdi></td>',
        '<td data-value="0.612">61.2</td>',
        '<td data-value="0.612"><i>7: 61.2 of 100</i></td>',
        '<td data-value="">-</td>',
    ):
        assert part in page


def test_a_column_can_be_left_out():
    assert Table([*left("a"), *right("b", "c")], [["1", "2", "3"]]).without("b") == Table(
        [*left("a"), *right("c")], [["1", "3"]]
    )


WIDE = Table([Column("model", names_row=True), *right("first", "second", "third")], [["demo", "1.0", "20.00", "3.0"]])


def test_a_narrow_terminal_gets_the_columns_in_parts_each_with_the_name_of_its_rows():
    assert aligned_text(WIDE, 22).split("\n\n") == [
        "  model    first\n-------  -------\n   demo      1.0",
        "  model    second\n-------  --------\n   demo     20.00",
        "  model    third\n-------  -------\n   demo      3.0",
    ]
    assert max(map(len, aligned_text(WIDE, 30).splitlines())) <= 30
    assert aligned_text(WIDE, 200) == aligned_text(WIDE) and "\n\n" not in aligned_text(WIDE)


def test_every_part_of_a_table_has_all_words_that_name_its_rows():
    rows = [["cIoU", protocol, "78.7", "0.002"] for protocol in ("strict", "official")]
    parts = aligned_text(Table([*naming("metric", "protocol"), *right("value", "p")], rows), 30).split("\n\n")
    assert len(parts) == 2
    assert all([line.split()[:2] for line in part.splitlines()[2:]] == [row[:2] for row in rows] for part in parts)


def test_lines_around_a_table_break_between_words_on_a_terminal_alone():
    table = Table(left("name"), [["a"]], ["Values x 100 of a task."], ["  kept in /a/path/that/is/long, in full"])
    assert aligned_text(table, 16).split("\n\n") == [
        "Values x 100 of\na task.",
        "name\n------\na",
        "  kept in\n  /a/path/that/is/long,\n  in full",
    ]
    assert aligned_text(table).splitlines()[0] == "Values x 100 of a task."


def test_a_column_that_alone_is_too_wide_still_stands():
    assert aligned_text(WIDE, 3).count("demo") == 3


def test_a_table_without_rows_is_its_heads():
    assert aligned_text(Table(right("first", "second"), [])).splitlines()[0].split() == ["first", "second"]
