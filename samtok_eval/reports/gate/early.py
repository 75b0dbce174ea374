"""A gate that asks the candidate itself, and stops as soon as it knows.

In: a baseline's finished run, and a candidate that is asked in parts. Out: the same verdicts as of two finished runs.
After each part both sides are compared over what was asked so far, with two one-sided tests per metric (see
`samtok_eval.sequential`): one shows that a loss of the tolerance is ruled out, the other that there is a loss. Both err
with probability alpha at most over all looks together, and p is corrected after Holm over the metrics. A verdict that
was reached stays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from types import TracebackType
from typing import Literal

import numpy as np

from samtok_eval.errors import IncompleteRunError, UsageError
from samtok_eval.metrics.cards import card
from samtok_eval.metrics.judges import Judges
from samtok_eval.metrics.ratio import Description, Estimate
from samtok_eval.metrics.token_match import NAME as TOKEN_MATCH
from samtok_eval.prediction import Prediction
from samtok_eval.records import Records
from samtok_eval.reports.compare.comparison import sample_metric
from samtok_eval.reports.counted import n_differences
from samtok_eval.reports.gate.earlier import GateRules, earlier_warning, read_gates, remember_gate
from samtok_eval.reports.gate.paired import changed_answers, falls
from samtok_eval.reports.gate.tolerances import Tolerances
from samtok_eval.reports.gate.verdict import (
    Early,
    Evidence,
    GateResult,
    StoppedBy,
    Verdict,
    check_measured,
    choose_protocol,
    disagreements,
    judge,
)
from samtok_eval.reports.runs import ScoredRun, reproduce
from samtok_eval.reports.summary import metric_order
from samtok_eval.run.folder import Run
from samtok_eval.run.in_parts import PartialRun
from samtok_eval.run.manifest import Scoring
from samtok_eval.run.score import records_of, scores_one_by_one
from samtok_eval.run.signature import signature
from samtok_eval.sample import Sample
from samtok_eval.sequential import FINEST, LOOKS, LOSS_SHAPE, SHAPE, Looks, shown_score, student_bound
from samtok_eval.statistics import CONFIDENCE, PairedStep, counting_pictures, holm, paired_steps
from samtok_eval.task import Task

Until = Literal["verdict", "every-metric"]
MINUTE = 60.0


@dataclass(frozen=True)
class EarlyRules:
    """When a gate looks, and when it stops at the latest."""

    looks: int = LOOKS
    pictures: int | None = None
    """Most that are asked; all by default."""
    minutes: float | None = None
    """Most that asking takes; the last batch is finished."""
    until: Until = "verdict"
    """The verdict is known once every metric is decided or one regressed; `every-metric` goes on after that one."""


@dataclass(frozen=True)
class Noise:
    """How far a run of the baseline differs from a second one, in one metric."""

    variance: float
    """Of the difference, per picture."""
    shift: float
    """Variance of what differs between whole runs beyond that."""

    def error(self, pictures: int) -> float:
        """Standard error over so many pictures."""
        return math.sqrt(self.variance / pictures + self.shift)


def noise_of(step: PairedStep) -> Noise:
    """Noise as the baseline and a second run of it show it: of single pictures, and of whole runs."""
    return Noise(step.error**2 * step.pictures, max(0.0, step.difference**2 - step.error**2))


def gate_early(
    baseline: ScoredRun,
    candidate: PartialRun,
    tolerances: Tolerances,
    protocol: str | None = None,
    seed: int = 0,
    rules: EarlyRules | None = None,
    noise: Mapping[str, Noise] | None = None,
) -> GateResult:
    """Ask a candidate until the verdict is known.

    Args:
        baseline: a run, with its answers.
        candidate: of the same questions, as far as it was asked.
        tolerances: what may be lost.
        protocol: the rules to judge by; the first that both have by default.
        seed: of swaps and draws.
        rules: when to look, and when to stop.
        noise: of the baseline against itself by metric, where its answers are not always alike.

    Raises:
        UsageError: the two are about different questions, the baseline has no answers or metrics of a judge, or the
            budget holds no batch.
        IncompleteRunError: samples failed, a metric of the baseline cannot be measured here, or the time was over
            before the first look.
    """
    rules = rules or EarlyRules()
    _check_same_questions(baseline, candidate)
    shared = [p for p in baseline.protocols if any(p == other.name for other in candidate.task.protocols)]
    name = choose_protocol(shared, protocol, str(baseline.run.path))
    ends = _ends(candidate.batches, rules)
    known = {
        metric: found
        for metric, found in baseline.metrics(name).items()
        if not isinstance(found, Description) and found.value is not None and metric != TOKEN_MATCH
    }
    left_out = judged(known)
    gated = {metric: found for metric, found in known.items() if metric not in left_out}
    order = metric_order(baseline.task, gated)
    state = EarlyVerdicts(baseline.task, tolerances, order, _schedules(gated, candidate.batches, ends), noise or {})
    until = None if rules.minutes is None else time.monotonic() + MINUTE * rules.minutes
    stopped_by: StoppedBy = "end" if ends[-1] == len(candidate.batches) else "budget"
    asked_by = GateRules(
        baseline=baseline.run.path.name,
        protocol=name,
        alpha=tolerances.alpha,
        tolerances={metric: tolerances.of(baseline.task.metadata.name, metric) for metric in order},
        looks=rules.looks,
        budget=rules.pictures,
        seed=seed,
        repeated=bool(noise),
    )
    warning = earlier_warning(asked_by, read_gates(candidate.path))
    looks = 0
    with Sides(baseline, candidate, name) as sides:
        for end in ends:
            if not candidate.ask(end, until):
                stopped_by = "budget"
                break
            before, after = sides.upto(end)
            remember_gate(candidate.path, asked_by)
            measured = {metric: found for metric, found in before.metrics(name).items() if metric in gated}
            # A metric of one kind of sample may have seen none of it yet.
            due = {metric for metric in gated if state.has_looked(metric, looks)}
            reasons = "; ".join(dict.fromkeys(sides.absent.values()))
            check_measured(due, measured.keys(), f"this machine ({reasons})" if reasons else "this machine")
            check_measured(measured, after.metrics(name), candidate.manifest.model.name)
            state.look(looks, paired_steps(measured, after.metrics(name), seed))
            looks += 1
            if state.is_known(rules.until):
                stopped_by = "verdict"
                break
    if not looks:
        raise IncompleteRunError(
            f"--budget {rules.minutes:g}min was over before the first look; what was answered is kept, give more"
        )
    found = _result(before, after, candidate, name, state, (looks, len(ends)), stopped_by)
    warnings = [*found.warnings, *([warning] if warning else [])]
    return replace(found, left_out=metric_order(baseline.task, left_out), warnings=warnings)


@dataclass(frozen=True)
class Schedule:
    """The looks of one metric: those of the gate that bring pictures which count for it."""

    fractions: tuple[float, ...]
    """Of the pictures that count at the last look."""
    places: Mapping[int, int]
    """By look of the gate, which of `fractions` it is."""


@dataclass
class EarlyVerdicts:
    """What is known of each metric so far; a verdict that was reached stays."""

    task: Task
    tolerances: Tolerances
    order: Sequence[str]
    schedules: Mapping[str, Schedule]
    noise: Mapping[str, Noise]
    p: dict[str, float] = field(default_factory=dict)
    """One-sided, not corrected, of the last look of each."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def look(self, number: int, steps: Mapping[str, PairedStep]) -> None:
        """Judge what is undecided by what was measured at a look (from 0)."""
        evidences = {}
        for metric in self.order:
            place = self.schedules[metric].places.get(number) if metric in self.schedules else None
            if place is None or metric not in steps or self._is_decided(metric):
                continue
            evidences[metric] = self._evidence(metric, place, steps[metric])
            self.p[metric] = evidences[metric].p or 0.0
        corrected = holm({metric: self.p.get(metric, 1.0) for metric in self.order})
        for metric, evidence in evidences.items():
            final = Evidence(**{**vars(evidence), "p": corrected[metric]})
            self.verdicts[metric] = judge(
                self.task, metric, final, self.tolerances, len(self.order), look=number + 1
            )  # fmt: skip

    def is_known(self, until: Until) -> bool:
        """Whether nothing that may still be asked changes the verdict, or any metric's."""
        regressed = any(verdict.regressed for verdict in self.verdicts.values())
        return (regressed and until == "verdict") or all(map(self._is_decided, self.order))

    def has_looked(self, metric: str, number: int) -> bool:
        """Whether pictures that count for a metric have been asked at a look."""
        return metric in self.schedules and min(self.schedules[metric].places) <= number

    def _is_decided(self, metric: str) -> bool:
        return metric in self.verdicts and self.verdicts[metric].verdict != "undecided"

    def _evidence(self, metric: str, place: int, step: PairedStep) -> Evidence:
        fractions = self.schedules[metric].fractions
        gains = _looks(fractions, self.tolerances.alpha, SHAPE)
        losses = _looks(fractions, self.tolerances.alpha, LOSS_SHAPE)
        error = math.hypot(step.error, self.noise[metric].error(step.pictures) if metric in self.noise else 0.0)
        lower_is_better = metric in self.task.metadata.lower_is_better
        loss = step.difference if lower_is_better else -step.difference
        # Each end is that of the test that it belongs to: a loss is shown where the better end is a loss as well.
        worse, better = (
            student_bound(float(_looks(fractions, (1 - CONFIDENCE) / 2, shape).bounds[place]), step.pictures) * error
            for shape in (SHAPE, LOSS_SHAPE)
        )
        below, above = (better, worse) if lower_is_better else (worse, better)
        return Evidence(
            baseline=step.baseline,
            candidate=step.candidate,
            low=step.difference - below,
            high=step.difference + above,
            p=losses.p(place, shown_score(_standardised(loss, error), step.pictures)),
            margin=student_bound(float(gains.bounds[place]), step.pictures) * error,
            error=error,
            pictures=step.pictures,
            level=gains.level(place),
        )


