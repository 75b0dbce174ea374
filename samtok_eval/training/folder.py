"""The folder of a training run: one way to begin, to go on and to refuse, for tokenizer, fine-tuning and reinforcement.

`training.json` holds what the run was begun with; its states lie beside it in the form of the trainer. All processes
of a run call this together, the first one writes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import read_json, write_json
from samtok_eval.resume import refuse_changes
from samtok_eval.setting import defaults_of, free_settings

CARD = "training.json"
BINDING = "binding"
BEGUN, FINISHED = "begun", "finished"
Start = Literal["new", "resume", "either", "fresh"]
"""`new` refuses a folder with a state, `resume` one without, `either` takes both, `fresh` clears the folder first."""


def start_of(resume: bool, fresh: bool) -> Start:
    """What the two flags of a command ask for that starts a new run without them.

    Raises:
        UsageError: both are given.
    """
    if resume and fresh:
        raise UsageError("--resume and --fresh exclude each other; give one of them")
    return "resume" if resume else "fresh" if fresh else "new"


@dataclass(frozen=True)
class TrainingFolder:
    """Where a run lives."""

    out: Path
    newest: Callable[[Path], Path | None]
    """Newest state to go on from in a folder that exists."""
    leaves: tuple[str, ...]
    """Patterns of what a run leaves beside its card and its checkpoint; `fresh` removes it."""
    recipe: type
    """Whose fields the settings are: some are free, and one that a card lacks had its default."""
    free: Collection[str] = ()
    """Further settings under whose other values the run may go on."""
    key: str | None = None
    """Where in the card the settings lie; they are the whole card without it."""

    @property
    def card(self) -> Path:
        """What the run was begun with."""
        return self.out / CARD

    def state(self) -> Path | None:
        """The newest state to go on from."""
        return self.newest(self.out) if self.out.is_dir() else None

    def begin(self, settings: Mapping[str, Any], start: Start) -> Path | None:
        """Begin the run, or find where it stopped.

        Args:
            settings: everything that the weights depend on, ready for JSON.
            start: what the user asked for.

        Returns:
            The state to go on from, None where the run begins.

        Raises:
            UsageError: the folder holds another run, a finished one, none to go on with, or something else.
            DataError: its card cannot be read.
        """
        from accelerate import PartialState

        if PartialState().is_main_process:
            self._prepare(_plain(settings), start)
        PartialState().wait_for_everyone()
        return self.state()

    def refuse_over(self) -> None:
        """Refuse to begin over another run.

        Raises:
            UsageError: the folder holds one.
        """
        if self.state() is not None:
            raise UsageError(
                f"{self.out} holds a run already; give --resume to go on with it, --fresh to start anew, or another "
                "--out"
            )

    def clear(self, beside: Collection[str] = ()) -> None:
        """Remove the run, its checkpoint excepted, which the next one replaces.

        Args:
            beside: names of what else may lie in the folder; it stays.

        Raises:
            UsageError: the folder holds something else than a run of this kind.
        """
        if not self.out.exists() or not {path.name for path in self.out.iterdir()} - {*beside}:
            return
        self._own_card()
        for path in (place for pattern in (*self.leaves, CARD) for place in self.out.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def read(self) -> dict[str, Any]:
        """The card.

        Raises:
            DataError: it cannot be read.
        """
        card = read_json(self.card)
        if not isinstance(card, dict):
            raise DataError(f"{self.card} must hold an object; choose another --out")
        return card

    def note(self, **facts: Any) -> None:
        """Add facts to the card."""
        write_json(self.card, self.read() | facts)

    def _prepare(self, now: dict[str, Any], start: Start) -> None:
        if start == "new":
            self.refuse_over()
        state = self.state()
        finished = self.card.is_file() and self.read().get("state") == FINISHED
        if start == "resume" and (state is None or not self.card.is_file()):
            raise UsageError(f"{self.out} holds no run to resume; give the run's own --out, or leave --resume out")
        if start == "fresh" or (state is None and not finished):
            # Without a state nothing was learned, say because a sample is broken, so nothing is lost.
            if start in ("fresh", "either"):
                self.clear()
            self.out.mkdir(parents=True, exist_ok=True)
            write_json(self.card, {"state": BEGUN, self.key: now} if self.key else now)
            return
        self._check(now)
        if finished:
            raise UsageError(f"the run in {self.out} is finished; give another --out, or --fresh to start anew")

    def _check(self, now: dict[str, Any]) -> None:
        """Refuse other settings, and write down what may be another."""
        card = self._own_card()
        before = card[self.key] if self.key else card
        free = {*free_settings(self.recipe), *self.free}
        usual = {name: value for name, value in _plain(defaults_of(self.recipe)).items() if name in now}
        refuse_changes(self.out, usual | before, now, free)
        after = before | {name: now[name] for name in free if now.get(name) is not None}
        if after != before:
            write_json(self.card, card | {self.key: after} if self.key else after)

    def _own_card(self) -> dict[str, Any]:
        """The card of a run of this kind.

        Raises:
            UsageError: the folder holds something else.
        """
        card = self.read() if self.card.is_file() else None
        own = card is not None and (isinstance(card.get(self.key), dict) if self.key else BINDING not in card)
        if card is None or not own:
            raise UsageError(f"--out {self.out} holds something else than a run of this command; choose another --out")
        return card


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As a card gives them back."""
    return dict(json.loads(json.dumps(settings)))
