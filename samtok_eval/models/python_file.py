"""Back ends that a user writes: `--model python:FILE`, or an object given to `samtok_eval.evaluate`.

FILE is code that the user names, and it is run. It defines `BACKEND`, a class or function that takes the settings of
the run and returns a back end. What such a back end answers is checked here, so that nothing later meets a mask of
another size; a file that breaks the rules ends the run with one line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samtok_eval.errors import SamtokError, UsageError
from samtok_eval.files import shortened
from samtok_eval.masks import Rle
from samtok_eval.models.backend import Answer, Backend, Request
from samtok_eval.run.settings import RunSettings
from samtok_eval.user_code import executed

PYTHON = "python:"
SEE = "see docs/backends.md"


class PythonBackend(Backend):
    """A user's back end whose answers are checked."""

    def __init__(self, own: Any, where: str, identity: Mapping[str, Any]) -> None:
        """Check its interface.

        Args:
            own: what the user wrote.
            where: what messages call it.
            identity: of its code; its own `identity()` is added.

        Raises:
            UsageError: it lacks a part of the interface, or its identity cannot be written down.
        """
        missing = [name for name in ("identity", "generate") if not callable(getattr(own, name, None))]
        missing += [] if isinstance(getattr(own, "name", None), str) else ["name"]
        if missing:
            raise UsageError(
                f"{where}: a back end needs name, identity() and generate(); {missing[0]} is missing; {SEE}"
            )
        self.name, self.batch_size = own.name, getattr(own, "batch_size", None)
        self._own, self._where = own, where
        self._identity = {"model": f"{PYTHON}{own.name}", **identity, "own": self._plain(own.identity())}

    def identity(self) -> dict[str, Any]:
        """Its name, hash of its file, and what it says of itself."""
        return self._identity

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """Its answers.

        Raises:
            UsageError: they are no answers to these requests.
        """
        answers = self._own.generate(requests, max_new_tokens)
        if not isinstance(answers, list | tuple) or len(answers) != len(requests):
            got = f"{len(answers)} answers" if isinstance(answers, list | tuple) else type(answers).__name__
            raise UsageError(f"{self._where}: generate must return a list of {len(requests)} answers, got {got}; {SEE}")
        return [self._checked(request, answer) for request, answer in zip(requests, answers, strict=True)]

    def _checked(self, request: Request, answer: Any) -> Answer:
        if not isinstance(answer, Answer):
            raise self._wrong(request, f"must be an Answer, got {type(answer).__name__}")
        if not isinstance(answer.text, str):
            raise self._wrong(request, f"has a text that is no text but {type(answer.text).__name__}")
        masks = [] if answer.masks is None else answer.masks
        if not isinstance(masks, list | tuple | np.ndarray):
            raise self._wrong(request, f"has masks that are no list but {type(masks).__name__}")
        for mask in masks:
            self._check_mask(request, mask)
        if answer.phrases is not None and len(answer.phrases) != len(masks):
            raise self._wrong(request, f"has {len(answer.phrases)} phrases for {len(masks)} masks")
        return answer

    def _check_mask(self, request: Request, mask: Any) -> None:
        if isinstance(mask, Rle):
            size: tuple[int, ...] = (mask.height, mask.width)
        elif isinstance(mask, np.ndarray) and mask.dtype == np.bool_:
            size = mask.shape
        else:
            got = f"an array of {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise self._wrong(request, f"has a mask that is neither a bool array nor an Rle but {got}")
        if size != request.images[0].shape[:2]:
            picture = "x".join(map(str, request.images[0].shape[:2]))
            raise self._wrong(request, f"has a mask of {'x'.join(map(str, size))}, the picture is {picture}")

    def _wrong(self, request: Request, what: str) -> UsageError:
        return UsageError(f"{self._where}: the answer to sample {request.id} {what}; {SEE}")

    def _plain(self, identity: Any) -> dict[str, Any]:
        try:
            return dict(json.loads(json.dumps(identity)))
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self._where}: identity() must return a dictionary of plain values; {SEE}") from error


def load_python_file(path: Path, settings: RunSettings) -> PythonBackend:
    """Run a file, and make the back end that it defines.

    Args:
        path: of the file.
        settings: of the run, given to `BACKEND`.

    Raises:
        UsageError: it cannot be read or run, or defines no back end.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--model {PYTHON}{path} cannot be read: {shortened(error)}") from error
    make = getattr(_executed(path), "BACKEND", None)
    if not callable(make):
        raise UsageError(f"{path} must define BACKEND, a class or function that makes a back end; {SEE}")
    try:
        own = make(settings)
    except SamtokError:
        raise
    # A user's code may raise anything; the cause stays attached.
    except Exception as error:
        raise UsageError(f"{path}: BACKEND(settings) raises {type(error).__name__}: {shortened(error)}") from error
    return PythonBackend(own, str(path), {"file_sha256": hashlib.sha256(content).hexdigest()})


def given_backend(own: Any) -> PythonBackend:
    """An object as a back end; its code has no file that could be told apart, so that its identity must.

    Raises:
        UsageError: it has not the interface.
    """
    return PythonBackend(own, type(own).__name__, {})


def _executed(path: Path) -> Any:
    try:
        return executed(path, f"samtok_eval_backend_files.{path.stem}")
    except SamtokError:
        raise
    # A user's code may raise anything; the cause stays attached.
    except Exception as error:
        raise UsageError(f"{path} cannot be run: {type(error).__name__}: {shortened(error)}") from error