class Sides:
    """Both runs over what was asked so far; where samples are scored one by one, each once."""

    def __init__(self, baseline: ScoredRun, candidate: PartialRun, protocol: str) -> None:
        """Prepare; nothing is scored yet.

        Args:
            baseline: a run, with its answers.
            candidate: of the same questions.
            protocol: under which both are scored.

        Raises:
            UsageError: the baseline's folder does not hold its answers.
        """
        self._candidate, self._protocol, self._judges = candidate, protocol, Judges()
        self._place = {sample.id: i for i, sample in enumerate(candidate.samples)}
        self._of_baseline = baseline.predictions()
        if any(sample.id not in self._of_baseline for sample in candidate.samples):
            raise UsageError(
                f"{baseline.run.path} does not hold its own answers to all questions; a gate that asks needs them, or "
                "run the candidate and give --candidate"
            )
        told = baseline.run.manifest
        seed = told.scoring.seed if told.scoring else told.settings.seed
        scoring = Scoring(samtok_eval=told.scored_by, task_version=told.scored_version, seed=seed)
        manifest = candidate.manifest.replace(scoring=scoring)
        ours = manifest.replace(signature={protocol: signature(manifest, protocol)})
        self._runs = (baseline.run, Run(candidate.path, ours))
        self._tasks = (baseline.task, candidate.task)
        self._records: tuple[list[Records], list[Records]] = ([], [])
        self._scored = 0

    @property
    def absent(self) -> Mapping[str, str]:
        """Metrics that could not be computed here, with the reason."""
        return self._judges.absent

    def __enter__(self) -> Sides:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._judges.close()

    def upto(self, end: int) -> tuple[ScoredRun, ScoredRun]:
        """Baseline and candidate over the first batches, samples in the order of the benchmark's files."""
        each = all(map(scores_one_by_one, self._tasks))
        fresh = samples_of(self._candidate.batches[self._scored if each else 0 : end])
        self._scored = end
        sides = zip(self._tasks, self._records, (self._of_baseline, self._candidate.answers()), strict=True)
        for task, kept, answers in sides:
            if not each:
                kept.clear()
            kept.append(records_of(task, fresh, answers, self._protocol, self._judges))
        asked = samples_of(self._candidate.batches[:end])
        rows = np.argsort([self._place[sample.id] for sample in asked])
        whole = [Records.joined(kept).take(rows) for kept in self._records]
        before, after = (
            ScoredRun(run, task, {self._protocol: records})
            for run, task, records in zip(self._runs, self._tasks, whole, strict=True)
        )
        return before, after


