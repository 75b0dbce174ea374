"""Three real photographs with sentences written for them, from the benchmarks' own files to numbers and a page.

The bundled checkpoint and mask tokenizer have seen drawn scenes alone, so its numbers here are low and nothing but
their order is tested; answers that are right or wrong by hand give the numbers that they must.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from samtok_eval import evaluate, masks
from samtok_eval.registry import load_tasks
from samtok_eval.reports.page.page import write_reports
from tests.support.command import command

PHOTOGRAPHS = Path(__file__).parents[1] / "golden" / "photographs"
CHECKPOINT = {"device": "cpu", "dtype": "fp32"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The data root with RefCOCO's files of the sentences about one object."""
    root = tmp_path_factory.mktemp("photographs") / "data"
    shutil.copytree(PHOTOGRAPHS, root)
    refs = json.loads((root / "grefcoco" / "grefs(unc).json").read_text())
    one = [
        ref | {name: ref[name][0] for name in ("ann_id", "category_id")}
        for ref in refs
        if len(ref["ann_id"]) == 1 and not ref["no_target"]
    ]
    (root / "refcoco").mkdir()
    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(one, protocol=2))
    shutil.copy(root / "grefcoco" / "instances.json", root / "refcoco")
    return root


@pytest.fixture(scope="module")
def runs(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("photograph_runs")
    return {
        model: evaluate("gres", model=model, data_root=str(root), out=out, **CHECKPOINT)
        for model in ("demo", "oracle", "random")
    }


def test_targets_are_coco_s_polygons_as_pycocotools_draws_them(root):
    samples = load_tasks()["gres"].read(root, "val")
    assert len(samples) == 24
    assert [sum(len(s.target.masks) == count for s in samples) for count in range(4)] == [6, 15, 2, 1]
    content = json.loads((root / "grefcoco" / "instances.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    drawn = {
        row["id"]: coco.decode(coco.merge(coco.frPyObjects(row["segmentation"], *sizes[row["image_id"]])))
        for row in content["annotations"]
    }
    refs = json.loads((root / "grefcoco" / "grefs(unc).json").read_text())
    meant = {f"{ref['ref_id']}-{sent['sent_id']}": ref["ann_id"] for ref in refs for sent in ref["sentences"]}
    for sample in samples:
        expected = [drawn[number] for number in meant[sample.id] if number != -1]
        assert all(np.array_equal(masks.decode(m), e) for m, e in zip(sample.target.masks, expected, strict=True))


def test_refcoco_holds_the_sentences_about_one_object(root):
    gres, refcoco = (load_tasks()[name].read(root, "val") for name in ("gres", "refcoco"))
    single = {sample.id: sample for sample in gres if len(sample.target.masks) == 1}
    assert {sample.id for sample in refcoco} == set(single)
    assert all(sample.target.masks == single[sample.id].target.masks for sample in refcoco)


def test_the_checkpoint_stays_below_its_ceiling(runs):
    values = {model: {name: entry["value"] for name, entry in run.values("strict").items()}
              for model, run in runs.items()}  # fmt: skip
    for metric in ("ciou", "giou", "n_acc", "t_acc"):
        assert 0 <= values["demo"][metric] <= values["oracle"][metric] <= 1
    assert values["oracle"]["n_acc"] == values["oracle"]["t_acc"] == 1
    for run in runs.values():
        counters = run.metrics.counters
        assert (counters.scored, counters.errored) == (24, 0)


def test_the_page_shows_the_photographs_and_what_was_asked(runs):
    page = write_reports([runs["demo"].path, runs["oracle"].path, runs["random"].path])[0].read_text()
    asked = json.loads((PHOTOGRAPHS / "grefcoco" / "grefs(unc).json").read_text())
    sentences = [sentence["sent"].lower() for ref in asked for sentence in ref["sentences"]]
    assert sum(sentence in page for sentence in sentences) > len(sentences) / 3
    assert len(re.findall(r"data:image/(?:jpeg|png|webp);base64,", page)) >= 3


@pytest.mark.parametrize(("task", "split"), [("gres", "val"), ("refcoco", "val")])
def test_right_answers_are_worth_everything_and_half_of_them_half(root, tmp_path, task, split):
    """Masks of a program that is right, and of one that answers every second question with the whole picture."""
    samples = load_tasks()[task].read(root, split)

    def scored(name, answer):
        lines = [{"id": s.id, "masks": [m.to_coco() for m in answer(i, s)]} for i, s in enumerate(samples)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        done = command("score", "--task", task, "--data-root", root, "--predictions", tmp_path / f"{name}.jsonl",
                       "--out", tmp_path / name)  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = next((tmp_path / name).rglob("metrics.json"))
        return {key: entry["value"] for key, entry in json.loads(found.read_text())["strict"].items()}

    right = scored("right", lambda _, sample: sample.target.masks)
    assert right["ciou"] == right["giou"] == 1
    # A target's union is what it covers; of the whole picture it is a share, and a sentence without a target fails.
    areas = [np.any([masks.decode(m) for m in s.target.masks], axis=0).sum() if s.target.masks else 0 for s in samples]
    pixels = [s.image.height * s.image.width for s in samples]
    expected = [1.0 if i % 2 else area / whole for i, (area, whole) in enumerate(zip(areas, pixels, strict=True))]
    whole = [masks.encode(np.ones((s.image.height, s.image.width), dtype=bool)) for s in samples]
    half = scored("half", lambda i, sample: sample.target.masks if i % 2 else (whole[i],))
    assert half["giou"] == pytest.approx(np.mean(expected), abs=1e-12)
    unions = [area if i % 2 else p for i, (area, p) in enumerate(zip(areas, pixels, strict=True))]
    assert half["ciou"] == pytest.approx(sum(map(int, areas)) / sum(map(int, unions)), abs=1e-12)
