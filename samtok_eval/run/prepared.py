"""What asking needs, read, loaded and checked: task, questions, mask tokenizer and whoever answers.

In: the options of a run. Out: `Prepared`. What is wrong with options or data is said before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samtok_eval.device import thread_count
from samtok_eval.errors import UsageError
from samtok_eval.registry import find_task, load_tasks
from samtok_eval.run.answers import check_replayed
from samtok_eval.run.questions import Questions
from samtok_eval.run.samples import check_pictures
from samtok_eval.run.settings import RunOptions
from samtok_eval.sample import Sample
from samtok_eval.task import Task

if TYPE_CHECKING:
    from samtok_eval.models.backend import Backend
    from samtok_eval.models.loaded import LoadedModels
    from samtok_eval.models.select import ModelOptions
    from samtok_eval.tokenizer.model import MaskTokenizer


@dataclass(frozen=True)
class Prepared:
    """Everything that asking needs, loaded and checked."""

    options: RunOptions
    task: Task
    """For the layout of the mask tokenizer."""
    split: str
    samples: Sequence[Sample]
    chosen: ModelOptions
    tokenizer: MaskTokenizer | None
    tokenizer_sha256: str | None
    backend: Backend
    name: str
    """Of the model, for tables and folders."""
    threads: int


def prepared(options: RunOptions, models: LoadedModels, questions: Questions | None = None) -> Prepared:
    """Read the questions and load who answers; what is wrong with either is said before the model is loaded."""
    from samtok_eval.models.select import parameter_count

    task = find_task(load_tasks(options.tasks_dirs), options.task)
    split = task.check_split(options.split)
    task = task.asked_with(options.prompt, split)
    task.check_judge(options.judge)
    _check_protocols(task, options)
    samples = (questions or Questions()).read(task, split, options.data_root, options.limit)
    check_pictures(samples, options.data_root)
    chosen = _model_options(task, options)
    tokenizer, tokenizer_sha256 = models.tokenizer(chosen)
    if tokenizer:
        task = task.with_layout(tokenizer.config.layout)
        # A layout may leave a protocol out that the task has otherwise.
        _check_protocols(task, options)
    check_replayed(chosen.model, task.layout)
    backend = models.backend(chosen, tokenizer, task, samples)
    threads = thread_count(parameter_count(tokenizer, backend), options.threads)
    name = options.model if task.needs_language_model else f"tokenizer-of-{options.model}"
    return Prepared(
        options, task, split, samples, chosen, tokenizer, tokenizer_sha256, backend, name, threads
    )  # fmt: skip


def _check_protocols(task: Task, options: RunOptions) -> None:
    for name in options.protocols or ():
        task.protocol(name)


def _model_options(task: Task, options: RunOptions) -> ModelOptions:
    """What the model side needs to know; tasks of the tokenizer alone are answered with the true codes."""
    from samtok_eval.models.select import ModelOptions, is_python, mask_tokenizer_place

    chosen = ModelOptions(options.model, options)
    if task.needs_language_model:
        return chosen
    if is_python(options.model) and options.tokenizer is None:
        raise UsageError(f"{task.metadata.name} asks a mask tokenizer alone; name one with --tokenizer")
    update = {"tokenizer": str(mask_tokenizer_place(chosen)), "tensor_parallel": 1}
    return ModelOptions("oracle", options.model_copy(update=update))
