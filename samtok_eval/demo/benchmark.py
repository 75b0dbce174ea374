"""Writes the demo benchmark in the benchmarks' own file formats.

Out: a data root with gRefCOCO (`grefcoco/`), RefCOCO, RefCOCO+ and RefCOCOg, each with its own refs file and an
`instances.json` that holds polygons and, for crowds, run lengths, as COCO's does; `formats.py` and `word_formats.py`
add the other benchmarks. Training scenes have seeds from 0, held-out scenes from `HELD_OUT`; the two never meet.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samtok_eval import masks
from samtok_eval.demo import formats, word_formats
from samtok_eval.demo.world.scenes import SHAPES, SIDE, Expression, Scene, draw_scene, expressions
from samtok_eval.errors import UsageError
from samtok_eval.files import cache_folder, writing
from samtok_eval.unfinished import CONTENT, workspace

VERSION = 8
"""Raised whenever the bytes of the benchmark change; part of the cache folder's name."""
HELD_OUT = 10_000_000
PER_SCENE = 6
"""Expressions asked per scene and benchmark."""
SPLIT_SCENES = {"train": 40, "val": 100, "testA": 50, "testB": 50, "test": 50}
"""Scenes per split. The refs files' `train` split is a sample for format tests; training draws its own scenes."""
CROWD = -1
"""Stands for all objects of a scene together among their indices."""
MULTI_ROUND_SCENES = 50
"""Scenes of each multi-round file."""
GRES_SHARES = {"attribute": 2, "relation": 1, "superlative": 1, "multi": 1, "none": 1}
"""Expressions of each kind per scene."""


class _Split(NamedTuple):
    name: str
    first_seed: int
    scenes: int


class _Benchmark(NamedTuple):
    folder: str
    refs_file: str
    splits: tuple[str, ...]
    wanted: Callable[[Expression], bool]


def _single(*kinds: str) -> Callable[[Expression], bool]:
    return lambda expression: expression.kind in kinds and len(expression.targets) == 1


BENCHMARKS = (
    _Benchmark("grefcoco", "grefs(unc).json", ("train", "val", "testA", "testB"), lambda expression: True),
    _Benchmark(
        "refcoco",
        "refs(unc).p",
        ("train", "val", "testA", "testB"),
        _single("attribute", "relation", "superlative"),
    ),
    _Benchmark("refcoco+", "refs(unc).p", ("train", "val", "testA", "testB"), _single("attribute")),
    _Benchmark("refcocog", "refs(umd).p", ("train", "val", "test"), _single("attribute", "relation")),
    _Benchmark("refcocog", "refs(google).p", ("train", "val"), _single("attribute", "relation")),
)


def build_demo(out: Path, first_scene: int = HELD_OUT, times: int = 1) -> None:
    """Write the whole data root; it appears complete or not at all.

    The multi-round files need the codes of their scenes and are only written for the benchmark itself.

    Args:
        out: folder that must not exist yet or be empty.
        first_scene: seed of the first held-out scene. With another one, scenes on which nothing has been chosen yet.
        times: so many times the scenes of each held-out split.

    Raises:
        FileExistsError: the folder holds something.
        UsageError: the system refuses, e.g. because the disk is full.
        ValueError: the seeds are those of training scenes, or there are no scenes.
    """
    if first_scene < HELD_OUT or times < 1:
        raise ValueError(
            f"expected a first scene from {HELD_OUT} (smaller seeds are training scenes) and times from 1, "
            f"got {first_scene} and {times}"
        )
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(out)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with workspace(out.parent) as place:
            part = place / CONTENT
            _write_all(part, first_scene, times)
            # Not over what another process finished in between.
            if out.exists():
                out.rmdir()
            part.replace(out)


