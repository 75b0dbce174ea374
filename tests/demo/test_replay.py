"""`samtok-eval demo --replay`: the tables and reports of `demo`, from answers that ship with the program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from samtok_eval.demo.replay import ARCHIVE, MODELS, TASKS
from samtok_eval.run.evaluate import RUN_ID_LENGTH
from tests.support.command import command

MOST_BYTES = 300_000
PROBE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers", "sam2", "evaluate", "matplotlib"):
            raise ModuleNotFoundError("blocked", name=name)
sys.meta_path.insert(0, Blocked())
from samtok_eval.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    """What the command prints and writes where torch cannot be imported."""
    out = tmp_path_factory.mktemp("replay")
    words = [sys.executable, "-c", PROBE, "demo", "--replay", "--out", str(out)]
    return subprocess.run(words, capture_output=True, text=True, check=False), out


def test_it_prints_the_tables_of_the_demo_without_torch(replay):
    done, _ = replay
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert (
        "strict demo 78.7 ±4.8 86.7 ±2.7 98.0 ±2.5 99.2 ±0.7 87.8 ±3.4 86.6 ±3.6 86.4 ±3.7 85.2 ±3.8 83.2 ±4.2 593"
        in (lines)
    )
    assert "superlative 99 87.6 96.5 7.4 37.0 37.8" in lines
    assert "region_vqa:test strict accuracy 62.2 ±4.9 100.0 ±0.0 23.9 ±4.3 376" in lines
    assert lines[-1].startswith("replayed: the answers ship with this program")


def test_it_writes_finished_runs_and_a_report_for_each_task(replay):
    done, out = replay
    reports = [line.removeprefix("report ") for line in done.stdout.splitlines() if line.startswith("report ")]
    assert len(reports) == len(TASKS)
    for task, path in zip(TASKS, reports, strict=True):
        assert path.startswith(f"{out}/{task}/")
        assert "oracle" in Path(path).read_text()
    manifests = [json.loads(path.read_text()) for path in out.rglob("manifest.json")]
    assert len(manifests) == len(TASKS) * len(MODELS)
    for manifest in manifests:
        # A run that asks the model would go on in a folder of this name, and find nothing to ask.
        assert manifest["run_id"] == f"{manifest['run_key'][:RUN_ID_LENGTH]}-replayed"
        assert manifest["state"] == "complete"
        assert manifest["settings"]["out"] == str(out)


def test_the_answers_are_small():
    assert ARCHIVE.stat().st_size < MOST_BYTES
    with ZipFile(ARCHIVE) as archive:
        assert len(archive.namelist()) == 2 * len(TASKS) * len(MODELS)


def test_part_of_the_answers_is_not_asked_for(tmp_path):
    done = command("demo", "--replay", "--limit", 5, cwd=tmp_path)
    assert done.returncode == 1
    assert "leave one of the two out" in done.stderr
    assert list(tmp_path.iterdir()) == []
