"""How long statistics and pages take, and how large pages are: `make bench`."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samtok_eval import masks
from samtok_eval.mask_tokens import Codes, render
from samtok_eval.metrics.scoring import score_region
from samtok_eval.prediction import Prediction, Record
from samtok_eval.records import Records
from samtok_eval.registry import load_tasks
from samtok_eval.reports.page import content as report_module
from samtok_eval.reports.page.content import gather
from samtok_eval.reports.page.page import page
from samtok_eval.reports.runs import ScoredRun
from samtok_eval.run.folder import Run
from samtok_eval.run.score import score
from samtok_eval.sample import ImageRef, Sample, Target, Turn
from samtok_eval.statistics import compare_metrics, intervals
from tests.support.results import run as kept_run

GRES = load_tasks()["gres"]
PICTURES = 200
MEGABYTE = 1_000_000


def gres_records(samples, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Record(str(i), str(i // 10), "strict", "ok", inter=int(iou * 1000), union=1000, gt_area=900 * (i % 7 > 0),
               pred_area=900)
        for i, iou in enumerate(rng.random(samples))
    ]  # fmt: skip


def test_a_thousand_draws_of_all_gres_metrics_over_fifteen_thousand_samples(benchmark):
    """Processor time of all cores together, so that it holds on one."""
    metrics = GRES.metrics(gres_records(15_000), "strict")
    started = time.process_time()
    intervals(metrics, 0)
    seconds = time.process_time() - started
    benchmark.extra_info["processor_seconds"] = round(seconds, 2)
    benchmark.pedantic(intervals, args=(metrics, 0), rounds=3)


def test_comparing_two_runs_of_fifteen_thousand_samples(benchmark):
    first, second = (GRES.metrics(gres_records(15_000, seed), "strict") for seed in (0, 1))
    benchmark.pedantic(compare_metrics, args=(first, second, 0), rounds=3)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Pictures of COCO's size with structure at all scales."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = []
    for number in range(PICTURES):
        layers = [
            np.asarray(
                Image.fromarray(rng.integers(0, 256, (480 // s, 640 // s, 3), dtype=np.uint8)).resize((640, 480))
            )
            for s in (2, 8, 40, 160)
        ]
        pixels = np.average(layers, axis=0, weights=(1, 2, 4, 4)).astype(np.uint8)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def made_up_run(photographs, count, monkeypatch):
    """A scored run of `count` samples over the pictures."""
    rows, columns = np.mgrid[:480, :640]

    def disc(rng):
        y, x, r = rng.integers(60, 420), rng.integers(60, 580), rng.integers(10, 120)
        return masks.encode((rows - y) ** 2 + (columns - x) ** 2 < r**2)

    rng = np.random.default_rng(1)
    discs = [disc(rng) for _ in range(500)]
    samples, predictions = [], {}
    for i in range(count):
        path = photographs[i % PICTURES]
        truth, answer = discs[rng.integers(500)], discs[rng.integers(500)]
        image = ImageRef(path.stem, path, 480, 640)
        turns = (Turn("user", (f"Please segment the object number {i} in this image.",)),)
        samples.append(Sample(str(i), image, turns, Target((truth,)), f"the object number {i}", {"targets": "one"}))
        codes = Codes(i % 256, i // 256 % 256)
        line = {"id": str(i), "text": f"It is {render([codes])}.", "decoded": {codes.key: answer.to_coco()}}
        predictions[str(i)] = Prediction.model_validate({**line, "status": "ok", "seconds": {"generate": 0.1}})
    scored = [score_region(s, predictions[s.id], GRES.protocol("strict")) for s in samples]
    records = {"strict": Records.of(scored)}
    metrics = score(GRES, samples, predictions.values(), protocols=["strict"]).metrics
    dataset = {"root": "/data", "samples": count, "sha256": "0" * 64}
    manifest = kept_run(dataset=dataset, signature={"strict": "task:gres:val"}).manifest
    monkeypatch.setattr(report_module, "_samples", lambda *_: {sample.id: sample for sample in samples})
    monkeypatch.setattr(ScoredRun, "predictions", lambda self: predictions)
    return ScoredRun(Run(Path("nowhere"), manifest, metrics), GRES, records)


@pytest.mark.parametrize("count", [5_000, 50_000])
def test_a_report(benchmark, photographs, monkeypatch, count):
    run = made_up_run(photographs, count, monkeypatch)
    text = page(gather([run]))
    benchmark.extra_info["megabytes"] = round(len(text.encode()) / MEGABYTE, 2)
    benchmark.pedantic(lambda: page(gather([run])), rounds=1)
    assert len(text.encode()) < 10 * MEGABYTE
