"""What the runs of one command load once: the mask tokenizer, with its hash, and the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from samtok_eval.models.backend import Backend
from samtok_eval.models.select import (
    ModelOptions,
    is_fixed,
    is_served,
    load_backend,
    mask_tokenizer_of,
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

    def __init__(self, given: Backend | None = None) -> None:
        """Begin with nothing.

        Args:
            given: answers instead of a model that is loaded.
        """
        self._given = given
        self._tokenizers: dict[Any, tuple[MaskTokenizer | None, str | None]] = {}
        self._backends: dict[Any, Backend] = {}

    def tokenizer(self, options: ModelOptions) -> tuple[MaskTokenizer | None, str | None]:
        """The mask tokenizer of a run, and its hash; None where the back end brings masks.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        settings = options.settings
        key = str(mask_tokenizer_place(options)), settings.device, options.mask_dtype(), settings.compile
        if key not in self._tokenizers:
            loaded = mask_tokenizer_of(options)
            self._tokenizers[key] = loaded, tokenizer_sha256(loaded) if loaded else None
        return self._tokenizers[key]

    def backend(
        self, options: ModelOptions, tokenizer: MaskTokenizer | None, task: Task, samples: Sequence[Sample]
    ) -> Backend:
        """The backend of a run; one without a language model is made for each, since it knows the task.

        Raises:
            UsageError: the name cannot be one.
            CheckpointError: the checkpoint cannot be loaded.
        """
        if self._given and task.needs_language_model:
            return self._given
        if is_fixed(options.model):
            return load_backend(options, tokenizer, task, samples)
        # Of a run's settings those of its task are left out.
        settings = options.settings.model_dump(include=set(RunSettings.model_fields))
        # Of a server it is expected that masks come where the task asks for them.
        key = options.model, RunSettings(**settings), is_served(options.model) and task.answered_in_words
        if key not in self._backends:
            self._backends[key] = load_backend(options, tokenizer, task, samples)
        return self._backends[key]
