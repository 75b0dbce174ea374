"""The choice of a device, and what is said when memory is full."""

from __future__ import annotations

import pytest
import torch

from samtok_eval.device import (
    SMALL_MODEL,
    choose_device,
    computing_threads,
    dtype_name,
    float32_products,
    memory_named,
    own_device,
    thread_count,
    torch_dtype,
)
from samtok_eval.errors import UsageError


@pytest.fixture
def gpus(monkeypatch):
    """Say how many CUDA devices torch sees."""

    def seen(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return seen


@pytest.mark.parametrize(
    ("name", "count", "chosen"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_auto_takes_cuda_where_there_is_one_and_a_name_is_taken_as_it_is(gpus, name, count, chosen):
    gpus(count)
    assert choose_device(name) == chosen


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("tpu", 1, "--device tpu: expected auto, cpu, cuda or cuda:N"),
        ("cuda", 0, "--device cuda: no CUDA device is visible; give --device cpu"),
        ("cuda:2", 2, "--device cuda:2: 2 CUDA devices are visible"),
    ],
)
def test_a_device_that_is_not_there_is_refused(gpus, name, count, message):
    gpus(count)
    with pytest.raises(UsageError, match=message):
        choose_device(name)


@pytest.mark.parametrize(
    ("name", "local", "chosen"),
    [("auto", "3", "cuda:1"), ("cuda", "0", "cuda:0"), ("cuda:0", "1", "cuda:0"), ("cuda", "", "cuda")],
)
def test_each_process_of_torchrun_takes_a_gpu_of_its_own(gpus, monkeypatch, name, local, chosen):
    gpus(2)
    monkeypatch.setenv("LOCAL_RANK", local)
    assert own_device(name) == chosen


@pytest.mark.parametrize(
    ("parameters", "asked", "variable", "count"),
    [
        (SMALL_MODEL - 1, None, None, 1),
        (SMALL_MODEL, None, None, 5),
        (SMALL_MODEL - 1, None, "5", 5),
        (SMALL_MODEL - 1, 3, None, 3),
        (SMALL_MODEL, 3, "5", 3),
    ],
)
def test_small_models_compute_in_one_thread_unless_the_user_says_otherwise(
    monkeypatch, parameters, asked, variable, count
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert thread_count(parameters, asked) == count


def test_threads_are_as_before_when_the_work_is_done_or_fails():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), computing_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory: 9 bytes")])
def test_full_memory_says_what_fills_it_and_what_to_lower(error):
    with (
        pytest.raises(UsageError, match="out of memory with 4 pictures; lower --a, then --b; give --c"),
        memory_named("4 pictures", ("--a", "--b"), "give --c"),
    ):
        raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), memory_named("x", ("--a",)):
        raise RuntimeError("shapes do not match")


def test_products_of_float32_are_rounded_only_where_it_is_asked_and_only_there():
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [kind.allow_tf32 for kind in kinds]
    for asked in (True, False):
        with float32_products(asked):
            assert [kind.allow_tf32 for kind in kinds] == [asked, asked]
    assert [kind.allow_tf32 for kind in kinds] == before


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp16", torch.float16), ("bfloat16", torch.bfloat16), ("float32", torch.float32)]
)
def test_a_dtype_has_two_names(name, dtype):
    assert torch_dtype(name) == dtype


def test_another_dtype_is_refused_with_those_there_are():
    assert dtype_name("auto") == "auto"
    with pytest.raises(UsageError, match="--dtype must be auto, float32, bfloat16, float16, fp32, bf16, fp16, got"):
        dtype_name("fp8")
