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

import samtok_eval
from samtok_eval import masks
from samtok_eval.mask_tokens import render
from tests.conftest import right, shifted
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
