"""GroundingSuite: classes and totals, missing answers by protocol, boxes, and the real file."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.metrics.boxes import box_iou
from samtok_eval.prediction import Prediction
from samtok_eval.prediction_log import PredictionLog
from samtok_eval.registry import load_tasks
from samtok_eval.reports.runs import read_scored
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.score import score
from samtok_eval.run.settings import RunOptions
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
    assert values(found, "official")["giou"] == 0.75
    assert found.metrics["official"]["giou"]["n"] == 2
    assert found.metrics["counters"]["missing"] == 1
    assert [row["idx"] for row in found.exports["predictions.json"]] == [0, 1, 2]
    assert found.exports["predictions.json"][0]["predicted_box"] == [0, 0, 4, 4]
    assert found.exports["predictions.json"][2]["predicted_box"] is None
    assert found.exports["predictions.json"][2]["predicted_segmentation"] is None


def test_exported_answers_score_the_same_when_read_back(tmp_path, task):
    write(tmp_path, [line(0), line(1)])
    samples = task.read(tmp_path, "eval")
    first = score(task, samples, [Prediction(id="0", masks=[rle(1, 0, 4, 4), rle(0, 4, 2, 2)])])
    again = score(task, samples, task.foreign(first.exports["predictions.json"]))
    assert values(again, "strict") == values(first, "strict")


def test_a_file_of_boxes_alone_has_no_metric_of_masks(tmp_path, task):
    write(tmp_path, [line(0), line(1)])
    content = [{"idx": 0, "predicted_box": [0, 0, 4, 4]}, {"idx": 1, "predicted_box": [5, 5, 8, 8]}]
    found = score(task, task.read(tmp_path, "eval"), task.foreign(content))
    for protocol in ("strict", "official", "samtok"):
        assert values(found, protocol) == {"box_acc@0.5": 0.5}


def test_a_box_beside_a_mask_is_scored_instead_of_the_masks_own(tmp_path, task):
    write(tmp_path, [line(0), line(1)])
    content = [
        {"idx": 0, "predicted_segmentation": rle(0, 0, 4, 4), "predicted_box": [5, 5, 8, 8]},
        {"idx": 1, "predicted_segmentation": rle(0, 0, 4, 4), "predicted_box": None},
    ]
    found = score(task, task.read(tmp_path, "eval"), task.foreign(content))
    for protocol in ("strict", "official", "samtok"):
        assert values(found, protocol)["box_acc@0.5"] == 0.0
        assert values(found, protocol)["giou"] == 1.0


def test_without_any_box_only_official_counts_the_boxes_of_the_scorers_own_file_as_wrong(tmp_path, task):
    write(tmp_path, [line(0)])
    samples = task.read(tmp_path, "eval")
    found = score(task, samples, task.foreign([{"idx": 0, "predicted_segmentation": rle(0, 0, 4, 4)}]))
    assert {p: values(found, p)["box_acc@0.5"] for p in ("strict", "official", "samtok")} == {
        "strict": 1.0, "official": 0.0, "samtok": 1.0,
    }  # fmt: skip
    # Masks of any other origin are exported with their boxes, so the official scorer would find them.
    found = score(task, samples, [Prediction(id="0", masks=[rle(0, 0, 4, 4)])])
    assert values(found, "official")["box_acc@0.5"] == 1.0


def test_the_last_line_of_an_idx_holds_and_a_foreign_idx_is_left_out_with_a_word(tmp_path, task, caplog):
    write(tmp_path, [line(0), line(1)])
    content = [
        {"idx": 0, "predicted_segmentation": rle(4, 4, 4, 4)},
        {"idx": 99, "predicted_segmentation": rle(0, 0, 4, 4)},
        {"idx": 1.0, "predicted_segmentation": rle(0, 0, 4, 4)},
        {"idx": 0, "predicted_segmentation": rle(0, 0, 4, 4)},
        {"image_path": "unlabeled2017/0.jpg", "predicted_segmentation": rle(4, 4, 4, 4)},
    ]
    found = score(task, task.read(tmp_path, "eval"), task.foreign(content))
    assert values(found, "strict")["giou"] == 1.0
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 5 lines have no idx and are left out",
        "1 lines are repeated; the last of each holds",
        "1 lines belong to no sentence and are left out, '99' first",
    ]


def test_without_idx_one_line_answers_every_sentence_of_its_picture(tmp_path, task):
    write(tmp_path, [line(0), line(1, image_path="unlabeled2017/0.jpg", segmentation=rle(0, 0, 2, 4)), line(2)])
    content = [{"image_path": "unlabeled2017/0.jpg", "predicted_segmentation": rle(0, 0, 4, 4)}]
    found = score(task, task.read(tmp_path, "eval"), task.foreign(content))
    assert found.metrics["official"]["giou"]["value"] == 0.75
    assert found.metrics["official"]["giou"]["n"] == 2
    assert found.metrics["strict"]["giou"]["value"] == 0.5


def test_a_line_of_its_own_and_a_nested_box_are_read_as_the_released_script_writes_them(task):
    (found,) = task.foreign({"idx": 3, "predicted_box": [[0, 0, 4, 4]], "predicted_segmentation": rle(0, 0, 4, 4)})
    assert (found.id, found.box) == ("3", (0, 0, 4, 4))


def test_lines_of_other_programs_may_bring_a_box_too_and_an_own_log_never_does(tmp_path, task):
    write(tmp_path, [line(0), line(1)])
    lines = tmp_path / "boxes.jsonl"
    lines.write_text('{"id": "0", "box": [0, 0, 4, 4]}\n{"id": "1", "box": [4, 4, 8, 8]}\n')
    options = RunOptions(task="grounding_suite", data_root=str(tmp_path), out=tmp_path / "out")
    assert score_file(options, lines).values("strict")["box_acc@0.5"]["value"] == 0.5
    with PredictionLog(tmp_path / "part-0.jsonl") as log:
        log.append(Prediction(id="0", text="", box=(0, 0, 4, 4)))
    assert "box" not in json.loads((tmp_path / "part-0.jsonl").read_text())


def test_an_answer_without_a_mask_is_the_zero_mask_that_the_released_script_writes(tmp_path, task):
    write(tmp_path, [line(0), line(1)])
    answers = [Prediction(id="0", masks=[rle(0, 0, 4, 4)]), Prediction(id="1", text="No target.", status="no_mask")]
    found = score(task, task.read(tmp_path, "eval"), answers)
    assert values(found, "official")["giou"] == values(found, "official")["box_acc@0.5"] == 0.5
    assert found.exports["predictions.json"][1] == {
        "idx": 1, "image_path": "unlabeled2017/1.jpg", "predicted_box": [0, 0, 0, 0],
        "predicted_segmentation": rle(0, 0, 0, 0),
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        [{"idx": 0, "predicted_box": [4, 4, 8, 8], "predicted_segmentation": rle(0, 0, 4, 4)}, {"idx": 1}],
        [{"idx": 0, "predicted_box": [0, 0, 4, 4]}, {"idx": 1, "predicted_box": None}],
    ],
    ids=["masks and boxes", "boxes alone"],
)
def test_the_scorers_own_files_are_exported_as_they_came(tmp_path, task, content):
    write(tmp_path, [line(0), line(1)])
    samples = task.read(tmp_path, "eval")
    first = score(task, samples, task.foreign(content))
    again = score(task, samples, task.foreign(first.exports["predictions.json"]))
    assert again.metrics == first.metrics


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"idx": 7, "predicted_box": [0, 0, 4, 4]}], "none of 1 lines belongs to a sentence, '7' first"),
        ([{"idx": 0, "predicted_box": [0, 0, 4]}], "idx 0: predicted_box must be x1 y1 x2 y2, got"),
        ([{"idx": 0, "predicted_box": [[0, 0, 4, 4], [0, 0, 1, 1]]}], "idx 0: predicted_box must be x1 y1 x2 y2, got"),
        ([{"idx": 0, "predicted_box": [0, 0, 4, float("nan")]}], "idx 0: predicted_box must be x1 y1 x2 y2, got"),
        ([{"image_path": "a.jpg", "segmentation": "x"}], "image_path a.jpg: predicted_segmentation must be an RLE"),
        ([{"idx": 0, "predicted_segmentation": {"size": [4, 4], "counts": "`0"}}], "made for other pictures"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused(tmp_path, task, content, message):
    write(tmp_path, [line(0)])
    with pytest.raises(DataError, match=message):
        score(task, task.read(tmp_path, "eval"), task.foreign(content))


def test_a_file_without_any_mask_or_box_is_refused(tmp_path, task):
    write(tmp_path, [line(0)])
    path = tmp_path / "predictions.jsonl"
    path.write_text('{"idx": 0, "predicted_box": [], "predicted_segmentation": null}\n')
    options = RunOptions(task="grounding_suite", data_root=str(tmp_path), out=tmp_path / "out")
    with pytest.raises(DataError, match="holds no answer that grounding_suite could score"):
        score_file(options, path)


def test_lines_of_the_official_scorer_are_read_from_its_file(tmp_path, task):
    write(tmp_path, [line(0), line(1)])
    path = tmp_path / "predictions.jsonl"
    path.write_text('{"idx": 0, "predicted_box": [0, 0, 4, 4]}\n{"idx": 1, "predicted_box": null}\n')
    options = RunOptions(task="grounding_suite", data_root=str(tmp_path), out=tmp_path / "out")
    run = score_file(options, path)
    assert {name: entry["value"] for name, entry in run.values("official").items()} == {"box_acc@0.5": 0.5}
    assert read_scored(run.path).metrics("official").keys() == {"box_acc@0.5"}


def test_files_of_other_programs_keep_to_the_ids_of_the_benchmark(tmp_path, task):
    write(tmp_path, [line(0)])
    with pytest.raises(DataError, match="'99' belongs to no sample"):
        score(task, task.read(tmp_path, "eval"), [Prediction(id="99", masks=[])])


@pytest.mark.parametrize("content", [[], [1], {"id": "0"}, [{"id": "0", "masks": []}], [{"idx": 0}, {"id": "1"}]])
def test_other_formats_are_left_to_others(task, content):
    assert task.foreign(content) is None


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
        ({"caption": ...}, "'caption' is missing"),
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
