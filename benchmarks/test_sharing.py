"""What is shared among the questions of a picture, as ratios of CPU seconds in one run: `make bench`.

The naive way re-enacts the reference: one expression at a time, the picture read, encoded and prefilled for each, the
mask tokenizer encoding it once per mask, nothing shared. Give one thread (`OMP_NUM_THREADS=1`), since CPU seconds of
several hold their waiting for each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from transformers import DynamicCache

from benchmarks.random_models import MIDDLE, Family, asked, picture, qwen2_5, qwen3
from samtok_eval import masks
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.images import read_image
from samtok_eval.mask_tokens import Codes, render
from samtok_eval.messages import messages
from samtok_eval.models.backend import Answer, Backend, Request, request_of
from samtok_eval.models.shared_prefix import cache_name, shared_inputs
from samtok_eval.models.transformers_backend import LoadedBackend, TransformersBackend
from samtok_eval.prediction_log import read_own_predictions
from samtok_eval.progress import Progress
from samtok_eval.registry import load_tasks
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.predict import ask, codes_to_decode, predict
from samtok_eval.run.samples import read_samples
from samtok_eval.run.settings import RunSettings
from samtok_eval.sample import Sample
from samtok_eval.task import Task
from samtok_eval.tokenizer import MaskTokenizer, MaskTokenizerConfig
from samtok_eval.tokenizer.pictures import encoder

NOTHING_SHARED = RunSettings(group_pictures=False)
GRES = load_tasks()["gres"]
NEW_TOKENS = 8
"""Of an answer with one mask: a mask word is four."""
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


# ---- eight questions on one picture ----


def test_reading_eight_questions_of_a_picture_is_at_least_four_times_as_fast_as_naive(benchmark):
    """Vision encoder and prompt: 256 visual tokens, hidden 1024, 12 layers."""
    ratios = {family.__name__: ratios_of_reading(family, side) for family, side in ((qwen3, 512), (qwen2_5, 448))}
    benchmark.extra_info.update(ratios)
    benchmark.pedantic(lambda: None, rounds=1)
    assert all(found["naive"] >= 4 for found in ratios.values())


def ratios_of_reading(family: Family, side: int) -> dict[str, float]:
    """CPU seconds with nothing shared, and with the picture alone encoded once, over those with the prompt shared."""
    model, processor = family(MIDDLE, side)
    requests = asked(picture(side))
    backends = [
        LoadedBackend(model, processor, "random", settings)
        for settings in (RunSettings(), RunSettings(share_prefix=False), NOTHING_SHARED)
    ]
    backends[0].generate(requests[:2], 1)
    shared, once, naive = (cpu_seconds(partial(backend.generate, requests, 1))[0] for backend in backends)
    texts = [[answer.text for answer in backend.generate(requests, NEW_TOKENS)] for backend in backends[:2]]
    assert texts[0] == texts[1]
    return {"naive": round(naive / shared, 2), "picture_encoded_once": round(once / shared, 2)}


class OneMaskEach(LoadedBackend):
    """Computes as many words as an answer with one mask has, and answers with a mask of the question's own."""

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        answers = super().generate(requests, max_new_tokens)
        return [
            replace(answer, text=render([Codes(int(request.id), 0)]))
            for answer, request in zip(answers, requests, strict=True)
        ]


def test_eight_masks_on_one_picture_reach_nine_tenths_of_what_their_parts_allow(benchmark):
    """Mask tokenizer of full size, language model of hidden 1024 and 12 layers; text and mask of each expression."""
    model, processor = qwen3(MIDDLE, 512)
    tokenizer = MaskTokenizer(MaskTokenizerConfig())
    requests = asked(picture(512))
    shared, naive = (OneMaskEach(model, processor, "random", s) for s in (RunSettings(), NOTHING_SHARED))

    def together() -> None:
        ask(GRES, requests, shared, tokenizer, NEW_TOKENS)

    before = least_seconds(model, shared, tokenizer, requests)
    whole, _ = cpu_seconds(together)
    least = (before + least_seconds(model, shared, tokenizer, requests)) / 2
    # Each expression costs the naive way the same, so one of them tells.
    alone, _ = cpu_seconds(lambda: naive_answer(GRES, requests[0], naive, tokenizer, NEW_TOKENS))
    ratio = len(requests) * alone / whole
    benchmark.extra_info.update(share_of_limit=round(least / whole, 2), naive=round(ratio, 2))
    benchmark.pedantic(lambda: None, rounds=1)
    assert least >= 0.9 * whole


@torch.no_grad()
def least_seconds(model: Any, backend: LoadedBackend, tokenizer: MaskTokenizer, requests: Sequence[Request]) -> float:
    """CPU seconds of the models alone: one encoding by each encoder, one prompt, words and masks of all answers."""
    image = requests[0].images[0]
    pixels = backend.processor.image_processor(images=[image], return_tensors="pt")
    inputs = shared_inputs(model, backend.inputs(requests), [0] * len(requests))
    prefix = inputs[cache_name(model)].get_seq_length()
    suffix = inputs["input_ids"].shape[1] - prefix
    language_model, width = model.model.language_model, model.config.text_config.hidden_size
    one, some, word = (torch.randn(shape) for shape in ((1, prefix, width), (8, suffix, width), (8, 1, width)))
    codes = np.array([[i, 0] for i in range(len(requests))])

    def compute() -> None:
        model.model.get_image_features(pixels["pixel_values"], pixels["image_grid_thw"], return_dict=True)
        cache = DynamicCache(config=model.config.text_config)
        read = partial(language_model, use_cache=True, **{cache_name(model): cache})
        read(inputs_embeds=one)
        cache.batch_repeat_interleave(len(requests))
        # The last step of the prompt gives the first word.
        for step in (some, *[word] * (NEW_TOKENS - 1)):
            model.lm_head(read(inputs_embeds=step).last_hidden_state[:, -1])
        tokenizer.decode_logits(image, codes)

    return cpu_seconds(compute)[0]
