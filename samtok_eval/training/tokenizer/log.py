"""What a training run says while it runs: console, JSON lines, TensorBoard.

In: sums of each step, equal on all ranks. Out, in the run's folder: `training_log.jsonl` (a line per evaluation),
`training_steps.jsonl` (a line per logged step) and `tensorboard/`.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samtok_eval.metrics.codebooks import perplexity
from samtok_eval.training.step_log import append_line, lines_until, write_lines
from samtok_eval.training.tokenizer.codebooks import collapse_warning
from samtok_eval.training.tokenizer.forward import Forward

logger = logging.getLogger(__name__)

EVALUATIONS = "training_log.jsonl"
STEPS = "training_steps.jsonl"
TENSORBOARD = "tensorboard"
LEAVES = (EVALUATIONS, STEPS, TENSORBOARD)
"""What a run writes beside its checkpoints."""
SUMS = ("masks", "loss", "bce", "balanced_bce", "dice", "iou_error", "iou", "commitment")
"""What is added up over masks; all but the first are reported per mask."""


def sums_of(forward: Forward) -> Tensor:
    """float64 (len(SUMS),) of one batch."""
    rows = torch.stack([torch.ones_like(forward.total), forward.total, *forward.losses, forward.commitment])
    return rows.detach().double().sum(1)


class Window:
    """Sums since the last logged step.

    Attributes:
        sums: float64 (len(SUMS),).
        codes: int64 (depth, size), how often each code was used.
        restarted: codebook entries placed anew.
    """

    def __init__(self, depth: int, size: int) -> None:
        self.sums = torch.zeros(len(SUMS), dtype=torch.float64)
        self.codes = torch.zeros(depth, size, dtype=torch.int64)
        self.restarted = 0
        self.started = time.monotonic()

    def add(self, sums: Tensor, codes: Tensor | None, restarted: int) -> None:
        """One more step.

        Args:
            sums: as `sums_of`, over all ranks.
            codes: int64 (N, depth) of all ranks, None without quantizer.
            restarted: entries placed anew in this step.
        """
        self.sums += sums.cpu()
        if codes is not None:
            self.codes += torch.stack([torch.bincount(c, minlength=self.codes.shape[1]) for c in codes.cpu().T])
        self.restarted += restarted

    def means(self) -> dict[str, float]:
        """Losses and IoU per mask."""
        masks = max(float(self.sums[0]), 1.0)
        return {name: round(float(total) / masks, 6) for name, total in zip(SUMS[1:], self.sums[1:], strict=True)}

    def use(self) -> dict[str, list[float]]:
        """Codes in use and perplexity per book, empty before the books start."""
        if not int(self.codes.sum()):
            return {}
        return {
            "used": [int((counts > 0).sum()) for counts in self.codes],
            "perplexities": [round(perplexity(counts), 1) for counts in self.codes],
        }

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"sums": self.sums, "codes": self.codes, "restarted": self.restarted}

    def load(self, state: dict[str, Any]) -> None:
        """Back to a checkpoint's state."""
        self.sums, self.codes, self.restarted = state["sums"], state["codes"], int(state["restarted"])


class TrainingLog:
    """Files and console of one run; only the first rank writes."""

    def __init__(self, out: Path, steps: int, done: int, writes: bool, tensorboard: bool) -> None:
        """Open the files.

        Args:
            out: the run's folder.
            steps: of the whole run.
            done: steps done before; later lines of an interrupted part are removed.
            writes: whether this rank writes at all.
            tensorboard: whether to write event files.
        """
        self._out, self._steps, self._writes = out, steps, writes
        self._board: Any = None
        self._warned: set[int] = set()
        if not writes:
            return
        for name in (EVALUATIONS, STEPS):
            write_lines(out / name, lines_until(out / name, done))
        if tensorboard:
            self._board = _event_writer(out / TENSORBOARD, done)

    def step(self, step: int, window: Window, extra: dict[str, float]) -> None:
        """One logged step.

        Args:
            step: number of steps done.
            window: sums since the last logged step.
            extra: further numbers of this step.
        """
        seconds = max(time.monotonic() - window.started, 1e-9)
        speed = {"masks_per_second": round(float(window.sums[0]) / seconds, 1)}
        line: dict[str, Any] = {"step": step, **window.means(), **window.use(), "restarted": window.restarted}
        line |= extra | speed
        self._warn_of_collapse(window.codes)
        if not self._writes:
            return
        append_line(self._out / STEPS, line)
        self._scalars("train", line, step)
        codes = "".join(f" | {name} {' '.join(map(str, values))}" for name, values in window.use().items())
        logger.info(
            "step %d/%d | loss %.4f | IoU %.3f%s | rate %.2e | %.0f masks/s",
            step, self._steps, line["loss"], line["iou"], codes, extra["rate"], speed["masks_per_second"],
        )  # fmt: skip

    def evaluation(self, line: dict[str, Any]) -> None:
        """Quality on held-out pictures, with `step` among the keys."""
        if self._writes:
            append_line(self._out / EVALUATIONS, line)
            self._scalars("held_out", line, int(line["step"]))
            logger.info("tokenizer %s", line)

    def close(self) -> None:
        """Close the event files."""
        if self._board is not None:
            self._board.close()

    def _warn_of_collapse(self, codes: Tensor) -> None:
        for book, counts in enumerate(codes):
            message = collapse_warning(book, counts)
            if message and book not in self._warned and self._writes:
                logger.warning(message)
            (self._warned.add if message else self._warned.discard)(book)

    def _scalars(self, group: str, line: dict[str, Any], step: int) -> None:
        if self._board is None:
            return
        for name, value in line.items():
            values = {name: value} if not isinstance(value, list | tuple) else {}
            if not values:
                values = {f"{name}_{book + 1}": one for book, one in enumerate(value)}
            for key, number in values.items():
                if isinstance(number, int | float):
                    self._board.add_scalar(f"{group}/{key}", number, step)


def _event_writer(folder: Path, done: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.warning("no TensorBoard files: install tensorboard (extra `train`) or give --no-tensorboard")
        return None
    return SummaryWriter(str(folder), purge_step=done + 1 if done else None)
