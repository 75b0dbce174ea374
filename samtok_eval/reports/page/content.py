"""What a report says about a run, gathered from the run folder before any page is written.

In: checked runs, optionally a ceiling and a floor, and the samples. Out: a `Report` of plain values, which
`report_page` lays out. Shares are 0..1 until the page shows them.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samtok_eval.errors import DataError, SamtokError, UsageError
from samtok_eval.mask_tokens import MISSING
from samtok_eval.masks import Rle
from samtok_eval.metrics.cards import card
from samtok_eval.metrics.codebooks import perplexity
from samtok_eval.prediction import Prediction, Record
from samtok_eval.reports.compare.comparison import Comparison, compare, sample_metric, sample_values
from samtok_eval.reports.runs import ScoredRun, check_comparable, read_scored
from samtok_eval.reports.table import metric_order
from samtok_eval.run.fingerprints import samples_sha256
from samtok_eval.run.manifest import FOREIGN, Manifest, read_manifest
from samtok_eval.run.samples import read_samples
from samtok_eval.run.settings import words_of
from samtok_eval.run.signature import HASH_SHOWN
from samtok_eval.run.slices import sliced
from samtok_eval.sample import Region, Sample

BINS = 20
GALLERY = 12
"""Samples of one gallery."""
ROWS = 1000
"""Samples of the page's table."""
REGRESSION = 1e-9
CEILING, FLOOR = "oracle", "random"
ORDINALS = ("First", "Second", "Third", "Fourth")


@dataclass(frozen=True)
class Bound:
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
class Item:
    """One sample of a gallery."""

    id: str
    sample: Sample
    record: Record
    prediction: Prediction | None
    score: float | None
    before: float | None
    """Score of the run that this one is compared with."""
    ceiling: float | None
    asked: tuple[Rle, ...]
    """Regions in the question."""
    answered: tuple[Rle, ...]
    codes: tuple[str, ...]
    reconstructed: tuple[Rle, ...]
    """What the right codes decode to, where the ceiling is known."""


@dataclass(frozen=True)
class Gallery:
    """Samples that show one thing."""

    name: str
    title: str
    note: str
    items: Sequence[Item]
    total: int
    """Samples that would fit."""


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
    bounds: Sequence[Bound]
    histogram: Sequence[int]
    """Samples by score, `BINS` bins from 0 to the highest value that the metric can have."""
    ceiling_histogram: Sequence[int]
    slices: Sequence[SliceRow]
    galleries: Sequence[Gallery]
    books: Sequence[Book]
    stages: Sequence[Stage]
    rows: Sequence[tuple[Record, float | None]]
    samples: int
    command: str

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
) -> Report:
    """Read everything that a report of the last run needs; earlier ones are what it is compared with.

    Args:
        runs: the run, or a baseline and others; the last is the one that is shown.
        ceiling: the oracle's run of the same samples.
        floor: the random model's.
        data_root: where the benchmark lies, as in the run by default.
        seed: of draws and permutations.

    Raises:
        DataError: the data are not those of the run.
        SamtokError: the runs cannot be compared.
    """
    run = runs[-1]
    protocol = run.protocols[0]
    metric = sample_metric(run, protocol)
    records = {record.id: record for record in run.records[protocol]}
    scores = sample_values(run, protocol, metric) if metric else {}
    before = sample_values(runs[0], protocol, metric) if metric and len(runs) > 1 else {}
    top = sample_values(ceiling, protocol, metric) if metric and ceiling and protocol in ceiling.records else {}
    predictions = run.predictions()
    show = _shower(run, _samples(run, data_root), records, predictions, scores, before, top, ceiling)
    return Report(
        run=run,
        comparison=compare(runs, seed),
        ceiling=ceiling,
        floor=floor,
        protocol=protocol,
        metric=metric,
        bounds=_bounds(run, ceiling, floor),
        histogram=_histogram(scores.values(), metric),
        ceiling_histogram=_histogram(top.values(), metric),
        slices=_slices(run, protocol, metric),
        galleries=_galleries(records, scores, before, predictions, show),
        books=_books(run, protocol, predictions),
        stages=_stages(predictions),
        rows=_rows(records, scores),
        samples=len(records),
        command=reproduce(run),
    )


