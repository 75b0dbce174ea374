"""Qwen2.5-VL and Qwen3-VL checkpoints through vLLM in this process: thousands of questions at once, greedy.

In: requests. Out: texts in which mask words survive. vLLM batches by itself and keeps what questions about one picture
have in common, so it is given many questions at once. Chat text, pictures, pinned decoding and the end of an answer are
those of the back end of `transformers`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor, GenerationConfig

from samtok_eval.errors import UsageError
from samtok_eval.files import shortened
from samtok_eval.hub import local_folder
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout
from samtok_eval.models.backend import Answer, Backend, Picture, Request
from samtok_eval.models.checkpoint import NO_CODE, bound_pixels, loading, pixel_bounds
from samtok_eval.models.fingerprint import folder_sha256
from samtok_eval.models.sampling import GREEDY, VLLM_SAMPLING, span_grammar
from samtok_eval.models.transformers_backend import (
    answer_text,
    chat_text,
    mask_word_ids,
    pinned_generation,
    stop_ids,
)
from samtok_eval.run.settings import RunSettings

logger = logging.getLogger(__name__)
QUESTIONS = 1024
"""At once, at least; their pictures are in memory together."""
GPU_SHARE = 0.8
"""Of the memory that vLLM takes; the mask tokenizer computes on the same device."""
ON_CPU = {
    # Compiling takes longer than a benchmark on a small model.
    "enforce_eager": True,
    # Prefixes are kept in whole blocks; the usual 128 tokens are more than a short question has.
    "block_size": 32,
    # By default four fifths of the machine.
    "kv_cache_memory_bytes": 4 << 30,
    "skip_mm_profiling": True,
}
VLLMS_OWN = {
    # A process of the engine's own costs a minute to start on a CPU, and a main module that can be imported.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    # Tables go to the standard output.
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
}
"""Variables that vLLM reads, where the user has not set them."""


class VllmBackend(Backend):
    """One checkpoint in a vLLM engine of this process."""

    def __init__(
        self,
        path_or_hub_id: str,
        name: str,
        device: str,
        dtype: torch.dtype,
        settings: RunSettings | None = None,
        layout: Layout = DEFAULT_LAYOUT,
    ) -> None:
        """Load processor and engine.

        Args:
            path_or_hub_id: folder or hub repository.
            name: for tables, folders and messages.
            device: `cpu` or `cuda`, as the installed vLLM was built for.
            dtype: of the weights.
            settings: pixels of a picture, whether only well-formed spans are let out, GPUs that share the model; the
                usual by default.
            layout: of the mask tokenizer that decodes the answers.

        Raises:
            CheckpointError: nothing loadable there, or the vocabulary has not the mask words of the layout.
            UsageError: vLLM is not installed or computes elsewhere, or the bounds of pixels exclude each other.
        """
        settings = settings or RunSettings()
        self._vllm = _imported()
        _check_device(device, self._vllm.platforms.current_platform.device_type)
        self.name, self.device, self.dtype = name, device, dtype
        self.batch_size = max(settings.batch_size, QUESTIONS)
        self.folder = local_folder(path_or_hub_id)
        with loading(path_or_hub_id):
            self.processor = AutoProcessor.from_pretrained(self.folder, **NO_CODE)
        self.tokenizer = self.processor.tokenizer
        mask_word_ids(self.tokenizer, name, layout)
        bound_pixels(self.processor, settings.min_pixels, settings.max_pixels)
        logger.info("loading the model %s", name)
        generation, self.overridden = pinned_generation(_published_generation(self.folder))
        # vLLM ends at the tokenizer's own end word in any case.
        self.stops = {*stop_ids(generation), self.tokenizer.eos_token_id} - {None}
        self.constrained = settings.constrained
        self._grammar = span_grammar(layout) if settings.constrained else None
        with loading(path_or_hub_id):
            self._engine = self._vllm.LLM(**self._engine_settings(settings))

    def identity(self) -> dict[str, Any]:
        """Weights, dtype, image budget, version of vLLM and sampling settings."""
        return {
            "model": self.name,
            "weights_sha256": self.weights_sha256,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device,
            "image_size": pixel_bounds(self.processor),
            "constrained": self.constrained,
            "vllm": self._vllm.__version__,
            **({"batch_invariant": True} if self._vllm.envs.VLLM_BATCH_INVARIANT else {}),
            "generation": {**GREEDY, **VLLM_SAMPLING, "overridden": self.overridden},
        }

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the folder as it was when it was first asked for."""
        return folder_sha256(self.folder)

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """Greedy answers; one whose question does not fit holds the error.

        Args:
            requests: one batch, questions about one picture next to each other.
            max_new_tokens: where an answer is cut.
        """
        started = time.perf_counter()
        sampling = self._sampling(max_new_tokens)
        digest = _Digests()
        names, places, answers = list[str](), list[int](), dict[int, Answer]()
        try:
            for place, request in enumerate(requests):
                try:
                    names += self._engine.enqueue([self._prompt(request, digest)], sampling, use_tqdm=False)
                    places.append(place)
                except self._vllm.exceptions.VLLMValidationError as error:
                    answers[place] = Answer("", error=f"{type(error).__name__}: {shortened(error)}")
            # In the order in which they were put in.
            outputs = self._engine.wait_for_completion(use_tqdm=False)
        except BaseException:
            # What is left of a batch would come back with the next one.
            self._engine.llm_engine.abort_request(names, internal=True)
            raise
        seconds = {"generate": (time.perf_counter() - started) / len(requests)}
        for place, output in zip(places, outputs, strict=True):
            answers[place] = self._answer(output.outputs[0], max_new_tokens, seconds)
        return [answers[place] for place in range(len(requests))]

    def _engine_settings(self, settings: RunSettings) -> dict[str, Any]:
        bounded = settings.min_pixels is not None or settings.max_pixels is not None
        return {
            "model": str(self.folder),
            "dtype": str(self.dtype).removeprefix("torch."),
            "tensor_parallel_size": settings.tensor_parallel,
            # As long as memory allows.
            "max_model_len": -1,
            # No settings of the checkpoint's own.
            "generation_config": "vllm",
            "limit_mm_per_prompt": {"video": 0},
            "mm_processor_kwargs": {"size": pixel_bounds(self.processor)} if bounded else None,
            "use_tqdm_on_load": False,
            **(ON_CPU if self.device == "cpu" else {"gpu_memory_utilization": GPU_SHARE}),
        }

    def _sampling(self, max_new_tokens: int) -> Any:
        rules = self._vllm.sampling_params.StructuredOutputsParams(grammar=self._grammar) if self._grammar else None
        return self._vllm.SamplingParams(
            **GREEDY, **VLLM_SAMPLING, max_tokens=max_new_tokens, stop_token_ids=sorted(self.stops),
            structured_outputs=rules, detokenize=False,
        )  # fmt: skip

    def _prompt(self, request: Request, digest: Callable[[Picture], str]) -> dict[str, Any]:
        return {
            "prompt": chat_text(request, self.processor),
            "multi_modal_data": {"image": [Image.fromarray(picture) for picture in request.images]},
            "multi_modal_uuids": {"image": [digest(picture) for picture in request.images]},
        }

    def _answer(self, output: Any, max_new_tokens: int, seconds: dict[str, float]) -> Answer:
        ids = list(output.token_ids)
        if output.finish_reason == "length" and len(ids) < max_new_tokens:
            longest = self._engine.model_config.max_model_len
            reason = f"the model's {longest} tokens are full after {len(ids)} of {max_new_tokens} of the answer"
            return Answer("", seconds, error=f"{reason}; lower --max-new-tokens or --max-pixels")
        return Answer(answer_text(ids, self.tokenizer, self.stops), seconds)


