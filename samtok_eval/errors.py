"""Errors a user can act on; each knows the exit code of the command that meets it."""

from __future__ import annotations

from pathlib import Path

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended."""


class SamtokError(Exception):
    """Base of all errors whose message is meant for the user: one line, what was expected, what came, what to do."""

    exit_code = 1


class UsageError(SamtokError):
    """A wrong name, option or combination of options."""


class CheckpointError(SamtokError):
    """A model or tokenizer that cannot be loaded."""


class DataError(SamtokError):
    """A benchmark file, image or prediction file that is missing or broken."""

    exit_code = 2


class MissingFileError(DataError):
    """A file that is not there."""


class MissingPictureError(MissingFileError):
    """A picture that is not there although its size is needed, which no annotation states."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class TaskFileError(DataError):
    """A task file of the user that is wrong; the message names the file, the field or line, and what to do."""


class TooManyErrorsError(SamtokError):
    """More samples failed than `--max-errors` allows."""

    exit_code = 3


class IncompleteRunError(SamtokError):
    """Predictions are missing for some samples."""

    exit_code = 5
