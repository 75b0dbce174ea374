"""Score: samples and predictions -> records -> metrics. Needs neither a model nor torch, and opens no image.

Samples are scored in batches, under all protocols, and what is kept of a batch are the columns of its records; so
memory grows by a few numbers per sample, whatever masks and texts hold. A task that scores all samples together holds
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from samtok_eval.errors import DataError
from samtok_eval.metrics.cards import card
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.ratio import Metric, Ratio
from samtok_eval.metrics.token_match import check_references, with_token_match
from samtok_eval.prediction import OPEN_PROMPTS, Prediction, Record, as_read, check_codes, check_together
from samtok_eval.prediction_log import StoredPredictions, unknown_prediction
from samtok_eval.records import Collected, Records, Taken, nothing
from samtok_eval.run.metrics_file import Counters, Entry, IntervalMethod, Metrics
from samtok_eval.run.slices import DECIDING, rows_of_slices
from samtok_eval.sample import Sample
from samtok_eval.sample_table import forget_index, in_columns, index_of, sample_ids
from samtok_eval.statistics import CONFIDENCE, DRAWS, FEW, Interval, intervals_of_families
from samtok_eval.task import Task
from samtok_eval.task_checks import check_records

PERCENTILE = "percentile bootstrap over pictures"
"""How older versions made intervals; another way gets another name, so that old files are checked by their own."""
STUDENT_OF_FEW = f"{PERCENTILE}, Student's t of the jackknife below {FEW}"
"""How this version makes them."""
FEW_OF_METHOD = {PERCENTILE: 0, STUDENT_OF_FEW: FEW}
"""By method, how many pictures are no longer few."""
BATCH = 512
"""Samples scored at a time, where a task does not ask for all of them."""
Sink = Callable[[Mapping[str, Sequence[Record]]], None]
"""Takes the records of a batch, by protocol."""


@dataclass(frozen=True)
class Scored:
    """Everything scoring found out."""

    by_protocol: Mapping[str, Records]
    """Samples in the order of the benchmark's files."""
    metrics: Metrics
    exports: dict[str, Any]
    """Answers in the benchmark's own result format: file name -> JSON content."""
    absent: dict[str, str]
    """Metrics that could not be computed: name -> reason; `metrics.json` holds them, too."""

    @property
    def records(self) -> list[Record]:
        """Of all protocols, one after the other."""
        return [record for mine in self.by_protocol.values() for record in mine]


def score(
    task: Task,
    samples: Sequence[Sample],
    predictions: Iterable[Prediction] | Mapping[str, Prediction],
    seed: int = 0,
    protocols: Sequence[str] | None = None,
    judge: str | None = None,
    record: Path | None = None,
    references: Mapping[str, str] | None = None,
    sink: Sink | None = None,
) -> Scored:
    """Score predictions under every protocol.

    Args:
        task: the rules.
        samples: everything that was to be answered.
        predictions: answers in any order, or by sample id as `answers.read_answers` gives them; a sample without one is
            scored by rule.
        seed: of the bootstrap.
        protocols: names of protocols, all of the task's by default.
        judge: `openai:URL#NAME` or `replay:FILE`, for tasks that have a judge.
        record: where the judge's replies are kept.
        references: right answers by sample id, written with the codes of the true masks; they give `token_match` under
            the first protocol, since it is the same under all.
        sink: takes the records while they are made.

    Raises:
        DataError: an id is unknown or occurs twice, masks do not fit the pictures, codes not the layout of the task, or
            references are missing.
    """
    answers = predictions if isinstance(predictions, Mapping) else answers_of(task, samples, predictions)
    chosen = task.protocols if protocols is None else tuple(task.protocol(name) for name in dict.fromkeys(protocols))
    if references is not None:
        check_references([sample.id for sample in samples], references, task.layout)
    first = chosen[0].name
    ids, phrases, _ = in_columns(samples)
    expected = {"id": ids, "phrase": phrases, "series": nothing(len(samples))}
    collected = Collected([protocol.name for protocol in chosen], len(samples), expected)
    with Judges(judge, record) as judges:
        for batch, given in _batches(task, samples, answers):
            found = judges.scored(partial(task.score_under, batch, given, chosen, judges))
            check_records(task, batch, found, chosen)
            records = dict(found)
            if references is not None:
                records[first] = with_token_match(records[first], given, references, task.layout)
            if sink is not None:
                sink(records)
            collected.add({name: Records.of(mine) for name, mine in records.items()})
    exports = task.export(samples, answers)
    # Metrics take the room of the answers.
    del predictions, answers
    by_protocol = collected.records()
    method = interval_method(seed)
    counted = counters(by_protocol)
    absent = _unjudged(task, samples, judge, counted.open_prompts) | judges.absent
    metrics = Metrics(
        protocols=entries_by_protocol(measured_by_protocol(task, by_protocol), method),
        slices=slice_entries(task, by_protocol),
        counters=counted,
        intervals=method,
        absent=absent,
        stopped=stopped(task, by_protocol),
    )
    return Scored(by_protocol, metrics, exports, absent)


