"""Decoded answers become lines of the log in a thread of its own, while the next batch is asked.

In: answers whose masks are still arrays. Out: their lines, on disk in the order of the answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from samtok_eval.files import shortened
from samtok_eval.mask_tokens import Codes
from samtok_eval.masks import Rle
from samtok_eval.models.backend import Answer, Request
from samtok_eval.prediction import CocoRle, Prediction
from samtok_eval.prediction_log import PredictionLog
from samtok_eval.task import Task
from samtok_eval.tokenizer.pictures import MaskOrRle, RunLengths

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoded:
    """An answer, or why there is none."""

    line: Prediction
    """Still without decoded masks."""
    regions: Mapping[Codes, MaskOrRle] = field(default_factory=dict)
    """Those masks; what answers share is the same array."""

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return self.line.error is not None

    def prediction(self, run_lengths: RunLengths) -> Prediction:
        """The whole line; making run lengths counts as decoding.

        Args:
            run_lengths: of the batch.
        """
        if not self.regions:
            return self.line
        # Without the time in which this thread waits for the one that asks.
        started = time.thread_time()
        decoded = {codes.key: _coco(run_lengths.of(region)) for codes, region in self.regions.items()}
        spent = self.line.seconds.get("decode", 0.0) + time.thread_time() - started
        seconds = {**self.line.seconds, "decode": round(spent, 5)}
        return self.line.model_copy(update={"decoded": decoded, "seconds": seconds})


class LineWriter:
    """Writes the answers of a batch in a thread while the next one is asked; no more than one batch waits."""

    def __init__(self, log: PredictionLog, errors: tuple[type[Exception], ...]) -> None:
        """Begin with nothing.

        Args:
            log: receives the lines.
            errors: what of making run lengths is kept as the error of its sample.
        """
        self._log, self._errors = log, errors
        self._pool = ThreadPoolExecutor(1)
        self._under_way: Future[list[Prediction]] | None = None

    def write(self, answers: Sequence[Decoded]) -> list[Prediction]:
        """Take answers, once those before them are on disk.

        Returns:
            What `wait` returns about those before them.
        """
        failures = self.wait()
        self._under_way = self._pool.submit(self._write, answers)
        return failures

    def wait(self) -> list[Prediction]:
        """Return once everything is on disk.

        Returns:
            Lines of answers whose masks could not be made run lengths; each is told once.

        Raises:
            UsageError: the log cannot be written.
        """
        under_way, self._under_way = self._under_way, None
        return under_way.result() if under_way else []

    def _write(self, answers: Sequence[Decoded]) -> list[Prediction]:
        run_lengths, failures = RunLengths(), []
        for answer in answers:
            try:
                line = answer.prediction(run_lengths)
            except self._errors as error:
                line = failed(answer.line.id, f"{type(error).__name__}: {shortened(error)}").line
                failures.append(line)
            self._log.append(line)
        return failures

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Waits, so that an interrupted run keeps what was answered.
        self._pool.shutdown()


def decoded(
    task: Task, request: Request, answer: Answer, regions: Mapping[Codes, MaskOrRle], seconds: Mapping[str, float]
) -> Decoded:
    """An answer with its masks.

    Args:
        task: says how well formed it is.
        request: that it answers.
        answer: from the back end.
        regions: masks of its codes.
        seconds: share of this answer in what was done about its batch since, per stage.
    """
    if answer.error is not None:
        return failed(request.id, answer.error)
    # At once, since a back end may use its arrays again for the next batch.
    brought = answer.rles
    line = Prediction(
        id=request.id,
        text=answer.text,
        masks=None if brought is None else [_coco(rle) for rle in brought],
        phrases=None if answer.phrases is None else list(answer.phrases),
        status=task.status(answer.text) if brought is None else "foreign",
        seconds={name: round(value, 5) for name, value in {**answer.seconds, **seconds}.items()},
    )
    return Decoded(line, regions)


def failed(sample_id: str, reason: str) -> Decoded:
    """A question that has no answer, and why."""
    logger.warning("sample %s: %s", sample_id, reason)
    return Decoded(Prediction(id=sample_id, text="", status="error", error=reason))


def predictions(answers: Iterable[Decoded]) -> Iterator[Prediction]:
    """The whole lines of a batch."""
    run_lengths = RunLengths()
    return (answer.prediction(run_lengths) for answer in answers)


def _coco(rle: Rle) -> CocoRle:
    return CocoRle.model_validate(rle.to_coco())
