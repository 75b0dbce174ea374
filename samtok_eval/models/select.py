"""From a `--model` name to a backend and its mask tokenizer."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.device import choose_device, torch_dtype
from samtok_eval.errors import UsageError
from samtok_eval.models.backend import Backend
from samtok_eval.models.fixed import Oracle, Random, Replay
from samtok_eval.models.openai.address import SERVED, Address
from samtok_eval.models.python_file import PYTHON, load_python_file
from samtok_eval.run.settings import DEMO, RunOptions, RunSettings, flags_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samtok_eval.mask_tokens import Layout
    from samtok_eval.models.transformers_backend import TransformersBackend
    from samtok_eval.models.vllm_backend import VllmBackend
    from samtok_eval.sample import Sample
    from samtok_eval.task import Task
    from samtok_eval.tokenizer.model import MaskTokenizer

logger = logging.getLogger(__name__)
VLLM = "vllm:"
OF_THE_CHECKPOINT = ("attn", "device_map")
"""Settings that only a language model which is loaded here can follow."""


@dataclass(frozen=True)
class ModelOptions:
    """Who answers, and the settings of the run, from which each backend takes its own."""

    model: str
    """`demo`, a folder, a hub id, `vllm:` before one of these, `openai:URL#NAME`, `python:FILE`, `oracle`, `random` or
    `replay:FILE`."""
    settings: RunSettings = field(default_factory=RunSettings)
    """`tokenizer` is the demo's for `oracle`, `random` and `replay` where it is not given."""

    def __post_init__(self) -> None:
        """Refuse a server without a mask tokenizer, and settings that this model would not follow.

        Raises:
            UsageError: such a name or setting.
        """
        if self.settings.tensor_parallel > 1 and not is_vllm(self.model):
            raise UsageError(f"--tensor-parallel: --model {self.model} is not computed by vLLM; give vllm:PATH")
        if is_vllm(self.model):
            refuse_idle(self.settings, f"--model {self.model}: vLLM chooses its own kernels and places")
        if is_served(self.model):
            Address.of(self.model)
            if self.settings.tokenizer is None:
                raise UsageError(
                    f"--model {self.model}: a server brings no mask tokenizer; name the one whose words it writes with "
                    "--tokenizer: a folder, a hub id or demo"
                )
            refuse_idle(self.settings, f"--model {self.model}: its server was started with its own")

    def device_name(self) -> str:
        """`cuda` where there is one and the user did not say otherwise.

        Raises:
            UsageError: CUDA was asked for and is absent, or there is no such device.
        """
        return choose_device(self.settings.device)

    def torch_dtype(self) -> torch.dtype:
        """bfloat16 on CUDA and float32 elsewhere, or what the user said.

        Raises:
            UsageError: unknown name.
        """
        if self.settings.dtype != "auto":
            return torch_dtype(self.settings.dtype)
        return torch.bfloat16 if self.device_name().startswith("cuda") else torch.float32

    def mask_dtype(self) -> torch.dtype:
        """What the mask tokenizer computes in: float32 unless the user named something else."""
        if self.settings.mask_dtype:
            return torch_dtype(self.settings.mask_dtype)
        return torch.float32 if self.settings.dtype == "auto" else self.torch_dtype()


def mask_tokenizer_of(options: ModelOptions) -> MaskTokenizer | None:
    """The run's mask tokenizer; None where a user's back end brings masks, and none is named."""
    return None if is_python(options.model) and options.settings.tokenizer is None else load_mask_tokenizer(options)


def load_mask_tokenizer(options: ModelOptions) -> MaskTokenizer:
    """The run's mask tokenizer: named, beside the model, or the demo's. It encodes each picture once.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    from samtok_eval.tokenizer.model import MaskTokenizer

    place = mask_tokenizer_place(options)
    tokenizer = MaskTokenizer.from_pretrained(place, device=options.device_name(), dtype=options.mask_dtype())
    tokenizer.remember_pictures()
    if options.settings.compile:
        # Pictures have one size here; the number of masks becomes a variable when it first changes.
        tokenizer.sam.sam_mask_decoder.compile()
    return tokenizer


def mask_tokenizer_place(options: ModelOptions) -> str | Path:
    """Folder, file or hub id of the run's mask tokenizer."""
    named = options.settings.tokenizer
    if named:
        return _tokenizer_place(named)
    return DEMO_CHECKPOINT if is_fixed(options.model) else checkpoint_place(options.model)


def checkpoint_place(model: str) -> str | Path:
    """Folder or hub id of a checkpoint that this process loads, with or without vLLM."""
    place = model.removeprefix(VLLM)
    return DEMO_CHECKPOINT if place == DEMO else place