def records_of(
    task: Task, samples: Sequence[Sample], answers: Mapping[str, Prediction], protocol: str, judges: Judges
) -> Records:
    """Records under one protocol, in the order of the samples.

    Args:
        task: the rules.
        samples: to score.
        answers: by sample id; a sample without one is scored by rule.
        protocol: its name.
        judges: outside helpers, which may have been started before.

    Raises:
        DataError: masks do not fit the pictures, or codes not the layout of the task.
    """
    rules = task.protocol(protocol)
    parts = [
        judges.scored(partial(task.score_all, batch, given, rules, judges))
        for batch, given in _batches(task, samples, answers)
    ]
    return Records.joined([Records.of(part) for part in parts])


def scores_one_by_one(task: Task) -> bool:
    """Whether the record of a sample does not depend on what else is scored."""
    return type(task).score_all is Task.score_all


def answers_of(task: Task, samples: Sequence[Sample], predictions: Iterable[Prediction]) -> dict[str, Prediction]:
    """Predictions by the id of the sample that they answer.

    Raises:
        DataError: an id is unknown or occurs twice.
    """
    return by_id(task.assigned(list(predictions), samples), {sample.id for sample in samples})


def _batches(
    task: Task, samples: Sequence[Sample], answers: Mapping[str, Prediction]
) -> Iterator[tuple[Sequence[Sample], Mapping[str, Prediction]]]:
    """Samples with their answers: a few at a time, or all for a task that scores them together."""
    size = BATCH if scores_one_by_one(task) else max(len(samples), 1)
    stored = answers if isinstance(answers, StoredPredictions) else None
    rows = stored.rows_of(index_of(samples)) if stored is not None else np.empty(0, dtype=np.intp)
    forget_index(samples)
    for first in range(0, len(samples), size):
        batch = samples[first : first + size]
        names = list(sample_ids(batch))
        given: Mapping[str, Prediction] = (
            stored.at(dict(zip(names, rows[first : first + size].tolist(), strict=True)))
            if stored is not None
            else {name: answers[name] for name in names if name in answers}
        )
        read = as_read(given).values()
        check_codes(read, task.layout)
        if len(batch) <= BATCH:
            check_together(chain.from_iterable([answer.masks or answer.decoded.values() for answer in read]))
        yield batch, given


def measured_by_protocol(task: Task, records: Mapping[str, Records]) -> Iterator[tuple[str, Mapping[str, Metric]]]:
    """Protocols with their metrics, one after the other, since metrics hold numbers of every sample."""
    return ((protocol, task.measured(mine, protocol)) for protocol, mine in records.items())


def interval_method(seed: int, method: str = STUDENT_OF_FEW) -> IntervalMethod:
    """How intervals are made, by this version or, where named, an older one."""
    return IntervalMethod(seed=seed, draws=DRAWS, confidence=CONFIDENCE, method=method)


