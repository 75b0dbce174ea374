"""The watch over a GRPO run: held-out masks beside the reward, in one log, and an end to runs that buy reward.

In: events of the trainer. Out: `training_log.jsonl`, one line per update, TensorBoard through the trainer's own log,
and `best/`, the state with the highest held-out gIoU, if any beat the start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import TrainerCallback

from samtok_eval.files import read_object, write_json
from samtok_eval.training.checkpoint_files import whole_folder
from samtok_eval.training.grpo.held_out import SERIES, Answered, HeldOutQuestion, answer_questions, bought, report
from samtok_eval.training.step_log import append_line, lines_until, write_lines

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer
    from samtok_eval.training.grpo.recipe import GrpoRecipe

logger = logging.getLogger(__name__)

Save = Callable[[Any, Any, Path], None]
"""(model, processor, folder)"""
PREFIX = "held_out/"
REWARD = "reward"
LOG_FILE, START_FILE = "training_log.jsonl", "held_out_start.json"


class HeldOutMonitor(TrainerCallback):
    """Asks held-out questions and writes the log.

    Rule: at a report, reward is bought when its mean since the last report is above that of the first window, while
    held-out quality, or the share of targets that get a mask, has fallen since the start by more than two standard
    errors of the paired differences (`held_out.bought`). Every such report is a warning; `patience` of them in a
    row end the run, where `stop_when_bought` is set.
    """

    def __init__(
        self,
        settings: GrpoRecipe,
        processor: Any,
        tokenizer: MaskTokenizer,
        questions: Sequence[HeldOutQuestion],
        out: Path,
        suffix: str,
        save: Save,
    ) -> None:
        """Prepare.

        Args:
            settings: how often, how long, and what to do about bought reward.
            processor: of the model.
            tokenizer: decodes.
            questions: the same at every report.
            out: folder of the log.
            suffix: appended to every question.
            save: writes the best state.
        """
        self.settings, self.processor, self.tokenizer = settings, processor, tokenizer
        self.questions, self.out, self.suffix, self.save = list(enumerate(questions)), out, suffix, save
        self.lines: list[dict[str, Any]] = []
        self._waiting: dict[str, float] = {}
        self._start: dict[str, list[float]] = {}
        self._now: dict[str, list[float]] = {}

    def hold(self, numbers: Mapping[str, float]) -> None:
        """Let numbers wait for the trainer's next line, beside a report where there is one."""
        self._waiting |= numbers

    def take(self) -> dict[str, float]:
        """The report that has not been logged yet."""
        waiting, self._waiting = self._waiting, {}
        return waiting

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Report the start, or take up the log of the run that is resumed, without what it wrote after its save."""
        if state.global_step:
            self.lines = lines_until(self.out / LOG_FILE, state.global_step)
            self._start = read_object(self.out / START_FILE, "start anew with --fresh")
            self._rewrite()
            return
        answers = self._ask(model)
        self._start = _series(answers)
        if state.is_world_process_zero:
            write_json(self.out / START_FILE, self._start)
        self._add({"step": 0, **self._named(answers)}, state)
        self._rewrite()

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Report when due; the numbers wait for the trainer's next line."""
        if state.global_step % self.settings.evaluate_every == 0 or state.global_step == state.max_steps:
            answers = self._ask(model)
            self._now = _series(answers)
            self.hold(self._named(answers))
            self._keep_best(model, state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Write the line; judge the run where it holds a report."""
        if not logs or "train_runtime" in logs:
            return
        line = {"step": state.global_step, **{k: v for k, v in logs.items() if isinstance(v, int | float)}}
        if f"{PREFIX}giou" in line or f"{PREFIX}gcg_ap50" in line:
            self._judge(line, control)
        self._add(line, state)

    def _judge(self, line: dict[str, Any], control: Any) -> None:
        """Mark a line where reward is bought, and end the run after enough of them."""
        window = self.settings.evaluate_every
        rewards = [old[REWARD] for old in [*self.lines, line] if old.get(REWARD) is not None]
        if len(rewards) <= window:
            return
        first, last = (sum(part) / len(part) for part in (rewards[:window], rewards[-window:]))
        fallen = [name for name in self._now if bought(self._start[name], self._now[name], first, last)]
        line[f"{PREFIX}bought"] = int(bool(fallen))
        reports = [old[f"{PREFIX}bought"] for old in [*self.lines, line] if f"{PREFIX}bought" in old]
        if not line[f"{PREFIX}bought"]:
            return
        row = 0
        while row < len(reports) and reports[-1 - row]:
            row += 1
        for name in fallen:
            logger.warning(
                "update %d: reward rose from %.3f to %.3f while %s fell from %.3f to %.3f (report %d of %d in a row); "
                "raise --kl-weight, lower --learning-rate or --no-target-share, or start from a better checkpoint",
                line["step"], first, last, name, _mean(self._start[name]), _mean(self._now[name]), row,
                self.settings.patience,
            )  # fmt: skip
        if self.settings.stop_when_bought and row >= self.settings.patience:
            logger.warning("training ends here; the state of the highest held-out gIoU is in %s, if any beat the start",
                           self.out / "best")  # fmt: skip
            control.should_training_stop = True
            control.should_save = True

    def _ask(self, model: Any) -> list[Answered]:
        """Every process answers its share and gets all answers, so that all of them judge alike."""
        world = PartialState()
        mine = self.questions[world.process_index :: world.num_processes]
        length = self.settings.held_out_tokens
        found = answer_questions(model, self.processor, self.tokenizer, mine, length, self.suffix)
        return sorted(gather_object(found), key=lambda answer: int(answer.number))

    def _named(self, answers: Sequence[Answered]) -> dict[str, float]:
        return {f"{PREFIX}{name}": value for name, value in report(answers).items()}

    def _keep_best(self, model: Any, state: Any) -> None:
        name = f"{PREFIX}giou" if f"{PREFIX}giou" in self._waiting else f"{PREFIX}gcg_ap50"
        best = max((line[name] for line in self.lines if name in line), default=-1.0)
        if self._waiting.get(name, -1.0) > best and state.is_world_process_zero:
            with whole_folder(self.out / "best") as content:
                self.save(model, self.processor, content)

    def _add(self, line: dict[str, Any], state: Any) -> None:
        self.lines.append(line)
        logger.info("grpo %s", line)
        if state.is_world_process_zero:
            append_line(self.out / LOG_FILE, line)

    def _rewrite(self) -> None:
        if PartialState().is_main_process:
            write_lines(self.out / LOG_FILE, self.lines)


def _series(answers: Sequence[Answered]) -> dict[str, list[float]]:
    return {name: series(answers) for name, series in SERIES.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)
