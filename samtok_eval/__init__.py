"""samtok-eval: the evaluation harness for language models that read and write masks as words."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samtok_eval.registry import load_tasks as tasks
    from samtok_eval.run.evaluate import evaluate
    from samtok_eval.run.folder import Run, load_run
    from samtok_eval.run.frames import load_runs

__version__ = "0.1.0"
__all__ = ["Run", "evaluate", "load_run", "load_runs", "tasks"]
_HOMES = {
    "Run": ("run.folder", "Run"),
    "evaluate": ("run.evaluate", "evaluate"),
    "load_run": ("run.folder", "load_run"),
    "load_runs": ("run.frames", "load_runs"),
    "tasks": ("registry", "load_tasks"),
}
"""Where the public names live; they are looked up when first used, so that this package imports nothing."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, attribute = _HOMES[name]
        return getattr(import_module(f"{__name__}.{module}"), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
