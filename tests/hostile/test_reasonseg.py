"""ReasonSeg, a file of shapes beside every picture."""

from __future__ import annotations

import json
import math
import random
import shutil

import pytest

from samtok_eval.registry import load_tasks
from tests.support.hostile import HOSTILE, bounded, places, read_or_refused


def reasonseg_folder(demo_root, root, count=2):
    """The first pictures of ReasonSeg's split val with their files."""
    folder = root / "reasonseg" / "val"
    folder.mkdir(parents=True)
    for picture in sorted((demo_root / "reasonseg" / "val").glob("*.jpg"))[:count]:
        shutil.copy(picture, folder)
        shutil.copy(picture.with_suffix(".json"), folder)
    return folder


def test_whatever_stands_in_a_file_of_reasonseg_it_is_read_or_refused(demo_root, tmp_path):
    path = sorted(reasonseg_folder(demo_root, tmp_path).glob("*.json"))[1]
    task, content = load_tasks()["reasonseg"], json.loads(path.read_text())
    assert len(task.read(tmp_path, "val")) == 2
    rng, refused, spots = random.Random(1), 0, [*places([content])]
    for container, key in [*spots, *rng.choices(spots, k=40)]:
        before = container[key]
        container[key] = rng.choice(HOSTILE)
        path.write_text(json.dumps(spots[0][0][0]))
        container[key] = before
        refused += read_or_refused(task, tmp_path, "val")
    assert refused > 20


@pytest.mark.parametrize("ending", ["json", "jpg"])
def test_every_cut_and_changed_byte_of_reasonseg_s_files_is_read_or_refused(demo_root, tmp_path, ending):
    path = sorted(reasonseg_folder(demo_root, tmp_path, count=1).glob(f"*.{ending}"))[0]
    task, whole, rng = load_tasks()["reasonseg"], path.read_bytes(), random.Random(ending)
    refused = 0
    for _ in range(60):
        at = rng.randrange(min(len(whole), 400))
        path.write_bytes(rng.choice([whole[:at], whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1 :]]))
        refused += read_or_refused(task, tmp_path, "val")
    assert refused > 10


SHAPE = {"label": "target", "points": [[1, 1], [5, 1], [5, 5]]}


@pytest.mark.parametrize(
    ("shapes", "wordings"),
    [
        ([SHAPE | {"points": [[1, 1], [math.nan, 1], [5, 5]]}], ["x"]),
        ([SHAPE | {"points": [[1, 1], [1e300, 1], [5, 5]]}], ["x"]),
        ([SHAPE | {"points": [[1, 1, 1], [5, 1, 1], [5, 5, 1]]}], ["x"]),
        ([SHAPE | {"points": [[[1, 1]], [[5, 1]]]}], ["x"]),
        ([SHAPE | {"points": {"0": [1, 1]}}], ["x"]),
        ([SHAPE | {"points": [["1", "1"], ["5", "1"], ["5", "5"]]}], ["x"]),
        ([SHAPE | {"label": ["target"]}], ["x"]),
        ([SHAPE], []),
        ([SHAPE], "a text that is no list"),
        ([SHAPE], [{"text": "x"}]),
        ({"0": SHAPE}, ["x"]),
    ],
)
def test_shapes_and_wordings_of_another_form_are_refused(demo_root, tmp_path, shapes, wordings):
    path = sorted(reasonseg_folder(demo_root, tmp_path, count=1).glob("*.json"))[0]
    path.write_text(json.dumps({"shapes": shapes, "text": wordings, "is_sentence": True}))
    assert read_or_refused(load_tasks()["reasonseg"], tmp_path, "val")


def test_polygons_without_end_take_no_time_and_no_memory(demo_root, tmp_path):
    path = sorted(reasonseg_folder(demo_root, tmp_path, count=1).glob("*.json"))[0]
    far = [[(-1) ** i * 2**40, i] for i in range(20_000)]
    path.write_text(json.dumps({"shapes": [SHAPE | {"points": far}], "text": ["x"], "is_sentence": True}))
    code = (
        "import sys; from pathlib import Path; from samtok_eval.registry import load_tasks\n"
        "from samtok_eval.errors import DataError\n"
        "try:\n    load_tasks()['reasonseg'].read(Path(sys.argv[1]), 'val')\n"
        "except DataError as error:\n    print('refused', error)\n"
    )
    done = bounded(code, tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("refused"), done.stderr[-500:]
