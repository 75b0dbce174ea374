"""Whole benchmarks, each field of their files."""

from __future__ import annotations

import copy
import json
import pickle
import random
import shutil
from pathlib import Path

import pytest

from samtok_eval.datasets.pickles import read_plain_pickle
from samtok_eval.errors import DataError
from samtok_eval.registry import load_tasks
from tests.support.hostile import HOSTILE, bounded, places, png, read_or_refused

FILES = {
    "gres": ("grefcoco/grefs(unc).json", "grefcoco/instances.json"),
    "refcoco": ("refcoco/instances.json",),
    "gcg": ("gcg/test_gcg_coco_mask_gt.json", "gcg/test_gcg_coco_caption_gt.json"),
    "region_caption": ("dlc_bench/annotations.json", "dlc_bench/class_names.json", "dlc_bench/qa.json"),
    "region_caption:vg": ("visual_genome/test_caption.json",),
    "region_caption:ferret": ("ferret_bench/box_refer_caption.json",),
    "region_caption:ferret-reason": ("ferret_bench/box_refer_reason.json",),
    "region_caption:videorefer": ("videorefer_bench/VideoRefer-Bench-D.json",),
    "region_caption:videorefer-frames": ("videorefer_bench/VideoRefer-Bench-D.json",),
    "region_caption:mdvp": (
        "mdvp_bench/mdvp_caption_mask.json",
        "mdvp_bench/data/natural_detailed_caption/natural_detailed_caption_box.json",
    ),
    "region_caption:mdvp-qa": ("mdvp_bench/data/android_QA/android_QA_box.json",),
    "region_caption:gar-detail": ("gar_bench/GAR-Bench-Caption-Detailed.json",),
    "region_caption:gar-simple": ("gar_bench/GAR-Bench-Caption-Simple.json",),
    "region_class": ("osprey/lvis_val_1k_category.json",),
    "region_vqa": ("gar_bench/GAR-Bench-VQA.json",),
    "region_vqa:videorefer": ("videorefer_bench/VideoRefer-Bench-Q.json",),
    "region_vqa:videorefer-frames": ("videorefer_bench/VideoRefer-Bench-Q.json",),
    "scene_graph": ("psg/psg.json",),
    "scene_graph:val": ("psg/psg_val.json",),
    "interactive": ("segllm/mr_refcoco_val_sampled.json",),
    "grounding_suite": ("grounding_suite/GroundingSuite-Eval.jsonl",),
    "mmr": ("mmr/MMR_val.json",),
    "refcoco-m": ("refcoco-m/data/validation-00000-of-00001.jsonl",),
    "reconstruction:entityseg": ("entityseg/entitysef_val_lr.json",),
}
MEASURED = ("region_caption:mdvp-qa",)
"""Their files do not say how large pictures are, whose headers are read."""
SPLITS = {"gcg": "test", "region_caption": "dlc", "interactive": "refcoco"}


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in FILES.items() for file in files])
def test_whatever_stands_at_a_place_of_a_benchmark_file_it_is_read_or_refused(demo_root, tmp_path, name, file):
    base, _, named = name.partition(":")
    task = load_tasks()[base]
    split = named or SPLITS.get(name, task.metadata.default_split)
    (tmp_path / "coco").symlink_to(demo_root / "coco")
    folder = Path(file).parts[0]
    left_out = () if name in MEASURED else ("images",)
    shutil.copytree(demo_root / folder, tmp_path / folder, ignore=shutil.ignore_patterns(*left_out))
    path = tmp_path / file
    content = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else None
    rows = content or [json.loads(path.read_text())]
    assert task.read(tmp_path, split)
    rng = random.Random(file)
    spots: dict[str, list] = {}
    for container, key in places(rows):
        # Every field is damaged, however often the others occur.
        spots.setdefault(key if isinstance(key, str) and not key.isdecimal() else "entry", []).append((container, key))
    refused = 0
    for _ in range(18):
        container, key = rng.choice(spots[rng.choice(list(spots))])
        before = container[key]
        container[key] = rng.choice(HOSTILE)
        path.write_text("\n".join(map(json.dumps, rows)))
        container[key] = before
        try:
            task.read(tmp_path, split)
        except DataError as error:
            refused += 1
            assert len(str(error)) < 1000 and "\n" not in str(error)
    assert refused > 2


