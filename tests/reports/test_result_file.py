"""Result files: what a run leaves behind, where it lies, and what is refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard import build
from samtok_eval.reports.result_file import SCHEMA_VERSION, default_split, read_result, read_results, result_of
from tests.support.results import REPOSITORY, result, run, value

PLACE = Path("results", "org__model", "abc123")


@pytest.fixture(scope="module")
def tasks():
    return load_tasks()


# The runs of this file have metrics alone; records are kept in tests/reports/leaderboard/test_verify.py.
submit = partial(build.submit, records="none")


def test_a_submitted_run_reads_back_as_it_was_scored(tmp_path, tasks):
    path = submit(run(), tmp_path, "org/model", "abc123", "3B", tasks=tasks)
    assert path == tmp_path / PLACE / "gres.json"
    read = read_result(path)
    assert read == result_of(run(), "org/model", "abc123", "3B")
    assert read.protocols["strict"]["giou"].model_dump() == value(0.7)
    assert read.protocols["samtok"]["n_acc"].value is None
    assert (read.task, read.split, read.task_version, read.dataset.samples) == ("gres", "val", 1, 100)
    assert read.date == "2026-01-02T04:04:05Z"
    assert read_results(tmp_path / "results", tasks) == [read]


def test_a_result_keeps_no_path_of_the_machine(tmp_path):
    text = submit(run(), tmp_path, "org/model", "abc123").read_text()
    assert "/home/someone" not in text
    assert "/data" not in text
    assert "|model:org/model|" in text


def test_a_result_keeps_how_its_intervals_were_made(tmp_path, tasks):
    method = {"method": "percentile bootstrap over pictures", "seed": 3, "draws": 1000, "confidence": 0.95}
    metrics = {"strict": {"giou": value(0.7)}, "slices": {}, "intervals": method, "absent": {"cider": "no Java"}}
    path = submit(run(metrics=metrics), tmp_path, "org/model", "abc123", tasks=tasks)
    read = read_result(path)
    assert read.intervals.model_dump() == method and set(read.protocols) == {"strict"}


def test_a_result_from_before_intervals_were_described_is_still_read(tmp_path):
    path = tmp_path / "gres.json"
    content = result().model_dump(mode="json")
    del content["intervals"]
    path.write_text(json.dumps(content))
    assert read_result(path).intervals is None


def test_a_result_names_the_task_version_and_program_that_scored_it():
    scoring = {"samtok_eval": "0.2.0", "task_version": 2, "seed": 0, "key": "0" * 64}
    made = result_of(run(scoring=scoring), "org/model", "abc123", None)
    assert (made.task_version, made.samtok_eval) == (2, "0.2.0")


def test_a_run_that_was_only_scored_is_dated_by_its_start():
    assert result_of(run(times={"started": "2026-01-02T03:04:05Z"}), "o/m", "r", None).date == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": "predicting"}, "got one that is predicting"),
        ({"state": "predicted"}, "got one that is predicted"),
        ({"settings": {"data_root": "/data", "seed": 0, "limit": 20}}, "the first 20 samples only"),
        ({"counters": {"missing": 1}}, "1 answers are missing"),
        ({"counters": {"errored": 2}}, "2 answers are errored"),
    ],
)
def test_an_incomplete_run_is_refused(tmp_path, changes, message):
    with pytest.raises(IncompleteRunError, match=message):
        submit(run(**changes), tmp_path, "org/model", "abc123")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "revision", "parameters", "field"),
    [
        ("model", "r", None, "model.name"),
        ("../model", "r", None, "model.name"),
        ("org/mo|del", "r", None, "model.name"),
        ("org/<script>", "r", None, "model.name"),
        ("org/model\u200f", "r", None, "model.name"),
        ('org/"model"', "r", None, "model.name"),
        ("org/model\n", "r", None, "model.name"),
        ("org/model/x", "r", None, "model.name"),
        ("org/model", "..", None, "model.revision"),
        ("org/model", "feature/x", None, "model.revision"),
        ("org/model", "", None, "model.revision"),
        ("org/model", "r", "about 3 billion", "model.parameters"),
    ],
)
def test_a_name_that_is_no_hub_name_is_refused(tmp_path, model, revision, parameters, field):
    with pytest.raises(DataError, match=field):
        submit(run(), tmp_path, model, revision, parameters)
    assert list(tmp_path.iterdir()) == []


def test_a_second_result_takes_the_place_of_the_first_only_when_asked(tmp_path):
    path = submit(run(), tmp_path, "org/model", "abc123")
    assert submit(run(), tmp_path, "org/model", "abc123") == path
    other = run(metrics={"strict": {"giou": value(0.1)}})
    with pytest.raises(UsageError, match="holds another result"):
        submit(other, tmp_path, "org/model", "abc123")
    assert read_result(path).protocols["strict"]["giou"].value == 0.7
    submit(other, tmp_path, "org/model", "abc123", replace=True)
    assert read_result(path).protocols["strict"]["giou"].value == 0.1


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "gres.json"),
        ({"split": "testA"}, "gres.testA.json"),
        ({"task": "interactive", "split": "refcoco", "history": "pred"}, "interactive.history-pred.json"),
        ({"task": "interactive", "split": "paco", "history": "pred"}, "interactive.paco.history-pred.json"),
        (
            {"task": "region_caption", "split": "dlc", "protocols": {"strict": {"dlc_pos|llama 3": value(0.4)}}},
            "region_caption.dlc.judge-llama-3.json",
        ),
        ({"task": "someones_own", "split": "val"}, "someones_own.val.json"),
    ],
)
def test_the_place_names_what_is_not_the_default(tasks, changes, name):
    made = result(**changes)
    assert made.place(default_split(tasks, made.task)) == Path("org__model", "abc123", name)


@pytest.mark.parametrize(
    "place",
    [
        "org__model/abc123/gres.val.json",
        "org__model/abc123/refcoco.json",
        "org__model/other/gres.json",
        "org__other/abc123/gres.json",
        "org__model/gres.json",
    ],
)
def test_a_file_in_another_place_is_refused(tmp_path, tasks, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(result().model_dump_json())
    with pytest.raises(DataError, match=r"belongs at .*org__model/abc123/gres\.json; move it there"):
        read_results(tmp_path, tasks)


def test_a_newer_schema_is_refused_with_both_versions(tmp_path):
    path = tmp_path / "gres.json"
    path.write_text(json.dumps({"schema_version": SCHEMA_VERSION + 1, "something": "new"}))
    with pytest.raises(DataError, match=r"has schema version 3, .* reads up to 2; upgrade samtok-eval"):
        read_result(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "whole schema_version, got None"),
        ("{}", "whole schema_version, got None"),
        ('{"schema_version": "1"}', "whole schema_version, got '1'"),
        ('{"schema_version": true}', "whole schema_version, got True"),
        ('{"schema_version": 0}', "schema_version"),
        ('{"schema_version": 1}', "task: Field required"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, text, message):
    path = tmp_path / "gres.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_result(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": "/data"}, "root: Extra inputs"),
        ({"protocols": {}}, "protocols"),
        ({"signature": {}}, "do not fit the protocols"),
        ({"split": "../val"}, "split"),
        ({"date": "yesterday"}, "date"),
        ({"intervals": {"method": "x", "seed": 0, "draws": 0, "confidence": 0.95}}, r"intervals\.draws"),
        ({"intervals": {"method": "x", "seed": 0, "draws": 9, "confidence": 1.0}}, r"intervals\.confidence"),
        ({"intervals": {"seed": 0, "draws": 9, "confidence": 0.9}}, r"intervals\.method"),
    ],
)
def test_a_field_that_does_not_fit_is_named(tmp_path, change, message):
    path = tmp_path / "gres.json"
    path.write_text(json.dumps(result().model_dump(mode="json") | change))
    with pytest.raises(DataError, match=message):
        read_result(path)


def test_the_demo_is_known_by_its_name_and_by_its_pictures(tmp_path):
    def demo(root: str) -> bool:
        dataset = {"root": root, "samples": 100, "sha256": "cd" * 32}
        return result_of(run(dataset=dataset), "o/m", "r", None).dataset.demo

    assert demo("demo")
    assert not demo(str(tmp_path))
    pictures = tmp_path / "coco" / "train2014"
    pictures.mkdir(parents=True)
    (pictures / "COCO_train2014_000000000009.jpg").touch()
    assert not demo(str(tmp_path))
    (pictures / "DEMO_train2014_000010000000.png").touch()
    assert demo(str(tmp_path))


def test_the_shipped_results_lie_where_they_belong(tasks):
    shipped = read_results(REPOSITORY / "leaderboards" / "results", tasks)
    assert ("gres", "val", True) in {(r.task, r.split, r.dataset.demo) for r in shipped}
