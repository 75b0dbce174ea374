"""ReasonSeg: which files are read how, and the demo's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from samtok_eval import masks
from samtok_eval.demo.world.scenes import draw_scene
from samtok_eval.errors import DataError
from samtok_eval.registry import load_tasks

TASK = load_tasks()["reasonseg"]
SQUARE = [[1, 1], [3, 1], [3, 3], [1, 3]]


def write(root, name="a", encoding="utf-8", **changes):
    folder = root / "reasonseg" / "val"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(folder / f"{name}.jpg")
    shapes = [{"label": "target", "points": SQUARE}]
    content = {"shapes": shapes, "text": ["Where?", "Why?"], "is_sentence": True} | changes
    (folder / f"{name}.json").write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    return folder


def test_pictures_come_by_name_and_are_asked_with_their_first_wording(tmp_path):
    write(tmp_path, "b", text=["The Cup"], is_sentence=False)
    write(tmp_path, "a")
    first, second = TASK.read(tmp_path, "val")
    assert [first.id, second.id] == ["a", "b"]
    assert first.turns[0].text == "Where? Please output segmentation mask."
    assert second.turns[0].text == "Can you segment the the cup in this image?"
    assert [first.slices["query"], second.slices["query"]] == ["long", "short"]
    assert (first.image.height, first.image.width, masks.area(first.target.masks[0])) == (6, 8, 9)


def test_files_that_are_not_utf_8_are_cp1252(tmp_path):
    write(tmp_path, encoding="cp1252", text=["the café"])
    assert TASK.read(tmp_path, "val")[0].phrase == "the café"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": []}, "not ReasonSeg's own file"),
        ({"text": "Where?"}, "must be a list of wordings"),
        ({"shapes": [{"label": "target"}]}, "'points' is missing"),
        ({"shapes": [{"label": "target", "points": [[1, 1e9]]}]}, "outside its picture"),
        ({"shapes": [{"label": 3, "points": SQUARE}]}, "not ReasonSeg's own file"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path, changes, message):
    write(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        TASK.read(tmp_path, "val")


def test_missing_and_broken_pictures_and_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"has no picture \*\.jpg"):
        TASK.read(tmp_path, "val")
    folder = write(tmp_path)
    (folder / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.jpg cannot be read for its size"):
        TASK.read(tmp_path, "val")
    (folder / "a.json").unlink()
    with pytest.raises(DataError, match=r"a\.json is missing"):
        TASK.read(tmp_path, "val")


def test_the_demo_s_targets_are_the_scenes_objects_and_every_second_has_an_ignored_one(demo_root):
    samples = TASK.read(demo_root, "test")
    for sample in samples:
        objects = [item.mask for item in draw_scene(int(sample.id)).objects]
        drawn = [masks.decode(rle) for rle in (*sample.target.masks, sample.target.ignored) if rle]
        assert all(any(np.array_equal(mask, item) for item in objects) for mask in drawn)
    assert sum(sample.target.ignored is not None for sample in samples) == len(samples) // 2
    assert {sample.slices["query"] for sample in samples} == {"long", "short"}
