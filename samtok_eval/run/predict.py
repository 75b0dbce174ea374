"""Predict: ask the backend, parse the answer, decode its masks, write one line per sample as soon as it is known.

Samples are grouped by picture, so that a picture is read, shown to the language model and encoded by the mask tokenizer
as rarely as possible. While a batch is asked, the pictures of the next are read, and the masks of the one before it
become run lengths and lines. A batch that does not fit in memory is halved, and the following ones are asked in parts
of the size that did fit. Where a batch fails otherwise, its samples are asked one by one. One that fails alone is
written with its error; the run goes on until more than `max_errors` have failed, and asks the failed ones again when it
is started again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from samtok_eval.ahead import ahead
from samtok_eval.device import is_out_of_memory
from samtok_eval.errors import DataError, TooManyErrorsError, UsageError
from samtok_eval.files import shortened
from samtok_eval.images import read_image
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Codes, Layout, parse
from samtok_eval.messages import Message, messages
from samtok_eval.models.backend import Backend, Picture, Request, request_of
from samtok_eval.prediction import Prediction
from samtok_eval.prediction_log import PredictionLog, read_own_predictions
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.known_masks import KnownMasks
from samtok_eval.run.lines import Decoded, LineWriter, decoded, failed, predictions
from samtok_eval.run.measure import Profiler, stage, waited_for
from samtok_eval.run.ranks import ANSWERED, ERRORS, HALVED, REUSED, Shard, Share
from samtok_eval.run.settings import RunSettings
from samtok_eval.sample import Sample
from samtok_eval.task import Task
from samtok_eval.tokenizer.pictures import MaskOrRle, decode_by_picture, encoder

if TYPE_CHECKING:
    from samtok_eval.progress import Progress
    from samtok_eval.tokenizer.model import MaskTokenizer

logger = logging.getLogger(__name__)

MODEL_ERRORS = (
    RuntimeError,
    MemoryError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    OSError,
    TemplateError,
)
"""What a checkpoint's code, its chat template or the device raises about a question; torch's are RuntimeErrors."""


Pictures = Mapping[str, Picture | DataError]
"""Of a batch, by `_picture_key`, or why one cannot be read."""


@dataclass
class PredictCounts:
    """What happened, in all processes of the run."""

    done_before: int = 0
    predicted: int = 0
    errored: int = 0
    halved: int = 0
    """Batches that did not fit in memory and were asked in halves, halves of halves included."""
    reused: int = 0
    """Masks that another run had decoded."""


def predict(
    task: Task,
    samples: Sequence[Sample],
    backend: Backend,
    tokenizer: MaskTokenizer | None,
    folder: RunFolder,
    settings: RunSettings,
    progress: Progress,
    share: Share | None = None,
    known: KnownMasks | None = None,
    profiler: Profiler | None = None,
) -> PredictCounts:
    """Ask every sample that the run folder does not hold yet.

    Args:
        task: gives the protocols whose codes are decoded, for the layout of `tokenizer`.
        samples: what to ask.
        backend: answers.
        tokenizer: decodes; None where the back end brings masks instead of mask words.
        folder: receives `predictions/part-<rank>.jsonl`.
        settings: of the run; without `max_new_tokens` the task says how long an answer may be.
        progress: is told of every finished batch.
        share: which batches this process asks; all of them by default.
        known: masks that need not be decoded.
        profiler: measures the stages; nothing is measured by default.

    Raises:
        UsageError: a known mask does not come out the same.
        TooManyErrorsError: more samples failed than allowed, or all of the first batch in the same way; all lines so
            far are on disk.
    """
    share = share or Shard()
    finished = {name for name, answer in read_own_predictions(folder.parts()).items() if answer.error is None}
    counts = PredictCounts(done_before=sum(sample.id in finished for sample in samples))
    progress.start(total=len(samples), done=counts.done_before)
    part = folder.part(share.part)

    def check(failures: Sequence[Prediction], asked: int, first: bool) -> None:
        if failures:
            errored = share.add(ERRORS, len(failures))
            _check_failures(failures, asked, errored, settings.max_errors, part, first)

    first = True
    with PredictionLog(part) as log, LineWriter(log, MODEL_ERRORS) as lines:
        batches = share.of(batches_of(samples, backend, settings))
        unfinished = ([sample for sample in batch if sample.id not in finished] for batch in batches)
        read = partial(_read_pictures, grouped=settings.group_pictures)
        asking = _Asking(task, backend, tokenizer, settings, known, profiler)
        for waiting, pictures in waited_for(profiler, "read", ahead(filter(None, unfinished), read)):
            failures = []
            for answers in asking.answers(waiting, pictures):
                failures += [answer.line for answer in answers if answer.failed]
                with stage(profiler, "decode"):
                    failures += lines.write(answers)
            progress.reach(counts.done_before + share.add(ANSWERED, len(waiting)))
            check(failures, len(waiting), first)
            first = False
        with stage(profiler, "decode"):
            failures = lines.wait()
        check(failures, len(failures), first=False)
    share.add(REUSED, known.reused if known else 0)
    share.add(HALVED, asking.halved)
    share.finish()
    counts.predicted, counts.errored, counts.halved, counts.reused = (
        share.add(name, 0) for name in (ANSWERED, ERRORS, HALVED, REUSED)
    )
    return counts


def batches_of(samples: Sequence[Sample], backend: Backend, settings: RunSettings) -> list[Sequence[Sample]]:
    """The batches of a whole split, so that neither going on nor the number of processes changes them.

    Args:
        samples: all of them.
        backend: may prefer a size.
        settings: of the run.
    """
    ordered = _grouped(samples) if settings.group_pictures else samples
    return _batches(ordered, backend.batch_size or settings.batch_size)


def _check_failures(
    failures: Sequence[Prediction], asked: int, errored: int, allowed: int, part: Path, first: bool
) -> None:
    """Stop a run that fails too often, or that cannot work at all.

    Args:
        failures: of one batch, at least one.
        asked: size of that batch.
        errored: failures of the run so far.
        allowed: failures allowed.
        part: file that holds the errors.
        first: whether this is the first batch.

    Raises:
        TooManyErrorsError: more failed than allowed, or all of a first batch of several with an error of one kind.
    """
    kinds = {str(failure.error).partition(":")[0] for failure in failures}
    hopeless = first and 1 < asked == len(failures) and len(kinds) == 1
    if not hopeless and errored <= allowed:
        return
    several = f"all {asked} samples of the first batch" if hopeless else f"{errored} samples"
    limit = "" if hopeless else f", --max-errors allows {allowed}"
    remedy = "lower --batch-size or --max-pixels" if "memory" in str(failures[0].error).lower() else f"see {part}"
    raise TooManyErrorsError(
        f"{several} failed{limit}; {failures[0].id}: {failures[0].error}; {remedy}; the same command asks them again"
    )


def codes_to_decode(task: Task, text: str) -> list[Codes]:
    """Distinct codes that any protocol of the task asks for, in order of mention."""
    found: dict[Codes, None] = {}
    for protocol in task.protocols:
        found |= dict.fromkeys(protocol.codes_or_none(text) or [])
    return list(found)


@dataclass
class _Asking:
    """How batches are asked: what all of them have in common."""

    task: Task
    backend: Backend
    tokenizer: MaskTokenizer | None
    settings: RunSettings
    known: KnownMasks | None
    profiler: Profiler | None
    halved: int = 0
    """See `PredictCounts`; of this process."""
    fits: int | None = None
    """Questions that are asked at once since a batch had to be halved."""

    def answers(self, batch: Sequence[Sample], pictures: Pictures) -> Iterator[list[Decoded]]:
        """Answers and errors of a batch in the order of its samples, as many at a time as were asked at once."""
        rest = batch
        while rest:
            part, rest = rest[: self.fits], rest[self.fits :] if self.fits else ()
            fitting: list[int] = []
            halved = self.halved
            yield from self._whole_or_parts(part, pictures, fitting)
            # The largest part that fitted, not the smallest one that did not: a single huge picture says nothing
            # about the batches after it.
            if self.halved > halved and fitting:
                self.fits = max(fitting)
                logger.warning("from here on at most %d questions are asked at once", self.fits)

    def _whole_or_parts(
        self, batch: Sequence[Sample], pictures: Pictures, fitting: list[int]
    ) -> Iterator[list[Decoded]]:
        """The same; where the batch fails as a whole, of its halves or of each of its samples alone.

        Args:
            batch: at least one sample.
            pictures: theirs.
            fitting: receives the size of every part that was answered as a whole.
        """
        try:
            answered = list(self._answered(batch, pictures))
        except MODEL_ERRORS as error:
            answered, reason, is_full = None, f"{type(error).__name__}: {shortened(error)}", is_out_of_memory(error)
            logger.debug("where it fails", exc_info=error)
        # Out of the handler, since the error holds on to the memory of the failed batch.
        if answered is not None:
            fitting.append(len(batch))
            yield answered
        elif len(batch) == 1:
            yield [failed(batch[0].id, reason)]
        else:
            for part in self._halves(batch, reason) if is_full else _one_by_one(batch, reason):
                yield from self._whole_or_parts(part, pictures, fitting)

    def _halves(self, batch: Sequence[Sample], reason: str) -> list[Sequence[Sample]]:
        if not self.halved:
            logger.warning("a batch of %d does not fit in memory (%s); such batches are halved", len(batch), reason)
        self.halved += 1
        return _batches(batch, (len(batch) + 1) // 2)

    def _answered(self, batch: Sequence[Sample], pictures: Pictures) -> Iterator[Decoded]:
        with stage(self.profiler, "read"):
            requests, unreadable = self._requests(batch, pictures)
        yield from unreadable
        longest = self.settings.max_new_tokens or self.task.max_new_tokens
        if requests and self.settings.history == "pred":
            with stage(self.profiler, "generate"):
                requests, failures = with_own_history(requests, self.backend, longest, self.task.layout)
            yield from (failed(name, reason) for name, reason in failures.items())
        if not requests:
            return
        answers = _ask(self.task, requests, self.backend, self.tokenizer, longest, self.known, self.profiler)
        if self.profiler:
            with_masks = {answer.line.id for answer in answers if answer.regions}
            self.profiler.pictures |= {sample.image.id for sample in batch if sample.id in with_masks}
        yield from answers

    def _requests(self, batch: Sequence[Sample], pictures: Pictures) -> tuple[list[Request], list[Decoded]]:
        """The questions of a batch, and an error for each whose picture cannot be read."""
        encode = encoder(self.tokenizer) if self.tokenizer else _not_encoded
        requests: list[Request] = []
        unreadable: list[Decoded] = []
        for sample in batch:
            picture = pictures[_picture_key(sample, self.settings.group_pictures)]
            if isinstance(picture, DataError):
                unreadable.append(failed(sample.id, str(picture)))
                continue
            try:
                shown = messages(sample.turns, picture, encode, self.task.layout)
            except DataError as error:
                unreadable.append(failed(sample.id, str(error)))
                continue
            requests.append(request_of(sample.id, picture, shown))
        return requests, unreadable


def _one_by_one(batch: Sequence[Sample], reason: str) -> list[Sequence[Sample]]:
    logger.warning("a batch of %d fails (%s); its samples are asked one by one", len(batch), reason)
    return _batches(batch, 1)


def _read_pictures(batch: Sequence[Sample], grouped: bool) -> Pictures:
    """The pictures of a batch, or why one cannot be read."""
    found: dict[str, Picture | DataError] = {}
    for sample in batch:
        key = _picture_key(sample, grouped)
        if key not in found:
            try:
                found[key] = read_image(sample.image)
            except DataError as error:
                found[key] = error
    return found


def _picture_key(sample: Sample, grouped: bool) -> str:
    """What samples that share a picture share: its file, since frames of a video share an id, and the size expected."""
    image = sample.image
    return f"{image.height} {image.width} {image.path}" if grouped else sample.id


def ask(
    task: Task, requests: Sequence[Request], backend: Backend, tokenizer: MaskTokenizer | None, max_new_tokens: int
) -> list[Prediction]:
    """Answers and errors of one batch, with the masks that the protocols of the task ask for.

    Args:
        task: gives the protocols, and says how well formed an answer is.
        requests: one batch, at least one.
        backend: answers; what it raises is not caught.
        tokenizer: decodes; None where the back end brings masks.
        max_new_tokens: where an answer is cut.

    Raises:
        UsageError: an answer holds mask words, and there is no mask tokenizer.
    """
    return list(predictions(_ask(task, requests, backend, tokenizer, max_new_tokens)))


def _ask(
    task: Task,
    requests: Sequence[Request],
    backend: Backend,
    tokenizer: MaskTokenizer | None,
    max_new_tokens: int,
    known: KnownMasks | None = None,
    profiler: Profiler | None = None,
) -> list[Decoded]:
    """The same with masks that are no run lengths yet; some may be known, and stages may be measured.

    Raises:
        UsageError: also where a known mask does not come out the same.
    """
    with stage(profiler, "generate"):
        answers = backend.generate(requests, max_new_tokens)
    if profiler:
        profiler.move("generate", "encode", sum(answer.seconds.get("encode", 0.0) for answer in answers))
    started = time.perf_counter()
    with stage(profiler, "parse"):
        wanted = [codes_to_decode(task, answer.text) if answer.masks is None else [] for answer in answers]
    if any(wanted) and not tokenizer:
        raise UsageError(f"{backend.name} answers in mask words; name the mask tokenizer that reads them: --tokenizer")
    with stage(profiler, "decode"):
        regions = _regions(tokenizer, requests, wanted, known)
    seconds = {"decode": (time.perf_counter() - started) / len(requests)}
    return [
        decoded(task, request, answer, found, seconds)
        for request, answer, found in zip(requests, answers, regions, strict=True)
    ]


def _regions(
    tokenizer: MaskTokenizer | None,
    requests: Sequence[Request],
    wanted: Sequence[Sequence[Codes]],
    known: KnownMasks | None,
) -> Sequence[Mapping[Codes, MaskOrRle]]:
    if tokenizer is None:
        return [{} for _ in requests]
    if known:
        return known.decode(tokenizer, requests, wanted)
    return decode_by_picture(tokenizer, [request.images[0] for request in requests], wanted)


def _not_encoded(image: Picture, regions: NDArray[np.bool_]) -> list[Codes]:
    raise UsageError("the task writes masks into its questions as mask words; name a mask tokenizer with --tokenizer")


def with_own_history(
    requests: Sequence[Request], backend: Backend, max_new_tokens: int, layout: Layout = DEFAULT_LAYOUT
) -> tuple[list[Request], dict[str, str]]:
    """Replace the right answers in each history by the model's own, round by round.

    An earlier round is asked under the id of its sample with the messages before it; rounds of a batch with the same
    messages and the same right answer are asked once. Mask words of a right answer that later turns repeat are replaced
    by those at the same place of the model's answer, or left out where it has none.

    Returns:
        Requests with their own history, and the reasons of those of which an earlier round failed, by id.
    """
    current, failures = list(requests), dict[str, str]()
    for turn in range(max(len(request.messages) for request in requests)):
        members = [i for i, r in enumerate(current) if turn < len(r.messages) and r.messages[turn].role == "assistant"]
        if not members:
            continue
        asked: dict[tuple[object, ...], Request] = {}
        keys = {}
        for i in members:
            request = current[i]
            keys[i] = (id(request.images[0]), *map(_text, request.messages[: turn + 1]))
            asked.setdefault(keys[i], request_of(request.id, request.images[0], request.messages[:turn]))
        answers = backend.generate(list(asked.values()), max_new_tokens)
        answered = dict(zip(asked, answers, strict=True))
        failures |= {
            current[i].id: f"round {turn // 2 + 1}: {error}" for i in members if (error := answered[keys[i]].error)
        }
        for i in members:
            current[i] = _with_answer(current[i], turn, answered[keys[i]].text, layout)
        current = [request for request in current if request.id not in failures]
    return current, failures


def _with_answer(request: Request, turn: int, answer: str, layout: Layout) -> Request:
    right = _text(request.messages[turn])
    own = [answer[span.start : span.end] for span in parse(answer, layout)]
    swaps = {right[s.start : s.end]: own[k] if k < len(own) else "" for k, s in enumerate(parse(right, layout))}

    def swapped(part: str | Picture) -> str | Picture:
        if not isinstance(part, str):
            return part
        # All at once: own words may be those of another right mask.
        pieces, end = [], 0
        for span in parse(part, layout):
            words = part[span.start : span.end]
            pieces += [part[end : span.start], swaps.get(words, words)]
            end = span.end
        return "".join([*pieces, part[end:]])

    # Later right answers stay as they are until their own turn, since their mask words are looked up by place.
    later = [
        Message(m.role, tuple(map(swapped, m.parts))) if m.role == "user" else m for m in request.messages[turn + 1 :]
    ]
    conversation = (*request.messages[:turn], Message("assistant", (answer,)), *later)
    return request_of(request.id, request.images[0], conversation)


def _text(message: Message) -> str:
    return "".join(part for part in message.parts if isinstance(part, str))


def _grouped(samples: Sequence[Sample]) -> list[Sample]:
    """Samples of one picture next to each other, pictures in order of first mention."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.image.id, []).append(sample)
    return [sample for group in groups.values() for sample in group]


def _batches(samples: Sequence[Sample], size: int) -> list[Sequence[Sample]]:
    return [samples[first : first + size] for first in range(0, len(samples), size)]
