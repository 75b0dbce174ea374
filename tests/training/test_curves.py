"""Curves are drawn where the log's numbers say, and a wrong log or field is refused."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from samtok_eval.errors import DataError, UsageError
from samtok_eval.training.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, curves_svg, read_curves

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


def test_points_stand_between_the_axes():
    text = curves_svg({"loss": [(0, 4), (10, 2), (20, 0)]}, "falling <fast>")
    ElementTree.fromstring(text)  # noqa: S314 - our own text
    assert "falling &lt;fast&gt;" in text
    line = re.search('polyline points="([^"]*)"', text)[1]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    middle = f"{(LEFT + right) / 2},{(TOP + bottom) / 2}"
    assert line == f"{float(LEFT)},{float(TOP)} {middle} {float(right)},{float(bottom)}"


def test_long_names_widen_the_picture_and_leave_the_plot_alone():
    name = "held_out/some_rather_long_field_name"
    short, long = (curves_svg({text: [(0, 4), (20, 0)]}, "t") for text in ("loss", name))
    widths = [int(re.search(r'viewBox="0 0 (\d+) ', text)[1]) for text in (short, long)]
    key = float(re.search(rf'<text x="([\d.]+)" y="[\d.]+">{name}', long)[1])
    assert widths[0] == WIDTH
    assert widths[1] > key + 7 * len(name)
    lines = [re.search('polyline points="([^"]*)"', text)[1] for text in (short, long)]
    assert lines[0] == lines[1]


def test_a_flat_curve_of_one_point_can_be_drawn():
    assert "nan" not in curves_svg({"loss": [(5, 1.0)]}, "one")


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
