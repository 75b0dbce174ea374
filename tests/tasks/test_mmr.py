"""MMR: how its file is read, and which masks are matched."""

from __future__ import annotations

import json

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.datasets.mmr import read_mmr
from samtok_eval.errors import DataError
from samtok_eval.metrics.matching import matched


def rle(*columns, side=4):
    mask = np.zeros((side, side), dtype=bool)
    mask[:, list(columns)] = True
    return masks.encode(mask)


def read(root, *answers, **changes):
    rows = [{"segmentation": answer} for answer in answers]
    entry = {"file_name": "val2017/1.jpg", "questions": [" Which? "], "answers": [rows]} | changes
    path = root / "MMR_val.json"
    path.write_text(json.dumps([entry]))
    return read_mmr(path, root)


def test_the_parts_of_a_mask_are_united_and_added_up(tmp_path):
    question = read(tmp_path, [rle(0, 1).to_coco(), rle(1, 2).to_coco()], rle(3).to_coco())[0]
    assert (question.id, question.text, question.image.path) == ("0-0", "Which?", tmp_path / "val2017" / "1.jpg")
    assert question.objects == (rle(0, 1, 2), rle(3))
    assert question.summed == (rle(0, 2), rle(3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questions": []}, "not MMR's own file"),
        ({"answers": [[{}]]}, "'segmentation' is missing"),
        ({"answers": [[{"segmentation": []}]]}, "must hold a mask"),
        ({"answers": [[{"segmentation": [rle(0).to_coco(), rle(0, side=5).to_coco()]}]]}, "several sizes"),
        ({"answers": [[]]}, "is missing, and its size is needed"),
        ({"file_name": "../1.jpg"}, "file name"),
    ],
)  # fmt: skip
def test_broken_files_say_what_is_wrong(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, rle(0).to_coco(), **changes)


def test_a_file_without_questions_is_refused(tmp_path):
    (tmp_path / "MMR_val.json").write_text("[]")
    with pytest.raises(DataError, match="has no question"):
        read_mmr(tmp_path / "MMR_val.json", tmp_path)


def test_masks_are_matched_for_the_largest_sum_of_ious():
    # The first answer fits both masks by 3/5, the second one of them by a half and the other not at all.
    truth, answer = [rle(0, 1, 2, 3, side=8), rle(2, 3, 4, 5, side=8)], [rle(1, 2, 3, 4, side=8), rle(0, 1, side=8)]
    pairs = matched(truth, [*answer, rle(7, side=8)])
    assert (pairs.inter, pairs.union, pairs.surplus) == ([16, 24], [32, 40], [8])


def test_without_an_answer_every_mask_is_missed():
    assert matched([rle(0), rle(1, 2)], []) == ([0, 0], [4, 8], [])
    assert matched([], [rle(0)]) == ([], [], [4])