def test_whatever_stands_in_mmr_and_its_pictures_it_is_read_or_refused(demo_root, tmp_path):
    """Entries without a mask, whose size is the picture's, and pictures that are none."""
    content = json.loads((demo_root / "mmr" / "MMR_val.json").read_text())[:2]
    content[0]["answers"] = [[] for _ in content[0]["answers"]]
    (tmp_path / "mmr").mkdir()
    path, picture = tmp_path / "mmr" / "MMR_val.json", tmp_path / "coco" / content[0]["file_name"]
    picture.parent.mkdir(parents=True)
    shutil.copy(demo_root / "coco" / content[0]["file_name"], picture)
    task, rng, refused = load_tasks()["mmr"], random.Random(2), 0
    path.write_text(json.dumps(content))
    assert not read_or_refused(task, tmp_path, "val")
    for container, key in rng.choices([*places([content])], k=40):
        before = container[key]
        container[key] = rng.choice(HOSTILE)
        path.write_text(json.dumps(content))
        container[key] = before
        refused += read_or_refused(task, tmp_path, "val")
    assert refused > 10
    path.write_text(json.dumps(content))
    whole = picture.read_bytes()
    for damaged in (b"", whole[:20], b"GIF89a" + b"\xff" * 20, png(60_000, 60_000, 1), b"<svg/>"):
        picture.write_bytes(damaged)
        assert read_or_refused(task, tmp_path, "val")


def test_a_changed_byte_of_a_hub_s_file_is_read_or_refused(tmp_path):
    """In a process of its own, since parquet is read by a library in another language."""
    from tests.datasets.test_refer_hub import write_parquet

    path = tmp_path / "refcoco" / "hub" / "refcoco_unc_val-0.parquet"
    write_parquet(path)
    code = (
        "import random, sys; from pathlib import Path; from samtok_eval.registry import load_tasks\n"
        "from samtok_eval.errors import DataError\n"
        "path, task, rng, refused = Path(sys.argv[1]), load_tasks()['refcoco'], random.Random(0), 0\n"
        "whole = path.read_bytes()\n"
        "for _ in range(300):\n"
        "    at = rng.randrange(len(whole))\n"
        "    path.write_bytes(rng.choice([whole[:at], whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1:]]))\n"
        "    try:\n        task.read(path.parents[2], 'val')\n"
        "    except DataError as error:\n        refused += 1; assert len(str(error)) < 1000, error\n"
        "print(refused)\n"
    )
    done = bounded(code, path)
    assert done.returncode == 0, done.stderr[-1000:]
    assert int(done.stdout) > 100


def test_references_that_hold_themselves_many_times_over_are_refused(demo_root, tmp_path):
    shutil.copytree(demo_root / "refcoco", tmp_path / "refcoco")
    path = tmp_path / "refcoco" / "refs(unc).p"
    refs = read_plain_pickle(path)
    bomb: list[object] = ["lol"]
    for _ in range(60):
        bomb = [bomb, bomb]
    for change in (
        {"ref_id": bomb},
        {"split": bomb},
        {"image_id": bomb},
        {"ann_id": bomb},
        {"sentences": [{"sent": bomb, "sent_id": 1}]},
    ):
        damaged = copy.copy(refs)
        damaged[0] = refs[0] | {"split": "val"} | change
        path.write_bytes(pickle.dumps(damaged))
        with pytest.raises(DataError, match="not a refs file"):
            load_tasks()["refcoco"].read(tmp_path, "val")
