"""GCG arithmetic: COCO's tie order, pair-only IoU, the recall loop that stops; equality with COCO's own evaluation."""

from __future__ import annotations

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from samtok_eval import masks
from samtok_eval.metrics.gcg import average_precision, iou_matrix, pairs, ranked_detections, recalled
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from tests.support.originals import write_json


def always(row, column):
    return True


@pytest.mark.parametrize(
    ("hits", "truths", "expected"),
    [
        # Three pictures, each with a hit and a false mask: the order of mention decides.
        ([1, 0] * 3, 3, 0.756),
        ([0, 1] * 3, 3, 0.500),
        # A picture with two false masks and a missed object, last and first.
        ([1, 1, 0, 0], 3, 0.663),
        ([0, 0, 1, 1], 3, 0.332),
        ([1], 1, 1.0),
        ([0], 1, 0.0),
        ([], 1, 0.0),
    ],
)
def test_average_precision_depends_on_the_order_of_mention(hits, truths, expected):
    assert average_precision(hits, truths) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[0.9], [0], [0], [0], [0]], [0.9]),
        ([[0.9, 0, 0], [0, 0.4, 0], [0, 0, 0.1]], [0.9, 0.4, 0.1]),
        ([[0.6, 0.5], [0.5, 0]], [0.6]),
        ([[0.0]], []),
        (np.zeros((2, 0)), []),
    ],
)
def test_pairs_are_greedy_and_leave_misses_out(matrix, expected):
    assert pairs(np.array(matrix, dtype=float)) == expected


def test_fewer_surer_masks_score_higher_on_pairs():
    assert np.mean(pairs(np.array([[0.9], [0], [0], [0], [0]]))) == 0.9
    assert np.mean(pairs(np.array([[0.9, 0, 0], [0, 0.4, 0], [0, 0, 0.1]]))) == pytest.approx(0.467, abs=5e-4)


def test_the_official_recall_stops_at_the_first_pair_whose_words_differ():
    matrix = np.array([[0.9, 0], [0, 0.8]])

    def second_only(row, column):
        return (row, column) == (1, 1)

    assert recalled(matrix, second_only, stops=True) == 0
    assert recalled(matrix, second_only, stops=False) == 1
    assert recalled(matrix, always, stops=True) == 2
    assert recalled(np.array([[0.49]]), always, stops=False) == 0


def test_empty_masks_overlap_with_nothing():
    empty = masks.empty(4, 4)
    assert iou_matrix([empty], [empty]).tolist() == [[0.0]]
    assert iou_matrix([], [empty]).shape == (0, 1)


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_equals_coco(seed):
    rng = np.random.default_rng(seed)

    names = [f"img_{i}" for i in rng.permutation(30)]
    truths = {name: [random_mask(rng) for _ in range(rng.integers(1, 5))] for name in names}
    answers = {}
    for name in names:
        own = [rle for rle in truths[name] if rng.random() < 0.6] + [
            random_mask(rng) for _ in range(rng.integers(0, 4))
        ]
        answers[name] = [own[i] for i in rng.permutation(len(own))]
    hits, count = [], 0
    for name in sorted(names):
        matrix = iou_matrix(truths[name], answers[name])
        hits += ranked_detections(matrix, np.zeros((0, matrix.shape[1])), [True] * len(matrix))
        count += len(truths[name])
    assert average_precision(hits, count) == pytest.approx(coco_ap50(truths, answers), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_official_average_precision_equals_coco_with_crowds_and_a_second_category(seed, tmp_path):
    rng = np.random.default_rng(100 + seed)
    ids = [int(i) for i in rng.permutation(200)[:25]] if seed % 2 else [f"sa_{i}" for i in rng.permutation(200)[:25]]
    rows = []
    for name in ids:
        for _ in range(rng.integers(1, 6)):
            rle = random_mask(rng)
            rows.append({"id": len(rows), "image_id": name, "segmentation": rle.to_coco(), "area": masks.area(rle),
                         "iscrowd": int(rng.random() < 0.3), "category_id": 1 + int(rng.random() < 0.2)})  # fmt: skip
    images = [{"id": name, "height": 20, "width": 20, "file_name": f"{name}.jpg"} for name in ids]
    truth = {"images": images, "categories": [{"id": 1}, {"id": 2}], "annotations": rows}
    captions = [{"id": i, "image_id": name, "caption": "a", "labels": []} for i, name in enumerate(ids)]
    write_json(tmp_path / "gcg" / "val_gcg_coco_mask_gt.json", truth)
    write_json(tmp_path / "gcg" / "val_gcg_coco_caption_gt.json", {"images": images, "annotations": captions})
    answers = {}
    for name in ids:
        own = [r["segmentation"] for r in rows if r["image_id"] == name and rng.random() < 0.7]
        answers[name] = own + [random_mask(rng).to_coco() for _ in range(rng.integers(0, 4))]
    gcg = load_tasks()["gcg"]
    samples = gcg.read(tmp_path, "val")
    records = [gcg.score(s, Prediction(id=s.id, text="", phrases=[], masks=answers[ids_of(ids, s.id)]),
                         gcg.protocol("official")) for s in samples]  # fmt: skip
    found = [{"image_id": name, "category_id": 1, "segmentation": rle, "score": 1.0}
             for name in ids for rle in answers[name]]  # fmt: skip
    assert gcg.metrics(records, "official")["ap50"].value == pytest.approx(coco_evaluation(truth, found), abs=1e-12)


def ids_of(ids, text):
    return next(name for name in ids if str(name) == text)


def random_mask(rng):
    x, y = rng.integers(0, 12, 2)
    mask = np.zeros((20, 20), dtype=bool)
    mask[y : y + rng.integers(3, 8), x : x + rng.integers(3, 8)] = True
    return masks.encode(mask)


def coco_ap50(truths, answers):
    """COCO's evaluation with every score 1."""
    rows = [{"image_id": name, "category_id": 1, "segmentation": rle.to_coco(), "area": masks.area(rle), "iscrowd": 0}
            for name, several in truths.items() for rle in several]  # fmt: skip
    found = [{"image_id": name, "category_id": 1, "segmentation": rle.to_coco(), "score": 1.0}
             for name, several in answers.items() for rle in several]  # fmt: skip
    images = [{"id": name, "height": 20, "width": 20} for name in truths]
    annotations = [{**row, "id": i + 1} for i, row in enumerate(rows)]
    return coco_evaluation({"images": images, "categories": [{"id": 1}], "annotations": annotations}, found)


def coco_evaluation(truth, found):
    """COCO's average precision at IoU 0.5 of category 1."""
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = copy.deepcopy(truth)
        gt.createIndex()
        run = COCOeval(gt, gt.loadRes(found), "segm")
        run.params.catIds = [1]
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[1]
