"""Reconstruction against the script that measures rMaskIoU: reading masks, and IoU of a mask and its decoded one."""

from __future__ import annotations

from pathlib import Path

import pytest

from samtok_eval import masks
from samtok_eval.masks import Rle
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from samtok_eval.sample import ImageRef, Sample, Target
from tests.support.originals import released, write_json

GOLDEN = released("reconstruction")
HEIGHT, WIDTH = GOLDEN["size"]
PAIRS = {name: pair for name, pair in GOLDEN["iou"].items() if not name.startswith("_")}
TASK = load_tasks()["reconstruction"]


def mean_iou(names):
    samples, answers = [], []
    for name in names:
        image = ImageRef(name, Path("none.png"), HEIGHT, WIDTH)
        samples.append(Sample(name, image, (), Target((Rle.from_coco(PAIRS[name]["gt"]),))))
        answers.append(Prediction.model_validate({"id": name, "masks": [PAIRS[name]["prediction"]]}))
    return score(TASK, samples, answers, protocols=["strict"]).metrics["strict"]["giou"]["value"]


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_has_the_iou_that_it_has_there(name):
    # Two empty masks are not a number there, which makes the mean over all masks none; here they are equal.
    expected = 1.0 if PAIRS[name]["nan"] else PAIRS[name]["iou"]
    assert mean_iou([name]) == pytest.approx(expected, abs=1e-6)


def test_the_mean_over_masks_is_that_of_the_script():
    names = [name for name in PAIRS if not PAIRS[name]["nan"]]
    assert mean_iou(names) == pytest.approx(GOLDEN["iou"]["_rMaskIoU_of_all_but_both_empty"], abs=1e-6)


def test_every_kind_of_segmentation_is_read_as_there(tmp_path):
    cases = GOLDEN["decode_mask"]
    write_json(tmp_path / "entityseg" / "entitysef_val_lr.json", {
        "images": [{"id": 7, "file_name": "7.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [{"id": i, "image_id": 7, "segmentation": case["segmentation"]}
                        for i, case in enumerate(cases.values())],
    })  # fmt: skip
    samples = TASK.read(tmp_path, "entityseg")
    assert [masks.area(sample.target.masks[0]) for sample in samples] == [case["area"] for case in cases.values()]
    assert [(sample.id, sample.image.path) for sample in samples[:2]] == [
        ("0", tmp_path / "entityseg" / "entity_lr" / "7.jpg"),
        ("1", tmp_path / "entityseg" / "entity_lr" / "7.jpg"),
    ]
