"""A task file and its test to begin with: what `samtok-eval tasks new NAME` writes.

`task_file.py` and `check_file.py` are a task named `my_benchmark` and its test; a new task is a copy under its own
name. They are checked as code of this program is, and nothing imports them.
"""

from __future__ import annotations

import re
from pathlib import Path

from samtok_eval.errors import UsageError
from samtok_eval.files import read_text, write_text
from samtok_eval.registry import load_tasks

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
"""Of a task: it becomes the name of a file, a class, a folder and an option's value."""
LONGEST_NAME = 40
REINSTALL = "install samtok-eval again"


def write_task(name: str, folder: Path) -> tuple[Path, Path]:
    """Write `FOLDER/NAME.py` and `FOLDER/tests/test_NAME.py`; nothing is written where one of them exists.

    Args:
        name: of the task, such as `red_things`.
        folder: of task files, to be given as `--tasks-dir`.

    Returns:
        Both files.

    Raises:
        UsageError: no name for a task, it is taken, or a file is there.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise UsageError(
            f"{name!r} is no name for a task; expected small letters, digits and single underscores between them, "
            f"beginning with a letter, {LONGEST_NAME} at most, such as red_things"
        )
    # In a folder below, since each file in the folder itself is taken for a task.
    task, test = folder / f"{name}.py", folder / "tests" / f"test_{name}.py"
    for path in (task, test):
        if path.exists():
            raise UsageError(f"{path} exists and stays as it is; choose another name, or another --dir")
    if name in load_tasks([folder] if folder.is_dir() else []):
        raise UsageError(f"the task name {name!r} is taken; choose another, `samtok-eval tasks` lists them")
    for path, template in ((task, "task_file.py"), (test, "check_file.py")):
        write_text(path, _named(read_text(Path(__file__).parent / template, remedy=REINSTALL), name))
    return task, test


def _named(text: str, name: str) -> str:
    """A template under another name: that of the task, of its class, and in words."""
    words = name.replace("_", " ")
    for own, other in (
        ("my_benchmark", name),
        ("MyBenchmark", words.title().replace(" ", "")),
        ("My benchmark", words.capitalize()),
    ):
        text = text.replace(own, other)
    return text