def judged(metrics: Collection[str]) -> list[str]:
    """The metrics whose judge would have to look at answers of both sides again and again, so that they are left out.

    Raises:
        UsageError: all of them are.
    """
    found = [metric for metric in metrics if card(metric).judged]
    if found and len(found) == len(metrics):
        raise UsageError(
            f"{', '.join(found)}: a gate that asks has no judge; run the candidate with --judge, then give --candidate"
        )
    return found


def samples_of(batches: Sequence[Sequence[Sample]]) -> list[Sample]:
    """The samples of batches, in their order."""
    return [sample for batch in batches for sample in batch]


def command_of(run: Run, task: Task) -> str:
    """The command that makes a run whole, or makes it again."""
    return reproduce(ScoredRun(run, task, {}))


def _check_same_questions(baseline: ScoredRun, candidate: PartialRun) -> None:
    ours, theirs = baseline.run.manifest, candidate.manifest
    for what, mine, other in (
        ("task", ours.task, theirs.task),
        ("split", ours.split, theirs.split),
        ("data (hash)", ours.dataset.sha256, theirs.dataset.sha256),
    ):
        if mine != other:
            raise UsageError(
                f"{baseline.run.path} is of {what} {mine}, the candidate would be asked {other}; give the --data-root, "
                "and where it had one the --limit, of the baseline"
            )


