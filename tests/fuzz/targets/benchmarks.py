"""Files of benchmarks, predictions, answer texts, and predictions in the benchmarks' own formats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from tests.fuzz.mutations import damaged_text
from tests.fuzz.targets.target import Target, command


@cache
def tiny_root() -> Path:
    """The demo benchmark with one scene a split, made once for this process."""
    import tempfile

    from samtok_eval.demo import benchmark

    root = Path(tempfile.mkdtemp(prefix="fuzz-")) / "data"
    few = dict.fromkeys(benchmark.SPLIT_SCENES, 1)
    with mock.patch.object(benchmark, "SPLIT_SCENES", few), mock.patch.object(benchmark, "MULTI_ROUND_SCENES", 1):
        benchmark.build_demo(root)
    return root


def good_answers(task: Any, samples: Any) -> str:
    """Lines of predictions as a run writes them, all right."""
    from samtok_eval.mask_tokens import Codes

    lines = []
    for sample in samples:
        written = task.written(sample)
        codes = [Codes(index % 256, 7) for index in range(len(written))]
        decoded = {pair.key: mask.to_coco() for pair, mask in zip(codes, written, strict=True)}
        row = {"id": sample.id, "text": task.answer(sample, codes), "decoded": decoded, "status": "ok", "error": None,
               "seconds": {"generate": 0.1}}  # fmt: skip
        lines.append(json.dumps(row) + "\n")
    return "".join(lines)


def copied(root: Path, names: tuple[str, ...]) -> None:
    """Parts of the data, pictures as links."""
    for name in names:
        source = tiny_root() / name
        if source.is_dir():
            shutil.copytree(source, root / name, symlinks=True)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / name)


def prepare_task(name: str, split: str, folders: tuple[str, ...]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        from samtok_eval.registry import load_tasks

        copied(folder / "data", folders)
        if "coco" not in folders:
            (folder / "data").mkdir(exist_ok=True)
            (folder / "data" / "coco").symlink_to(tiny_root() / "coco")
        task = load_tasks()[name]
        (folder / "predictions.jsonl").write_text(good_answers(task, task.read(folder / "data", split)))

    return prepare


def score(name: str, split: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        command(
            "score", "--task", f"{name}:{split}", "--data-root", folder / "data", "--out", folder / "out",
            "--predictions", folder / "predictions.jsonl",
        )  # fmt: skip

    return read


@dataclass(frozen=True)
class _Split:
    task: str
    split: str
    folders: tuple[str, ...]
    files: tuple[str, ...]


SPLITS = (
    _Split("gres", "val", ("grefcoco",), ("grefcoco/*.json",)),
    _Split("refcoco", "val", ("refcoco",), ("refcoco/*",)),
    _Split("refcoco+", "val", ("refcoco+",), ("refcoco+/*",)),
    _Split("refcocog", "val", ("refcocog",), ("refcocog/*",)),
    _Split("refcoco-m", "val", ("refcoco-m",), ("refcoco-m/data/*",)),
    _Split("gcg", "val", ("gcg",), ("gcg/val_*.json",)),
    _Split("grounding_suite", "eval", ("grounding_suite",), ("grounding_suite/*.jsonl",)),
    _Split("interactive", "refcoco", ("segllm",), ("segllm/mr_refcoco_val_sampled.json",)),
    _Split("interactive", "paco", ("segllm",), ("segllm/mr_paco_val_sampled.json",)),
    _Split("mmr", "val", ("mmr",), ("mmr/*.json",)),
    _Split("reasonseg", "val", ("reasonseg",), ("reasonseg/val/*",)),
    _Split("reconstruction", "refcoco-val", ("refcoco",), ("refcoco/*",)),
    _Split("reconstruction", "gar", ("gar_bench",), ("gar_bench/*.json",)),
    _Split("reconstruction", "entityseg", ("entityseg",), ("entityseg/*.json",)),
    _Split("region_caption", "refcocog-val", ("refcocog",), ("refcocog/*",)),
    _Split("region_caption", "vg", ("visual_genome",), ("visual_genome/*.json",)),
    _Split("region_caption", "dlc", ("dlc_bench",), ("dlc_bench/*.json",)),
    _Split("region_caption", "gar-detail", ("gar_bench",), ("gar_bench/*Detailed.json",)),
    _Split("region_caption", "gar-simple", ("gar_bench",), ("gar_bench/*Simple.json",)),
    _Split("region_caption", "ferret", ("ferret_bench",), ("ferret_bench/*.json", "ferret_bench/**/*.jsonl")),
    _Split("region_caption", "videorefer", ("videorefer_bench",), ("videorefer_bench/*.json",)),
    _Split("region_class", "lvis", ("osprey",), ("osprey/lvis*.json",)),
    _Split("region_vqa", "test", ("gar_bench",), ("gar_bench/GAR-Bench-VQA.json",)),
    _Split("scene_graph", "test", ("psg", "coco"), ("psg/psg.json", "coco/panoptic_val2017/*")),
    _Split("scene_graph", "val", ("psg", "coco"), ("psg/psg_val.json", "coco/panoptic_val2017/*")),
)


def _damaged_answer(rng: Random, name: str, content: bytes) -> bytes:
    """Predictions whose texts alone are damaged."""
    del name
    rows = [json.loads(line) for line in content.splitlines()]
    for _ in range(rng.choice([1, 1, 3])):
        row = rng.choice(rows)
        row["text"] = damaged_text(rng, row["text"])
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _of_splits() -> Iterator[Target]:
    for each in SPLITS:
        name, prepare = f"{each.task}:{each.split}", prepare_task(each.task, each.split, each.folders)
        read, files = score(each.task, each.split), tuple(f"data/{pattern}" for pattern in each.files)
        yield Target(f"data {name}", prepare, files, read)
        yield Target(f"predictions {name}", prepare, ("predictions.jsonl",), read, weight=4)
        yield Target(f"answers {name}", prepare, ("predictions.jsonl",), read, _damaged_answer, weight=6)


def _prepare_official(task: str, split: str, folders: tuple[str, ...]) -> Callable[[Path], None]:
    """Answers in the benchmark's own format, as scoring writes them."""

    def prepare(folder: Path) -> None:
        prepare_task(task, split, folders)(folder)
        score(task, split)(folder)
        shutil.move(folder / "out" / "official_format", folder / "official")
        shutil.rmtree(folder / "out")

    return prepare


def _score_official(task: str, split: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        words = ["score", "--task", f"{task}:{split}", "--data-root", folder / "data", "--out", folder / "out"]
        command(*words, "--predictions", folder / "official")

    return read


EXPORTED = ("gcg:val", "grounding_suite:eval", "region_caption:dlc", "region_caption:gar-simple",
            "region_caption:ferret", "region_vqa:test")  # fmt: skip


def _of_official() -> Iterator[Target]:
    for each in SPLITS:
        name = f"{each.task}:{each.split}"
        if name in EXPORTED:
            prepare = _prepare_official(each.task, each.split, each.folders)
            yield Target(f"official {name}", prepare, ("official/*",), _score_official(each.task, each.split), weight=6)


TARGETS: tuple[Target, ...] = (
    *_of_splits(),
    *_of_official(),
)  # fmt: skip
