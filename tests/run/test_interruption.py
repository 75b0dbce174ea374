"""Ctrl-C in the middle of a run says what to do next, and the same command then ends as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.support.command import command


def words(demo_root, out):
    return ["run", "--task", "gres", "--data-root", demo_root, "--limit", 24, "--batch-size", 4, "--out", out]


def answered(out):
    parts = list(out.rglob("part-0.jsonl"))
    return parts[0].read_text().count("\n") if parts else 0


def content(out, name):
    return next(out.rglob(name)).read_text()


def answers(out):
    """What was answered, without how long it took."""
    rows = [json.loads(line) for line in content(out, "part-0.jsonl").splitlines()]
    return [{**row, "seconds": None} for row in rows]


@pytest.fixture(scope="module")
def whole(demo_root, tmp_path_factory):
    """The run that nobody interrupts."""
    out = tmp_path_factory.mktemp("whole")
    assert command(*words(demo_root, out)).returncode == 0
    return out


def test_ctrl_c_prints_one_line_and_the_same_command_goes_on(demo_root, whole, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "samtok_eval", *map(str, words(demo_root, tmp_path))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever starts the tests in the background may have them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not answered(tmp_path):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, complaint = process.communicate()
    assert process.returncode == 130
    assert complaint.splitlines()[-1] == "error: interrupted; the same command goes on where this one stopped"
    assert "Traceback" not in complaint and output == ""
    before = answered(tmp_path)
    assert 0 < before < 24
    assert not list(tmp_path.rglob("metrics.json"))

    again = command(*words(demo_root, tmp_path))
    assert again.returncode == 0, again.stderr
    assert answers(tmp_path) == answers(whole)
    for name in ("metrics.json", "records.jsonl"):
        assert content(tmp_path, name) == content(whole, name)
