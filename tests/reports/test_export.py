"""What is exported is what the run holds, and other programs read it."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import samtok_eval
from samtok_eval import masks
from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens import render
from samtok_eval.reports.export_scalars import export_scalars
from tests.conftest import edit_manifest, right, shifted
from tests.support.command import command

ODD = '"quoted", with a comma\nand = a line'


@pytest.fixture
def run(make_run):
    return make_run("run", shifted(3), limit=20, text_of=lambda sample, codes: f"{ODD} {render(codes)}")


def exported(run, kind, *words):
    done = command("export", run, "--format", kind, *words)
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("wrote ") for line in done.stdout.splitlines()]


def quietly(call, *words):
    with contextlib.redirect_stdout(io.StringIO()):
        return call(*words)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_holds_the_frame_of_the_samples_to_the_digit(run, kind):
    (path,) = exported(run, kind)
    assert path == str(run / "export" / f"samples.{kind}")
    read = pd.read_parquet(path) if kind == "parquet" else pd.read_csv(path, dtype={"image_id": str})
    frame = samtok_eval.load_run(run).samples()
    assert frame["text"].str.startswith(ODD).all() and frame["iou"].between(0.1, 0.99).any()
    pd.testing.assert_frame_equal(read, frame, check_exact=True, check_dtype=False)


def test_a_text_is_no_formula_in_a_spreadsheet_and_stays_as_it_is_elsewhere(make_run):
    run = make_run("run", right, limit=3, text_of=lambda sample, codes: "=1+1")
    for kind, text in (("csv", "'=1+1"), ("parquet", "=1+1")):
        (path,) = exported(run, kind)
        read = pd.read_csv(path) if kind == "csv" else pd.read_parquet(path)
        assert set(read["text"]) == {text}


def test_pycocotools_reads_results_beside_their_annotations(make_run, demo_samples, tmp_path):
    run = make_run("run", right, limit=20)
    results, truth = exported(run, "coco", "--out", tmp_path / "mine.json")
    assert truth == str(tmp_path / "mine_annotations.json")
    coco = quietly(COCO, truth)
    loaded = quietly(coco.loadRes, results)
    samples = {sample.id: sample for sample in demo_samples("gres", 20)}
    total = sum(len(sample.target.masks) for sample in samples.values())
    assert len(coco.anns) == len(loaded.anns) == total > 0
    for annotation in coco.anns.values():
        sample, image = samples[annotation["sample_id"]], coco.imgs[annotation["image_id"]]
        assert coco.cats[annotation["category_id"]]["name"] == sample.phrase
        assert (image["height"], image["width"], image["native_id"]) == (
            sample.image.height, sample.image.width, sample.image.id,
        )  # fmt: skip
        assert str(sample.image.path).endswith(f"/{image['file_name']}") and not image["file_name"].startswith("/")
        drawn = coco.annToMask(annotation).astype(bool)
        assert any(np.array_equal(drawn, masks.decode(rle)) for rle in sample.target.masks)
        x, y, width, height = annotation["bbox"]
        rows, columns = drawn.any(axis=1).nonzero()[0], drawn.any(axis=0).nonzero()[0]
        assert [x, y, x + width - 1, y + height - 1] == [columns[0], rows[0], columns[-1], rows[-1]]
        assert annotation["area"] == drawn.sum()
    # The right masks as answers are right by COCO's own rule.
    measured = COCOeval(coco, loaded, "segm")
    for step in (measured.evaluate, measured.accumulate, measured.summarize):
        quietly(step)
    assert measured.stats[0] == 1.0


def test_answers_are_compared_with_the_masks_of_their_own_question(run):
    results, truth = exported(run, "coco")
    content, found = (json.loads(Path(path).read_text()) for path in (truth, results))
    assert found
    assert len(content["images"]) < len({a["sample_id"] for a in content["annotations"]})
    for one in found:
        assert one["score"] == 1.0 and set(one["segmentation"]) == {"size", "counts"}
        mine = {a["category_id"] for a in content["annotations"] if a["sample_id"] == one["sample_id"]}
        assert mine <= {one["category_id"]}
    assert [c["id"] for c in content["categories"]] == list(range(len(content["categories"])))
    assert "|protocol:strict|" in content["info"]["signature"]


def test_a_missing_package_is_named_and_nothing_is_written(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = command("export", run, "--format", "parquet")
    assert done.returncode == 1 and "needs pyarrow: pip install pyarrow" in done.stderr
    assert done.stderr.count("\n") == 1 and not (run / "export").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["/nowhere", "--format", "csv"], 2, "is not a finished run folder"),
        (["{run}", "--format", "xlsx"], 1, "xlsx"),
        (["{run}", "--format", "coco", "--data-root", "/nowhere"], 2, "is not a folder"),
        (["{run}"], 1, "--format"),
    ],
)
def test_mistakes_end_with_one_line(run, words, code, message):
    done = command("export", *(word.format(run=run) for word in words))
    assert (done.returncode, done.stderr.count("\n")) == (code, 1) and message in done.stderr


# ---- scalars ----


def told(folder):
    """(step, value) of every scalar that TensorBoard reads in a folder."""
    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_tensorboard_reads_every_number_and_interval_of_a_run(run):
    done = command("export", run, "--log-to", "tensorboard")
    assert done.returncode == 0, done.stderr
    frame = samtok_eval.load_run(run).metrics_frame()
    expected = {
        f"gres:val/{row.metric}/{row.protocol}{end}": value
        for row in frame.itertuples()
        for value, end in ((row.value, ""), (row.low, "_low"), (row.high, "_high"))
        if not np.isnan(value)
    }
    assert f"logged {len(expected)} numbers of gres:val, " in done.stdout
    (folder,) = (run / "export" / "tensorboard").iterdir()
    found = told(folder)
    assert found.keys() == expected.keys() and 0.1 < expected["gres:val/giou/strict"] < 0.99
    assert {name: points[0] for name, points in found.items()} == {
        # Event files hold 32 bits.
        name: (0, float(np.float32(value)))
        for name, value in expected.items()
    }


def test_checkpoints_of_a_training_are_one_curve_and_other_models_their_own(make_run, tmp_path):
    names = ("RL/checkpoint-40", "RL/checkpoint-20", "org/other")
    runs = [make_run(f"run-{pixels}", shifted(pixels), limit=6) for pixels in (1, 3, 5)]
    for path, name in zip(runs, names, strict=True):
        edit_manifest(path, lambda manifest, name=name: manifest["model"].update(name=name))
    logged = export_scalars(runs, "tensorboard", tmp_path / "all")
    assert [(each.model, each.step) for each in logged] == [("RL", 20), ("RL", 40), ("org/other", 0)]
    late, early, other = (samtok_eval.load_run(path).metrics.protocols["strict"]["giou"].value for path in runs)
    places = {path.name: told(path)["gres:val/giou/strict"] for path in (tmp_path / "all" / "tensorboard").iterdir()}
    assert places == {
        "RL": [(20, pytest.approx(early)), (40, pytest.approx(late))],
        "org__other": [(0, pytest.approx(other))],
    }
    (again,) = export_scalars(runs[2:], "tensorboard", tmp_path / "step", step=7)
    assert told(tmp_path / "step" / "tensorboard" / "org__other")["gres:val/giou/strict"][0][0] == again.step == 7
    with pytest.raises(UsageError, match=r"are both gres:val of RL at step 0; write them into different folders"):
        export_scalars(runs[:2], "tensorboard", tmp_path / "same", step=0)
    assert not (tmp_path / "same").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either --format csv|parquet|coco, or --log-to tensorboard|wandb|mlflow"),
        (["--format", "csv", "--log-to", "wandb"], "give either --format"),
        (["--format", "csv", "--step", "3"], "--step: only with --log-to"),
        (["--log-to", "tensorboard", "--data-root", "."], "--data-root: only with --format coco"),
        (["--log-to", "comet"], "--log-to comet: expected one or several of tensorboard, wandb, mlflow"),
        (["--log-to", "tensorboard", "OTHER"], "several runs are written into one folder; name it with --out DIR"),
        (["--format", "csv", "OTHER", "--out", "x.csv"], "--out x.csv: one file, and 2 runs"),
    ],
)
def test_options_of_an_export_that_do_not_fit_are_refused(tmp_path, words, message):
    done = command("export", tmp_path, *words)
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr
