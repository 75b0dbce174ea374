"""Verdicts of a watch as scalars over the steps, for TensorBoard.

In: lines of the log. Out: event files, one per start of the watch.
"""

from __future__ import annotations

from pathlib import Path

from samtok_eval.errors import UsageError
from samtok_eval.reports.watch.verdicts import VerdictLine


class TensorBoardScalars:
    """Writes event files into a folder."""

    def __init__(self, folder: Path) -> None:
        """Open a new event file.

        Args:
            folder: for `tensorboard --logdir`.

        Raises:
            UsageError: `tensorboard` or `torch` is not installed.
        """
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ModuleNotFoundError as error:
            raise UsageError(
                f"--log-to tensorboard needs the package {error.name}, which is not installed; install "
                "samtok-eval[train], which brings tensorboard in, or leave the option out"
            ) from error
        self._writer = SummaryWriter(str(folder))

    def write(self, line: VerdictLine) -> None:
        """Write candidate, difference and interval of each metric, shares 0..1, at the checkpoint's step."""
        for name, value in scalars_of(line).items():
            self._writer.add_scalar(name, value, line.step)
        self._writer.flush()


def scalars_of(line: VerdictLine) -> dict[str, float]:
    """A line's numbers by name, such as `gres:val/giou/difference`; an interval that is missing is left out."""
    found: dict[str, float] = {}
    for metric, row in line.metrics.items():
        values = {"candidate": row.candidate, "difference": row.difference, "low": row.low, "high": row.high}
        where = f"{line.task}:{line.split}/{metric}"
        found |= {f"{where}/{name}": value for name, value in values.items() if value is not None}
    return found
