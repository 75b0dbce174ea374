"""Speed and memory as ratios in one run, with pytest-benchmark: `make bench`.

No absolute second is asserted. Ratios compare two ways of doing the same work on the same machine in the same run.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from benchmarks.many_predictions import write_benchmark, write_predictions
from samtok_eval import evaluate, masks
from samtok_eval.mask_tokens import Codes
from samtok_eval.metrics.gcg import pairs, recalled
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.scoring import region_counts
from samtok_eval.prediction import CocoRle, Prediction, check_together
from samtok_eval.registry import load_tasks
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.score import BATCH, score
from samtok_eval.run.settings import RunOptions
from samtok_eval.sample import ImageRef, Sample, Target
from samtok_eval.tokenizer import MaskTokenizer, MaskTokenizerConfig

PAIRS = 10_000
SENTENCES = 10_000


def test_decoding_eight_masks_costs_little_more_than_one_at_full_size(benchmark):
    tokenizer = MaskTokenizer(MaskTokenizerConfig())
    picture = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), dtype=np.uint8)
    codes = torch.randint(0, 256, (8, 2), generator=torch.Generator().manual_seed(0))

    def cpu_seconds(n: int) -> float:
        started = time.process_time()
        tokenizer.decode(picture, codes[:n])
        return time.process_time() - started

    cpu_seconds(1)
    one, eight = (median(cpu_seconds(n) for _ in range(3)) for n in (1, 8))
    benchmark.extra_info["ratio_8_to_1"] = round(eight / one, 3)
    benchmark.pedantic(cpu_seconds, args=(1,), rounds=1)
    assert eight <= 1.2 * one


def test_batching_and_grouping_make_a_run_at_least_three_times_as_fast(benchmark, tmp_path):
    options = {"model": "demo", "limit": 192}

    def seconds(name: str, **more: object) -> float:
        run = evaluate("gres", **options, **more, out=tmp_path / name)
        runs[name] = run
        return float(run.manifest.times.predict_seconds)

    runs: dict = {}
    seconds("warm-up")
    plain = seconds("plain", batch_size=1, group_pictures=False)
    fast = seconds("fast", batch_size=32)
    benchmark.extra_info["ratio"] = round(plain / fast, 2)
    benchmark.pedantic(lambda: None, rounds=1)
    lines = {name: _answers(run.path) for name, run in runs.items()}
    assert lines["plain"] == lines["fast"]
    assert runs["plain"].metrics == runs["fast"].metrics
    assert plain >= 3 * fast


def _answers(path: Path) -> dict[str, tuple[str, str]]:
    lines = map(json.loads, (path / "predictions" / "part-0.jsonl").read_text().splitlines())
    return {line["id"]: (line["text"], json.dumps(line["decoded"], sort_keys=True)) for line in lines}


@pytest.fixture(scope="module")
def many_pairs() -> tuple[list[Sample], list[Prediction]]:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:480, 0:640]

    def blob() -> masks.Rle:
        y, x, a, b = rng.uniform(80, 400), rng.uniform(80, 560), rng.uniform(20, 120), rng.uniform(20, 120)
        wave = 1 + 0.1 * np.sin(columns / 9) * np.cos(rows / 7)
        return masks.encode(((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < wave)

    shapes = [blob() for _ in range(200)]
    samples, predictions = [], []
    for i in range(PAIRS):
        truth, answer = shapes[i % 200], shapes[(i * 7 + 3) % 200]
        image = ImageRef(str(i // 3), Path("none.png"), 480, 640)
        samples.append(Sample(str(i), image, (), Target((truth,)), phrase=str(i)))
        key = Codes(i % 256, 7).key
        text = f"<|mt_start|><|mt_{i % 256:04d}|><|mt_0263|><|mt_end|>"
        decoded = {key: CocoRle.model_validate(answer.to_coco())}
        predictions.append(Prediction(id=str(i), text=text, decoded=decoded, status="ok"))
    return samples, predictions


def test_scoring_ten_thousand_pairs(benchmark, many_pairs):
    samples, predictions = many_pairs
    task = load_tasks()["refcoco"]
    benchmark.pedantic(score, args=(task, samples, predictions), kwargs={"protocols": ["strict"]}, rounds=3)
    seconds = benchmark.stats.stats.median if benchmark.stats else 0.0
    benchmark.extra_info["microseconds_per_pair"] = round(1e6 * seconds / PAIRS, 1)


def test_reading_and_scoring_ten_thousand_saved_predictions(benchmark, many_pairs, tmp_path):
    samples, predictions = many_pairs
    path = tmp_path / "predictions.jsonl"
    path.write_text(
        "".join(
            p.model_copy(update={"id": f"{p.id}-{p.id}"}).model_dump_json(exclude={"masks"}) + "\n" for p in predictions
        )
    )
    folder = tmp_path / "refcoco"
    folder.mkdir()
    images = {s.image.id: {"id": int(s.image.id), "file_name": "x", "height": 480, "width": 640} for s in samples}
    annotations = [{"id": int(s.id), "segmentation": s.target.masks[0].to_coco()} for s in samples]
    content = {"images": list(images.values()), "annotations": annotations, "categories": []}
    (folder / "instances.json").write_text(json.dumps(content))
    refs = [
        {
            "ref_id": int(s.id), "image_id": int(s.image.id), "split": "val", "ann_id": int(s.id), "category_id": 1,
            "sentences": [{"sent_id": int(s.id), "sent": s.id}],
        }
        for s in samples
    ]  # fmt: skip
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    options = RunOptions(task="refcoco", out=tmp_path / "scored", protocols=("strict",), data_root=str(tmp_path))
    benchmark.pedantic(score_file, args=(options, path), rounds=3)
    seconds = benchmark.stats.stats.median if benchmark.stats else 0.0
    benchmark.extra_info["microseconds_per_pair"] = round(1e6 * seconds / PAIRS, 1)


def test_scoring_files_against_parsing_them_and_one_area_a_line(benchmark, tmp_path):
    """All four protocols of GRES with intervals, 256x256 masks; processor time."""
    path = tmp_path / "predictions.jsonl"
    write_benchmark(tmp_path, SENTENCES, pictures=SENTENCES // 14)
    write_predictions(path, SENTENCES)
    options = RunOptions(task="gres", out=tmp_path / "scored", data_root=str(tmp_path))
    started = time.process_time()
    score_file(options, path)
    scoring = time.process_time() - started
    started = time.process_time()
    for line in path.open("rb"):
        first = next(iter(json.loads(line)["decoded"].values()))
        coco.area({"size": first["size"], "counts": first["counts"].encode()})
    loop = time.process_time() - started
    benchmark.extra_info["times_the_loop"] = round(scoring / loop, 1)
    benchmark.pedantic(lambda: None, rounds=1)


@pytest.mark.parametrize(("height", "width", "least"), [(256, 256, 3), (480, 640, 3)])
def test_reading_and_scoring_run_lengths_against_dense_arrays(benchmark, height, width, least):
    """The same lines, each with an answer and a reference that differ: the same integers; processor time.

    The larger size is that of COCO's pictures. What the lines hold is checked, which dense arrays go without, a batch
    of lines at a time, as scoring does it.
    """
    lines = _mask_lines(height, width)
    seconds, counted = {}, {}
    for name, count in (("run lengths", _counted_in_runs), ("dense", _counted_in_pixels)):
        count(lines[:1])
        started = time.process_time()
        counted[name] = count(lines)
        seconds[name] = time.process_time() - started
    assert counted["run lengths"] == counted["dense"]
    benchmark.extra_info["times_as_fast"] = round(seconds["dense"] / seconds["run lengths"], 1)
    benchmark.pedantic(_counted_in_runs, args=(lines[:1],), rounds=1)
    assert seconds["dense"] >= least * seconds["run lengths"]


def _mask_lines(height: int, width: int, count: int = 500) -> list[str]:
    """JSON of an answer and a reference, discs with wavy edges."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]

    def shape() -> dict:
        y, x = rng.uniform(0.2, 0.8, 2) * (height, width)
        a, b = rng.uniform(0.05, 0.3, 2) * (height, width)
        wave = 1 + 0.1 * np.sin(columns / 9) * np.cos(rows / 7)
        return masks.encode(((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < wave).to_coco()

    return [json.dumps({"answer": shape(), "reference": shape()}) for _ in range(count)]


def _counted_in_runs(lines: list[str]) -> list[tuple[int, ...]]:
    """Intersection, union and the two areas, with all checks of what a file holds."""
    found = []
    for first in range(0, len(lines), BATCH):
        rows = [
            [CocoRle.model_validate(value) for value in json.loads(line).values()]
            for line in lines[first : first + BATCH]
        ]
        check_together(mask for row in rows for mask in row)
        for answer, reference in ((one.rle(), other.rle()) for one, other in rows):
            counts = region_counts([answer], [reference], answer.height, answer.width)
            found.append((counts.inter, counts.union, counts.pred_area, counts.gt_area))
    return found


def _counted_in_pixels(lines: list[str]) -> list[tuple[int, ...]]:
    """The same as evaluation scripts do it: decoded masks, and sums over their pixels."""
    found = []
    for line in lines:
        answer, reference = (coco.decode(value).astype(bool) for value in json.loads(line).values())
        both, either = np.logical_and(answer, reference), np.logical_or(answer, reference)
        found.append((int(both.sum()), int(either.sum()), int(answer.sum()), int(reference.sum())))
    return found


def test_help_is_quick_and_light(benchmark):
    def show() -> None:
        subprocess.run([sys.executable, "run_eval.py", "--help"], check=True, capture_output=True)

    benchmark.pedantic(show, rounds=5, warmup_rounds=1)


LOADING = """
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
AutoModelForImageTextToText.from_pretrained(DEMO_CHECKPOINT)
AutoProcessor.from_pretrained(DEMO_CHECKPOINT)
"""


def test_a_run_of_one_question_costs_little_more_than_loading_its_checkpoint(benchmark, tmp_path):
    """Tables and report included; processor seconds of one thread, the least of three each."""
    words = ["run_eval.py", "--task", "gres", "--limit", "1", "--fresh", "--out", str(tmp_path)]
    programs = {"loading": ["-c", LOADING], "run": words}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(3):
        for name, arguments in programs.items():
            seconds[name].append(_seconds_of(arguments))
    loading, whole = (min(seconds[name]) for name in programs)
    benchmark.extra_info["times_loading"] = round(whole / loading, 2)
    benchmark.pedantic(lambda: None, rounds=1)
    assert whole <= 1.3 * loading


def _seconds_of(arguments: list[str]) -> float:
    """Processor seconds of a Python program."""
    before = os.times()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def gcg_pictures(count: int) -> tuple[list[Sample], list[Prediction]]:
    """Pictures with five phrases each, and answers that find most of them."""
    rng = np.random.default_rng(0)
    samples, predictions = [], []
    for i in range(count):
        name = f"sa_{i:06d}"
        regions, answered = [], []
        for _ in range(5):
            y, x = rng.integers(0, 180, 2)
            mask = np.zeros((240, 320), dtype=bool)
            mask[y : y + 60, x : x + 60] = True
            regions.append(masks.encode(mask))
            answered.append(masks.encode(np.roll(mask, int(rng.integers(0, 24)), axis=1)))
        labels = tuple(f"thing {k}" for k in range(5))
        target = Target(masks=tuple(regions), labels=labels, texts=("five things",))
        samples.append(Sample(name, ImageRef(name, Path(name), 240, 320), (), target))
        rles = [CocoRle.model_validate(rle.to_coco()) for rle in answered]
        predictions.append(Prediction(id=name, text="five things", phrases=list(labels), masks=rles))
    return samples, predictions


def gcg_with_scans(samples: list[Sample], predictions: list[Prediction]) -> dict[str, float]:
    """Pair IoU and recall by the same rules, as the official script goes about it.

    Every step reads all annotations once per picture, and masks are compared as arrays.
    """
    true = [{"image_id": s.id, "mask": rle} for s in samples for rle in s.target.masks]
    said = [{"image_id": p.id, "mask": rle.rle()} for p in predictions for rle in p.masks or []]
    captions = [{"image_id": s.id, "labels": s.target.labels} for s in samples]
    answers = [{"image_id": p.id, "labels": p.phrases} for p in predictions]

    def of(rows, sample):
        return [row for row in rows if row["image_id"] == sample.id]

    def ious(sample):
        one, other = ([masks.decode(row["mask"]) for row in of(rows, sample)] for rows in (true, said))
        return np.array([[(a & b).sum() / (a | b).sum() for b in other] for a in one])

    means, found = [], 0
    for sample in samples:
        paired = pairs(ious(sample))
        means.append(sum(paired) / max(len(paired), 1))
    for sample in samples:
        wanted, given = (of(rows, sample)[0]["labels"] for rows in (captions, answers))
        found += recalled(ious(sample), lambda i, j, w=wanted, g=given: w[i] == g[j], stops=True)
    return {"miou_gcg": float(np.mean(means)), "recall": found / len(true)}


class SameText:
    """Phrases are alike when they are equal; leaves the text model out of the measurement."""

    suffix = ""

    def embed(self, texts):
        pass

    def __call__(self, one, other):
        return float(one == other)


def test_gcg_is_linear_and_twenty_times_as_fast_as_a_scan(benchmark, monkeypatch):
    """2,500 pictures with 5 phrases each, under the official rules, without text models on either side."""
    monkeypatch.setattr(Judges, "similarity", SameText())
    monkeypatch.setattr(Judges, "captions", None)
    task = load_tasks()["gcg"]
    seconds = {}
    for count in (1250, 2500):
        samples, predictions = gcg_pictures(count)
        answers = {p.id: p for p in predictions}
        with Judges() as judges:
            started = time.process_time()
            records = task.score_all(samples, answers, task.protocol("official"), judges)
            metrics = task.metrics(records, "official")
            seconds[count] = time.process_time() - started
    started = time.process_time()
    plain = gcg_with_scans(samples, predictions)
    scanning = time.process_time() - started
    assert 0 < (metrics["ap50"].value or 0) < 1
    assert metrics["miou_gcg"].value == pytest.approx(plain["miou_gcg"])
    assert metrics["recall_gcg"].value == pytest.approx(plain["recall"])
    benchmark.extra_info["times_as_fast"] = round(scanning / seconds[2500], 1)
    benchmark.extra_info["growth_for_twice_the_pictures"] = round(seconds[2500] / seconds[1250], 2)
    benchmark.pedantic(task.score_all, args=(samples, answers, task.protocol("official"), judges), rounds=1)
    assert scanning > 20 * seconds[2500]
    assert seconds[2500] < 3 * seconds[1250]
