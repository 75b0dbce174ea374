"""Every curve in docs/ is what the command beside it draws from a log that is here."""

from __future__ import annotations

import re

import pytest

from tests.docs.commands import ROOT, commands
from tests.support.command import command

PICTURES = sorted((ROOT / "docs" / "curves").iterdir())
CHECKPOINT = ROOT / "samtok_eval" / "demo" / "checkpoint"
"""Folder in which the page calls the commands."""


def texts(picture):
    """Title, legend and ticks."""
    return re.findall(r">([^<>]+)</text>", picture)


def lines(picture):
    """Coordinates of everything that is drawn inside the axes."""
    drawn = re.findall(r'<path d="([^"]*)" clip-path', picture)
    return [float(number) for path in drawn for number in re.findall(r"-?[\d.]+", path)]


def test_there_are_pictures():
    assert PICTURES


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_what_its_command_draws(picture, tmp_path):
    (found,) = [c for c in commands() if c.words[0] == "curves" and c.words[-2:] == ("--out", picture.name)]
    assert f"(curves/{picture.name})" in (ROOT / found.page).read_text()
    words = [*found.words[:1], CHECKPOINT / found.words[1], *found.words[2:-1], tmp_path / picture.name]
    done = command(*words)
    assert done.returncode == 0, done.stderr
    expected, kept = (tmp_path / picture.name).read_text(), picture.read_text()
    assert texts(kept) == texts(expected) and len(lines(kept)) > 50
    assert lines(kept) == pytest.approx(lines(expected), abs=0.5)
    ticks = [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts(kept) if re.fullmatch(r"[\d.]+", text)]
    # A round tick has at most two digits before the zeros.
    assert all(len(f"{tick:.6f}".replace(".", "").strip("0")) <= 2 for tick in ticks)
