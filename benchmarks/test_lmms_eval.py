"""Questions about the same pictures through `transformers` here and in lmms-eval: CPU seconds, and the same texts.

Both sides hold the same weights in fp32, compute in one thread, decode greedily, and are asked with the same
conversation: lmms-eval puts its own system message before every question, so here the questions bring it too, and the
chat template is the checkpoint's. Pictures are 640x480, a size that neither side has to change. lmms-eval leaves
control words out of a text, so they are taken out of ours before texts are compared.

Needs `lmms-eval`, `qwen-vl-utils` and `decord`, which its class imports for videos; skipped without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen3VLForConditionalGeneration

from benchmarks.random_models import MIDDLE, QUESTIONS, qwen3
from benchmarks.test_sharing import cpu_seconds
from samtok_eval.messages import Message
from samtok_eval.models.backend import request_of
from samtok_eval.models.checkpoint import bound_pixels
from samtok_eval.models.transformers_backend import TransformersBackend

peer = pytest.importorskip("lmms_eval.models.simple.qwen3_vl", reason="lmms-eval is not installed")
Instance = pytest.importorskip("lmms_eval.api.instance").Instance

HEIGHT, WIDTH = 480, 640
SIXTEEN = (*QUESTIONS, *(question.replace("segment", "find and mark") for question in QUESTIONS))
SYSTEM = "You are a helpful assistant."
ANSWER = 8
"""Words of an answer with one mask."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A Qwen3-VL of hidden 1024 and 12 layers with random weights, as a folder."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model, processor = qwen3(MIDDLE, 512)
    bound_pixels(processor, HEIGHT * WIDTH, HEIGHT * WIDTH)
    tokenizer = processor.tokenizer
    # Both sides stop at this word, lmms-eval because it is the tokenizer's.
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def pictures(count: int) -> list[Any]:
    """uint8 (480, 640, 3) each: noise over a slope, so that no two are alike."""
    slope = np.linspace(0, 127, WIDTH, dtype=np.uint8)[None, :, None]
    draws = (np.random.default_rng(seed).integers(0, 128, (HEIGHT, WIDTH, 3), dtype=np.uint8) for seed in range(count))
    return [draw + slope for draw in draws]


def loaded_peer(checkpoint: Path, batch_size: int, asked: Sequence[tuple[str, Any]]) -> Any:
    """lmms-eval's class with the checkpoint in fp32, for which it has no option."""
    model = peer.Qwen3_VL(
        pretrained=str(checkpoint),
        device="cpu",
        device_map="cpu",
        batch_size=batch_size,
        system_prompt=SYSTEM,
        min_pixels=HEIGHT * WIDTH,
        max_pixels=HEIGHT * WIDTH,
    )
    # It has read the weights in bfloat16.
    model._model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    model.task_dict = {"questions": {"test": [Image.fromarray(image) for _, image in asked]}}
    return model


def instances(asked: Sequence[tuple[str, Any]], words: int) -> list[Any]:
    """The questions as lmms-eval holds them."""
    settings = {"max_new_tokens": words, "temperature": 0.0, "until": []}
    return [
        Instance(
            "generate_until",
            (question, dict(settings), lambda picture: [picture], i, "questions", "test"),
            i,
            {"task": "questions", "doc_id": i, "repeats": 1},
        )
        for i, (question, _) in enumerate(asked)
    ]


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("count", [1, 2], ids=["one_picture", "two_pictures"])
def test_sixteen_questions_are_answered_at_least_three_times_as_fast_as_by_lmms_eval(
    benchmark, checkpoint, count, batch_size
):
    shown = pictures(count)
    asked = [(question, shown[i * count // len(SIXTEEN)]) for i, question in enumerate(SIXTEEN)]
    theirs = loaded_peer(checkpoint, batch_size, asked)
    ours = TransformersBackend(str(checkpoint), "random", "cpu", torch.float32)
    requests = [
        request_of(str(i), image, [Message("system", (SYSTEM,)), Message("user", (image, question))])
        for i, (question, image) in enumerate(asked)
    ]

    def here(words: int) -> list[str]:
        texts = [answer.text for answer in ours.generate(requests, words)]
        for word in ours.tokenizer.all_special_tokens:
            texts = [text.replace(word, "") for text in texts]
        return texts

    def there(words: int) -> list[str]:
        return [str(text) for text in theirs.generate_until(instances(asked, words))]

    ours.generate(requests[:1], 1)
    ratios = []
    for words in (1, ANSWER):
        # Ours takes seconds and theirs a minute, so ours is measured on either side of theirs.
        before, _ = cpu_seconds(partial(here, words))
        slow, expected = cpu_seconds(partial(there, words))
        after, texts = cpu_seconds(partial(here, words))
        assert texts == expected
        fast = (before + after) / 2
        ratios.append(slow / fast)
        benchmark.extra_info[f"words_{words}"] = [round(slow, 1), round(fast, 1), round(slow / fast, 2)]
    # Else equal texts would say little.
    benchmark.extra_info["texts"] = len(set(texts))
    benchmark.pedantic(lambda: None, rounds=1)
    assert len(set(texts)) > 4
    assert min(ratios) >= 3
