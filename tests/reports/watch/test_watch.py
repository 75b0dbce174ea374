"""A watch gates each whole checkpoint once, keeps what it found, and draws it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import samtok_eval.demo
from samtok_eval.errors import DataError, UsageError
from samtok_eval.models import loaded
from samtok_eval.reports.scalars import scalars_to
from samtok_eval.reports.watch import checkpoints, watch
from samtok_eval.reports.watch.checkpoints import QUIET_SECONDS, whole_checkpoints
from samtok_eval.reports.watch.verdicts import VerdictLine, read_verdicts, scalars_of
from samtok_eval.reports.watch.watch import curves_of
from samtok_eval.run.evaluate import run
from samtok_eval.run.settings import RunOptions
from tests.support.command import command

DEMO = Path(samtok_eval.demo.__file__).parent / "checkpoint"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(checkpoints, "SETTLE_SECONDS", 0.01)


def written(folder: Path, step: int, files: tuple[str, ...], old: bool = False) -> Path:
    """A checkpoint of small files."""
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    for name in files:
        (made / name).write_text("{}")
        if old:
            then = time.time() - QUIET_SECONDS - 5
            os.utime(made / name, (then, then))
    return made


WHOLE = ("config.json", "model.safetensors", "trainer_state.json")


@pytest.mark.parametrize(
    ("files", "old", "whole"),
    [
        (WHOLE, False, True),
        (WHOLE[:2], False, False),
        (WHOLE[:2], True, True),
        (WHOLE[1:], True, False),
        (("config.json", "trainer_state.json"), True, False),
    ],
    ids=["whole", "trainer_state missing", "thinned out long ago", "config missing", "weights missing"],
)
def test_a_checkpoint_counts_once_the_trainer_has_written_its_last_file(tmp_path, files, old, whole):
    written(tmp_path, 10, files, old)
    assert [found.step for found in whole_checkpoints(tmp_path)] == ([10] if whole else [])


def test_weights_in_parts_need_every_part_that_their_index_names(tmp_path):
    made = written(tmp_path, 10, ("config.json", "trainer_state.json", "a.safetensors"))
    index = made / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    assert whole_checkpoints(tmp_path) == []
    (made / "b.safetensors").write_text("")
    assert [found.step for found in whole_checkpoints(tmp_path)] == [10]
    index.write_text('{"weight_m')
    assert whole_checkpoints(tmp_path) == []


def test_a_file_that_grows_between_two_looks_is_waited_for(tmp_path, monkeypatch):
    made = written(tmp_path, 10, WHOLE)
    monkeypatch.setattr(checkpoints.time, "sleep", lambda seconds: (made / WHOLE[1]).write_text("more"))
    assert whole_checkpoints(tmp_path) == []


def test_steps_are_in_the_order_of_numbers_and_other_folders_are_passed_over(tmp_path):
    for step in (100, 20):
        written(tmp_path, step, WHOLE)
    written(tmp_path / "checkpoint-x", 1, WHOLE)
    assert [found.step for found in whole_checkpoints(tmp_path)] == [20, 100]
    assert whole_checkpoints(tmp_path / "not there yet") == []


def test_an_adapter_alone_is_refused(tmp_path):
    written(tmp_path, 1, ("adapter_config.json", "adapter_model.safetensors", "trainer_state.json"))
    with pytest.raises(UsageError, match="adapter alone"):
        whole_checkpoints(tmp_path)


def test_a_line_that_is_no_verdict_is_an_error_and_a_torn_one_is_not(tmp_path):
    log = tmp_path / "verdicts.jsonl"
    log.write_text('{"step": 1')
    assert read_verdicts(log) == []
    log.write_text('{"step": 1}\n')
    with pytest.raises(DataError, match="line 1"):
        read_verdicts(log)


@pytest.fixture(scope="module")
def trained(demo_root, tmp_path_factory):
    """A baseline, and a trainer's folder with a checkpoint like it and one whose weights were overwritten by noise."""
    root = tmp_path_factory.mktemp("watch")
    options = {
        "task": "gres",
        "model": "demo",
        "limit": 80,
        "batch_size": 16,
        "max_new_tokens": 24,
        "data_root": str(demo_root),
        "out": root / "base",
    }
    baseline = run(RunOptions(**options)).path
    for step in (10, 20):
        made = root / "steps" / f"checkpoint-{step}"
        shutil.copytree(DEMO, made)
        (made / "trainer_state.json").write_text("{}")
    weights = load_file(made / "model.safetensors")
    torch.manual_seed(0)
    noisy = {name: torch.randn_like(w.float()).to(w.dtype).mul(0.05) for name, w in weights.items()}
    save_file(noisy, made / "model.safetensors", {"format": "pt"})
    return root, baseline


