"""`samtok-eval tasks new`: a task file and its test that run as they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import command

GUIDE = Path(__file__).parents[2] / "docs" / "adding_a_task.md"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """The toy pictures go to the folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_task_and_its_test_run_as_they_are_written(tmp_path):
    done = command("tasks", "new", "red_things", "--dir", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["task mine/red_things.py", "test mine/tests/test_red_things.py"]
    words = ["run", "--task", "red_things", "--tasks-dir", "mine", "--model", "oracle", "--no-report"]
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.glob("runs/red_things/toy/oracle/*/metrics.json")
    assert json.loads(metrics.read_text())["strict"]["giou"]["value"] > 0.95
    counts = {name: entry["n"] for name, entry in json.loads(metrics.read_text())["strict"].items()}
    assert counts == {"giou": 3, "ciou": 2, "n_acc": 1}
    test = tmp_path / "mine" / "tests" / "test_red_things.py"
    assert pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(test)]) == 0


def test_the_list_names_the_new_task_and_no_place_of_the_template(tmp_path):
    command("tasks", "new", "things_2", "--dir", tmp_path)
    assert "things_2: Things 2; " in command("tasks", "--tasks-dir", tmp_path).stdout
    assert "class Things2Task(Task)" in (tmp_path / "things_2.py").read_text()
    for path in tmp_path.rglob("*.py"):
        assert not any(word in path.read_text() for word in ("my_benchmark", "MyBenchmark", "My benchmark"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Red", "'Red' is no name for a task"),
        ("red things", "is no name for a task"),
        ("../red", "is no name for a task"),
        ("_red", "is no name for a task"),
        ("2d", "is no name for a task"),
        ("r" * 41, "40 at most"),
        ("gres", "the task name 'gres' is taken"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path, name, message):
    done = command("tasks", "new", name, "--dir", tmp_path / "mine")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("taken", ["red.py", "tests/test_red.py"])
def test_a_file_that_is_there_stays(tmp_path, taken):
    path = tmp_path / taken
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    done = command("tasks", "new", "red", "--dir", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{path} exists and stays as it is" in done.stderr
    assert [p.read_text() for p in tmp_path.rglob("*.py")] == ["mine"]


def test_a_folder_may_be_named_twice(tmp_path):
    command("tasks", "new", "red", "--dir", tmp_path)
    done = command("tasks", "--tasks-dir", tmp_path, "--tasks-dir", f"{tmp_path}/../{tmp_path.name}")
    assert done.returncode == 0, done.stderr


def test_the_guide_shows_what_is_written(tmp_path):
    command("tasks", "new", "red_things", "--dir", tmp_path)
    for path in (tmp_path / "red_things.py", tmp_path / "tests" / "test_red_things.py"):
        assert f"```python\n{path.read_text()}```" in GUIDE.read_text()