def bounds_of(
    run: ScoredRun,
    ceiling: Path | None,
    floor: Path | None,
    tasks_dirs: Sequence[Path] = (),
    known: Sequence[ScoredRun] = (),
) -> tuple[ScoredRun | None, ScoredRun | None]:
    """The runs between which a run stands: those that are given, else those beside it.

    Args:
        run: the run.
        ceiling: run of the oracle.
        floor: run of the random model.
        tasks_dirs: further folders of task files.
        known: runs that were read before and need not be read again.

    Raises:
        SamtokError: a given run cannot be read, or is about other samples.
        UsageError: a given run is another model's, or of another mask tokenizer or other pictures.
    """
    found = []
    for path, model, option in ((ceiling, CEILING, "--ceiling"), (floor, FLOOR, "--floor")):
        if path is None:
            found.append(_neighbour(run, model, tasks_dirs, known))
            continue
        other = read_scored(path, tasks_dirs)
        check_comparable(run, other)
        # Predictions from elsewhere do not say which mask tokenizer made them: that is for the user to know.
        reason = _unfit(run.run.manifest, other.run.manifest, model, unknown_fits=True)
        if reason:
            raise UsageError(f"{option} {path}: {reason}; run --model {model} with the run's own tokenizer and data")
        found.append(other)
    return found[0], found[1]


def _unfit(mine: Manifest, its: Manifest, model: str, unknown_fits: bool) -> str | None:
    """Why a run is no bound of another, None where it is one.

    Args:
        mine: manifest of the run.
        its: manifest of the bound.
        model: the backend that must have answered.
        unknown_fits: whether a run whose mask tokenizer is not known may have this bound.
    """
    if its.model.kind != model:
        return f"expected a run of --model {model}, got one of {its.model.name}"
    tokenizer, its_tokenizer = mine.tokenizer_sha256, its.tokenizer_sha256
    if tokenizer is None and unknown_fits:
        tokenizer = its_tokenizer
    pictures, its_pictures = (manifest.dataset.images_sha256 for manifest in (mine, its))
    for what, own, other in (
        ("task", mine.task, its.task),
        ("split", mine.split, its.split),
        ("data", mine.dataset.sha256, its.dataset.sha256),
        ("pictures", pictures or its_pictures, its_pictures or pictures),
        ("mask tokenizer", tokenizer or "unknown", its_tokenizer or "none"),
    ):
        if own != other:
            return f"its {what} is {str(other)[:HASH_SHOWN]}, that of the run {str(own)[:HASH_SHOWN]}"
    return None


def _neighbour(run: ScoredRun, model: str, tasks_dirs: Sequence[Path], known: Sequence[ScoredRun]) -> ScoredRun | None:
    """The latest finished run of a model beside a run, with its mask tokenizer, data and split; None without any."""
    read = {other.run.path.resolve(): other for other in known}
    candidates = []
    for path in run.run.path.resolve().parent.parent.glob(f"{model}/*/manifest.json"):
        try:
            candidates.append((path.parent, read_manifest(path)))
        except DataError:
            # A broken folder is no bound.
            continue
    candidates.sort(key=lambda pair: pair[1].times.finished or "", reverse=True)
    for folder, manifest in candidates:
        if _unfit(run.run.manifest, manifest, model, unknown_fits=False) is None:
            try:
                other = read.get(folder) or read_scored(folder, tasks_dirs)
                check_comparable(run, other)
            except SamtokError:
                # Unfinished, of another version, or changed.
                continue
            return other
    return None


def reproduce(run: ScoredRun) -> str:
    """The command that makes the same run, with what was given and nothing else."""
    manifest = run.run.manifest
    task = ["--task", f"{run.task.metadata.name}:{run.split}"]
    if manifest.prompt == FOREIGN:
        words = ["samtok-eval", "score", *task, "--predictions", manifest.predictions or manifest.model.name]
    else:
        name = manifest.model.name
        model = name if run.task.needs_language_model else name.removeprefix("tokenizer-of-")
        words = ["python", "run_eval.py", *task, "--model", model]
    return shlex.join([*words, *words_of(manifest.settings, manifest.passed)])


def _samples(run: ScoredRun, data_root: str | None) -> dict[str, Sample]:
    """The run's questions by id.

    Raises:
        DataError: the data cannot be read, or are others.
    """
    manifest = run.run.manifest
    settings = manifest.settings
    task = run.task.asked_with(settings.prompt)
    samples = read_samples(task, run.split, data_root or settings.data_root, settings.limit)
    found, expected = samples_sha256(samples), manifest.dataset.sha256
    if found != expected:
        raise DataError(
            f"the data are not those of {run.run.path} (hash {found[:8]} instead of {expected[:8]}); give --data-root"
        )
    return {sample.id: sample for sample in samples}


