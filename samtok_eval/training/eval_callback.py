"""Evaluates tasks with the model as it is, every so many steps of a `transformers` trainer.

In: a trainer, its processor and the tasks. Out: ordinary run folders, one per task and step, and the main metrics in
the trainer's own log. Training goes on as if nothing had been asked: modes and random states are put back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import TrainerCallback

from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout
from samtok_eval.models.python_file import PYTHON, given_backend
from samtok_eval.models.transformers_backend import LoadedBackend
from samtok_eval.registry import find_task, load_tasks
from samtok_eval.run.evaluate import run_all
from samtok_eval.run.settings import RunOptions
from samtok_eval.training.eval_options import EvaluatedWhileTraining

FOLDER = "evaluations"
"""Where the runs of a training go, beside its checkpoint."""


class LiveBackend(LoadedBackend):
    """A model that is being trained, at one step."""

    def __init__(self, model: Any, processor: Any, step: int, layout: Layout) -> None:
        """Prepare.

        Args:
            model: in evaluation mode.
            processor: of the model.
            step: of the training; part of the run key, since the weights have no other name.
            layout: of the mask words.
        """
        super().__init__(model, processor, f"step-{step}", layout=layout)
        self.step = step

    def identity(self) -> dict[str, Any]:
        """The same, and the step."""
        return {**super().identity(), "step": self.step}


class EvaluationCallback(TrainerCallback):
    """Asks the first process's copy of the model, while the others wait."""

    def __init__(
        self,
        trainer: Any,
        processor: Any,
        tasks: Sequence[str],
        every: int,
        layout: Layout = DEFAULT_LAYOUT,
        log: Callable[[dict[str, float]], None] | None = None,
        **options: Any,
    ) -> None:
        """Check everything before the training begins.

        Args:
            trainer: a `transformers` trainer, to which this callback is added.
            processor: of the model.
            tasks: NAME or NAME:SPLIT each.
            every: steps between evaluations.
            layout: of the mask words.
            log: receives the numbers; the trainer's own log by default, as a line of its own.
            **options: further fields of `RunOptions`, such as `tokenizer`, `data_root`, `limit` and `out`.

        Raises:
            UsageError: a task, split or option is unknown, or each process holds only a part of the model.
        """
        if every < 1:
            raise UsageError(f"steps between evaluations must be 1 or more, got {every}")
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise UsageError(
                "no process holds the whole model under FSDP or DeepSpeed, so that none can be asked while it trains; "
                "use `samtok-eval watch` on its checkpoints"
            )
        self._trainer, self._processor, self._every, self._layout = trainer, processor, every, layout
        self._log = log or trainer.log
        known = load_tasks(options.get("tasks_dirs", ()))
        self._asked = []
        for name in tasks:
            task, _, split = name.partition(":")
            found = find_task(known, task)
            self._asked.append(RunOptions(task=task, split=found.check_split(split or None), **options))

    @classmethod
    def asked_by(
        cls,
        job: EvaluatedWhileTraining,
        trainer: Any,
        processor: Any,
        layout: Layout,
        *,
        tokenizer: str,
        out: Path,
        device: str,
        log: Callable[[dict[str, float]], None] | None = None,
    ) -> EvaluationCallback:
        """The callback that a job of our own trainers asks for.

        Args:
            job: names the tasks.
            trainer: of the model.
            processor: of the model.
            layout: of the mask words.
            tokenizer: decodes the answers' masks.
            out: folder of the training.
            device: as the training's.
            log: receives the numbers.

        Raises:
            UsageError: as the callback itself.
        """
        names = [name.strip() for name in (job.eval_tasks or "").split(",")]
        place = {"tokenizer": tokenizer, "out": out / FOLDER, "device": device}
        data = {"data_root": job.eval_data_root, "limit": job.eval_limit}
        return cls(trainer, processor, names, job.eval_every, layout, log, **place, **data)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluate at every so many steps; no process goes on before the numbers are there."""
        if state.global_step % self._every:
            return
        if state.is_world_process_zero:
            model = self._trainer.accelerator.unwrap_model(self._trainer.model)
            # To log takes the step's own turn to be logged away, and in training mode its own numbers as well.
            due = control.should_log
            with undisturbed(model, self._processor.tokenizer):
                self._log(self._numbers(model, state.global_step))
            control.should_log = due
        self._trainer.accelerator.wait_for_everyone()

    def _numbers(self, model: Any, step: int) -> dict[str, float]:
        """Main metric of each task under its first protocol."""
        # Adapters act within the layers of the model that they are in, whose own signature says what it can do.
        asked_model = model.get_base_model() if isinstance(model, PeftModel) else model
        found: dict[str, float] = {}
        backend = given_backend(LiveBackend(asked_model, self._processor, step, self._layout))
        for options in self._asked:
            asked = options.model_copy(update={"model": f"{PYTHON}{backend.name}", "fresh": True})
            (run,) = run_all([asked], given=backend, alone=True)
            task = find_task(load_tasks(options.tasks_dirs), options.task)
            entry = run.metrics.protocols[task.protocols[0].name].get(task.metadata.main_metric)
            if entry is not None and entry.value is not None:
                found[f"eval_{options.task}:{options.split}_{task.metadata.main_metric}"] = float(entry.value)
        return found


@contextmanager
def undisturbed(model: torch.nn.Module, tokenizer: Any) -> Iterator[None]:
    """Put a model into evaluation mode; afterwards put back modes, random states, and where the tokenizer pads."""
    padding = tokenizer.padding_side
    modes = {name: module.training for name, module in model.named_modules()}
    # `manual_seed` of a GPU that was never used would start it.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    python, arrays = random.getstate(), np.random.get_state()
    model.eval()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        tokenizer.padding_side = padding
        for name, module in model.named_modules():
            module.training = modes[name]
        random.setstate(python)
        np.random.set_state(arrays)
