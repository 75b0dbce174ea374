"""How far a command is: a bar on a terminal, a line of the log now and then elsewhere.

A cluster's log keeps lines and shows no bar. One every half minute says what a reader of it wants to know: whether the
command is alive, how fast it is, and when it ends.
"""

from __future__ import annotations

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

EVERY = 30.0
"""Seconds between two lines of the log."""
logger = logging.getLogger(__name__)


class Progress:
    """Samples, throughput and time left."""

    def __init__(self, title: str, console: Console, goes_on: bool = False) -> None:
        """Begin.

        Args:
            title: what is counted.
            console: where a bar is shown; elsewhere than on a terminal the log is told, by a quiet one nobody.
            goes_on: whether the log was told of the whole before.
        """
        self._title, self._goes_on = title, goes_on
        self._total = self._before = self._done = 0
        self._started = self._told = time.monotonic()
        self._logs = not console.is_terminal and not console.quiet
        shown = console.is_terminal and logger.isEnabledFor(logging.INFO)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not shown,
        )
        self._task = self._bar.add_task(title, total=None, rate="")

    def start(self, total: int, done: int) -> None:
        """Say how much there is and how much was done before."""
        self._total, self._before, self._done = total, done, done
        self._started = self._told = time.monotonic()
        self._bar.update(self._task, total=total, completed=done)
        self._bar.reset(self._task, total=total, completed=done)
        if not self._goes_on:
            self._log(f"{total} samples" + (f", {done} of them done before" if done else ""))

    def advance(self) -> None:
        """One more sample."""
        self.reach(self._done + 1)

    def reach(self, done: int) -> None:
        """So many samples are done, in whichever process."""
        self._done = done
        rate = f"{self._speed():.1f} samples/s"
        self._bar.update(self._task, completed=done, rate=rate)
        now = time.monotonic()
        if now - self._told >= EVERY and done < self._total:
            self._told = now
            left = _duration((self._total - done) / self._speed()) if done > self._before else "unknown time"
            self._log(f"{done} of {self._total} samples ({done / self._total:.0%}), {rate}, {left} left")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._done > self._before:
            took = _duration(time.monotonic() - self._started)
            self._log(f"{self._done} of {self._total} samples after {took}, {self._speed():.1f} samples/s")

    def _speed(self) -> float:
        """Samples per second of this command."""
        return (self._done - self._before) / max(time.monotonic() - self._started, 1e-9)

    def _log(self, text: str) -> None:
        if self._logs:
            logger.info("%s: %s", self._title, text)


def _duration(seconds: float) -> str:
    """E.g. `45 s`, `12 min 30 s`, `3 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
