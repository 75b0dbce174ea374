"""Two runs that answered the same questions, compared picture by picture."""

from __future__ import annotations

from collections.abc import Mapping

from samtok_eval.prediction import Prediction
from samtok_eval.protocol import Protocol
from samtok_eval.reports.compare.comparison import largest_changes, sample_metric
from samtok_eval.reports.counted import n_differences
from samtok_eval.reports.gate.tolerances import Tolerances
from samtok_eval.reports.gate.verdict import (
    Changed,
    Evidence,
    Fall,
    GateResult,
    check_measured,
    choose_protocol,
    disagreements,
    judge,
)
from samtok_eval.reports.runs import ScoredRun, check_comparable
from samtok_eval.reports.summary import metric_order
from samtok_eval.statistics import compare_metrics, holm

WORST_SHOWN = 10


def gate_runs(
    baseline: ScoredRun, candidate: ScoredRun, tolerances: Tolerances, protocol: str | None, seed: int
) -> GateResult:
    """Judge one run against another.

    Args:
        baseline: a run.
        candidate: a run of the same questions.
        tolerances: what may be lost.
        protocol: the rules to judge by; the first that both have by default.
        seed: of draws and permutations.

    Raises:
        UsageError: the two answered different questions, or share no such protocol.
        IncompleteRunError: samples or metrics are missing in one of them.
    """
    check_comparable(baseline, candidate)
    task = baseline.task
    shared = [name for name in baseline.protocols if name in candidate.protocols]
    name = choose_protocol(shared, protocol, str(baseline.run.path))
    before, after = baseline.metrics(name), candidate.metrics(name)
    check_measured(before, after, candidate.name)
    lower = task.metadata.lower_is_better
    differences = compare_metrics(before, after, seed, lower_is_better=lower, alpha=tolerances.alpha)
    order = metric_order(task, differences)
    corrected = holm({metric: differences[metric].p_worse for metric in order})
    verdicts = []
    for metric in order:
        values = (before[metric].value or 0.0, after[metric].value or 0.0)
        d = differences[metric]
        evidence = Evidence(*values, d.low, d.high, corrected[metric], d.margin, d.error, d.pictures)
        verdicts.append(judge(task, metric, evidence, tolerances, len(order)))
    metric_of_samples = sample_metric(baseline, name)
    signatures = [run.run.manifest.signature[name] for run in (baseline, candidate)]
    return GateResult(
        task=task.metadata.name,
        split=baseline.split,
        protocol=name,
        alpha=tolerances.alpha,
        on_undecided=tolerances.on_undecided,
        names=(baseline.name, candidate.name),
        paired=True,
        verdicts=verdicts,
        changed=_changed(baseline, candidate, name),
        falls=falls(baseline, candidate, name, metric_of_samples) if metric_of_samples else [],
        sample_metric=metric_of_samples,
        warnings=[*disagreements(*signatures), *baseline.notes, *candidate.notes],
        n_differences=n_differences(baseline, candidate, name),
    )


def _changed(baseline: ScoredRun, candidate: ScoredRun, protocol: str) -> Changed | None:
    """How many answers changed; None where the two folders do not hold the same answers."""
    before, after = baseline.predictions(), candidate.predictions()
    if not before or before.keys() != after.keys():
        return None
    return changed_answers(before, after, baseline.task.protocol(protocol), candidate.task.protocol(protocol))


def changed_answers(
    baseline: Mapping[str, Prediction],
    candidate: Mapping[str, Prediction],
    protocol: Protocol,
    candidate_protocol: Protocol | None = None,
) -> Changed:
    """Count the answers whose text, codes and masks changed, under a protocol's way of reading codes.

    Args:
        baseline: answers by sample id.
        candidate: of the same samples.
        protocol: how the answers are read.
        candidate_protocol: how the candidate's are read, where its codes are of another layout.

    Raises:
        ValueError: the two do not answer the same samples.
    """
    if baseline.keys() != candidate.keys():
        raise ValueError("the two runs answer different samples")
    steps = []
    for name, found in candidate.items():
        before, after = _levels(baseline[name], protocol), _levels(found, candidate_protocol or protocol)
        steps.append([level != now for level, now in zip(before, after, strict=True)])
    text, codes, masks = (sum(level) for level in zip(*steps, strict=True)) if steps else (0, 0, 0)
    return Changed(len(steps), text, codes, masks)


def _levels(prediction: Prediction, protocol: Protocol) -> tuple[object, object, object]:
    """Text, codes and masks of one answer."""
    if prediction.masks is not None:
        return prediction.text, None, prediction.masks
    codes = protocol.codes_or_none(prediction.text or "") or []
    return prediction.text, codes, [prediction.decoded.get(pair.key) for pair in codes]


def falls(baseline: ScoredRun, candidate: ScoredRun, protocol: str, metric: str) -> list[Fall]:
    """The samples that lost most in a metric that has a value per sample, worst first."""
    sign = -1 if metric in baseline.task.metadata.lower_is_better else 1
    lost = largest_changes(baseline, candidate, protocol, metric, WORST_SHOWN, sign)
    return [Fall(name, before, after) for name, _, before, after in lost]
