"""vLLM, in this process and behind a server, gives the runs of `transformers`, to the byte; run by `make test-vllm`."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from samtok_eval import evaluate
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.errors import UsageError
from samtok_eval.images import read_image
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, parse
from samtok_eval.messages import Message, messages
from samtok_eval.models.backend import request_of
from samtok_eval.models.fingerprint import folder_sha256
from samtok_eval.models.sampling import span_grammar
from samtok_eval.models.select import ModelOptions, load_backend
from samtok_eval.models.transformers_backend import TransformersBackend
from samtok_eval.registry import load_tasks
from samtok_eval.run.settings import RunSettings
from samtok_eval.tokenizer.pictures import encoder
from tests.support.results import written
from tests.support.serving import ModelServer, started, with_killed_server

pytestmark = pytest.mark.vllm
QUESTIONS = 593
"""Of demo GRES val."""
NAME = "tiny"
ODD = ("the", "circle", "left", "no", "<|mt_start|>", "<|mt_0003|>", "<|mt_0300|>", "<|mt_end|>")
STRICT = {"constrained": True, "min_pixels": 4096, "max_pixels": 9216}


@pytest.fixture(scope="module", autouse=True)
def little_memory():
    """One GiB for what vLLM keeps of prompts, in this process and in servers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("VLLM_NO_USAGE_STATS", "1")
        yield


@pytest.fixture(scope="module")
def run(demo_root, tmp_path_factory):
    """A function that evaluates demo GRES."""
    out = tmp_path_factory.mktemp("runs")

    def evaluated(model, **options):
        return evaluate("gres", model=model, **{"device": "cpu", "data_root": str(demo_root), "out": out, **options})

    return evaluated


@pytest.fixture(scope="module")
def expected(run):
    """The whole split, answered by `transformers`."""
    return run("demo")


@pytest.fixture(scope="module")
def engine(expected, demo_tokenizer):
    """vLLM in this process; it binds the process to its threads, so that `transformers` comes before."""
    return load_backend(
        ModelOptions("vllm:demo", RunSettings(device="cpu", **STRICT)), demo_tokenizer, load_tasks()["gres"], []
    )


@pytest.fixture(scope="module")
def server():
    with started(vllm_server()) as process:
        yield process


def vllm_server():
    return ModelServer(
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", DEMO_CHECKPOINT),
        *("--served-model-name", NAME, "--dtype", "float32", "--generation-config", "vllm"),
        *("--enforce-eager", "--block-size", "32", "--skip-mm-profiling", "--trust-request-mm-kwargs"),
        *("--limit-mm-per-prompt", json.dumps({"image": 8, "video": 0})),
        # Else the model computes in a third process, which takes as long to start as the two others.
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
    )


@pytest.fixture(scope="module")
def transformers():
    """A function that gives the same model in `transformers`."""
    return lambda **settings: TransformersBackend(
        str(DEMO_CHECKPOINT), "demo", "cpu", torch.float32, RunSettings(**settings)
    )


def texts(backend, requests, longest=60):
    answers = backend.generate(requests, longest)
    assert [answer.error for answer in answers] == [None] * len(requests)
    return [answer.text for answer in answers]


def asked(text):
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return request_of("q", picture, (Message("user", (picture, text)),))


# In this process


def test_a_whole_split_in_this_process_is_that_of_transformers(expected, run):
    found = run("vllm:demo")
    assert len(written(found)[0]) == QUESTIONS
    assert written(found) == written(expected)


def test_several_pictures_rounds_bounds_and_grammar_are_those_of_transformers(
    engine, transformers, demo_samples, demo_tokenizer
):
    rounds = [sample for sample in demo_samples("interactive", None) if len(sample.turns) > 1]
    requests = []
    for sample in [*rounds[:6], *demo_samples("region_caption", 6), *demo_samples("gcg", 6)]:
        picture = read_image(sample.image)
        requests.append(request_of(sample.id, picture, messages(sample.turns, picture, encoder(demo_tokenizer))))
    assert max(len(request.images) for request in requests) > 1
    assert max(len(request.messages) for request in requests) > 1
    assert texts(engine, requests) == texts(transformers(**STRICT), requests)


