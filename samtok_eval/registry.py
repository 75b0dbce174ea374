"""How tasks are found: in `tasks/`, in the folder inside the wheel, and in folders given by `--tasks-dir`.

A task file defines `TASKS`, a tuple of `Task` objects.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from samtok_eval.errors import TaskFileError, UsageError
from samtok_eval.task import Task
from samtok_eval.task_checks import check_tasks
from samtok_eval.user_code import executed, executed_task_file


def bundled_tasks_dir() -> Path:
    """The task folder of this installation: inside the wheel, else beside the package in a checkout."""
    inside = Path(__file__).parent / "bundled_tasks"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "tasks"


def load_tasks(extra: Iterable[Path] = ()) -> dict[str, Task]:
    """All tasks by name, in the order of file names.

    Args:
        extra: further folders of task files.

    Raises:
        UsageError: a folder is missing.
        TaskFileError: a file cannot be run, defines no whole tasks, or two tasks share a name.
    """
    tasks: dict[str, Task] = {}
    folders = {folder.resolve(): folder for folder in reversed([bundled_tasks_dir(), *extra])}
    for folder in reversed(folders.values()):
        if not folder.is_dir():
            raise UsageError(f"--tasks-dir {folder} is not a folder")
        for path in sorted(folder.glob("*.py")):
            for task in _tasks_of(path):
                if task.metadata.name in tasks:
                    raise TaskFileError(
                        f"{path}: metadata.name {task.metadata.name!r} is taken by another task; choose another"
                    )
                tasks[task.metadata.name] = task
    return tasks


def find_task(tasks: dict[str, Task], name: str) -> Task:
    """The task of a name.

    Raises:
        UsageError: unknown; the message offers near names.
    """
    if name in tasks:
        return tasks[name]
    near = difflib.get_close_matches(name, tasks, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(tasks)}"
    raise UsageError(f"unknown task {name!r}; {hint}")


def _tasks_of(path: Path) -> tuple[Task, ...]:
    if path.name.startswith("_"):
        return ()
    if path.parent.resolve() == bundled_tasks_dir().resolve():
        bundled: tuple[Task, ...] = executed(path, f"samtok_eval_bundled_tasks.{path.stem}").TASKS
        return bundled
    found = getattr(executed_task_file(path, f"{path.parent.name}_{path.stem}"), "TASKS", None)
    tasks = check_tasks(found, path)
    for task in tasks:
        task.file = path
    return tasks
