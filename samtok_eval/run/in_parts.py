"""A run whose questions are asked a part at a time, for whoever may know enough before the last of them.

In: settings of a run. Out: an ordinary run folder, in which so far only some of the batches were asked. Batches are
formed as always, from the whole split, and asked in an order that is shuffled with one seed for everybody, so that any
first part of them is a fair sample of the split, and two candidates are asked the same. The same run without parts asks
what is missing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console

from samtok_eval.errors import IncompleteRunError, UsageError
from samtok_eval.models.loaded import LoadedModels
from samtok_eval.prediction import Prediction
from samtok_eval.prediction_log import read_own_predictions
from samtok_eval.run.described import manifest_of_run, saved
from samtok_eval.run.evaluate import ask, begin, score_into
from samtok_eval.run.fingerprints import now
from samtok_eval.run.folder import Run, RunFolder
from samtok_eval.run.known_masks import KnownMasks, check_reusable
from samtok_eval.run.manifest import Asked, Manifest, Times
from samtok_eval.run.predict import PredictCounts, batches_of
from samtok_eval.run.prepared import Prepared, prepared
from samtok_eval.run.ranks import ERRORS, Shard, launched
from samtok_eval.run.settings import RunOptions, RunSettings, option_of
from samtok_eval.sample import Sample
from samtok_eval.task import Task

T = TypeVar("T")
ORDER_SEED = 0
"""Of the order in which batches are asked; one for everybody."""
NOT_TAKEN_OVER = (
    "data_root", "out", "tokenizer", "tasks_dirs", "reuse_decoded", "profile", "max_errors", "threads", "device",
    "attn", "device_map", "concurrency", "tensor_parallel",
)  # fmt: skip
"""Settings that belong to a model or a machine, and are not those of another run."""


class PartialRun:
    """A run that is under way; holds its folder until it is closed."""

    def __init__(self, ready: Prepared, begun: Run, console: Console, reuse: str | None) -> None:
        """Prepare; nothing is asked yet.

        Args:
            ready: everything that asking needs.
            begun: the run's folder with its manifest.
            console: for the progress bar.
            reuse: why no masks are taken over from another run; None where they are, or were not offered.
        """
        self.task: Task = ready.task
        self.samples: Sequence[Sample] = ready.samples
        self.manifest: Manifest = begun.manifest
        self.not_reused = reuse
        self._ready, self._console = ready, console
        self._known = KnownMasks(ready.options.reuse_decoded) if ready.options.reuse_decoded else None
        self._folder = RunFolder(begun.path)
        batches = batches_of(ready.samples, ready.backend, ready.options)
        self._order: list[int] = np.random.default_rng(ORDER_SEED).permutation(len(batches)).tolist()
        self.batches = [batches[i] for i in self._order]
        """All of them, in the order in which they are asked."""
        self._done = 0
        self._counts = PredictCounts()
        self._seconds = 0.0

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._folder.path

    @property
    def reused(self) -> int:
        """Masks that were taken over."""
        return self._counts.reused

    def ask(self, upto: int, until: float | None = None) -> bool:
        """Ask the first batches, as far as they have not been.

        Args:
            upto: how many of `batches`.
            until: time of `time.monotonic` after which no further batch is asked.

        Returns:
            Whether all of them are answered.

        Raises:
            TooManyErrorsError: more samples failed than the settings allow.
            IncompleteRunError: fewer failed, but what a machine failed says nothing of a model.
        """
        started = time.perf_counter()
        share = _Portion(self._order[self._done : upto], until, self._counts.errored)
        counts, _ = ask(self._ready, self._folder, share, self._console, self._known, goes_on=self._done > 0)
        self._seconds += time.perf_counter() - started
        self._counts = _added(self._counts, counts)
        if counts.errored:
            raise IncompleteRunError(f"{counts.errored} samples failed; the same command asks them again")
        self._done += share.taken
        return self._done >= upto

    def answers(self) -> Mapping[str, Prediction]:
        """What was answered so far, in this run or an earlier one, by sample id."""
        return read_own_predictions(self._folder.parts())

    def finish(self) -> Run:
        """Write down what was asked; a run of which everything was is scored like any other.

        The folder of a run that was complete before stays complete.
        """
        answers = self.answers()
        done = [sample for sample in self.samples if sample.id in answers and answers[sample.id].error is None]
        whole = len(done) == len(self.samples)
        asked = Asked(
            batches=self._done,
            of_batches=len(self.batches),
            samples=len(done),
            pictures=len({sample.image.id for sample in done}),
        )
        times = Times(started=self.manifest.times.started, predict_seconds=round(self._seconds, 3), finished=now())
        changes: dict[str, Any] = {"counters": asdict(self._counts), "times": times}
        changes |= {"state": "predicted"} if whole else {"asked": asked}
        manifest = saved(self._folder, self.manifest.replace(**changes))
        if not whole:
            return Run(self.path, manifest)
        return score_into(self.task, self.samples, self._folder, manifest)


@contextmanager
def in_parts(
    options: RunOptions,
    models: LoadedModels | None = None,
    console: Console | None = None,
    masks_of: Path | None = None,
) -> Iterator[PartialRun]:
    """Begin a run, or go on with it, in parts.

    Args:
        options: settings of the run.
        models: loaded ones.
        console: for the progress bar; none is shown without it.
        masks_of: a run whose decoded masks stand for those of equal codes, where tokenizer, pictures and precision are
            the same.

    Raises:
        UsageError: something is wrong with the settings, or several processes were started for it.
    """
    if launched(os.environ) is not None or options.shard:
        raise UsageError(
            "a run in parts is one process; start it without torchrun, srun or --shard, and use several GPUs with "
            "vllm:PATH --tensor-parallel N or behind a server"
        )
    ready = prepared(options, models or LoadedModels())
    manifest, reason = manifest_of_run(ready), None
    if masks_of is not None and options.reuse_decoded is None:
        try:
            check_reusable(masks_of, manifest)
        except UsageError as error:
            reason = str(error).removeprefix("--reuse-decoded ")
        else:
            update = {"reuse_decoded": masks_of}
            ready = replace(ready, options=options.model_copy(update=update))
            manifest = manifest.replace(settings=manifest.settings.model_copy(update=update))
    with ExitStack() as held:
        begun = begin(ready, manifest, held)
        yield PartialRun(ready, begun, console or Console(quiet=True), reason)


def options_like(baseline: Manifest, **changes: Any) -> RunOptions:
    """The settings under which another model is asked the same questions in the same way.

    Args:
        baseline: of a finished run; what its user set is taken over, but for what belongs to its model or machine.
        **changes: fields of `RunOptions` that are set anew.
    """
    kept = {
        name: getattr(baseline.settings, name)
        for name, field in RunSettings.model_fields.items()
        if name in baseline.passed and option_of(field).role != "scoring" and name not in NOT_TAKEN_OVER
    }
    asked = {"task": baseline.task, "split": baseline.split, "data_root": baseline.dataset.root}
    return RunOptions(**{**asked, **kept, **changes})


class _Portion(Shard):
    """The share of a process that asks a few batches by their numbers."""

    def __init__(self, numbers: Sequence[int], until: float | None, errors: int) -> None:
        super().__init__()
        self._numbers, self._until, self.taken = numbers, until, 0
        self._sums[ERRORS] = errors

    def of(self, batches: Sequence[T]) -> Iterator[T]:
        """The batches of these numbers, as long as there is time."""
        for number in self._numbers:
            if self._until is not None and time.monotonic() > self._until:
                return
            self.taken += 1
            yield batches[number]


def _added(before: PredictCounts, now: PredictCounts) -> PredictCounts:
    return PredictCounts(
        # What an earlier part asked counts as asked, not as done before.
        done_before=now.done_before - before.predicted,
        predicted=before.predicted + now.predicted,
        errored=now.errored,
        halved=before.halved + now.halved,
        # The known masks of all parts count together.
        reused=now.reused,
    )
