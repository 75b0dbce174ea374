"""A command reads the split that it asks, scores and reports about once, however many models answer it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from samtok_eval.cli.main import app
from samtok_eval.errors import DataError
from samtok_eval.registry import load_tasks
from samtok_eval.run import questions
from samtok_eval.run.questions import Questions


@pytest.fixture
def reads(monkeypatch):
    """Split and limit of every reading."""
    done, read = [], questions.read_samples

    def counted(task, split, root, limit):
        done.append((split, limit))
        return read(task, split, root, limit)

    monkeypatch.setattr(questions, "read_samples", counted)
    return done


def test_two_models_and_their_reports_take_one_reading(reads, demo_root, tmp_path):
    words = ["--task", "gres", "--data-root", str(demo_root), "--limit", "4", "--device", "cpu", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, ["run", *words, "--model", "oracle", "--model", "random"])
    assert done.exit_code == 0, done.output
    assert len(list(tmp_path.rglob("report/index.html"))) == 2
    assert reads == [("val", 4)]
    (run,) = tmp_path.glob("gres/val/oracle/*")
    assert CliRunner().invoke(app, ["report", str(run)]).exit_code == 0
    assert reads == [("val", 4)] * 2


def test_what_differs_is_read_again(reads, demo_root):
    task, kept = load_tasks()["gres"], Questions()
    first = kept.read(task, "val", str(demo_root), 3)
    assert kept.read(task, "val", str(demo_root), 3) is first
    assert len(kept.read(task, "val", str(demo_root), 4)) == 4
    kept.read(task.asked_with("segment-phrase-rl", "val"), "val", str(demo_root), 4)
    assert [limit for _, limit in reads] == [3, 4, 4]


def test_a_reading_that_fails_leaves_nothing_of_the_one_before(reads, demo_root, tmp_path):
    task, kept = load_tasks()["gres"], Questions()
    for _ in range(2):
        with pytest.raises(DataError):
            kept.read(task, "val", str(tmp_path / "none"), 3)
    assert len(reads) == 2
