"""GCG arithmetic: COCO's tie order, pair-only IoU, the recall loop that stops; equality with COCO's own evaluation."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from samtok_eval import masks
from samtok_eval.metrics.gcg import average_precision, detections, iou_matrix, pairs, recalled


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

    def random_mask():
        x, y = rng.integers(0, 12, 2)
        mask = np.zeros((20, 20), dtype=bool)
        mask[y : y + rng.integers(3, 8), x : x + rng.integers(3, 8)] = True
        return masks.encode(mask)

    names = [f"img_{i}" for i in rng.permutation(30)]
    truths = {name: [random_mask() for _ in range(rng.integers(1, 5))] for name in names}
    answers = {}
    for name in names:
        own = [rle for rle in truths[name] if rng.random() < 0.6] + [random_mask() for _ in range(rng.integers(0, 4))]
        answers[name] = [own[i] for i in rng.permutation(len(own))]
    hits, count = [], 0
    for name in sorted(names):
        hits += detections(iou_matrix(truths[name], answers[name]))
        count += len(truths[name])
    assert average_precision(hits, count) == pytest.approx(coco_ap50(truths, answers), abs=1e-12)


def coco_ap50(truths, answers):
    """COCO's evaluation with every score 1."""
    rows = [{"image_id": name, "category_id": 1, "segmentation": rle.to_coco(), "area": masks.area(rle), "iscrowd": 0}
            for name, several in truths.items() for rle in several]  # fmt: skip
    found = [{"image_id": name, "category_id": 1, "segmentation": rle.to_coco(), "score": 1.0}
             for name, several in answers.items() for rle in several]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = {"images": [{"id": name, "height": 20, "width": 20} for name in truths], "categories": [{"id": 1}],
                      "annotations": [{**row, "id": i + 1} for i, row in enumerate(rows)]}  # fmt: skip
        gt.createIndex()
        run = COCOeval(gt, gt.loadRes(found), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[1]