def test_each_checkpoint_is_gated_once_and_drawn(trained):
    root, baseline = trained
    words = [
        "watch",
        root / "steps",
        "--baseline",
        baseline,
        "--once",
        "--out",
        root / "runs",
        "--looks",
        "3",
        "--alpha",
        "0.1",
        "--task",
        "gres",
    ]
    done = command(*words)
    assert done.returncode == 4 and "worse than the baseline: checkpoint-20 gres:val" in done.stderr, done.stderr
    log = root / "steps" / "watch" / "verdicts.jsonl"
    text = log.read_text()
    first, last = read_verdicts(log)
    assert (first.step, last.step) == (10, 20) and last.verdict == "regression"
    assert all(found.difference == 0 for found in first.metrics.values()) and first.verdict != "regression"
    with (log.parent / "curve.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["is_main"] == "True"]
    assert [row["verdict"] for row in rows] == [first.metrics["giou"].verdict, last.metrics["giou"].verdict]
    assert float(rows[1]["difference"]) == last.metrics["giou"].difference < -0.1
    assert "</svg>" in (log.parent / "curve.svg").read_text()
    page = (log.parent / "index.html").read_text()
    assert "REGRESSED" in page and "http://" not in page.replace("http://www.w3.org", "")

    # A restart finds both in the log; a kill within a line, or a checkpoint that was not reached, costs that one alone.
    assert command(*words).returncode == 4 and log.read_text() == text
    log.write_text(text[: len(text) - 20])
    assert command(*words).returncode == 4 and log.read_text() == text
    # Other rules judge anew; what was answered is not asked again.
    alpha = words.index("--alpha") + 1
    assert command(*words[:alpha], "0.2", *words[alpha + 1 :]).returncode == 4
    assert len(log.read_text().splitlines()) == 4 and len(read_verdicts(log)) == 2
    missing = command(*words[:-1], "refcoco")
    assert missing.returncode == 1 and "has no run of refcoco; it has gres:val" in missing.stderr


def test_the_loop_waits_for_checkpoints_and_ctrl_c_ends_it_with_130(trained, tmp_path):
    root, baseline = trained
    steps, page = tmp_path / "steps", tmp_path / "steps" / "watch" / "index.html"
    words = ["watch", steps, "--baseline", baseline, "--every", "1", "--out", root / "runs", "--looks", "3"]
    told = tmp_path / "told.txt"
    # A process of its own: torch does not survive a fork once it has computed.
    with told.open("w") as file:
        arguments = [sys.executable, "-m", "samtok_eval", *map(str, words), "--alpha", "0.1"]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=file)
    try:
        time.sleep(0.5)
        assert process.poll() is None and not steps.exists()
        # At once, since a copy that a busy disk holds up looks whole for a while.
        shutil.copytree(root / "steps" / "checkpoint-10", steps / "being-copied")
        (steps / "being-copied").rename(steps / "checkpoint-10")
        while not page.exists():
            assert process.poll() is None, told.read_text()
            time.sleep(0.05)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.wait()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert [line.step for line in read_verdicts(page.parent / "verdicts.jsonl")] == [10]


def test_a_model_is_loaded_once_for_all_tasks_and_undecided_stays_undecided(trained, tmp_path, monkeypatch):
    root, _ = trained
    for task in ("gres", "refcoco"):
        run(RunOptions(task=task, model="demo", limit=4, max_new_tokens=24, out=tmp_path / "base"))
    loads, load = [], loaded.load_backend
    monkeypatch.setattr(loaded, "load_backend", lambda *given: loads.append(1) or load(*given))
    steps = tmp_path / "steps"
    shutil.copytree(root / "steps" / "checkpoint-10", steps / "checkpoint-10")
    words = ["watch", steps, "--baseline", tmp_path / "base", "--once", "--out", tmp_path / "runs", "--looks", "1"]
    done = command(*words, "--on-undecided", "pass")
    assert done.returncode == 0 and "WARNING" not in done.stdout, done.stderr
    lines = read_verdicts(steps / "watch" / "verdicts.jsonl")
    assert [line.task for line in lines] == ["gres", "refcoco"] and loads == [1]
    assert {(line.verdict, line.passed, line.on_undecided) for line in lines} == {("undecided", True, "pass")}


def test_a_checkpoint_that_is_deleted_while_it_is_gated_is_passed_over_with_a_warning(trained, tmp_path, monkeypatch):
    root, baseline = trained
    for step in (10, 20):
        written(tmp_path, step, WHOLE)
    asked = []

    def gone(side, given, *_, **more):
        asked.append(Path(given["model"]).name)
        shutil.rmtree(given["model"])
        raise DataError("it is not there")

    monkeypatch.setattr(watch, "gate_run", gone)
    done = command("watch", tmp_path, "--baseline", baseline, "--once", "--out", root / "gone")
    assert asked == ["checkpoint-10", "checkpoint-20"]
    assert done.stderr.count("was deleted while it was gated; let the trainer keep more checkpoints") == 2


