"""What a report says about a run, gathered from the run folder before any page is written.

In: checked runs, optionally a ceiling and a floor, and the samples. Out: a `Report` of plain values, which
`page` lays out. Shares are 0..1 until the page shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from samtok_eval.datasets.overlap import Overlap
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import MISSING
from samtok_eval.metrics.cards import card
from samtok_eval.metrics.codebooks import perplexity
from samtok_eval.metrics.confusion import Confusion
from samtok_eval.metrics.judge import key_of
from samtok_eval.metrics.separation import Separation
from samtok_eval.name_index import ByName
from samtok_eval.passages import Exchange
from samtok_eval.prediction import Prediction, Record
from samtok_eval.reports.compare.comparison import Comparison, compare, sample_metric, sample_values
from samtok_eval.reports.page.galleries import Answered, Gallery, galleries
from samtok_eval.reports.page.leaks import Leaks, leaks
from samtok_eval.reports.runs import ScoredRun, reproduce
from samtok_eval.reports.summary import metric_order
from samtok_eval.run.answers import kept_in_words
from samtok_eval.run.fingerprints import samples_sha256
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.questions import Questions
from samtok_eval.run.signature import HASH_SHOWN
from samtok_eval.run.slices import sliced
from samtok_eval.sample import Sample
from samtok_eval.sample_table import in_columns

BINS = 20
ROWS = 1000
"""Samples of the page's table."""
ORDINALS = ("First", "Second", "Third", "Fourth")


@dataclass(frozen=True)
class BoundedScore:
    """One metric between the floor and the ceiling; shares 0..1."""

    protocol: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    ceiling: float | None
    floor: float | None

    @property
    def lost_to_tokenizer(self) -> float | None:
        """Points that neither the right codes give nor the model's; None where a tokenizer can lose none."""
        reached = self._reached
        return None if reached is None else 1 - reached

    @property
    def lost_to_model(self) -> float | None:
        """Points that the right codes give and the model's do not; with value and tokenizer's loss they make 1."""
        reached = self._reached
        return None if reached is None or self.value is None else reached - self.value

    @property
    def _reached(self) -> float | None:
        """The ceiling, or what the model reached above it: the codes of the encoder are not always the best ones."""
        if self.value is None or self.ceiling is None or not card(self.metric).splits_into_losses:
            return None
        return max(self.ceiling, self.value)


@dataclass(frozen=True)
class SliceRow:
    """The sample metric in one slice."""

    name: str
    value: str
    n: int
    score: float
    lost: float | None
    """What this slice's errors cost the whole benchmark's score, 0..1; None where the metric is no share."""


@dataclass(frozen=True)
class Book:
    """How often each code of one codebook was written."""

    name: str
    counts: Sequence[int]

    @property
    def used(self) -> int:
        """Codes that occur."""
        return sum(count > 0 for count in self.counts)

    @property
    def perplexity(self) -> float:
        """2 to the entropy in bits; 1 when nothing was written."""
        return perplexity(np.asarray(self.counts)) if any(self.counts) else 1.0


@dataclass(frozen=True)
class Stage:
    """Time of one stage of the answers, in seconds."""

    name: str
    total: float
    median: float


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    run: ScoredRun
    comparison: Comparison
    ceiling: ScoredRun | None
    floor: ScoredRun | None
    protocol: str
    """The one that slices, galleries and distributions are about: the task's first."""
    metric: str | None
    scores: Sequence[BoundedScore]
    histogram: Sequence[int]
    """Samples by score, `BINS` bins from 0 to the highest value that the metric can have."""
    ceiling_histogram: Sequence[int]
    slices: Sequence[SliceRow]
    answered: Answered
    """Every sample."""
    galleries: Sequence[Gallery]
    books: Sequence[Book]
    stages: Sequence[Stage]
    rows: Sequence[tuple[Record, float | None]]
    samples: int
    command: str
    leaks: Leaks | None = None
    """Scores without the pictures of a training mix, where one was named."""
    separation: Separation | None = None
    """What separates the protocols, where the task counts it."""

    confusion: Confusion | None = None
    """Right answers against those given, under the page's protocol, where they are of a few kinds."""

    @property
    def baseline(self) -> ScoredRun | None:
        """What the run is compared with."""
        return self.comparison.runs[0] if len(self.comparison.runs) > 1 else None


