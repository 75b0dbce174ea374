"""Score: samples and predictions -> records -> metrics. Needs neither a model nor torch, and opens no image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samtok_eval.errors import DataError
from samtok_eval.metrics.cards import card
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.ratio import Metric, Ratio
from samtok_eval.metrics.token_match import with_token_match
from samtok_eval.prediction import OPEN_PROMPTS, Prediction, Record, check_codes
from samtok_eval.run.metrics_file import Counters, Entry, IntervalMethod, Metrics
from samtok_eval.run.slices import sliced
from samtok_eval.sample import Sample
from samtok_eval.statistics import CONFIDENCE, DRAWS, intervals
from samtok_eval.task import Task

PERCENTILE = "percentile bootstrap over pictures"
"""How this version draws intervals; another way gets another name, so that old files are checked by their own."""


@dataclass(frozen=True)
class Scored:
    """Everything scoring found out."""

    records: list[Record]
    """Of all protocols, samples in the order of the benchmark's files."""
    metrics: Metrics
    exports: dict[str, Any]
    """Answers in the benchmark's own result format: file name -> JSON content."""
    absent: dict[str, str]
    """Metrics that could not be computed: name -> reason; `metrics.json` holds them, too."""


def score(
    task: Task,
    samples: Sequence[Sample],
    predictions: Iterable[Prediction],
    seed: int = 0,
    protocols: Sequence[str] | None = None,
    judge: str | None = None,
    record: Path | None = None,
    references: Mapping[str, str] | None = None,
) -> Scored:
    """Score predictions under every protocol.

    Args:
        task: the rules.
        samples: everything that was to be answered.
        predictions: answers in any order; a sample without one is scored by rule.
        seed: of the bootstrap.
        protocols: names of protocols, all of the task's by default.
        judge: `openai:URL#NAME` or `replay:FILE`, for tasks that have a judge.
        record: where the judge's replies are kept.
        references: right answers by sample id, written with the codes of the true masks; they give `token_match` under
            the first protocol, since it is the same under all.

    Raises:
        DataError: an id is unknown or occurs twice, masks do not fit the pictures, codes not the layout of the task, or
            references are missing.
    """
    answers = by_id(task.assigned(list(predictions), samples), {sample.id for sample in samples})
    check_codes(answers.values(), task.layout)
    chosen = task.protocols if protocols is None else tuple(task.protocol(name) for name in protocols)
    with Judges(judge, record) as judges:
        by_protocol = {p.name: task.score_all(samples, answers, p, judges) for p in chosen}
    if references is not None:
        by_protocol[chosen[0].name] = with_token_match(by_protocol[chosen[0].name], answers, references, task.layout)
    method = percentile(seed)
    records = [record for mine in by_protocol.values() for record in mine]
    counted = counters(by_protocol[chosen[0].name], records)
    absent = _unjudged(task, samples, judge, counted.open_prompts) | judges.absent
    metrics = Metrics(
        protocols={name: entries(task.measured(mine, name), method) for name, mine in by_protocol.items()},
        slices={name: slice_entries(task, mine, name) for name, mine in by_protocol.items()},
        counters=counted,
        intervals=method,
        absent=absent,
        stopped=stopped(task, by_protocol),
    )
    return Scored(records, metrics, task.export(samples, answers), absent)


def percentile(seed: int) -> IntervalMethod:
    """How this version draws intervals."""
    return IntervalMethod(seed=seed, draws=DRAWS, confidence=CONFIDENCE, method=PERCENTILE)


def stopped(task: Task, records: Mapping[str, Sequence[Record]]) -> dict[str, str]:
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
            raise DataError(
                f"prediction {prediction.id!r} belongs to no sample of this split; "
                "check --task, --split, --limit and --data-root"
            )
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
    found = intervals(metrics, method.seed, method.draws, method.confidence) if method else {}
    return {
        name: Entry(value=metric.value, low=low, high=high, n=metric.n)
        for name, metric in metrics.items()
        for low, high in [found.get(name) or (None, None)]
        if metric.value is not None or isinstance(metric, Ratio)
    }


def counters(first: Sequence[Record], all_records: Sequence[Record]) -> Counters:
    """How many samples were scored, invalid, errored and missing, what a judge owes, and where reference scripts stop.

    Args:
        first: records of one protocol.
        all_records: records of all protocols.
    """
    statuses = Counter(record.status for record in first)
    target = [record for record in first if record.gt_area > 0]
    return Counters(
        scored=len(first),
        invalid=statuses["invalid"],
        errored=statuses["error"],
        missing=statuses["missing"],
        repaired=statuses["repaired"],
        empty_on_target=sum(record.pred_area == 0 for record in target),
        targets=len(target),
        open_prompts=_open_prompts(all_records),
        reference_crashes=dict(Counter(record.protocol for record in all_records if record.crashed)),
    )


def _open_prompts(records: Sequence[Record]) -> int:
    """Prompts without a judge's reply; those that several protocols share count once."""
    by_sample: dict[str, float] = {}
    for record in records:
        by_sample[record.id] = max(by_sample.get(record.id, 0.0), record.values.get(OPEN_PROMPTS, 0.0))
    return int(sum(by_sample.values()))


def _unjudged(task: Task, samples: Sequence[Sample], judge: str | None, owed: int) -> dict[str, str]:
    """The metrics that a judge would give, where there are questions for one and it was not named or owes replies."""
    if not any(sample.target.questions for sample in samples) or (judge is not None and not owed):
        return {}
    reason = "no judge was named; give --judge" if judge is None else f"{owed} prompts have no reply of the judge"
    return dict.fromkeys((metric for metric in task.metadata.metrics if card(metric).judged), reason)


def slice_entries(task: Task, records: Sequence[Record], protocol: str) -> dict[str, dict[str, dict[str, Entry]]]:
    """Slices of one protocol: name -> value -> metrics, without intervals."""
    return {
        name: {value: entries(task.measured(members, protocol), None) for value, members in sorted(values.items())}
        for name, values in sorted(sliced(records).items())
    }
