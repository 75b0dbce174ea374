"""Runs as pandas frames, and the ways to name a run folder."""

from __future__ import annotations

import json
import math
import shutil

import pytest

import samtok_eval
from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.files import write_json
from samtok_eval.run.folder import find_run, load_run
from samtok_eval.run.record_file import read_records
from samtok_eval.run.slices import slices_of


def right(sample):
    return sample.target.masks


def edited(folder, **changes):
    path = folder / "manifest.json"
    write_json(path, json.loads(path.read_text()) | changes)


@pytest.mark.parametrize("task", ["gres", "refcoco"])
def test_frames_hold_the_numbers_of_the_files_to_the_digit(make_run, task):
    run = load_run(make_run("run", right, task=task))
    told = json.loads((run.path / "metrics.json").read_text())
    frame = run.metrics_frame()
    assert len(frame) == sum(len(told[protocol]) for protocol in run.metrics.protocols)
    for row in frame.itertuples():
        expected = told[row.protocol][row.metric]
        for name in ("value", "low", "high", "n"):
            found = getattr(row, name)
            assert found == expected[name] or (expected[name] is None and math.isnan(found))
    slices = run.slices()
    for row in slices.itertuples():
        expected = told["slices"][row.protocol][row.slice][row.group][row.metric]
        assert row.n == expected["n"]
        assert row.value == expected["value"] or expected["value"] is None
    assert len(slices) == sum(len(m) for s in told["slices"].values() for g in s.values() for m in g.values())


def test_a_row_of_samples_is_a_record_with_its_values_and_slices(make_run):
    run = load_run(make_run("run", right, task="refcoco"))
    rows = run.samples().to_dict("records")
    records = [record for mine in read_records(run.path / "records.jsonl").values() for record in mine]
    assert len(rows) == len(records)
    for row, record in zip(rows, records, strict=True):
        for name in ("id", "image_id", "protocol", "status", "inter", "union", "gt_area", "pred_area", "phrase"):
            assert row[name] == getattr(record, name)
        assert row["iou"] == record.iou
        for name, value in slices_of(record).items():
            assert row[name] == value
        for name, value in record.values.items():
            assert row[name] == value


def test_the_texts_of_a_run_of_ours_stand_beside_the_scores(tmp_path):
    run = samtok_eval.evaluate("scene_graph", model="oracle", limit=3, out=tmp_path)
    lines = [json.loads(line) for line in (run.path / "predictions" / "part-0.jsonl").open()]
    frame = run.samples()
    assert dict(zip(frame["id"], frame["text"], strict=True)) == {line["id"]: line["text"] for line in lines}


def test_runs_of_a_folder_are_one_frame(make_run, tmp_path):
    folders = [make_run("some/a", right), make_run("some/b", right, task="refcoco")]
    edited(make_run("some/unfinished", right), state="predicting")
    (make_run("some/broken", right) / "manifest.json").write_text("{")
    runs = samtok_eval.load_runs(tmp_path / "runs")
    assert [run.path for run in runs] == folders
    assert sorted(path.name for path in runs.skipped) == ["broken", "unfinished"]
    for frame in ("samples", "metrics_frame", "slices"):
        whole = getattr(runs, frame)()
        assert len(whole) == sum(len(getattr(run, frame)()) for run in runs)
        assert list(whole)[:4] == ["task", "split", "model", "run"]
        assert set(whole["run"]) == {str(folder) for folder in folders}
    assert runs[1:].found == [runs[1]]
    assert "gres:val" in repr(runs) and "2 skipped" in repr(runs)


def test_without_runs_the_frames_have_their_columns(tmp_path):
    assert list(samtok_eval.load_runs(tmp_path).metrics_frame())[:5] == ["task", "split", "model", "run", "protocol"]
    with pytest.raises(DataError, match="folder of runs"):
        samtok_eval.load_runs(tmp_path / "none")


def test_a_notebook_shows_a_run_as_a_table_in_which_nothing_is_obeyed(make_run):
    folder = make_run("run", right)
    manifest = json.loads((folder / "manifest.json").read_text())
    edited(folder, model=manifest["model"] | {"name": "<script>x</script>"})
    shown = load_run(folder)._repr_html_()
    assert "<script>" not in shown
    assert "cIoU" in shown and "100.0" in shown
    assert len(repr(load_run(folder))) < 200


def test_the_beginning_of_a_name_means_the_run_that_has_it(make_run, tmp_path):
    folder = make_run("model/abc123", right)
    assert find_run(folder.parent / "ab") == folder
    shutil.copytree(folder, folder.parent / "abc456")
    with pytest.raises(UsageError, match="several runs begin so \\(abc123, abc456\\)"):
        find_run(folder.parent / "ab")
    assert find_run(folder.parent / "abc1") == folder
    with pytest.raises(DataError, match="not a finished run folder"):
        load_run(folder.parent / "x")


def test_a_folder_of_runs_means_its_newest_finished_one(make_run, tmp_path):
    folders = [make_run(f"model/{name}", right, model="oracle") for name in ("a", "b", "c")]
    for folder, finished, state in zip(folders, ("2026-01-02", "2026-01-03", "2026-01-04"),
                                       ("complete", "complete", "predicting"), strict=True):  # fmt: skip
        manifest = json.loads((folder / "manifest.json").read_text())
        times, model = manifest["times"] | {"finished": finished}, manifest["model"] | {"name": "oracle"}
        edited(folder, times=times, model=model, state=state)
    assert find_run(tmp_path / "runs" / "model") == folders[1]
    assert load_run(tmp_path / "runs" / "model").path == folders[1]
    make_run("other/d", right, task="refcoco", model="oracle")
    with pytest.raises(UsageError, match="holds 2 runs, "):
        find_run(tmp_path / "runs")


def test_an_unfinished_run_is_told_where_there_is_no_other(make_run):
    folder = make_run("model/a", right)
    edited(folder, state="predicting")
    with pytest.raises(IncompleteRunError, match="predicting"):
        load_run(folder.parent)