def stopped(task: Task, records: Mapping[str, Records]) -> dict[str, str]:
    """Protocols whose original would stop on these records, and why."""
    reasons = {name: task.stopped(mine, name) for name, mine in records.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def by_id(predictions: Iterable[Prediction], known: set[str]) -> dict[str, Prediction]:
    """Predictions by sample id.

    Raises:
        DataError: an id is unknown or occurs twice.
    """
    answers: dict[str, Prediction] = {}
    for prediction in predictions:
        if prediction.id not in known:
            raise unknown_prediction(prediction.id)
        if prediction.id in answers:
            raise DataError(f"prediction {prediction.id!r} occurs twice; remove one of the two lines")
        answers[prediction.id] = prediction
    return answers


def entries(metrics: Mapping[str, Metric], method: IntervalMethod | None) -> dict[str, Entry]:
    """Metrics by name: value, interval (shares 0..1) and the number of samples that count.

    Args:
        metrics: by name; those without a value are left out unless they are ratios, where 0 samples say why.
        method: of the intervals; None leaves them out.
    """
    return entries_by_protocol([("", metrics)], method)[""]


def entries_by_protocol(
    measured: Iterable[tuple[str, Mapping[str, Metric]]], method: IntervalMethod | None
) -> dict[str, dict[str, Entry]]:
    """`entries` of several protocols, whose intervals rest on the same draws where they look at the same pictures.

    Args:
        measured: name of a protocol, and its metrics; they are held until the next protocol is asked for.
        method: of the intervals; None leaves them out.
    """
    plain: dict[str, dict[str, tuple[float | None, int]]] = {}

    def seen() -> Iterator[tuple[str, Mapping[str, Metric]]]:
        for protocol, metrics in measured:
            plain[protocol] = {
                name: (value, metric.n)
                for name, metric in metrics.items()
                if (value := metric.value) is not None or isinstance(metric, Ratio)
            }
            yield protocol, metrics
            del metrics

    found: Mapping[str, Mapping[str, Interval | None]] = {}
    if method:
        few = FEW_OF_METHOD[method.method]
        found = intervals_of_families(seen(), method.seed, method.draws, method.confidence, few)
    else:
        found = {protocol: {} for protocol, _ in seen()}
    return {
        protocol: {
            name: Entry(value=value, low=low, high=high, n=n)
            for name, (value, n) in metrics.items()
            for low, high in [_within(name, found[protocol].get(name)) or (None, None)]
        }
        for protocol, metrics in plain.items()
    }


def _within(metric: str, interval: Interval | None) -> Interval | None:
    """An interval without what the metric cannot be; Student's t knows no bounds."""
    if interval is None:
        return None
    known, (low, high) = card(metric), interval
    return max(low, known.lowest), high if known.highest is None else min(high, known.highest)


def counters(records: Mapping[str, Records]) -> Counters:
    """How many samples were scored, invalid, errored and missing, what a judge owes, and where reference scripts stop.

    Args:
        records: by protocol; all but the last two are counted under the first.
    """
    first = next(iter(records.values()))
    statuses = Counter(iter(first.status))
    target = first.gt_area > 0
    # Prompts that several protocols share count once.
    owing = [mine.values[OPEN_PROMPTS].values for mine in records.values() if OPEN_PROMPTS in mine.values]
    owed = np.max(owing, axis=0, initial=0) if owing else np.zeros(0)
    crashes = {name: int(mine.crashed.sum()) for name, mine in records.items()}
    return Counters(
        scored=len(first),
        invalid=statuses["invalid"],
        errored=statuses["error"],
        missing=statuses["missing"],
        repaired=statuses["repaired"],
        empty_on_target=int(np.sum(target & (first.pred_area == 0))),
        targets=int(target.sum()),
        open_prompts=int(owed.sum()),
        reference_crashes={name: count for name, count in crashes.items() if count},
    )


def _unjudged(task: Task, samples: Sequence[Sample], judge: str | None, owed: int) -> dict[str, str]:
    """The metrics that a judge would give, where there are questions for one and it was not named or owes replies."""
    judged = task.judged_metrics(samples)
    if (judge is not None and not owed) or not judged:
        return {}
    reason = "no judge was named; give --judge" if judge is None else f"{owed} prompts have no reply of the judge"
    return dict.fromkeys(judged, reason)


def slice_entries(task: Task, records: Mapping[str, Records]) -> dict[str, dict[str, dict[str, dict[str, Entry]]]]:
    """Slices by protocol: name -> value -> metrics, without intervals.

    Args:
        task: the rules.
        records: by protocol; protocols that share the columns by which slices are made are sliced together.
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    for protocol, mine in records.items():
        groups.setdefault(tuple(id(getattr(mine, name)) for name in DECIDING), []).append(protocol)
    found: dict[str, dict[str, dict[str, dict[str, Entry]]]] = {protocol: {} for protocol in records}
    for protocols in groups.values():
        for name, value, rows in rows_of_slices(records[protocols[0]]):
            taken: Taken = {}
            for protocol in protocols:
                measured = task.measured(records[protocol].take(rows, taken), protocol)
                found[protocol].setdefault(name, {})[value] = entries(measured, None)
    return {
        protocol: {name: dict(sorted(values.items())) for name, values in sorted(slices.items())}
        for protocol, slices in found.items()
    }