def _write_all(part: Path, first_scene: int, times: int) -> None:
    splits = _splits(first_scene, times)
    scenes = {split.name: [draw_scene(split.first_seed + i) for i in range(split.scenes)] for split in splits}
    _write_images(part / "coco" / "train2014", (scene for several in scenes.values() for scene in several))
    instances = json.dumps(_instances([scene for several in scenes.values() for scene in several]))
    for benchmark in BENCHMARKS:
        folder = part / benchmark.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "instances.json").write_text(instances)
        refs = _refs(benchmark, scenes)
        path = folder / benchmark.refs_file
        if path.suffix == ".json":
            path.write_text(json.dumps(refs))
        else:
            path.write_bytes(pickle.dumps(refs, protocol=2))
    formats.write_gcg(part, {"val": scenes["val"], "test": scenes["test"]})
    formats.write_psg(part, scenes["train"], scenes["val"])
    if (first_scene, times) == (HELD_OUT, 1):
        formats.write_multi_round(part, multi_round_scenes())
    word_formats.write_gar(part, scenes["val"])
    word_formats.write_gar_captions(part, scenes["testA"])
    word_formats.write_ferret(part, scenes["testB"])
    word_formats.write_videorefer(part, scenes["testB"])
    word_formats.write_videorefer_questions(part, scenes["testB"])
    word_formats.write_mdvp(part, scenes["testB"][:24])
    word_formats.write_dlc(part, scenes["val"])
    word_formats.write_visual_genome(part, scenes["test"])
    word_formats.write_named_regions(part, {"lvis": scenes["testA"], "paco": scenes["testB"]})
    formats.write_grounding_suite(part, scenes["val"])
    formats.write_reasonseg(part, {name: scenes[name] for name in ("val", "test", "train")})
    formats.write_mmr(part, scenes["val"])
    formats.write_refcoco_m(part, {picture_name(scene.seed): scene for scene in scenes["val"]})
    formats.write_entityseg(part, scenes["test"])


def cached_demo() -> Path:
    """The demo data root of this user, built on first use."""
    out = cache_folder() / f"demo-v{VERSION}"
    if not out.is_dir():
        try:
            build_demo(out)
        except (FileExistsError, UsageError):
            # Another process may have finished the same folder in between; any other reason is the user's to see.
            if not out.is_dir():
                raise
    return out


@cache
def multi_round_scenes() -> tuple[tuple[Scene, ...], ...]:
    """Scenes of the four multi-round files, in their order."""
    first = {split.name: split.first_seed for split in _splits()}
    names = ("val", "testA", "testB", "test")
    return tuple(tuple(draw_scene(first[name] + i) for i in range(MULTI_ROUND_SCENES)) for name in names)


def picture_name(seed: int) -> str:
    """File name of a scene's picture."""
    return f"DEMO_train2014_{seed:012d}.png"


def _splits(first_scene: int = HELD_OUT, times: int = 1) -> list[_Split]:
    splits, first = [_Split("train", 0, SPLIT_SCENES["train"])], first_scene
    for name, count in SPLIT_SCENES.items():
        if name != "train":
            splits.append(_Split(name, first, times * count))
            first += times * count
    return splits


def _write_images(folder: Path, scenes: Iterable[Scene]) -> None:
    folder.mkdir(parents=True)
    for scene in scenes:
        (folder / picture_name(scene.seed)).write_bytes(scene.png)


def _instances(scenes: list[Scene]) -> dict[str, Any]:
    images, annotations = [], []
    for scene in scenes:
        images.append({"id": scene.seed, "file_name": picture_name(scene.seed), "height": SIDE, "width": SIDE})
        for i, o in enumerate(scene.objects):
            rle = masks.encode(o.mask)
            x1, y1, x2, y2 = masks.box(rle) or (0, 0, 0, 0)
            annotations.append(
                {
                    "id": annotation_id(scene.seed, i),
                    "image_id": scene.seed,
                    "category_id": SHAPES.index(o.shape) + 1,
                    "segmentation": _runs(o.mask),
                    "area": masks.area(rle),
                    "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
                    "iscrowd": 0,
                }
            )
        annotations.append(_crowd(scene))
    categories = [{"id": i + 1, "name": shape, "supercategory": "shape"} for i, shape in enumerate(SHAPES)]
    return {
        "info": {"description": f"samtok-eval demo {VERSION}"},
        "images": images,
        "annotations": annotations,
        "categories": categories,
        "licenses": [],
    }


