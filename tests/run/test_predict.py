"""Runs: same answers however they are batched, resume after a kill, errors by rule, scoring without a model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from samtok_eval import evaluate, load_run
from samtok_eval.errors import DataError, TooManyErrorsError, UsageError
from samtok_eval.prediction_log import read_predictions
from samtok_eval.run.evaluate import run, score_file
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.settings import RunOptions
from tests.support.command import command

CLI = [sys.executable, "-m", "samtok_eval"]


@pytest.fixture(scope="module")
def oracle(demo_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return evaluate("gres", model="oracle", data_root=str(demo_root), out=out, limit=40)


def test_a_run_writes_the_whole_folder(oracle):
    folder = RunFolder(oracle.path)
    manifest = json.loads(folder.manifest.read_text())
    assert manifest["state"] == "complete"
    assert manifest["dataset"]["samples"] == 40
    assert manifest["passed"] == ["data_root", "limit", "model", "out", "task"]
    assert manifest["settings"]["batch_size"] == 32
    assert set(manifest["signature"]) == {"strict", "official", "samtok", "samtok_rl"}
    lines = folder.part().read_text().splitlines()
    assert len(lines) == 40
    assert set(json.loads(lines[0])) == {"id", "text", "decoded", "status", "error", "seconds"}
    assert len(folder.records.read_text().splitlines()) == 4 * 40
    assert oracle.path.parent.name == "oracle"
    assert oracle.path.parent.parent.name == "val"


def test_oracle_is_high_and_random_is_low(oracle, demo_root, tmp_path):
    random = evaluate("gres", model="random", data_root=str(demo_root), out=tmp_path, limit=40)
    ceiling, floor = (r.values("strict")["giou"]["value"] for r in (oracle, random))
    assert ceiling > 0.85
    assert floor < 0.4


def test_load_run_reads_what_was_written(oracle):
    again = load_run(oracle.path)
    assert again.metrics == oracle.metrics
    assert again.metrics.to_json() == json.loads((oracle.path / "metrics.json").read_text())
    with pytest.raises(DataError, match="not a finished run folder"):
        load_run(oracle.path / "predictions")


def test_score_of_the_saved_predictions_equals_the_run_and_needs_no_torch(oracle, demo_root, tmp_path):
    code = "import sys; from samtok_eval.cli.main import main; main()\n"
    block = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'sam2', 'evaluate'):\n"
        "            raise ImportError('blocked ' + name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    words = ["score", "--task", "gres", "--data-root", demo_root, "--predictions", RunFolder(oracle.path).part()]
    done = subprocess.run(
        [sys.executable, "-c", block + code, *map(str, words), "--out", str(tmp_path / "scored")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "scored" / "metrics.json").read_text()) == oracle.metrics.to_json()


def test_foreign_lines_with_masks_or_texts_are_scored(oracle, demo_root, tmp_path):
    foreign = tmp_path / "foreign.jsonl"
    rows = []
    for prediction in read_predictions([RunFolder(oracle.path).part()]):
        rows.append({"id": prediction.id, "masks": [m.model_dump(mode="json") for m in prediction.decoded.values()]})
    foreign.write_text("\n".join(map(json.dumps, rows)) + "\n")
    options = RunOptions(task="gres", data_root=str(demo_root), limit=40, out=tmp_path / "scored")
    assert score_file(options, foreign).values("strict") == oracle.values("strict")


def test_missing_predictions_are_scored_by_rule_and_end_with_exit_code_5(oracle, demo_root, tmp_path):
    part = tmp_path / "some.jsonl"
    part.write_text("".join(RunFolder(oracle.path).part().read_text().splitlines(keepends=True)[:30]))
    done = command(
        "score",
        "--task",
        "gres",
        "--data-root",
        demo_root,
        "--predictions",
        part,
        "--limit",
        40,
        "--out",
        tmp_path / "o",
    )
    assert done.returncode == 5
    assert "10 samples have no prediction" in done.stderr
    assert json.loads((tmp_path / "o" / "metrics.json").read_text())["counters"]["missing"] == 10


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ('{"id": "999-999", "text": "x"}\n', "belongs to no sample"),
        ('{"id": "0-0", "text"\n', "some.jsonl:1"),
        ('{"id": "0-0", "txt": "x"}\n', "txt"),
        ('{"id": "0-0", "text": "x"}\n{"id": "0-0", "text": "x"}\n', "occurs twice"),
        ('{"id": "0-0", "masks": [{"size": [2, 2], "counts": "04"}]}\n', "different sizes"),
        ('{"id": "0-0", "masks": [{"size": [128, 128], "counts": "04"}]}\n', "must sum to"),
        ('{"id": "0-0", "text": "<|mt_start|><|mt_0001|><|mt_0300|><|mt_end|>"}\n', "no decoded mask"),
    ],
)
def test_broken_predictions_name_the_line_and_write_nothing(demo_root, tmp_path, damage, message):
    from samtok_eval.registry import load_tasks

    first = load_tasks()["gres"].read(demo_root, "val")[0].id
    path = tmp_path / "some.jsonl"
    path.write_text(damage.replace("0-0", first))
    done = command(
        "score", "--task", "gres", "--data-root", demo_root, "--predictions", path, "--out", tmp_path / "out"
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_killed_run_goes_on_and_ends_with_the_same_metrics(demo_root, tmp_path):
    words = [
        "run", "--task", "gres", "--model", "oracle", "--data-root", str(demo_root),
        "--limit", "60", "--batch-size", "2",
    ]  # fmt: skip
    whole = command(*words, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(
        [*CLI, *words, "--out", str(tmp_path / "cut")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    lines = 0
    while lines < 6:
        assert process.poll() is None
        parts = list((tmp_path / "cut").rglob("part-0.jsonl"))
        lines = parts[0].read_text().count("\n") if parts else 0
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (part,) = (tmp_path / "cut").rglob("part-0.jsonl")
    before = part.read_bytes()
    assert 0 < before.count(b"\n") < 60
    assert not list((tmp_path / "cut").rglob("metrics.json"))
    part.write_bytes(before + b'{"id": "torn')
    again = command(*words, "--out", tmp_path / "cut")
    assert again.returncode == 0, again.stderr
    assert part.read_bytes().startswith(before)
    results = [next((tmp_path / name).rglob("metrics.json")).read_text() for name in ("whole", "cut")]
    assert results[0] == results[1]
    records = [next((tmp_path / name).rglob("records.jsonl")).read_text() for name in ("whole", "cut")]
    assert records[0] == records[1]


def test_other_settings_never_share_a_folder(demo_root, tmp_path):
    options = {"model": "random", "data_root": str(demo_root), "out": tmp_path, "limit": 4}
    first = evaluate("gres", **options)
    assert evaluate("gres", **options).path == first.path
    assert evaluate("gres", **options, seed=1).path != first.path
    assert evaluate("gres", **options, split="testA").path != first.path
    assert evaluate("gres", **{**options, "limit": 5}).path != first.path
    assert evaluate("gres", **options, fresh=True).path != first.path


def test_the_manifest_tells_how_many_threads_computed(demo_root, tmp_path):
    one, two = (
        evaluate("gres", model="oracle", data_root=str(demo_root), out=tmp_path / str(count), limit=6, threads=count)
        for count in (1, 2)
    )
    assert [run.manifest.hardware["threads"] for run in (one, two)] == [1, 2]
    assert two.manifest.run_key == one.manifest.run_key
    assert two.metrics == one.metrics


def test_an_unreadable_picture_is_counted_and_stops_the_run_beyond_max_errors(demo_root, tmp_path):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(demo_root, root)
    from samtok_eval.registry import load_tasks

    broken = load_tasks()["gres"].read(root, "val")[0].image
    broken.path.write_bytes(b"not a picture")
    options = {"task": "gres", "model": "random", "data_root": str(root), "limit": 20}
    with pytest.raises(TooManyErrorsError, match="--max-errors allows 0"):
        run(RunOptions(**options, out=tmp_path / "a"))
    done = run(RunOptions(**options, out=tmp_path / "b", max_errors=20))
    errored = done.metrics["counters"]["errored"]
    assert 0 < errored < 20
    assert done.values("strict")["giou"]["n"] == 20


def test_a_picture_of_another_size_than_its_annotations_is_an_error(demo_root, tmp_path):
    from PIL import Image

    from samtok_eval.images import read_image
    from samtok_eval.registry import load_tasks

    reference = load_tasks()["gres"].read(demo_root, "val")[0].image
    other = tmp_path / "other.png"
    Image.new("RGB", (64, 32)).save(other)
    with pytest.raises(DataError, match="32x64, its annotations say 128x128"):
        read_image(type(reference)(reference.id, other, 128, 128))


def test_exif_orientation_is_applied_once(tmp_path):
    from PIL import Image

    from samtok_eval.images import read_image
    from samtok_eval.sample import ImageRef

    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    assert read_image(ImageRef("1", path, 40, 20)).shape == (40, 20, 3)


def test_replay_repeats_recorded_texts(oracle, demo_root, tmp_path):
    part = RunFolder(oracle.path).part()
    again = evaluate("gres", model=f"replay:{part}", data_root=str(demo_root), out=tmp_path, limit=40)
    assert again.values("strict") == oracle.values("strict")
    with pytest.raises(DataError, match="no text for sample"):
        evaluate("gres", model=f"replay:{part}", data_root=str(demo_root), out=tmp_path, limit=41)


def test_options_refuse_unknown_names_and_bad_values():
    with pytest.raises(ValueError, match="batchsize"):
        RunOptions(task="gres", batchsize=1)
    with pytest.raises(ValueError, match="greater than 0"):
        RunOptions(task="gres", limit=0)
    with pytest.raises(UsageError, match="no split"):
        run(RunOptions(task="gres", split="half"))


def test_two_processes_never_write_one_log(tmp_path):
    from samtok_eval.prediction import Prediction
    from samtok_eval.prediction_log import PredictionLog

    path = tmp_path / "part-0.jsonl"
    with PredictionLog(path) as log:
        with pytest.raises(UsageError, match="another process is writing"):
            PredictionLog(path)
        log.append(Prediction(id="1", text="x", status="no_mask"))
    with PredictionLog(path) as log:
        log.append(Prediction(id="2", text="x", status="no_mask"))
    assert [p.id for p in read_predictions([path])] == ["1", "2"]