class _Digests:
    """The hash of each distinct picture, computed once."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def __call__(self, picture: Picture) -> str:
        """Hash of size and pixels.

        Args:
            picture: uint8 (H, W, 3), alive as long as this object.
        """
        if id(picture) not in self._known:
            content = str(picture.shape).encode() + picture.tobytes()
            self._known[id(picture)] = hashlib.sha256(content).hexdigest()
        return self._known[id(picture)]


def _imported() -> Any:
    """The package vLLM, which then reads its variables.

    Raises:
        UsageError: it is not installed.
    """
    for name, value in VLLMS_OWN.items():
        os.environ.setdefault(name, value)
    try:
        import vllm
        import vllm.envs
        import vllm.exceptions
        import vllm.platforms
        import vllm.sampling_params
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--model vllm:... needs the package {error.name}; install samtok-eval[vllm], "
            "or start a server elsewhere and give openai:URL#NAME"
        ) from error
    return vllm


def _check_device(device: str, built_for: str) -> None:
    if device != built_for:
        raise UsageError(
            f"--device {device}: the installed vLLM computes on {built_for}; give --device {built_for}, and name GPUs "
            "in CUDA_VISIBLE_DEVICES"
        )


def _published_generation(folder: Any) -> GenerationConfig:
    try:
        return GenerationConfig.from_pretrained(folder)
    except OSError:
        return GenerationConfig()
