"""Samples of a split, from a data root or the demo benchmark."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from os.path import relpath
from pathlib import Path
from typing import Any

from samtok_eval.errors import DataError
from samtok_eval.run.settings import DEMO
from samtok_eval.sample import Sample
from samtok_eval.sample_table import index_of
from samtok_eval.task import Task
from samtok_eval.task_checks import check_samples


def data_root(name: str) -> Path:
    """The folder of a `--data-root`; `demo` is built on first use.

    Raises:
        DataError: no such folder.
    """
    if name == DEMO:
        from samtok_eval.demo.benchmark import cached_demo

        return cached_demo()
    path = Path(name)
    if not path.is_dir():
        raise DataError(f"--data-root {name} is not a folder; give the folder that holds the benchmarks, or demo")
    return path


def read_samples(task: Task, split: str, root: str, limit: int | None) -> Sequence[Sample]:
    """Samples of a split, the first `limit` of them; the others are read only where a task cannot leave them out.

    Raises:
        DataError: the files are missing or broken, or two samples share an id, so that one answer would be lost.
    """
    # A task file may have a `read` of its own, which need not know of the argument.
    known: dict[str, Any] = {"limit": limit} if "limit" in inspect.signature(task.read).parameters else {}
    samples = task.read(data_root(root), split, **known)
    check_samples(task, split, samples)
    repeated = index_of(samples).repeated()
    if repeated:
        first = samples[repeated[0][0]].id
        own = f"{task.file}: read of " if task.file else ""
        message = f"{own}{task.metadata.name}:{split}: {len(repeated)} ids occur twice, {first} first"
        raise DataError(f"{message}; every sample needs an id of its own")
    return samples if limit is None else samples[:limit]


def missing_pictures(samples: Sequence[Sample]) -> list[Path]:
    """Distinct pictures that are not there, in the order of the samples."""
    shown = dict.fromkeys(image.path for sample in samples for image in sample.pictures)
    return [path for path in shown if not path.is_file()]


def check_pictures(samples: Sequence[Sample], root: str) -> None:
    """Refuse missing pictures before the model is loaded.

    Raises:
        DataError: one is missing; the message says how many.
    """
    missing = missing_pictures(samples)
    if missing:
        first = relpath(missing[0], root)
        raise DataError(
            f"{len(missing)} of the pictures under --data-root {root} are missing, {first} first; put them there "
            "(see `samtok-eval data fetch`), then see `samtok-eval data verify`"
        )
