"""The questions of the split that was read last: whatever asks, scores and reports about one split reads it once.

In: a task with its prompt, split, data root and limit. Out: its samples.
"""

from __future__ import annotations

from collections.abc import Sequence

from samtok_eval.run.samples import read_samples
from samtok_eval.sample import Sample
from samtok_eval.task import Task


class Questions:
    """Reads splits and keeps the last one; an earlier one is forgotten, so that one at a time is in memory."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._samples: Sequence[Sample] = ()

    def read(self, task: Task, split: str, root: str, limit: int | None) -> Sequence[Sample]:
        """Samples as `read_samples` gives them; the same ones again where nothing differs.

        Raises:
            DataError: the files are missing or broken.
        """
        key = (task.metadata.name, task.file, task.prompt, split, root, limit)
        if key != self._key:
            self._key, self._samples = (), ()
            self._samples = read_samples(task, split, root, limit)
            self._key = key
        return self._samples
