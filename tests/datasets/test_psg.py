"""The reader of PSG: masks out of panoptic PNGs, relations, splits, and broken files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from samtok_eval import masks
from samtok_eval.datasets.psg import read_psg
from samtok_eval.errors import DataError
from samtok_eval.sample import ImageRef
from tests.support.scene_graphs import (
    PREDICATES,
    TASK,
    rows,
)


def test_masks_are_where_the_png_encodes_the_segment_id(tmp_path):
    write(tmp_path, [row()])
    graph = read_psg(tmp_path, "test")[0]
    assert graph.image == ImageRef("7", tmp_path / "coco" / "val2017" / "7.jpg", 4, 4)
    assert [masks.decode(mask).tolist() for mask in graph.target.masks] == [rows(r).tolist() for r in range(3)]
    assert graph.target.labels == ("person", "dog", "grass-merged")
    assert graph.target.predicates == PREDICATES


def test_exact_duplicates_are_dropped_and_several_predicates_of_a_pair_kept(tmp_path):
    write(tmp_path, [row(relations=[[0, 1, 0], [0, 1, 0], [0, 1, 2], [1, 0, 0]])])
    triplets = read_psg(tmp_path, "test")[0].target.triplets
    assert triplets == ((0, "beside", 1), (0, "over", 1), (1, "beside", 0))


def test_splits_follow_the_test_ids_and_pictures_without_relations_are_left_out(tmp_path):
    several = [row(image_id="7"), row(image_id="8"), row(image_id="9", relations=[]), row(image_id=10)]
    write(tmp_path, several, test_image_ids=["8", "9", "10"])
    assert [s.id for s in TASK.read(tmp_path, "test")] == ["8", "10"]
    assert [s.id for s in TASK.read(tmp_path, "train")] == ["7"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relations": [[0, 3, 0]]}, "names segment 3, but there are 3"),
        ({"relations": [[0, 1, 4]]}, "names predicate 4, but there are 4"),
        ({"relations": [[0, 1]]}, "not PSG's own file"),
        ({"relations": []}, "no picture with relations in split 'test'"),
        ({"segments_info": [{"id": 5, "category_id": 4}] * 2}, "names class 4, but there are 4"),
        ({"segments_info": [{"id": 5, "category_id": 0}] * 2}, "has no segment 5"),
        ({"segments_info": [{"id": 5}]}, "'category_id' is missing"),
        ({"height": 5}, "is 4x4, its annotations say 5x4"),
        ({"pan_seg_file_name": "panoptic_val2017/none.png"}, "none.png is missing; unpack COCO's panoptic"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path, change, message):
    write(tmp_path, [row(**change)])
    with pytest.raises(DataError, match=message):
        read_psg(tmp_path, "test")


def test_a_broken_png_is_named(tmp_path):
    write(tmp_path, [row()])
    (tmp_path / "coco" / "panoptic_val2017" / "7.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError, match=r"7\.png cannot be read"):
        read_psg(tmp_path, "test")


def row(**changes):
    item = {
        "file_name": "val2017/7.jpg",
        "pan_seg_file_name": "panoptic_val2017/7.png",
        "height": 4,
        "width": 4,
        "image_id": "7",
        "segments_info": [{"id": i, "category_id": c, "isthing": 1} for c, i in enumerate((1, 300, 70000))],
        "annotations": [{"bbox": [0, 0, 3, 0], "category_id": 0}],
        "relations": [[0, 1, 0]],
    }
    return {**item, **changes}


def write(root, data, test_image_ids=("7",)):
    content = {
        "data": data,
        "test_image_ids": list(test_image_ids),
        "thing_classes": ["person", "dog"],
        "stuff_classes": ["grass-merged", "sky-other-merged"],
        "predicate_classes": list(PREDICATES),
    }
    folder = root / "coco" / "panoptic_val2017"
    folder.mkdir(parents=True)
    (root / "psg").mkdir()
    (root / "psg" / "psg.json").write_text(json.dumps(content))
    # 1 = (1, 0, 0), 300 = 44 + 256, 70000 = 112 + 17 * 256 + 65536.
    colors = np.array([[1, 0, 0], [44, 1, 0], [112, 17, 1], [0, 0, 0]], dtype=np.uint8)
    Image.fromarray(np.repeat(colors[:, None], 4, axis=1)).save(folder / "7.png")
