"""Loading a checkpoint: attention kernel, spread over devices, compilation."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.errors import CheckpointError, UsageError
from samtok_eval.messages import Message
from samtok_eval.models import checkpoint
from samtok_eval.models.backend import request_of
from samtok_eval.models.checkpoint import load_vision_language
from samtok_eval.models.select import ModelOptions, load_mask_tokenizer
from samtok_eval.models.transformers_backend import TransformersBackend
from samtok_eval.run.settings import RunSettings


def backend(**settings):
    return TransformersBackend(str(DEMO_CHECKPOINT), "demo", "cpu", torch.float32, settings=RunSettings(**settings))


@pytest.fixture(scope="module")
def requests(demo_samples):
    from samtok_eval.images import read_image

    picture = read_image(demo_samples("gres", 1)[0].image)
    return [request_of("q", picture, [Message("user", (picture, text))]) for text in ("Segment it.", "What is red?")]


@pytest.fixture(scope="module")
def usual_texts(requests):
    return texts(backend(), requests)


def texts(backend, requests):
    return [answer.text for answer in backend.generate(requests, 40)]


@pytest.mark.parametrize("settings", [{"attn": "eager"}, {"attn": "sdpa"}, {"device_map": "auto"}])
def test_what_is_asked_is_done_and_named_and_the_answers_stay(settings, requests, usual_texts):
    asked = backend(**settings)
    assert texts(asked, requests) == usual_texts
    assert asked.identity().items() >= settings.items()
    assert asked.model.config._attn_implementation == settings.get("attn", "sdpa")


def test_the_identity_of_a_run_that_asks_for_nothing_is_as_before_the_settings_existed():
    assert not {"attn", "device_map"} & set(backend().identity())


def test_a_compiled_model_holds_the_same_weights_under_the_same_names_and_answers_the_same(requests, usual_texts):
    plain, compiled = backend(), backend(compile=True)
    assert list(compiled.model.state_dict()) == list(plain.model.state_dict())
    assert compiled.model.model.language_model._compiled_call_impl is not None
    # What torch makes of it takes minutes; which call is translated is what is tested here.
    with torch.compiler.set_stance("force_eager"):
        assert texts(compiled, requests) == usual_texts


def test_a_compiled_mask_tokenizer_decodes_the_same(demo_tokenizer):
    compiled = load_mask_tokenizer(ModelOptions("demo", RunSettings(compile=True, device="cpu")))
    assert compiled.sam.sam_mask_decoder._compiled_call_impl is not None
    picture, codes = np.zeros((64, 64, 3), dtype=np.uint8), np.array([[1, 2], [3, 4]])
    with torch.compiler.set_stance("force_eager"):
        assert (compiled.decode(picture, codes) == demo_tokenizer.decode(picture, codes)).all()


def test_an_attention_kernel_that_the_model_has_not_is_refused_with_its_reason():
    with pytest.raises(CheckpointError, match=r"flex_attention.*or leave --attn flex_attention out"):
        backend(attn="flex_attention")


def test_flash_attention_is_refused_where_it_cannot_compute():
    with pytest.raises(UsageError, match=r"--attn flash_attention_2 computes in bfloat16.*float32 on cpu"):
        backend(attn="flash_attention_2")


def test_a_device_map_is_one_of_four():
    with pytest.raises(UsageError, match=r"--device-map cuda:1: expected auto, balanced.*give --device"):
        load_vision_language(DEMO_CHECKPOINT, torch.float32, device_map="cuda:1")


def test_a_device_map_needs_accelerate(monkeypatch):
    absent = importlib.util.find_spec("no_such_package")
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: absent)
    with pytest.raises(UsageError, match="--device-map needs the package accelerate"):
        load_vision_language(DEMO_CHECKPOINT, torch.float32, device_map="auto")