def _ends(batches: Sequence[Sequence[Sample]], rules: EarlyRules) -> list[int]:
    """How many batches are asked before each look."""
    last = len(batches)
    if rules.pictures is not None:
        counts = _pictures(batches)
        last = sum(count <= rules.pictures for count in counts)
        if not last:
            raise UsageError(
                f"--budget {rules.pictures}: the first batch has {counts[0]} pictures; allow more, or ask with a "
                "smaller --batch-size"
            )
    return sorted({round(last * (look + 1) / rules.looks) for look in range(rules.looks)} - {0})


def _pictures(batches: Sequence[Sequence[Sample]]) -> list[int]:
    """Number of pictures of the first batch, the first two, and so on."""
    found, seen = [], set[str]()
    for batch in batches:
        seen.update(sample.image.id for sample in batch)
        found.append(len(seen))
    return found


class _Some(Mapping[str, Prediction]):
    """Some of many predictions, each read when it is asked for."""

    def __init__(self, answers: Mapping[str, Prediction], names: Collection[str]) -> None:
        self._answers, self._names = answers, names

    def __getitem__(self, name: str) -> Prediction:
        return self._answers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _schedules(
    metrics: Mapping[str, Estimate], batches: Sequence[Sequence[Sample]], ends: Sequence[int]
) -> dict[str, Schedule]:
    """The looks of every metric, by the pictures that count for it in the baseline."""
    first = _first_looks(batches, ends)
    found = {}
    for metric, estimate in metrics.items():
        at = np.array([first[name] for name in counting_pictures(estimate) if name in first], dtype=np.intp)
        counts = np.bincount(at, minlength=len(ends)).cumsum()
        places = _places(counts.tolist())
        if places:
            fractions = tuple(counts[place] / counts[-1] for place in places)
            found[metric] = Schedule(fractions, {look: i for i, look in enumerate(places)})
    return found


