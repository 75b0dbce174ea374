"""Nothing foreign is run, hangs, or takes the memory: every attack on a reader ends in one clear error.

Files of benchmarks, predictions and a model's texts are data of strangers. Whatever stands in them, reading them gives
what they say or a `DataError`. Attacks that could end the process are made in a process of their own, with bounded
memory and time.
"""

from __future__ import annotations

import copy
import json
import math
import pickle
import random
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from samtok_eval import masks
from samtok_eval.datasets.pickles import MAX_TUPLES, read_plain_pickle
from samtok_eval.datasets.psg import read_segments
from samtok_eval.errors import DataError
from samtok_eval.files import inside, numbered_json_lines, read_bytes, read_json, read_json_lines
from samtok_eval.images import read_image
from samtok_eval.masks import MAX_PIXELS, Rle
from samtok_eval.prediction_log import read_predictions
from samtok_eval.registry import load_tasks
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.settings import RunOptions
from samtok_eval.sample import ImageRef
from tests.support.timing import LINEAR, growth

HUGE = 10**30
SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]
GIGABYTE = 2**30


def bounded(code: str, *words: str | Path, memory: int = 4 * GIGABYTE) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own that may not take more memory; it prints what it met."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, preexec_fn=limit)


# ---- masks ----


@pytest.mark.parametrize("corner", [1e9, -1e9, 1e15, 1e300, HUGE, -HUGE, math.inf, -math.inf, math.nan])
def test_a_polygon_far_outside_its_picture_is_refused_before_it_is_drawn(corner):
    with pytest.raises(ValueError, match="far outside its picture"):
        masks.from_segmentation([[*SQUARE, corner, 2]], 4, 4)


@pytest.mark.parametrize("corner", ["1", None, True, [1], {}])
def test_a_polygon_of_anything_but_numbers_is_refused(corner):
    with pytest.raises(ValueError, match="must be numbers"):
        masks.from_segmentation([[*SQUARE, corner, 2]], 4, 4)


def test_a_polygon_that_goes_back_and_forth_without_end_is_refused():
    with pytest.raises(ValueError, match="outlines"):
        masks.from_segmentation([[0, 0, 60_000, 60_000] * 10_000], 60_000, 4)


def test_a_polygon_may_leave_its_picture_a_little():
    assert masks.area(masks.from_segmentation([[-4.5, -3, 9, -3, 9, 9.25, -4.5, 9.25]], 4, 4)) == 16


def test_what_is_inside_a_list_of_polygons_but_no_polygon_is_dropped():
    assert masks.from_segmentation([SQUARE, "x" * 8, None, 7, [[[]]]], 4, 4) == masks.from_segmentation([SQUARE], 4, 4)


@pytest.mark.parametrize("parts", [[SQUARE], [SQUARE, [2, 2, 4, 2, 4, 4, 2, 4]], [SQUARE, [1, 1], []], [SQUARE[:5]]])
def test_parts_are_added_up_as_coco_reads_them(parts):
    total = coco.decode(coco.frPyObjects([part for part in parts if part], 4, 5)).sum(axis=2)
    assert (masks.decode(masks.covered_once(parts, 4, 5)) == (total == 1)).all()


@pytest.mark.parametrize(
    "parts",
    [[[1, 1]], [[]], [[1, 1, 2]], [[1, 1, 2, 2]], [[1, 1, 2, 2], SQUARE], [SQUARE, "x"], [7], [[*SQUARE, 1e15]],
     [[*SQUARE, 1e9, 1]], ["abcdefg"],
     [[*SQUARE, "2"]], [[*SQUARE, HUGE]], [[*SQUARE, math.nan]]],
)  # fmt: skip
def test_parts_that_coco_must_not_be_given_are_refused(parts):
    with pytest.raises(ValueError, match=r"polygon|segmentation"):
        masks.covered_once(parts, 4, 5)


def test_an_empty_mask_of_the_largest_picture_costs_nothing():
    # Days, if its pixels were looked at.
    for _ in range(10_000):
        assert masks.area(masks.empty(2**14, 2**14)) == 0
    assert masks.empty(3, 5) == masks.encode(np.zeros((3, 5), dtype=bool))


