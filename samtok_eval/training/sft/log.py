"""The folder of a fine-tuning run: what it was begun with, where it stands, and its log.

`training.json` says what was trained on what; `steps/` holds the states to go on from; `training_log.jsonl` has one
line per logged step. All of it stays beside the finished checkpoint, except the states.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from samtok_eval.errors import UsageError
from samtok_eval.files import write_json, write_text
from samtok_eval.training.sft.data import Skipped
from samtok_eval.training.step_log import append_line, lines_until, write_lines

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate")


class FinetuneFolder:
    """Paths and the state of one run."""

    def __init__(self, out: Path, processes: int) -> None:
        """Prepare.

        Args:
            out: the folder.
            processes: that train together.
        """
        self.out, self.processes = out, processes
        self.steps = out / "steps"
        self.trained = self.steps / "trained"
        self.adapter = out / "adapter"
        self.card = out / "training.json"
        self.log = out / "training_log.jsonl"
        self.skipped = out / "skipped.jsonl"

    def begin(self, binding: dict[str, Any], fresh: bool, main: bool) -> Path | None:
        """Begin a run, or find where the same run stopped.

        Args:
            binding: everything that the weights depend on.
            fresh: forget what is there.
            main: whether this process writes.

        Returns:
            The state to go on from.

        Raises:
            UsageError: the folder holds another run, a finished one, or something else.
        """
        binding = json.loads(json.dumps({**binding, "processes": self.processes}))
        if main:
            self._clear_or_check(binding, fresh)
            self.out.mkdir(parents=True, exist_ok=True)
            if not self.card.exists():
                write_json(self.card, {"state": "begun", "binding": binding})
        PartialState().wait_for_everyone()
        found = get_last_checkpoint(str(self.steps)) if self.steps.is_dir() else None
        return Path(found) if found else None

    def note_data(
        self, counts: dict[str, int], skipped: Sequence[Skipped], software: dict[str, str], words: int
    ) -> None:
        """Write down what is trained on.

        Args:
            counts: samples, tokens, ...
            skipped: what was left out.
            software: versions.
            words: mask words that were added to the vocabulary.
        """
        card = json.loads(self.card.read_text())
        write_json(self.card, card | {"counts": counts, "words_added": words, "versions": software})
        lines = "".join(json.dumps(item._asdict(), ensure_ascii=False) + "\n" for item in skipped)
        write_text(self.skipped, lines)

    def finish(self) -> None:
        """Mark the run finished and drop its states."""
        write_json(self.card, json.loads(self.card.read_text()) | {"state": "finished"})
        shutil.rmtree(self.steps, ignore_errors=True)

    def _clear_or_check(self, binding: dict[str, Any], fresh: bool) -> None:
        if not self.out.exists() or not any(self.out.iterdir()):
            return
        if not self.card.is_file():
            raise UsageError(f"--out {self.out} holds something else than a training run; choose another folder")
        if fresh:
            for path in (self.steps, self.adapter):
                shutil.rmtree(path, ignore_errors=True)
            for path in (self.card, self.log, self.skipped):
                path.unlink(missing_ok=True)
            return
        card = json.loads(self.card.read_text())
        known = card.get("binding")
        if known is None:
            raise UsageError(f"--out {self.out} was not written by this command; choose another folder")
        if card["state"] == "begun" and not (self.steps.is_dir() and get_last_checkpoint(str(self.steps))):
            # Stopped before anything was learned, say by a bad sample: nothing is lost.
            self.card.unlink()
            self.log.unlink(missing_ok=True)
            return
        changed = [name for name in binding if binding[name] != known.get(name)]
        if changed:
            shown = ", ".join(f"{name} was {known.get(name)!r} and is {binding[name]!r}" for name in changed)
            raise UsageError(f"--out {self.out} holds another run: {shown}; choose another folder, or give --fresh")
        if card["state"] == "finished":
            raise UsageError(f"the run in --out {self.out} is finished; choose another folder, or give --fresh")


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


def versions() -> dict[str, str]:
    """Of the packages that training rests on."""
    return {name: version(name) for name in PACKAGES}
