"""samtok-eval: the evaluation harness for language models that read and write masks as words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samtok_eval.evaluation import evaluate, load_run, tasks

__version__ = "0.1.0"
__all__ = ["evaluate", "load_run", "tasks"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from samtok_eval import evaluation

        return getattr(evaluation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