def _bounds(run: ScoredRun, ceiling: ScoredRun | None, floor: ScoredRun | None) -> list[Bound]:
    def value(other: ScoredRun | None, protocol: str, metric: str) -> float | None:
        found = other.run.metrics.get(protocol, {}).get(metric) if other else None
        return found["value"] if found else None

    return [
        Bound(protocol, metric, **entry, ceiling=value(ceiling, protocol, metric), floor=value(floor, protocol, metric))
        for protocol in run.protocols
        for metric in metric_order(run.task, run.run.metrics[protocol])
        for entry in [run.run.metrics[protocol][metric]]
    ]


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


def _shower(
    run: ScoredRun,
    samples: Mapping[str, Sample],
    records: Mapping[str, Record],
    predictions: Mapping[str, Prediction],
    scores: Mapping[str, float],
    before: Mapping[str, float],
    top: Mapping[str, float],
    ceiling: ScoredRun | None,
) -> Callable[[str], Item]:
    """How a sample becomes an item; masks are decoded only for samples that are shown."""
    truths = ceiling.predictions() if ceiling else {}
    rules = run.task.protocol(run.protocols[0])

    def read(prediction: Prediction | None) -> tuple[tuple[Rle, ...], tuple[str, ...]]:
        if prediction is None:
            return (), ()
        if prediction.masks is not None:
            return tuple(mask.rle() for mask in prediction.masks), ()
        codes = [pair.key for pair in rules.codes_or_none(prediction.text or "") or []]
        return tuple(prediction.decoded[key].rle() for key in codes if key in prediction.decoded), tuple(codes)

    def show(name: str) -> Item:
        sample = samples[name]
        answered, codes = read(predictions.get(name))
        asked = tuple(part.mask for turn in sample.turns for part in turn.parts if isinstance(part, Region))
        return Item(
            id=name,
            sample=sample,
            record=records[name],
            prediction=predictions.get(name),
            score=scores.get(name),
            before=before.get(name),
            ceiling=top.get(name),
            asked=asked,
            answered=answered,
            codes=codes,
            reconstructed=read(truths.get(name))[0],
        )

    return show


def _galleries(
    records: Mapping[str, Record],
    scores: Mapping[str, float],
    before: Mapping[str, float],
    predictions: Mapping[str, Prediction],
    show: Callable[[str], Item],
) -> list[Gallery]:
    ordered = sorted(scores, key=lambda name: (scores[name], name))
    middle = max(0, (len(ordered) - GALLERY) // 2)
    falls = [name for name in ordered if name in before and before[name] - scores[name] > REGRESSION]
    falls.sort(key=lambda name: (scores[name] - before[name], name))
    alarms = [name for name, record in records.items() if record.no_target and record.pred_area]
    alarms.sort(key=lambda name: (-records[name].pred_area, name))
    silent = [name for name, record in records.items() if _is_empty(record, predictions.get(name))]
    chosen = [
        ("regressions", "Regressions", "Samples that lost most against the baseline.", falls, falls),
        ("worst", "Worst", "The lowest scores.", ordered, ordered),
        (
            "median",
            "Median",
            "The middle of the scores: what an ordinary answer looks like.",
            ordered[middle:],
            ordered,
        ),
        ("best", "Best", "The highest scores.", ordered[::-1], ordered),
        ("false-alarms", "No-target false alarms", "Nothing is meant, and something was marked.", alarms, alarms),
        ("empty", "Empty answers", "Something is meant, and nothing was marked or said.", silent, silent),
    ]
    return [
        Gallery(name, title, note, [show(sample) for sample in names[:GALLERY]], len(fitting))
        for name, title, note, names, fitting in chosen
        if names
    ]


def _is_empty(record: Record, prediction: Prediction | None) -> bool:
    if record.gt_area:
        return not record.pred_area
    return prediction is None or (prediction.masks is None and not (prediction.text or "").strip())


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
    ordered = sorted(records.values(), key=lambda record: (scores.get(record.id, 2.0), record.id))
    if len(ordered) > ROWS:
        worst, rest = ordered[: ROWS // 2], ordered[ROWS // 2 :]
        picked = np.linspace(0, len(rest) - 1, ROWS - len(worst)).astype(int)
        ordered = worst + [rest[index] for index in picked]
    return [(record, scores.get(record.id)) for record in ordered]