def _first_looks(batches: Sequence[Sequence[Sample]], ends: Sequence[int]) -> dict[str, int]:
    """The look at which each picture is seen first."""
    found: dict[str, int] = {}
    for look, (begin, end) in enumerate(pairwise([0, *ends])):
        for sample in samples_of(batches[begin:end]):
            found.setdefault(sample.image.id, look)
    return found


def _places(counts: Sequence[int]) -> list[int]:
    """The looks that bring enough pictures which count, the last one in any case."""
    total = counts[-1]
    kept: list[int] = []
    for look, count in enumerate(counts):
        if count > 1 and count - (counts[kept[-1]] if kept else 0) >= FINEST * total:
            kept.append(look)
    # What came after the last look that is kept is too little for one of its own, so it waits for it.
    return [*kept[:-1], kept[-1] if counts[kept[-1]] == total else len(counts) - 1] if kept else []


def _standardised(value: float, error: float) -> float:
    """A value in standard errors."""
    if error:
        return value / error
    return math.copysign(math.inf, value) if value else 0.0


@cache
def _looks(fractions: tuple[float, ...], alpha: float, shape: float) -> Looks:
    """Most metrics of a gate share their looks, whose bounds take a tenth of a second."""
    return Looks(fractions, alpha, shape)


def _result(
    before: ScoredRun,
    after: ScoredRun,
    candidate: PartialRun,
    protocol: str,
    state: EarlyVerdicts,
    looks: tuple[int, int],
    stopped_by: StoppedBy,
) -> GateResult:
    """What the gate says, from the last look's records; writes down how much of the run was asked."""
    run = candidate.finish()
    ids = before.records[protocol].id.tolist()
    of_baseline, of_candidate = before.predictions(), candidate.answers()
    told, found = (_Some(side, dict.fromkeys(ids)) for side in (of_baseline, of_candidate))
    metric = sample_metric(before, protocol)
    task, unseen = before.task, [name for name in state.order if name not in state.verdicts]
    warnings = disagreements(before.run.manifest.signature[protocol], after.run.manifest.signature[protocol])
    if candidate.not_reused:
        warnings.append(f"every mask was decoded, since those of the baseline cannot be taken: {candidate.not_reused}")
    asked = set(ids)
    done = [sample for sample in candidate.samples if sample.id in asked]
    early = Early(
        looks=looks[0],
        of_looks=looks[1],
        pictures=len({sample.image.id for sample in done}),
        of_pictures=len({sample.image.id for sample in candidate.samples}),
        samples=len(done),
        of_samples=len(candidate.samples),
        masks=sum(len(answer.decoded) for answer in found.values()),
        masks_reused=candidate.reused,
        stopped_by=stopped_by,
        path=str(run.path),
        complete_with="" if run.manifest.asked is None else command_of(run, candidate.task),
    )
    return GateResult(
        task=task.metadata.name,
        split=before.split,
        protocol=protocol,
        alpha=state.tolerances.alpha,
        on_undecided=state.tolerances.on_undecided,
        names=(before.name, after.name),
        paired=True,
        verdicts=[state.verdicts[name] for name in state.order if name in state.verdicts],
        changed=changed_answers(told, found, task.protocol(protocol), candidate.task.protocol(protocol)),
        falls=falls(before, after, protocol, metric) if metric else [],
        sample_metric=metric,
        warnings=[*warnings, *before.notes],
        early=early,
        unseen=unseen,
        n_differences=n_differences(before, after, protocol),
    )
