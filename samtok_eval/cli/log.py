"""What a command says of its progress, on standard error, and how much of it."""

from __future__ import annotations

import inspect
import logging
from typing import Annotated, Any, Literal

import typer

PROGRAM = logging.getLogger("samtok_eval")
Level = Literal["debug", "info", "warning", "error"]
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress; warnings stay.")]
VERBOSE = Annotated[bool, typer.Option("--verbose", "-v", help="Also show details for debugging.")]
LEVEL = Annotated[Level | None, typer.Option("--log-level", help="Lowest level of messages to show; info by default.")]
PARAMETERS = tuple(
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
    for name, annotation, default in (("quiet", QUIET, False), ("verbose", VERBOSE, False), ("log_level", LEVEL, None))
)
"""Of every command that takes long."""


class _Line(logging.Formatter):
    """Progress with its time; everything else with its level, as errors begin with `error:`."""

    def format(self, record: logging.LogRecord) -> str:
        """One record, as it is shown."""
        head = self.formatTime(record, "%H:%M:%S") if record.levelno == logging.INFO else record.levelname
        return f"{head} {super().format(record)}"


def set_up() -> None:
    """Say warnings of everybody, and what this program tells of its progress."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Line())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    PROGRAM.setLevel(logging.INFO)


def choose(values: dict[str, Any]) -> None:
    """Take `PARAMETERS` out of typed values, and do what they say; of several the most exact one counts."""
    quiet, verbose, level = (values.pop(parameter.name) for parameter in PARAMETERS)
    if verbose:
        logging.getLogger().setLevel(logging.INFO)
    name = level or ("debug" if verbose else "warning" if quiet else "info")
    PROGRAM.setLevel(name.upper())
