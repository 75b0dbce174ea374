"""Reading benchmark files, good and bad; the demo benchmark in the original formats."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.datasets.pickles import read_plain_pickle
from samtok_eval.datasets.refer import each_expression
from samtok_eval.demo import benchmark
from samtok_eval.demo.baselines import blind_scores
from samtok_eval.demo.benchmark import HELD_OUT, build_demo
from samtok_eval.demo.world.scenes import COLORS, KINDS, SHAPES, draw_scene, expressions
from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import read_json
from samtok_eval.masks import Rle
from samtok_eval.registry import load_tasks
from samtok_eval.run.samples import read_samples
from tests.conftest import shared

TASKS = load_tasks()


class Payload:
    def __reduce__(self):
        return (print, ("imported",))


def test_a_pickle_that_wants_to_import_is_refused(tmp_path, capsys):
    path = tmp_path / "refs(unc).p"
    path.write_bytes(pickle.dumps([Payload()]))
    with pytest.raises(DataError, match=r"wants to import builtins\.print"):
        read_plain_pickle(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_plain_pickles_of_every_protocol_are_read(tmp_path, protocol):
    value = [
        {"ref_id": 1, "sentences": [{"sent": "é", "tokens": ["a"]}], "box": [1.5, 2], "none": None, "t": (1, True)}
    ]
    path = tmp_path / "refs.p"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert read_plain_pickle(path) == value


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02", b"(lp0\n"])
def test_broken_pickles_are_data_errors(tmp_path, content):
    path = tmp_path / "refs.p"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a pickle"):
        read_plain_pickle(path)


def test_missing_and_broken_json_are_data_errors(tmp_path):
    with pytest.raises(DataError, match="is missing"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        read_json(tmp_path / "bad.json")


@pytest.mark.parametrize("name", ["gres", "refcoco", "refcoco+", "refcocog"])
def test_every_split_of_the_demo_benchmark_is_read(demo_root, name):
    task = TASKS[name]
    for split in task.metadata.splits:
        samples = task.read(demo_root, split)
        assert len({sample.id for sample in samples}) == len(samples) > 100
        assert all(sample.image.path.is_file() for sample in samples)
        if name != "gres":
            assert all(len(sample.target.masks) == 1 for sample in samples)


def test_gres_sees_one_several_and_no_targets_and_masks_are_exact(demo_root):
    samples = TASKS["gres"].read(demo_root, "val")
    assert {sample.slices["targets"] for sample in samples} == {"one", "several", "none"}
    assert {sample.slices["kind"] for sample in samples} == set(KINDS)
    for sample in samples[:40]:
        scene = draw_scene(int(sample.image.id))
        (expression,) = [e for e in expressions(scene) if e.text == sample.phrase]
        truth = [scene.objects[i].mask for i in expression.targets]
        assert len(truth) == len(sample.target.masks)
        assert all((masks.decode(rle) == mask).all() for rle, mask in zip(sample.target.masks, truth, strict=True))


def test_instances_hold_polygons_and_run_lengths(demo_root):
    content = json.loads((demo_root / "grefcoco" / "instances.json").read_text())
    kinds = {type(a["segmentation"]).__name__ for a in content["annotations"]}
    assert kinds == {"list", "dict"}


def test_the_demo_benchmark_is_a_function_of_the_code_alone(demo_root, tmp_path):
    build_demo(tmp_path / "again")
    files = sorted(path.relative_to(demo_root) for path in demo_root.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert all((demo_root / f).read_bytes() == (tmp_path / "again" / f).read_bytes() for f in files)


def test_fresh_scenes_share_nothing_with_the_benchmark_and_may_be_more(demo_root, tmp_path):
    build_demo(tmp_path / "fresh", HELD_OUT + 20_000_000, times=2)
    for name, split in (("gres", "val"), ("gcg", "test"), ("scene_graph", "test")):
        usual, fresh = ({s.image.id for s in TASKS[name].read(root, split)} for root in (demo_root, tmp_path / "fresh"))
        assert len(fresh) == 2 * len(usual)
        assert not fresh & usual
    with pytest.raises(DataError, match="mr_refcoco_val_sampled"):
        TASKS["interactive"].read(tmp_path / "fresh", "refcoco")


@pytest.mark.parametrize(("first_scene", "times"), [(5, 1), (HELD_OUT - 1, 1), (HELD_OUT, 0)])
def test_training_scenes_are_never_held_out(first_scene, times, tmp_path):
    with pytest.raises(ValueError, match="smaller seeds are training scenes"):
        build_demo(tmp_path / "out", first_scene, times)
    assert not list(tmp_path.iterdir())


def test_build_demo_never_overwrites(demo_root):
    with pytest.raises(FileExistsError):
        build_demo(demo_root)


def test_a_build_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(benchmark, "SPLIT_SCENES", dict.fromkeys(benchmark.SPLIT_SCENES, 1))
    monkeypatch.setattr(benchmark.formats, "write_gcg", full)
    with pytest.raises(UsageError, match=r"cannot be written \(no space left\)"):
        build_demo(tmp_path / "data")
    assert not any(tmp_path.iterdir())


def test_held_out_scenes_have_other_seeds_than_training_scenes(demo_root):
    for name in ("gres", "refcoco"):
        for split in ("val", "testA", "testB"):
            assert all(int(s.image.id) >= HELD_OUT for s in TASKS[name].read(demo_root, split))


def test_expressions_are_true_and_unambiguous():
    for seed in range(60):
        scene = draw_scene(seed)
        for e in expressions(scene):
            words = e.text.split()
            if e.kind == "attribute":
                (i,) = e.targets
                named = [w for w in words if w in COLORS or w in SHAPES]
                matching = [
                    o
                    for o in scene.objects
                    if all(w in (o.color, o.shape) for w in named)
                    and all(w == o.size for w in words if w in ("small", "large"))
                ]
                assert matching == [scene.objects[i]] or (len(matching) == 1 and matching[0] is scene.objects[i])
            if e.kind == "none":
                assert e.targets == ()
            if e.kind == "multi":
                assert len(e.targets) > 1
            if "leftmost" in words:
                assert e.targets == (min(range(len(scene.objects)), key=lambda j: scene.objects[j].x),)


def test_objects_never_overlap_in_their_visible_masks():
    for seed in range(30):
        total = np.sum([o.mask.astype(int) for o in draw_scene(seed).objects], axis=0)
        assert total.max() == 1


def test_blind_answers_are_scored_per_kind(demo_root):
    blind = blind_scores(TASKS["gres"].read(demo_root, "val"))
    assert set(blind) == {*KINDS, "all"}
    assert blind["none"]["all instances"] == 0
    assert blind["multi"]["all instances"] > blind["multi"]["random instance"]


def damaged(root: Path, tmp_path: Path, change) -> Path:
    copy = tmp_path / "data"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("coco"))
    path = copy / "grefcoco" / "instances.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"].clear(), "has no image"),
        (lambda c: c["annotations"].clear(), "has no annotation"),
        (lambda c: c.pop("images"), "not a COCO instances file"),
        (
            lambda c: [a.update(segmentation={"size": [64, 128], "counts": [64 * 128]}) for a in c["annotations"]],
            "RLE is 64x128 but its picture is 128x128",
        ),
        (lambda c: [a.update(segmentation="x") for a in c["annotations"]], "polygons or an RLE"),
    ],
)
def test_broken_annotations_name_the_fault(demo_root, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        TASKS["gres"].read(damaged(demo_root, tmp_path, change), "val")


UNKNOWN = r"instances\.json has no annotation 12345678, which reference 7000007 of .*{} names; refs and"


@pytest.mark.parametrize(
    ("task", "named", "message"),
    [
        ("refcoco", 12345678, UNKNOWN.format(r"refs\(unc\)\.p")),
        ("refcoco", -1, r"refs\(unc\)\.p: reference 7000007 names no annotation, expected one of .*instances\.json"),
        ("refcoco", [], "reference 7000007 names no annotation"),
        ("gres", [12345678], UNKNOWN.format(r"grefs\(unc\)\.json")),
        ("gres", [-1], None),
    ],
)
def test_a_reference_to_an_object_that_is_not_there_is_named(demo_root, tmp_path, task, named, message):
    copy = tmp_path / "data"
    shutil.copytree(demo_root, copy, ignore=shutil.ignore_patterns("coco"))
    folder = copy / ("grefcoco" if task == "gres" else task)
    path = next(folder.glob("*refs(unc)*"))
    pickled = path.suffix == ".p"
    refs = pickle.loads(path.read_bytes()) if pickled else json.loads(path.read_text())
    next(ref for ref in refs if ref["split"] == "val").update(ref_id=7000007, ann_id=named)
    path.write_bytes(pickle.dumps(refs, protocol=2) if pickled else json.dumps(refs).encode())
    if message:
        with pytest.raises(DataError, match=message):
            TASKS[task].read(copy, "val")
    else:
        assert TASKS[task].read(copy, "val")[0].target.no_target


def test_an_empty_split_names_the_splits_there_are(demo_root):
    folder = demo_root / "refcocog"
    with pytest.raises(DataError, match="it holds test, train, val"):
        list(each_expression(folder / "refs(umd).p", folder / "instances.json", demo_root, "testA"))


def test_a_missing_file_names_its_place(tmp_path):
    with pytest.raises(DataError, match=r"grefs\(unc\)\.json is missing"):
        TASKS["gres"].read(tmp_path, "val")


def test_a_limit_gives_the_first_samples_of_the_split_with_their_ids(demo_root):
    for task in TASKS.values():
        for split in splits_of_the_demo(task, demo_root):
            whole = task.read(demo_root, split)
            assert list(task.read(demo_root, split, limit=5)) == list(whole[:5])


def splits_of_the_demo(task, demo_root):
    """One of each reader."""
    if task.metadata.name in ("reconstruction", "region_caption"):
        return [split for split in task.metadata.splits if split != "folder"]
    return [task.metadata.default_split]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_masks_beyond_a_limit_are_not_made(demo_root, monkeypatch, name):
    made = []
    for function in ("from_segmentation", "encode"):
        make = getattr(masks, function)
        monkeypatch.setattr(masks, function, lambda *a, make=make: made.append(1) or make(*a))
    from_coco = Rle.from_coco
    monkeypatch.setattr(Rle, "from_coco", lambda value: made.append(1) or from_coco(value))
    split = TASKS[name].metadata.default_split
    read_samples(TASKS[name], split, str(demo_root), 1)
    few = len(made)
    TASKS[name].read(demo_root, split)
    assert len(made) > 20 * few > 0


def test_a_task_whose_read_knows_no_limit_is_cut_behind_it(demo_root):
    class Backwards(type(TASKS["gres"])):
        def read(self, data_root, split):
            return list(super().read(data_root, split))[::-1]

    whole = Backwards().read(demo_root, "val")
    assert read_samples(Backwards(), "val", str(demo_root), 3) == whole[:3]


def test_reconstruction_reads_a_folder_of_masks(demo_root, tmp_path):
    rle = masks.encode(np.eye(4, dtype=bool))
    (tmp_path / "masks.jsonl").write_text(json.dumps({"image": "a.png", "masks": [rle.to_coco()] * 2}) + "\n")
    samples = TASKS["reconstruction"].read(tmp_path, "folder")
    assert [s.id for s in samples] == ["a-0", "a-1"]
    assert samples[0].slices == {"size": "small"}
    (tmp_path / "masks.jsonl").write_text('{"image": "a.png"}\n')
    with pytest.raises(DataError, match="every line must be"):
        TASKS["reconstruction"].read(tmp_path, "folder")


def test_ids_that_occur_twice_are_refused_before_an_answer_is_lost(tmp_path):
    line = json.dumps({"image": "a.png", "masks": [masks.encode(np.eye(4, dtype=bool)).to_coco()]}) + "\n"
    (tmp_path / "masks.jsonl").write_text(line * 2)
    with pytest.raises(DataError, match="ids occur twice, a-0 first"):
        read_samples(TASKS["reconstruction"], "folder", str(tmp_path), None)


def test_reconstruction_reads_real_photographs():
    root = shared("data", "gar_bench", "GAR-Bench-VQA.json").parents[1]
    samples = TASKS["reconstruction"].read(root, "gar")
    assert len({s.image.path for s in samples}) == 42
