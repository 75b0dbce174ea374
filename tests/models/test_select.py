"""What a name of a model leads to, which settings it can follow, and the precision of the mask tokenizer."""

from __future__ import annotations

import pytest
import torch

from samtok_eval import evaluate
from samtok_eval.errors import UsageError
from samtok_eval.models.select import ModelOptions, check_used
from samtok_eval.run.settings import RunOptions, RunSettings

SERVER = "openai:http://127.0.0.1:1/v1#m"


@pytest.mark.parametrize(("name", "flag"), [("attn", "--attn"), ("device_map", "--device-map")])
def test_settings_of_a_loaded_model_are_refused_for_a_server(name, flag):
    value = {"attn": "sdpa", "device_map": "auto"}[name]
    with pytest.raises(UsageError, match=f"its server was started with its own; leave {flag} out"):
        ModelOptions(SERVER, RunSettings(tokenizer="demo", **{name: value}))


def test_settings_of_a_loaded_model_are_refused_for_vllm():
    with pytest.raises(UsageError, match="vLLM chooses its own kernels and places; leave --attn out"):
        ModelOptions("vllm:demo", RunSettings(attn="sdpa"))


def test_settings_of_a_loaded_model_are_refused_where_none_is_loaded(tmp_path):
    with pytest.raises(UsageError, match="--model oracle: no language model is loaded; leave --attn, --device-map out"):
        evaluate("gres", model="oracle", attn="sdpa", device_map="auto", out=tmp_path)


def test_a_ceiling_beside_a_checkpoint_may_have_them():
    check_used([RunOptions(task="gres", model=model, attn="sdpa") for model in ("demo", "oracle")])


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({}, torch.float32),
        ({"dtype": "bf16"}, torch.bfloat16),
        ({"dtype": "bf16", "mask_dtype": "fp32"}, torch.float32),
        ({"mask_dtype": "fp16"}, torch.float16),
    ],
)
def test_the_mask_tokenizer_computes_in_float32_unless_something_else_is_named(settings, dtype, monkeypatch):
    # `auto` on a GPU is bfloat16 for the language model alone.
    monkeypatch.setattr("samtok_eval.models.select.choose_device", lambda name: "cuda")
    assert ModelOptions("demo", RunSettings(**settings)).mask_dtype() == dtype


@pytest.mark.parametrize("model", ["demo", "vllm:demo"])
def test_a_task_of_the_mask_tokenizer_alone_takes_it_from_the_checkpoint_whatever_computes_the_model(
    demo_root, tmp_path, model
):
    run = evaluate("reconstruction", model=model, limit=2, device="cpu", data_root=str(demo_root), out=tmp_path)
    assert run.manifest.model.name == f"tokenizer-of-{model}"
    assert run.metrics.counters.scored == 2
