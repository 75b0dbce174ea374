"""What the runs of one command load once: the mask tokenizer, with its hash, and the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from samtok_eval.models.backend import Backend
from samtok_eval.models.select import (
    ModelOptions,
    is_fixed,
    load_backend,
    load_mask_tokenizer,
    mask_tokenizer_place,
    tokenizer_sha256,
)
from samtok_eval.run.settings import RunSettings

if TYPE_CHECKING:
    from samtok_eval.sample import Sample
    from samtok_eval.task import Task
    from samtok_eval.tokenizer.model import MaskTokenizer


class LoadedModels:
    """Keeps what it has loaded until it goes itself."""

    def __init__(self) -> None:
        self._tokenizers: dict[Any, tuple[MaskTokenizer, str]] = {}
        self._backends: dict[Any, Backend] = {}

    def tokenizer(self, options: ModelOptions) -> tuple[MaskTokenizer, str]:
        """The mask tokenizer of a run, and its hash.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        key = str(mask_tokenizer_place(options)), options.settings.device, options.settings.dtype
        if key not in self._tokenizers:
            loaded = load_mask_tokenizer(options)
            self._tokenizers[key] = loaded, tokenizer_sha256(loaded)
        return self._tokenizers[key]

    def backend(
        self, options: ModelOptions, tokenizer: MaskTokenizer, task: Task, samples: Sequence[Sample]
    ) -> Backend:
        """The backend of a run; one without a language model is made for each, since it knows the task.

        Raises:
            UsageError: the name cannot be one.
            CheckpointError: the checkpoint cannot be loaded.
        """
        if is_fixed(options.model):
            return load_backend(options, tokenizer, task, samples)
        # Of a run's settings those of its task are left out.
        settings = options.settings.model_dump(include=set(RunSettings.model_fields))
        key = options.model, RunSettings(**settings)
        if key not in self._backends:
            self._backends[key] = load_backend(options, tokenizer, task, samples)
        return self._backends[key]