SIDES = [0, -1, 1.5, HUGE, -HUGE, math.nan, math.inf, "4", True, None, [4], 2**16 + 1]


@pytest.mark.parametrize("side", SIDES)
def test_a_picture_has_two_whole_sides(side):
    for size in ((side, 4), (4, side)):
        with pytest.raises(ValueError, match="side must be a whole number"):
            masks.from_segmentation([SQUARE], *size)
        with pytest.raises(ValueError, match="RLE's size"):
            Rle.from_coco({"size": list(size), "counts": "04"})


def test_a_picture_of_more_pixels_than_fit_is_refused():
    with pytest.raises(ValueError, match=f"more than {MAX_PIXELS} pixels"):
        masks.from_segmentation([SQUARE], 2**15, 2**14)
    assert masks.area(masks.from_segmentation([SQUARE], 2**14, 2**14)) == 4


@pytest.mark.parametrize("size", [None, 4, "44", {}, [4], [4, 4, 4], [[4], [4]]])
def test_a_size_of_another_form_is_refused(size):
    with pytest.raises(ValueError, match="RLE's size"):
        Rle.from_coco({"size": size, "counts": [16]})


@pytest.mark.parametrize(
    "counts",
    [
        [1.5, 14.5],
        [16.0],
        ["16"],
        [True] * 16,
        [None, 16],
        [math.nan],
        [HUGE],
        [HUGE, 16 - HUGE],
        [-HUGE, HUGE + 16],
        [2**32, 16 - 2**32],
        [2**64 + 16],
        [[16]],
        {},
        16,
        None,
    ],
)
def test_runs_that_are_no_lengths_are_refused(counts):
    with pytest.raises(ValueError, match="RLE"):
        Rle.from_coco({"size": [4, 4], "counts": counts})


def compressed(runs: list[int]) -> str:
    """Run lengths as COCO writes them, whatever their size."""
    text = []
    for i, run in enumerate(runs):
        rest, more = run - (runs[i - 2] if i > 2 else 0), True
        while more:
            bits, rest = rest & 31, rest >> 5
            more = rest != (-1 if bits & 16 else 0)
            text.append(chr((bits | 32 if more else bits) + 48))
    return "".join(text)


def test_compressed_runs_that_only_fit_after_an_overflow_are_refused():
    assert Rle.from_coco({"size": [4, 4], "counts": compressed([3, 4, 9])}) == Rle(4, 4, compressed([3, 4, 9]))
    for runs in ([2**32 + 16], [2**64 + 16], [2**50] * 2**14 + [16], [0, 2**32 + 16], [2**62, 2**62, 2**62, 2**62, 16]):
        with pytest.raises(ValueError, match="RLE"):
            Rle.from_coco({"size": [4, 4], "counts": compressed(runs)})


def test_compressed_runs_of_the_largest_picture_are_read():
    side = 2**14
    assert masks.area(Rle.from_coco({"size": [side, side], "counts": compressed([1, side * side - 1])})) == side**2 - 1


