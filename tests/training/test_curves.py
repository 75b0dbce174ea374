"""Curves are drawn where the log's numbers say, and a wrong log or field is refused."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import pytest

from samtok_eval.errors import DataError, UsageError
from samtok_eval.training.curves import curves_figure, curves_svg, read_curves
from tests.support.command import command

LOG = (
    '{"step": 0, "loss": 4, "iou": 0.5, "used": [1, 2]}\n{"step": 10, "loss": 2}\n\n{"step": 20, "loss": 0, "iou": 1}\n'
)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "training_log.jsonl"
    path.write_text(LOG)
    return path


def test_fields_are_read_over_steps(log):
    assert read_curves(log, ["loss", "iou"]) == {"loss": [(0, 4), (10, 2), (20, 0)], "iou": [(0, 0.5), (20, 1)]}


def drawn(curves, title="t"):
    """The figure as it is on paper, and its one plot."""
    figure = curves_figure(curves, title)
    figure.draw_without_rendering()
    return figure, figure.axes[0]


def test_every_point_is_drawn_in_a_line_that_print_tells_apart():
    _, plot = drawn({"loss": [(0, 4), (10, 2), (20, 0)], "iou": [(0, 0.5), (20, 1)], "used": [(5, 1)]})
    assert [list(zip(*line.get_data(), strict=True)) for line in plot.lines] == [
        [(0, 4), (10, 2), (20, 0)],
        [(0, 0.5), (20, 1)],
        [(5, 1)],
    ]
    looks = {(line.get_color(), str(line._dash_pattern)) for line in plot.lines}
    assert len(looks) == len({dash for _, dash in looks}) == 3
    assert plot.lines[2].get_marker() == "o"


def test_ticks_are_round_and_steps_whole():
    _, plot = drawn({"accuracy": [(400, 0.406), (800, 0.562), (1800, 0.875)], "flat": [(400, 0.5)]})
    values = [text.get_text() for text in plot.get_yticklabels()]
    assert {"0.5", "0.6", "0.8"} <= set(values) and max(map(len, values)) <= 4
    steps = [float(text.get_text()) for text in plot.get_xticklabels()]
    assert all(step % 50 == 0 for step in steps) and len(steps) > 3
    _, plot = drawn({"few": [(1, 0), (2, 1)]})
    assert all(float(text.get_text()).is_integer() for text in plot.get_xticklabels())


def test_names_of_any_kind_stay_text_and_beside_the_plot():
    names = ("_hidden", "$x^2$", "held_out/some_rather_long_field_name")
    figure, plot = drawn({name: [(0, 4), (20, 0)] for name in names}, "falling <fast> & $deep$")
    key = figure.legends[0]
    assert [text.get_text() for text in key.get_texts()] == list(names)
    assert key.get_window_extent().x0 >= plot.get_window_extent().x1
    assert key.get_window_extent().x1 <= figure.bbox.x1
    text = curves_svg({name: [(0, 4), (20, 0)] for name in names}, "falling <fast> & $deep$")
    ElementTree.fromstring(text)  # noqa: S314 - our own text
    assert "falling &lt;fast&gt; &amp; $deep$" in text and "$x^2$" in text


def test_equal_curves_give_equal_bytes():
    assert len({curves_svg({"loss": [(5, 1.0)]}, "one") for _ in range(2)}) == 1


def test_without_matplotlib_the_extra_is_named(log, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = command("curves", log, "--field", "loss", "--out", tmp_path / "curve.svg")
    assert done.returncode == 1 and "install samtok-eval[plot]" in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "curve.svg").exists()


@pytest.mark.parametrize(
    ("text", "fields", "error", "message"),
    [
        (LOG, ["los"], UsageError, "no numbers called 'los'; choose from loss"),
        (LOG, ["used"], UsageError, "no numbers called 'used'"),
        ("{", ["loss"], DataError, "is not valid JSON"),
        ('{"loss": 1}', ["loss"], DataError, "one object with `step`"),
        ("", ["loss"], DataError, "one object with `step`"),
    ],
)
def test_what_cannot_be_drawn_is_refused(log, text, fields, error, message):
    log.write_text(text)
    with pytest.raises(error, match=message):
        read_curves(log, fields)


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_or_too_many_curves_are_refused(count):
    with pytest.raises(UsageError, match="expected 1 to 6 curves"):
        curves_svg({str(number): [(0, 1)] for number in range(count)}, "many")
