"""What a fine-tuning run writes while it goes: `training_log.jsonl`, one line per logged step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from samtok_eval.errors import UsageError
from samtok_eval.training.step_log import append_line, lines_until, write_lines

LOG_FILE = "training_log.jsonl"


class LogFile(TrainerCallback):
    """One JSON line per logged step; training stops when the loss is no number."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Drop lines behind the state that training goes on from."""
        if state.is_world_process_zero:
            write_lines(self.path, lines_until(self.path, state.global_step))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Append one line.

        Raises:
            UsageError: the loss is not finite.
        """
        logs = logs or {}
        if state.is_world_process_zero:
            append_line(self.path, {"step": state.global_step, **logs})
        if not math.isfinite(logs.get("loss", 0.0)):
            raise UsageError(
                f"the loss is {logs['loss']} at step {state.global_step}; lower --learning-rate, and look at the data "
                "of that step"
            )
