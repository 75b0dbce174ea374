"""The progress bar of a run: samples, throughput, time left."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress:
    """A bar on a terminal; one line at the end elsewhere."""

    def __init__(self, title: str, console: Console) -> None:
        self._console = console
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=None, rate="")

    def start(self, total: int, done: int) -> None:
        """Say how much there is and how much was done before."""
        self._bar.update(self._task, total=total, completed=done)
        self._bar.reset(self._task, total=total, completed=done)

    def advance(self) -> None:
        """One more sample."""
        self.reach(int(self._bar.tasks[0].completed) + 1)

    def reach(self, done: int) -> None:
        """So many samples are done, in whichever process."""
        self._bar.update(self._task, completed=done)
        speed = self._bar.tasks[0].speed
        self._bar.update(self._task, rate=f"{speed:.1f} samples/s" if speed else "")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
