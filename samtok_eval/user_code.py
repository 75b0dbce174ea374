"""Python files that a user names on the command line, the only foreign code that is ever run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from traceback import walk_tb
from types import ModuleType

from pydantic import ValidationError

from samtok_eval.errors import SamtokError, TaskFileError, UsageError
from samtok_eval.files import first_problem, shortened

TASK_FILES = "samtok_eval_task_files."
"""Begins the names of modules that users' task files become."""


def blamed(error: BaseException) -> str | None:
    """Which line of a user's task file an error comes from, and what it says; None for errors from elsewhere."""
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__")).startswith(TASK_FILES):
            return _told(error, frame.f_code.co_filename, line, frame.f_code.co_name)
    return None


def _told(error: BaseException, path: str, line: int | None, function: str) -> str:
    """File, line, and what was raised there; a broken card is told by its field."""
    what = f"{type(error).__name__}: {shortened(error)}" if isinstance(error, Exception) else type(error).__name__
    if isinstance(error, ValidationError):
        what = f"{error.title}.{first_problem(error)}"
    elif isinstance(error, SyntaxError):
        path, line, what = error.filename or path, error.lineno, f"{type(error).__name__}: {error.msg}"
    where = "" if function == "<module>" else f" in {function}"
    return f"{path}:{line}{where}: {what}"


def executed_task_file(path: Path, name: str) -> ModuleType:
    """A user's task file as a module.

    Raises:
        TaskFileError: it cannot be run; the message names the line.
    """
    try:
        return executed(path, f"{TASK_FILES}{name}")
    except SamtokError:
        raise
    # A user's code may raise anything; the cause stays attached.
    except (Exception, SystemExit) as error:
        told = blamed(error) or _told(error, str(path), None, "<module>").replace(":None:", ":")
        raise TaskFileError(f"{told}; {correct(error)}") from error


def correct(error: BaseException) -> str:
    """What to do about an error in a task file."""
    what = "install what it imports, or correct the import" if isinstance(error, ImportError) else "correct the file"
    return f"{what}, see docs/adding_a_task.md"


def executed(path: Path, name: str) -> ModuleType:
    """A file as a module, run anew; what it raises is not caught.

    Args:
        path: of the file.
        name: of the module, under which others find it, e.g. to unpickle what it defines.

    Raises:
        UsageError: it is no Python file by its name.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be read as Python; expected a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