def gather(
    runs: Sequence[ScoredRun],
    ceiling: ScoredRun | None = None,
    floor: ScoredRun | None = None,
    data_root: str | None = None,
    seed: int = 0,
    overlap: Overlap | None = None,
    questions: Questions | None = None,
) -> Report:
    """Read everything that a report of the last run needs.

    Args:
        runs: the run, or the baseline and others; the last is the one that is shown.
        ceiling: the oracle's run of the same samples.
        floor: the random model's.
        data_root: where the benchmark lies, as in the run by default.
        seed: of draws and permutations.
        overlap: the pictures that a training mix shares with the split.
        questions: may hold the run's, and holds them then.

    Raises:
        DataError: the data are not those of the run.
        UsageError: the overlap is of another split, or of other data.
        SamtokError: the runs cannot be compared.
    """
    run = runs[-1]
    protocol = run.protocols[0]
    metric = sample_metric(run, protocol)
    columns = run.records[protocol]
    records = ByName(columns.id, columns)
    scores = sample_values(run, protocol, metric) if metric else {}
    baseline = sample_values(runs[0], protocol, metric) if metric and len(runs) > 1 else {}
    top = sample_values(ceiling, protocol, metric) if metric and ceiling and protocol in ceiling.records else {}
    samples = _samples(run, data_root, questions or Questions())
    predictions = _answers(run, samples)
    before = _answers(runs[0], samples) if len(runs) > 1 else {}
    answered = Answered(
        samples=ByName(in_columns(samples)[0], samples),
        records=records,
        predictions=predictions,
        rules=run.task.protocol(protocol),
        scores=scores,
        baseline=baseline,
        ceiling=top,
        right_codes=ceiling.predictions() if ceiling else {},
        before=before,
        task=run.task.asked_with(run.run.manifest.settings.prompt, run.split),
        compared=len(runs) > 1,
        judged=_judged(run, samples, predictions, protocol),
        judged_before=_judged(runs[0], samples, before, protocol) if len(runs) > 1 else {},
        lower_is_better=metric in run.task.metadata.lower_is_better,
    )
    return Report(
        run=run,
        comparison=compare(runs, seed),
        ceiling=ceiling,
        floor=floor,
        protocol=protocol,
        metric=metric,
        scores=_scores(run, ceiling, floor),
        histogram=_histogram(scores.values(), metric),
        ceiling_histogram=_histogram(top.values(), metric),
        slices=_slices(run, protocol, metric),
        answered=answered,
        galleries=galleries(answered),
        books=_books(run, protocol, predictions),
        stages=_stages(predictions),
        rows=_rows(records, scores),
        samples=len(records),
        command=reproduce(run),
        leaks=leaks(run, overlap, seed) if overlap else None,
        separation=run.task.separation(run.records),
        confusion=run.task.confusion(answered.samples, predictions, run.records[protocol], protocol),
    )


def _samples(run: ScoredRun, data_root: str | None, questions: Questions) -> Sequence[Sample]:
    """The run's questions.

    Raises:
        DataError: the data cannot be read, or are others.
    """
    manifest = run.run.manifest
    settings = manifest.settings
    task = run.task.asked_with(settings.prompt, run.split)
    samples = questions.read(task, run.split, data_root or settings.data_root, settings.limit)
    found, expected = samples_sha256(samples), manifest.dataset.sha256
    if found != expected:
        raise DataError(
            f"the data are not those of {run.run.path} (hash {found[:HASH_SHOWN]} instead of {expected[:HASH_SHOWN]}); "
            "give --data-root"
        )
    return samples


def _answers(run: ScoredRun, samples: Sequence[Sample]) -> Mapping[str, Prediction]:
    """The answers that a run folder holds: the log of a model, or words that were scored from a file."""
    own = run.predictions()
    return own or kept_in_words(run.task, samples, RunFolder(run.run.path))