def _crowd(scene: Scene) -> dict[str, Any]:
    """All objects of a scene as one crowd, in run lengths as COCO writes them; no reference names it."""
    united = np.any([o.mask for o in scene.objects], axis=0)
    x1, y1, x2, y2 = masks.box(masks.encode(united)) or (0, 0, 0, 0)
    line = united.ravel(order="F")
    edges = np.flatnonzero(np.diff(line.view(np.int8))) + 1
    runs = np.diff([0, *([0] if line[0] else []), *edges, line.size]).tolist()
    return {
        "id": annotation_id(scene.seed, CROWD),
        "image_id": scene.seed,
        "category_id": SHAPES.index(scene.objects[0].shape) + 1,
        "segmentation": {"size": [SIDE, SIDE], "counts": runs},
        "area": int(united.sum()),
        "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
        "iscrowd": 1,
    }


def annotation_id(seed: int, index: int) -> int:
    """Id of an object, or of the scene's `CROWD`, unique over all scenes."""
    return seed * 10 + index + 1


def _runs(mask: Any) -> Any:
    """A polygon per row run: what a polygon file can say exactly about a pixel mask."""
    edges = np.diff(np.asarray(mask).astype(np.int8), axis=1, prepend=0, append=0)
    rows, columns = (indices.tolist() for indices in np.nonzero(edges))
    return [
        [start, row, stop, row, stop, row + 1, start, row + 1]
        for row, start, stop in zip(rows[::2], columns[::2], columns[1::2], strict=True)
    ]


def _refs(benchmark: _Benchmark, scenes: dict[str, list[Scene]]) -> list[dict[str, Any]]:
    refs: list[dict[str, Any]] = []
    sentence_id = 0
    for split in benchmark.splits:
        for scene in scenes[split]:
            by_target: dict[tuple[int, ...], list[Expression]] = {}
            for expression in _drawn(benchmark, scene):
                by_target.setdefault(expression.targets, []).append(expression)
            for targets, several in by_target.items():
                sentences = []
                for expression in several:
                    sentences.append(
                        {
                            "sent_id": sentence_id,
                            "sent": expression.text,
                            "raw": expression.text,
                            "tokens": expression.text.split(),
                            "kind": expression.kind,
                        }
                    )
                    sentence_id += 1
                refs.append(_ref(benchmark, scene, split, targets, sentences, len(refs)))
    return refs


def _ref(
    benchmark: _Benchmark,
    scene: Scene,
    split: str,
    targets: tuple[int, ...],
    sentences: list[dict[str, Any]],
    ref_id: int,
) -> dict[str, Any]:
    annotations = [annotation_id(scene.seed, i) for i in targets] or [-1]
    categories = [SHAPES.index(scene.objects[i].shape) + 1 for i in targets] or [-1]
    listed = benchmark.folder == "grefcoco"
    return {
        "ref_id": ref_id,
        "image_id": scene.seed,
        "split": split,
        "ann_id": annotations if listed else annotations[0],
        "category_id": categories if listed else categories[0],
        "sentences": sentences,
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "file_name": picture_name(scene.seed),
        **({"no_target": not targets} if listed else {}),
    }


def _drawn(benchmark: _Benchmark, scene: Scene) -> list[Expression]:
    """A seeded choice of a scene's expressions for one benchmark."""
    digest = hashlib.sha256(f"{benchmark.folder}/{benchmark.refs_file}/{scene.seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    usable = [expression for expression in expressions(scene) if benchmark.wanted(expression)]
    if benchmark.folder != "grefcoco":
        return [usable[i] for i in rng.permutation(len(usable))[:PER_SCENE]]
    drawn: list[Expression] = []
    for kind, count in GRES_SHARES.items():
        several = [expression for expression in usable if expression.kind == kind]
        drawn += [several[i] for i in rng.permutation(len(several))[:count]]
    return drawn