def named_layout(tokenizer: str) -> Layout:
    """The layout of a mask tokenizer, from its configuration alone.

    Args:
        tokenizer: `demo`, a folder, a file or a hub id, as `--tokenizer` takes it.

    Raises:
        CheckpointError: none is there, or its configuration is broken.
    """
    from samtok_eval.tokenizer.checkpoint import find_tokenizer, read_config

    return read_config(find_tokenizer(_tokenizer_place(tokenizer))).layout


def _tokenizer_place(name: str) -> str | Path:
    return DEMO_CHECKPOINT if name == DEMO else name


def load_backend(
    options: ModelOptions, tokenizer: MaskTokenizer | None, task: Task, samples: Sequence[Sample]
) -> Backend:
    """The backend that answers.

    Args:
        options: names it.
        tokenizer: gives the oracle its codes and a checkpoint the layout of its words; only a user's back end can do
            without.
        task: knows right answers and guesses.
        samples: the whole split, for those that look a sample up.

    Raises:
        UsageError: the name cannot be one.
        CheckpointError: the checkpoint cannot be loaded.
    """
    kind, _, rest = options.model.partition(":")
    if is_python(options.model):
        return load_python_file(Path(rest), options.settings)
    if tokenizer is None:
        raise UsageError(f"--model {options.model} needs a mask tokenizer; name it with --tokenizer")
    if options.model == "oracle":
        return Oracle(task, samples, tokenizer)
    if options.model == "random":
        return Random(task, samples, options.settings.seed)
    if kind == "replay":
        return Replay(Path(rest), tokenizer.config.layout)
    if is_served(options.model):
        return _served(options, tokenizer.config.layout, expects_masks=not task.answered_in_words)
    return _checkpoint_backend(options.model)(
        str(checkpoint_place(options.model)),
        name=options.model,
        device=options.device_name(),
        dtype=options.torch_dtype(),
        settings=options.settings,
        layout=tokenizer.config.layout,
    )


def _checkpoint_backend(model: str) -> type[TransformersBackend | VllmBackend]:
    # Either takes seconds to import.
    if is_vllm(model):
        from samtok_eval.models.vllm_backend import VllmBackend

        return VllmBackend
    from samtok_eval.models.transformers_backend import TransformersBackend

    return TransformersBackend


def parameter_count(tokenizer: MaskTokenizer | None, backend: Backend) -> int:
    """Parameters of all models that compute in this process."""
    models = [tokenizer, getattr(backend, "model", None)]
    return sum(p.numel() for model in models if isinstance(model, torch.nn.Module) for p in model.parameters())


def check_used(several: Sequence[RunOptions]) -> None:
    """Refuse settings of a checkpoint where no run loads one; a ceiling or floor beside a checkpoint may have them.

    Raises:
        UsageError: such a setting is given.
    """
    if all(is_fixed(options.model) for options in several):
        for options in several:
            refuse_idle(options, f"--model {options.model}: no language model is loaded")


def refuse_idle(settings: RunSettings, reason: str) -> None:
    """Refuse settings of a language model that is loaded here, for one that is not.

    Raises:
        UsageError: one is given; begins with the reason.
    """
    given = [name for name in OF_THE_CHECKPOINT if getattr(settings, name) is not None]
    if given:
        raise UsageError(f"{reason}; leave {', '.join(flags_of(name)[0] for name in given)} out")


def is_fixed(model: str) -> bool:
    """Whether the name stands for a backend without a language model."""
    return model in ("oracle", "random") or model.startswith("replay:")


def is_served(model: str) -> bool:
    """Whether the name stands for a model behind a server."""
    return model.startswith(SERVED)


def is_vllm(model: str) -> bool:
    """Whether the name stands for a checkpoint that vLLM computes in this process."""
    return model.startswith(VLLM)


def is_python(model: str) -> bool:
    """Whether the name stands for a back end that the user wrote."""
    return model.startswith(PYTHON)


def _served(options: ModelOptions, layout: Layout, expects_masks: bool) -> Backend:
    try:
        from samtok_eval.models.openai.backend import OpenAIBackend
    except ModuleNotFoundError as error:
        raise UsageError("--model openai:... needs the package openai; install samtok-eval[serve]") from error
    if options.settings.dtype != "auto":
        logger.warning("--dtype is that of the mask tokenizer; the language model has what its server was started with")
    return OpenAIBackend(Address.of(options.model), options.settings, layout, expects_masks)


def tokenizer_sha256(tokenizer: MaskTokenizer) -> str:
    """Hash of a mask tokenizer's configuration and weights."""
    digest = hashlib.sha256(tokenizer.config.model_dump_json().encode())
    state: dict[str, Any] = tokenizer.state_dict()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