def _judged(
    run: ScoredRun, samples: Sequence[Sample], predictions: Mapping[str, Prediction], protocol: str
) -> dict[str, list[Exchange]]:
    """What the judge of a run was asked about its answers, and replied, by sample id."""
    prompts = run.task.judge_prompts(samples, predictions, run.task.protocol(protocol))
    replies = run.replies() if prompts else {}
    return {name: [Exchange(key, replies.get(key)) for key in map(key_of, about)] for name, about in prompts.items()}


def _scores(run: ScoredRun, ceiling: ScoredRun | None, floor: ScoredRun | None) -> list[BoundedScore]:
    return [
        BoundedScore(protocol, metric, **entry, ceiling=highest, floor=lowest)
        for protocol in run.protocols
        for metric in metric_order(run.task, run.run.metrics[protocol])
        for entry in [run.run.metrics[protocol][metric]]
        for highest, lowest in [[_value(bound, protocol, metric) for bound in (ceiling, floor)]]
    ]


def _value(run: ScoredRun | None, protocol: str, metric: str) -> float | None:
    """A metric of a run that may be missing, or may lack it."""
    entry = run.run.metrics.get(protocol, {}).get(metric, {}) if run else {}
    value: float | None = entry.get("value")
    return value


def _histogram(scores: Collection[float], metric: str | None) -> list[int]:
    highest = highest_of(metric)
    values = np.clip(np.fromiter(scores, dtype=np.float64), 0, highest)
    return [int(count) for count in np.histogram(values, bins=BINS, range=(0, highest))[0]]


def highest_of(metric: str | None) -> float:
    """Where the scale of a metric's samples ends."""
    return (card(metric).highest if metric else None) or 1.0


def _slices(run: ScoredRun, protocol: str, metric: str | None) -> list[SliceRow]:
    """Slices by the points that they cost, largest loss first; those of a metric that is no share by their score."""
    if metric is None:
        return []
    whole = run.metrics(protocol)[metric].n
    best = 0.0 if metric in run.task.metadata.lower_is_better else 1.0
    rows = []
    for name, values in sliced(run.records[protocol]).items():
        for value, members in values.items():
            found = run.task.measured(members, protocol)[metric]
            if found.value is not None and found.n:
                lost = abs(best - found.value) * found.n / whole if card(metric).is_share else None
                rows.append(SliceRow(name, value, found.n, found.value, lost))
    return sorted(rows, key=lambda row: (row.score if row.lost is None else -row.lost, row.name, row.value))


def _books(run: ScoredRun, protocol: str, predictions: Mapping[str, Prediction]) -> list[Book]:
    rules = run.task.protocol(protocol)
    written = [codes for p in predictions.values() for codes in rules.codes_or_none(p.text or "") or []]
    found = []
    for place in range(rules.layout.depth):
        counter = Counter(codes[place] for codes in written if codes[place] != MISSING)
        name = f"{ORDINALS[place]} codebook" if place < len(ORDINALS) else f"Codebook {place + 1}"
        if counter:
            found.append(Book(name, [counter[code] for code in range(rules.layout.size)]))
    return found


def _stages(predictions: Mapping[str, Prediction]) -> list[Stage]:
    names = dict.fromkeys(stage for prediction in predictions.values() for stage in prediction.seconds)
    found = []
    for name in names:
        seconds = [prediction.seconds.get(name, 0.0) for prediction in predictions.values()]
        found.append(Stage(name, float(sum(seconds)), float(np.median(seconds))))
    return sorted(found, key=lambda stage: -stage.total)


def _rows(records: Mapping[str, Record], scores: Mapping[str, float]) -> list[tuple[Record, float | None]]:
    """All samples, or of many the lowest half of `ROWS` and as many spread evenly over the rest."""
    ordered = sorted(records, key=lambda name: (scores.get(name, 2.0), name))
    if len(ordered) > ROWS:
        worst, rest = ordered[: ROWS // 2], ordered[ROWS // 2 :]
        picked = np.linspace(0, len(rest) - 1, ROWS - len(worst)).astype(int)
        ordered = worst + [rest[index] for index in picked]
    return [(records[name], scores.get(name)) for name in ordered]