def test_a_question_that_is_too_long_is_an_error_of_its_own(engine):
    short, long, last = engine.generate([asked("the circle"), asked("the circle " * 900), asked("the circle")], 60)
    assert long.error.startswith("VLLMValidationError: ") and "1024" in long.error
    assert short.error is None and short.text == last.text


def test_a_batch_that_fails_leaves_nothing_behind(engine):
    alone = texts(engine, [asked("the circle")])
    broken = replace(asked("the cross"), images=(np.zeros((4, 4, 7), np.uint8),))
    with pytest.raises(TypeError):
        engine.generate([asked("the cross"), broken], 60)
    assert texts(engine, [asked("the circle")]) == alone


def test_an_answer_that_does_not_fit_is_an_error_not_a_shorter_answer(engine, transformers):
    plain = transformers(**STRICT).inputs([asked("")])["input_ids"].shape[1]
    [answer] = engine.generate([asked(" the" * (1022 - plain))], 60)
    assert answer.error == (
        "the model's 1024 tokens are full after 2 of 60 of the answer; lower --max-new-tokens or --max-pixels"
    )


def test_the_grammar_takes_any_text_but_broken_spans():
    from xgrammar import Grammar
    from xgrammar.testing import _is_grammar_accept_string as takes

    grammar = Grammar.from_ebnf(span_grammar(DEFAULT_LAYOUT))
    span = "<|mt_start|><|mt_0001|><|mt_0300|><|mt_end|>"
    phrase = "<|object_ref_start|> a cat <|object_ref_end|>"
    for text in (
        "",
        "No.",
        span,
        f"{phrase} {span}.",
        span + span,
        "a < b << c <| <|m <|mt",
        f"<{span}",
        f"<|mt{span}",
    ):
        assert takes(grammar, text), text
    swapped, open_ended = "<|mt_start|><|mt_0300|><|mt_0001|><|mt_end|>", span.removesuffix("<|mt_end|>")
    for text in ("<|mt_0001|>", "<<|mt_0001|>", "<|mt<|mt_0001|>", "<|mt_end|>", "<|mt_start|>", swapped, open_ended):
        assert not takes(grammar, text), text


def test_the_grammar_lets_only_well_formed_spans_out(engine, transformers):
    drawn = random.Random(0)
    odd = [asked(" ".join(drawn.choices(ODD, k=drawn.randint(3, 20)))) for _ in range(64)]

    def malformed(backend):
        return sum(span.status != "ok" for text in texts(backend, odd) for span in parse(text))

    assert malformed(transformers()) > 0
    assert malformed(engine) == 0


def test_the_identity_holds_what_can_change_an_answer(engine):
    import vllm

    assert engine.identity() == {
        "model": "vllm:demo", "weights_sha256": folder_sha256(DEMO_CHECKPOINT), "dtype": "float32", "device": "cpu",
        "image_size": {"shortest_edge": 4096, "longest_edge": 9216}, "constrained": True, "vllm": vllm.__version__,
        "generation": {
            "temperature": 0.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
            "skip_special_tokens": False, "spaces_between_special_tokens": False, "overridden": {},
        },
    }  # fmt: skip


def test_a_device_for_which_vllm_was_not_built_is_refused():
    from samtok_eval.models.vllm_backend import VllmBackend

    with pytest.raises(UsageError, match=r"--device cuda: the installed vLLM computes on cpu; give --device cpu"):
        VllmBackend(str(DEMO_CHECKPOINT), "demo", "cuda", torch.float32)


# Behind a server


def test_a_whole_split_of_a_server_is_that_of_transformers(expected, run, server):
    found = run(f"openai:{server.url}#{NAME}", tokenizer="demo")
    assert len(written(found)[0]) == QUESTIONS
    assert written(found) == written(expected)
    assert found.manifest.model.identity["server"]["dialect"] == "vllm"


def test_bounds_and_grammar_reach_the_server(run, server):
    several = [run(model, limit=24, tokenizer="demo", **STRICT) for model in ("demo", f"openai:{server.url}#{NAME}")]
    assert written(several[0]) == written(several[1])


def test_a_server_that_is_killed_and_started_again_in_mid_run_loses_nothing(expected, run, server, tmp_path):
    found = with_killed_server(
        server,
        tmp_path,
        lambda: run(f"openai:{server.url}#{NAME}", tokenizer="demo", out=tmp_path, concurrency=8),
    )
    assert written(found) == written(expected)