def test_polygons_that_once_ended_the_process_are_an_error():
    code = (
        "import sys; from samtok_eval import masks\n"
        "for far in (1e9, 1e15, float('nan')):\n"
        "    try:\n        masks.from_segmentation([[0, 0, far, 0, far, far, 0, far]], 480, 640)\n"
        "    except ValueError as error:\n        print('refused', error)\n"
    )
    done = bounded(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused") == 3


# ---- pickles ----

ATTACKS = {
    "memo index": b"\x80\x02]r\xff\xff\xff\x7f.",
    "text memo index": b"(lp999999999\n.",
    "memo index of more digits than a number may have": b"(lp" + b"9" * 5000 + b"\n.",
    "text of 2^62 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "text of 4 GB": b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"x.",
    "bytes of 2^62 bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "bytearray of 8 GB": b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b"x.",
    "string of negative length": b"T" + struct.pack("<i", -1) + b"x.",
    "number of 2 GB": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
    "frame of 2^62 bytes": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"].",
    "tuples a million deep as a key": b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",
    "tuples on detours a million deep": b"\x80\x02})" + b"\x85K\x010" * 1_000_000 + b"K\x01s.",
    "no end": b"\x80\x02]q\x00",
    "unknown opcode": b"\x80\x02]\xff.",
    "import by name": b"cos\nsystem\n(S'true'\ntR.",
    "import by instance": b"(S'true'\nios\nsystem\n.",
    "import from the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent id": b"Pdata\n.",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pickle_takes_no_more_than_it_holds_and_imports_nothing(tmp_path, attack):
    path = tmp_path / "refs.p"
    path.write_bytes(ATTACKS[attack])
    code = (
        "import sys, resource; from pathlib import Path\n"
        "from samtok_eval.datasets.pickles import read_plain_pickle; from samtok_eval.errors import DataError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_plain_pickle(Path(sys.argv[1]))\nexcept DataError as error:\n    print('refused', error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = bounded(code, path)
    assert done.returncode == 0, done.stderr
    refused, kilobytes = done.stdout.splitlines()
    assert refused.startswith(f"refused {path} is not a pickle of plain lists")
    assert int(kilobytes) < 100_000


def test_a_pickle_with_some_tuples_is_read_and_one_with_very_many_is_refused(tmp_path):
    path = tmp_path / "refs.p"
    value = [{"box": (i, 2)} for i in range(MAX_TUPLES)]
    path.write_bytes(pickle.dumps(value))
    assert read_plain_pickle(path) == value
    path.write_bytes(pickle.dumps([*value, {"box": (-1, 2)}]))
    with pytest.raises(DataError, match="more than 10000 tuples"):
        read_plain_pickle(path)


def test_every_cut_and_every_changed_byte_of_a_pickle_is_read_or_refused(tmp_path):
    path = tmp_path / "refs.p"
    value = [
        {"ref_id": i, "sentences": [{"sent": "é" * i}], "ann_id": [1.5, -1, None, True], "t": (i, "x")}
        for i in (0, 70_000)
    ]
    rng = random.Random(0)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        whole = pickle.dumps(value, protocol=protocol)
        for at in rng.sample(range(len(whole)), min(60, len(whole))):
            for damaged in (whole[:at], whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1 :]):
                path.write_bytes(damaged)
                try:
                    read_plain_pickle(path)
                except DataError as error:
                    assert str(path) in str(error)


def test_checking_a_pickle_takes_time_linear_in_it(tmp_path):
    def file(count):
        path = tmp_path / f"{count}.p"
        refs = [
            {"ref_id": i, "sentences": [{"sent": f"the man number {i}", "tokens": ["the", "man"]}]}
            for i in range(count)
        ]
        path.write_bytes(pickle.dumps(refs, protocol=2))
        return partial(read_plain_pickle, path)

    assert growth(file, 5_000) < LINEAR


# ---- JSON ----


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 200_000, "[" * 200_000 + "]" * 200_000, "9" * 5000])
def test_json_nested_deeper_or_numbers_longer_than_can_be_read_are_data_errors(tmp_path, content):
    path = tmp_path / "deep.json"
    path.write_text(content)
    with pytest.raises(DataError, match="not valid JSON"):
        read_json(path)
    with pytest.raises(DataError, match=r"deep\.json:1 is not valid JSON"):
        read_json_lines(path)
    with pytest.raises(DataError, match=r"deep\.json:1"):
        list(read_predictions([path]))


def test_a_line_may_hold_any_line_end_of_unicode(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('"a\u2028b\u0085c"\n\n"d"\r\n', encoding="utf-8")
    assert list(numbered_json_lines(path)) == [(1, "a\u2028b\u0085c"), (3, "d")]


def test_only_ordinary_files_of_some_size_are_read(tmp_path):
    import os

    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="not an ordinary file"):
        read_json(pipe)
    with pytest.raises(DataError, match="not an ordinary file"):
        read_json(Path("/dev/zero"))
    sparse = tmp_path / "sparse.json"
    with sparse.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match="bytes, more than"):
        read_bytes(sparse)


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../x.png", "a/../../x.png", "", "a\0b", 7, None, "x" * 300, "\ud800"]
)
def test_a_benchmark_names_no_file_outside_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match=r"file name|surrogates"):
        inside(tmp_path, name)