def test_a_folder_without_checkpoints_is_an_error_only_once(trained, tmp_path):
    done = command("watch", tmp_path, "--baseline", trained[1], "--once")
    assert done.returncode == 2 and "no whole checkpoint-STEP" in done.stderr


def line_at(step: int, giou: float = 0.75) -> VerdictLine:
    """A verdict on two metrics, the second without an interval."""
    row = {"baseline": 0.5, "candidate": giou, "difference": giou - 0.5, "low": 0.125, "high": 0.5, "tolerance": 0.01}
    rows = {"giou": row, "pr@0.5": {**row, "low": None, "high": None}}
    return VerdictLine.model_validate(
        {"step": step, "checkpoint": f"checkpoint-{step}", "files": "f", "baseline": "b", "rules": "r",
         "task": "gres", "split": "val", "protocol": "strict", "verdict": "pass", "passed": True,
         "main": "giou", "lower_is_better": False,
         "metrics": {name: {**values, "verdict": "pass", "reason": "r"} for name, values in rows.items()},
         "pictures": 3, "run": None}
    )  # fmt: skip


def numbers(giou: float, precision: str = "pr@0.5") -> dict[str, float]:
    """What is kept of such a verdict."""
    both = {"candidate": giou, "difference": giou - 0.5}
    rows = {"giou": {**both, "low": 0.125, "high": 0.5}, precision: both}
    return {f"gres:val/{name}/{what}": value for name, row in rows.items() for what, value in row.items()}


def test_tensorboard_reads_the_numbers_of_the_log(tmp_path):
    (kept,) = scalars_to("tensorboard", curves_of(tmp_path / "watch"))
    # Until there is a checkpoint, the folder is the training's to make.
    assert not (tmp_path / "watch").exists()
    kept.begin()
    kept.write(20, scalars_of(line_at(20)))
    read = EventAccumulator(str(tmp_path / "watch" / "tensorboard"))
    read.Reload()
    found = {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    assert found == {name: [(20, value)] for name, value in numbers(0.75).items()}


def test_wandb_keeps_the_numbers_in_one_run_over_restarts(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs the package wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    # The later step comes first: a checkpoint may be gated anew.
    for step, giou in ((20, 0.75), (10, 0.625)):
        (kept,) = scalars_to("wandb", curves_of(tmp_path))
        kept.begin()
        kept.write(step, scalars_of(line_at(step, giou)))
        kept.close()
        # Its folder is named by the second of its start.
        time.sleep(1.1)
    files = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    rows = [row for file in files for row in history_of_wandb(file)]
    expected = [{"checkpoint_step": step, **numbers(giou)} for step, giou in ((20, 0.75), (10, 0.625))]
    assert rows == expected and len({file.name for file in files}) == 1


def history_of_wandb(file: Path) -> list[dict[str, float]]:
    """The logged rows of an offline run: records of a checksum, a length and a kind, behind a head of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, rows = file.read_bytes(), 7, []
    while at < len(content):
        length = int.from_bytes(content[at + 4 : at + 6], "little")
        record = Record.FromString(content[at + 7 : at + 7 + length])
        at += 7 + length
        row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        rows += [{name: value for name, value in row.items() if not name.startswith("_")}] if row else []
    return rows


def test_mlflow_keeps_the_numbers_in_one_run_over_restarts(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the package mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    to = tmp_path / "watch"
    for step, giou in ((20, 0.75), (10, 0.625)):
        (kept,) = scalars_to("mlflow", curves_of(to))
        kept.begin()
        kept.write(step, scalars_of(line_at(step, giou)))
    client = mlflow.MlflowClient(f"sqlite:///{to / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "samtok-eval"]
    (run,) = client.search_runs([experiment.experiment_id])
    before, after = (numbers(giou, "pr_0.5") for giou in (0.75, 0.625))
    assert set(run.data.metrics) == set(before)
    for name, value in before.items():
        found = {(kept.step, kept.value) for kept in client.get_metric_history(run.info.run_id, name)}
        assert found == {(20, value), (10, after[name])}
    assert [path.name for path in tmp_path.iterdir()] == ["watch"]


@pytest.mark.parametrize(("name", "module"), [("wandb", "wandb"), ("mlflow", "mlflow"), ("tensorboard", "tensorboard")])
def test_a_package_that_is_not_installed_is_named(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(UsageError, match=f"--log-to {name} needs the package .*{module}.*, which is not installed"):
        scalars_to(name, curves_of(tmp_path))
    with pytest.raises(UsageError, match="--log-to comet: expected one or several of tensorboard, wandb, mlflow"):
        scalars_to("tensorboard,comet", curves_of(tmp_path))
