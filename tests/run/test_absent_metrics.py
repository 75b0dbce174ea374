"""A metric that could not be computed is absent and named: in the file, under the table and, on request, as exit 5."""

from __future__ import annotations

import json

import pytest

from samtok_eval.registry import load_tasks
from samtok_eval.reports.summary import absences
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.samples import read_samples
from samtok_eval.run.settings import RunOptions
from tests.support.command import command
from tests.support.meteor import needs_meteor


@pytest.fixture
def captions(demo_root, tmp_path):
    """Two captions in DLC-Bench's own format, by split."""

    def write(split):
        samples = read_samples(load_tasks()["region_caption"], split, str(demo_root), 2)
        path = tmp_path / f"{split}.json"
        path.write_text(json.dumps({sample.id: "a red circle" for sample in samples}))
        return path

    return write


def words(demo_root, predictions, split, out, *more):
    return ["score", "--task", f"region_caption:{split}", "--data-root", demo_root, "--predictions", predictions,
            "--limit", 2, "--out", out, *more]  # fmt: skip


def test_captions_without_java_are_named_in_file_and_table(demo_root, captions, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    done = command(*words(demo_root, captions("refcocog-val"), "refcocog-val", tmp_path / "o"))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "o" / "metrics.json").read_text())
    assert metrics["absent"].keys() == {"meteor", "cider"} and "Java" in metrics["absent"]["cider"]
    assert metrics["strict"].keys() == {"empty"}
    assert "  without METEOR, CIDEr: " in done.stdout and "install a Java runtime" in done.stdout


def test_strict_metrics_ends_with_exit_code_5_after_everything_is_written(demo_root, captions, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    out = tmp_path / "o"
    done = command(*words(demo_root, captions("refcocog-val"), "refcocog-val", out, "--strict-metrics"))
    assert done.returncode == 5
    assert "region_caption without METEOR, CIDEr: " in done.stderr and done.stderr.count("\n") == 1
    assert "empty" in done.stdout and (out / "metrics.json").is_file()


@needs_meteor
def test_strict_metrics_changes_nothing_where_all_can_be_computed(demo_root, captions, tmp_path):
    out = tmp_path / "o"
    done = command(*words(demo_root, captions("refcocog-val"), "refcocog-val", out, "--strict-metrics"))
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "metrics.json").read_text())["absent"] == {}
    assert "  without " not in done.stdout


def test_questions_for_a_judge_that_was_not_named_are_told(demo_root, captions, tmp_path):
    options = RunOptions(task="region_caption", split="dlc", data_root=str(demo_root), limit=2, out=tmp_path / "o")
    run = score_file(options, captions("dlc"))
    assert absences(run) == ["dlc pos, dlc neg, dlc avg: no judge was named; give --judge"]


def test_a_split_without_questions_lacks_no_judge(demo_root, captions, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    options = RunOptions(task="region_caption", data_root=str(demo_root), limit=2, out=tmp_path / "o")
    assert not [line for line in absences(score_file(options, captions("refcocog-val"))) if "dlc" in line]