def test_file_names_with_folders_are_kept(tmp_path):
    assert inside(tmp_path, "val2017/1..2.jpg") == tmp_path / "val2017" / "1..2.jpg"


# ---- whole benchmarks ----

HOSTILE = [
    math.nan, math.inf, -math.inf, HUGE, -HUGE, -1, 0, 1.5, True, None, "", "x", "9" * 25, "\ud800", "../../x",
    "/etc/hostname", [], {}, [[]], [HUGE], [math.nan] * 6, [[1e15] * 8], {"size": [HUGE, HUGE], "counts": "04"},
    {"size": [128, 128], "counts": [HUGE]}, "{" * 5000, "(" * 5000, "-" * 100_000 + "1",
]  # fmt: skip
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


def places(value):
    """Containers and keys of everything in a JSON value, however deep."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


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


def reasonseg_folder(demo_root, root, count=2):
    """The first pictures of ReasonSeg's split val with their files."""
    folder = root / "reasonseg" / "val"
    folder.mkdir(parents=True)
    for picture in sorted((demo_root / "reasonseg" / "val").glob("*.jpg"))[:count]:
        shutil.copy(picture, folder)
        shutil.copy(picture.with_suffix(".json"), folder)
    return folder


def read_or_refused(task, root, split):
    """Whether a split was refused; an error is one line of bounded length."""
    try:
        samples = task.read(root, split)
    except DataError as error:
        assert len(str(error)) < 1000 and "\n" not in str(error)
        return True
    assert all(m.height == s.image.height for s in samples for m in s.target.masks)
    return False


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


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"id": ' * 100_000, '{"id": "1", "text": "x", "seconds": {"a": ' + "9" * 5000 + "}}"]
)
def test_predictions_that_cannot_be_read_are_one_line_of_error(demo_root, tmp_path, line):
    path = tmp_path / "theirs.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"theirs\.jsonl"):
        score_file(RunOptions(task="gres", data_root=str(demo_root), out=tmp_path / "out"), path)


def test_an_error_is_one_line_of_bounded_length_that_no_terminal_obeys(demo_root, tmp_path):
    path = tmp_path / "\x1b]0;title\x07\u202e.jsonl"
    path.write_text(json.dumps({"id": "1", "x" * 10_000: "text"}) + "\n")
    words = ["score", "--task", "gres", "--data-root", demo_root, "--out", tmp_path / "out", "--predictions", path]
    done = bounded("from samtok_eval.cli.main import main; main()", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/\\x1b]0;title\\x07\\u202e.jsonl:1: xxx")
    assert done.stderr.endswith("correct or remove the line\n")
    assert len(done.stderr) <= len("error: \n") + 300 and done.stderr.count("\n") == 1


# ---- pictures ----


def png(width: int, height: int, rows: int) -> bytes:
    """A PNG whose header says more than it holds."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * (1 + 3 * width) * rows, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_small_file_of_a_large_picture_is_refused_by_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(12_000, 12_000, 4))
    # It lacks most of its pixels, so that reading any of them would be another error.
    with pytest.raises(DataError, match="is 12000x12000, its annotations say 4x4"):
        read_image(ImageRef("1", path, 4, 4))
    with pytest.raises(DataError, match="is 12000x12000, its annotations say 4x4"):
        read_segments(path, 4, 4)
    path.write_bytes(png(60_000, 60_000, 4))
    with pytest.raises(DataError, match="cannot be read"):
        read_image(ImageRef("1", path, 60_000, 60_000))


def test_a_picture_that_would_start_a_program_is_refused(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n(out) (w) file\n%%EOF\n")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(ImageRef("1", path, 4, 4))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_every_changed_byte_of_a_picture_is_read_or_refused(tmp_path, ending):
    from PIL import Image

    path = tmp_path / f"picture.{ending}"
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    rng = random.Random(ending)
    for _ in range(150):
        at = rng.randrange(len(whole))
        path.write_bytes(rng.choice([whole[:at], whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1 :]]))
        try:
            assert read_image(ImageRef("1", path, 8, 8)).shape == (8, 8, 3)
        except DataError as error:
            assert str(path) in str(error)
