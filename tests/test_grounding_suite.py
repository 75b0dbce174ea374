"""GroundingSuite: classes and totals, missing answers by protocol, boxes, and the real file."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.evaluation import RunOptions, score_file
from samtok_eval.metrics.boxes import box_iou
from samtok_eval.prediction import Prediction
from samtok_eval.score import score
from samtok_eval.task import load_tasks
from tests.conftest import shared


@pytest.fixture(scope="module")
def task():
    return load_tasks()["grounding_suite"]


def rle(x, y, width, height, side=8):
    mask = np.zeros((side, side), dtype=bool)
    mask[y : y + height, x : x + width] = True
    return masks.encode(mask).to_coco()


def line(idx, kind=4, **changes):
    row = {"idx": idx, "image_path": f"unlabeled2017/{idx}.jpg", "class_id": kind, "label": "x", "caption": "A thing.",
           "box": [0, 0, 4, 4], "segmentation": rle(0, 0, 4, 4)}  # fmt: skip
    return {**row, **changes}


def write(root, rows):
    (root / "grounding_suite").mkdir()
    path = root / "grounding_suite" / "GroundingSuite-Eval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def values(found, protocol):
    return {name: entry["value"] for name, entry in found.metrics[protocol].items()}


def test_missing_answers_are_zero_in_strict_and_left_out_in_official(tmp_path, task):
    write(tmp_path, [line(0, 1), line(1, 2), line(2, 4), line(3, 4)])
    samples = task.read(tmp_path, "eval")
    content = [
        {"idx": 0, "predicted_segmentation": rle(0, 0, 4, 4)},
        {"idx": 1, "predicted_segmentation": rle(0, 0, 2, 4)},
        {"idx": 2, "predicted_segmentation": None},
    ]
    found = score(task, samples, task.foreign(content))
    assert values(found, "strict") == {
        "giou": 1.5 / 4, "ciou": 24 / 64, "box_acc@0.5": 0.5, "giou_stuff": 1.0, "giou_part": 0.5, "giou_single": 0.0,
    }  # fmt: skip
    assert values(found, "official")["giou"] == 0.5
    assert found.metrics["official"]["giou"]["n"] == 3
    assert found.metrics["counters"]["missing"] == 1
    assert [row["idx"] for row in found.exports["predictions.json"]] == [0, 1, 2]
    assert found.exports["predictions.json"][0]["predicted_box"] == [0, 0, 4, 4]
    assert found.exports["predictions.json"][2]["predicted_box"] == [0, 0, 0, 0]


def test_exported_answers_score_the_same_when_read_back(tmp_path, task):
    write(tmp_path, [line(0), line(1)])
    samples = task.read(tmp_path, "eval")
    first = score(task, samples, [Prediction(id="0", masks=[rle(1, 0, 4, 4), rle(0, 4, 2, 2)])])
    again = score(task, samples, task.foreign(first.exports["predictions.json"]))
    assert values(again, "strict") == values(first, "strict")


def test_both_empty_is_zero_as_in_the_official_scorer(tmp_path, task):
    write(tmp_path, [line(0, segmentation=rle(0, 0, 0, 0))])
    found = score(task, task.read(tmp_path, "eval"), [Prediction(id="0", text="No target.")])
    for protocol in ("strict", "official", "samtok"):
        assert values(found, protocol)["giou"] == 0.0


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1.0),
        ((0, 0, 4, 4), (2, 0, 6, 4), 8 / 24),
        ((0, 0, 4, 4), (4, 4, 8, 8), 0.0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),
    ],
)
def test_box_iou(first, second, expected):
    assert box_iou(first, second) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_id": 7}, "class_id must be one of"),
        ({"segmentation": {"size": [8, 8], "counts": [3]}}, "must sum to"),
        ({"box": [1, 2]}, "GroundingSuite-Eval.jsonl:1"),
        ({"caption": ...}, "lacks 'caption'"),
    ],
)
def test_broken_lines_say_which_and_why(tmp_path, task, change, message):
    write(tmp_path, [{key: value for key, value in line(0, **change).items() if value is not ...}])
    with pytest.raises(DataError, match=message):
        task.read(tmp_path, "eval")


def test_a_result_that_is_no_mask_is_refused(task):
    with pytest.raises(DataError, match="idx 0: predicted_segmentation must be an RLE"):
        task.foreign([{"idx": 0, "predicted_segmentation": [1, 2]}])


def test_the_real_file_has_its_classes_and_its_own_masks_score_one(tmp_path, task):
    path = shared("data", "grounding_suite", "GroundingSuite-Eval.jsonl")
    root = path.parents[1]
    samples = task.read(root, "eval")
    counts = Counter(sample.slices["class"] for sample in samples)
    assert counts == {"stuff": 1011, "part": 455, "multi": 769, "single": 1480}
    perfect = tmp_path / "perfect.jsonl"
    perfect.write_text(
        "".join(json.dumps({"id": s.id, "masks": [m.to_coco() for m in s.target.masks]}) + "\n" for s in samples)
    )
    options = RunOptions(task="grounding_suite", data_root=str(root), out=tmp_path / "out")
    strict = score_file(options, perfect).values("strict")
    assert strict["giou"]["value"] == strict["ciou"]["value"] == 1.0
    assert all(strict[f"giou_{name}"]["value"] == 1.0 for name in counts)
    assert strict["box_acc@0.5"]["value"] > 0.99
    empty = tmp_path / "empty.jsonl"
    empty.write_text("".join(json.dumps({"id": s.id, "text": ""}) + "\n" for s in samples))
    assert score_file(options, empty).values("strict")["giou"]["value"] == 0.0
