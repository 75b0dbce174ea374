"""What is shared among the questions of a picture, as ratios of CPU seconds in one run: `make bench`.

The naive way re-enacts the reference: one expression at a time, the picture read, encoded and prefilled for each, the
mask tokenizer encoding it once per mask, nothing shared. Give one thread (`OMP_NUM_THREADS=1`), since CPU seconds of
several hold their waiting for each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from rich.console import Console

from samtok_eval import masks
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.images import read_image
from samtok_eval.messages import messages
from samtok_eval.models.backend import Backend, Request, request_of
from samtok_eval.models.transformers_backend import TransformersBackend
from samtok_eval.prediction_log import read_own_predictions
from samtok_eval.progress import Progress
from samtok_eval.registry import load_tasks
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.predict import codes_to_decode, predict
from samtok_eval.run.samples import read_samples
from samtok_eval.run.settings import RunSettings
from samtok_eval.sample import Sample
from samtok_eval.task import Task
from samtok_eval.tokenizer import MaskTokenizer
from samtok_eval.tokenizer.pictures import encoder

NOTHING_SHARED = RunSettings(group_pictures=False)
GRES = load_tasks()["gres"]
SMALL = 64
"""Samples of the demo that warm caches up."""


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of all threads of this process, and what came out."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


# ---- the naive way ----


def naive_answer(task: Task, request: Request, backend: Backend, tokenizer: MaskTokenizer, longest: int) -> Any:
    """Text and masks of one expression: text of a batch of one, every mask with an encoding of its own."""
    (answer,) = backend.generate([request], longest)
    picture = request.images[0]
    decoded = {
        codes.key: masks.encode(tokenizer.decode(picture, np.array([codes]))[0]).to_coco()
        for codes in codes_to_decode(task, answer.text)
    }
    return answer.text, decoded


def naive_run(task: Task, samples: Sequence[Sample], backend: Backend, tokenizer: MaskTokenizer) -> dict[str, Any]:
    """Answers by id, one sample after the other."""
    found = {}
    for sample in samples:
        picture = read_image(sample.image)
        request = request_of(sample.id, picture, messages(sample.turns, picture, encoder(tokenizer), task.layout))
        found[sample.id] = naive_answer(task, request, backend, tokenizer, task.max_new_tokens)
    return found


# ---- demo gres, predict end to end ----


def test_predict_on_demo_gres_is_at_least_four_times_as_fast_as_naive(benchmark, tmp_path):
    samples = read_samples(GRES, "val", "demo", None)
    tokenizers = [MaskTokenizer.from_pretrained(DEMO_CHECKPOINT) for _ in range(2)]
    tokenizers[1].remember_pictures()
    plain, shared = (
        TransformersBackend(str(DEMO_CHECKPOINT), "demo", "cpu", torch.float32, settings=settings)
        for settings in (NOTHING_SHARED, RunSettings())
    )

    def run(name: str, some: Sequence[Sample]) -> dict[str, Any]:
        folder = RunFolder(tmp_path / name)
        with Progress("gres", Console(quiet=True)) as progress:
            predict(GRES, some, shared, tokenizers[1], folder, RunSettings(), progress)
        lines = read_own_predictions(folder.parts()).values()
        return {line.id: (line.text, {key: rle.rle().to_coco() for key, rle in line.decoded.items()}) for line in lines}

    run("warm-up", samples[-SMALL:])
    naive_run(GRES, samples[-SMALL:], plain, tokenizers[0])
    slow, expected = cpu_seconds(lambda: naive_run(GRES, samples, plain, tokenizers[0]))
    fast, found = cpu_seconds(lambda: run("whole", samples))
    benchmark.extra_info.update(naive=round(slow, 2), shared=round(fast, 2), ratio=round(slow / fast, 2))
    benchmark.pedantic(lambda: None, rounds=1)
    assert found == expected
    assert slow >= 4 * fast
