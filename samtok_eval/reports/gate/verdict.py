"""A gate for checkpoints: does a candidate do worse than a baseline, beyond a tolerance and beyond chance?

In: two finished runs of the same questions, compared picture by picture; or stored result files, compared by their
intervals alone. Out: a verdict per metric. A metric has regressed when it is worse by more than its tolerance and the
one-sided p, Holm-corrected over the metrics of the gate, is below alpha.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import norm

from samtok_eval.errors import DataError, IncompleteRunError, SamtokError, UsageError
from samtok_eval.files import CORRECT_IT, read_toml, reading
from samtok_eval.metrics.cards import JUDGED, card
from samtok_eval.prediction import Prediction
from samtok_eval.protocol import Protocol
from samtok_eval.registry import find_task, load_tasks
from samtok_eval.reports.compare.comparison import sample_metric, sample_values
from samtok_eval.reports.result_file import ResultFile, read_result, result_of
from samtok_eval.reports.runs import ScoredRun, check_comparable, read_scored
from samtok_eval.reports.summary import metric_order
from samtok_eval.run.signature import differences
from samtok_eval.statistics import CONFIDENCE, compare_metrics, holm
from samtok_eval.task import Task

ALPHA = 0.05
WORST_SHOWN = 10
Points = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
"""What may be lost, x 100; a number, and no text or truth value that could be read as one."""


class RegressionError(SamtokError):
    """The candidate is worse."""

    exit_code = 4


class Tolerances(BaseModel):
    """What a TOML file may say.

    `alpha = 0.05`, a table `[tolerance]` with points (x 100) per metric and `default`, and tables `[tasks.NAME]` with
    the same for one task.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(default=ALPHA, strict=True, gt=0, lt=1, allow_inf_nan=False)
    tolerance: dict[str, Points] = {}
    tasks: dict[str, dict[str, Points]] = {}

    def of(self, task: str, metric: str) -> float:
        """The share 0..1 by which a metric may fall."""
        for table in (self.tasks.get(task, {}), self.tolerance):
            for name in (metric, "default"):
                if name in table:
                    return table[name] / 100
        return 0.0


@dataclass(frozen=True)
class Verdict:
    """One metric; shares 0..1."""

    metric: str
    baseline: float
    candidate: float
    low: float | None
    high: float | None
    """95 % interval of the difference."""
    tolerance: float
    p: float | None
    """One-sided, corrected; None where a stored result has no interval, so that nothing can be said."""
    regressed: bool

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline


@dataclass(frozen=True)
class Changed:
    """How many answers changed, at three depths; each holds the next."""

    samples: int
    text: int
    codes: int
    masks: int


@dataclass(frozen=True)
class Fall:
    """A sample that the candidate does worse on."""

    id: str
    baseline: float
    candidate: float


@dataclass(frozen=True)
class GateResult:
    """The gate's word on one task and split."""

    task: str
    split: str
    protocol: str
    alpha: float
    names: tuple[str, str]
    """Models of baseline and candidate."""
    paired: bool
    """Compared sample by sample, not by intervals."""
    verdicts: list[Verdict]
    changed: Changed | None
    """None where the answers are not at hand."""
    falls: list[Fall] = field(default_factory=list)
    """The samples that lost most in `sample_metric`."""
    sample_metric: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def regressed(self) -> list[Verdict]:
        """Metrics that are worse."""
        return [verdict for verdict in self.verdicts if verdict.regressed]

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        rows = [asdict(verdict) | {"difference": verdict.difference} for verdict in self.verdicts]
        return asdict(self) | {"verdicts": rows, "passed": not self.regressed}


def read_tolerances(
    path: Path | None, alpha: float | None = None, tasks: Mapping[str, Task] | None = None
) -> Tolerances:
    """The TOML file, or the defaults.

    Args:
        path: None for no tolerance anywhere.
        alpha: replaces the file's.
        tasks: tasks by name; the bundled ones by default.

    Raises:
        UsageError: the file cannot be read or says something that it may not.
    """
    try:
        content = read_toml(path) if path else {}
        with reading(str(path), CORRECT_IT):
            tolerances = Tolerances.model_validate(content | ({} if alpha is None else {"alpha": alpha}))
    except DataError as error:
        raise UsageError(f"--tolerances {error}") from error
    known_tasks = dict(load_tasks() if tasks is None else tasks)
    tables = [(None, tolerances.tolerance), *tolerances.tasks.items()]
    for task, table in tables:
        about = [find_task(known_tasks, task)] if task else list(known_tasks.values())
        known = {"default", *(name for each in about for name in each.metadata.metrics)}
        for name in table:
            if name.partition(JUDGED)[0] not in known:
                near = ", ".join(difflib.get_close_matches(name, known, n=3)) or ", ".join(sorted(known))
                raise UsageError(f"--tolerances {path}: no metric {name!r}; did you mean {near}?")
    return tolerances


def gate(
    baseline: Path,
    candidate: Path,
    tolerances: Tolerances,
    protocol: str | None = None,
    seed: int = 0,
    tasks_dirs: Sequence[Path] = (),
) -> list[GateResult]:
    """Judge a candidate, task by task.

    Args:
        baseline: a run folder, a folder with one run per task and split, or a stored result file.
        candidate: the same of the new checkpoint.
        tolerances: what may be lost.
        protocol: the rules to judge by; each task's first by default.
        seed: of draws and permutations.
        tasks_dirs: further folders of task files.

    Raises:
        UsageError: the two are about different questions.
        IncompleteRunError: answers, or whole runs, are missing; a candidate that answered less never passes.
        DataError: a file is broken.
    """
    one, other = _read_all(baseline, tasks_dirs), _read_all(candidate, tasks_dirs)
    lacking = [f"{task}:{split}" for task, split in one if (task, split) not in other]
    if lacking:
        raise IncompleteRunError(f"{candidate} has no run of {', '.join(lacking)}, which {baseline} has; run it too")
    results = []
    for key, first in one.items():
        second = other[key]
        for given, side in ((first, baseline), (second, candidate)):
            _check_complete(given, side)
        if isinstance(first, ScoredRun) and isinstance(second, ScoredRun):
            results.append(_paired(first, second, tolerances, protocol, seed))
        else:
            names = (_name(first), _name(second))
            task = find_task(load_tasks(tasks_dirs), key[0])
            results.append(_unpaired(task, _result(first), _result(second), names, tolerances, protocol))
    return results


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
    levels = [
        [
            a != b
            for a, b in zip(
                _levels(baseline[name], protocol),
                _levels(candidate[name], candidate_protocol or protocol),
                strict=True,
            )
        ]
        for name in baseline
    ]
    text, codes, masks = (sum(level) for level in zip(*levels, strict=True)) if levels else (0, 0, 0)
    return Changed(len(levels), text, codes, masks)


def _levels(prediction: Prediction, protocol: Protocol) -> tuple[Any, Any, Any]:
    """Text, codes and masks of one answer."""
    if prediction.masks is not None:
        return prediction.text, None, prediction.masks
    codes = protocol.codes_or_none(prediction.text or "") or []
    return prediction.text, codes, [prediction.decoded.get(pair.key) for pair in codes]


def _paired(first: ScoredRun, second: ScoredRun, tolerances: Tolerances, protocol: str | None, seed: int) -> GateResult:
    check_comparable(first, second)
    task = first.task
    name = _protocol([p for p in first.protocols if p in second.protocols], protocol, str(first.run.path))
    before, after = first.metrics(name), second.metrics(name)
    _check_metrics(set(before), set(after), second.name)
    found = compare_metrics(before, after, seed, lower_is_better=task.metadata.lower_is_better)
    order = metric_order(task, found)
    corrected = holm({metric: found[metric].p_worse for metric in order})
    verdicts = []
    for metric in order:
        values = (before[metric].value or 0.0, after[metric].value or 0.0)
        interval = (found[metric].low, found[metric].high)
        verdicts.append(_verdict(task, metric, values, interval, corrected[metric], tolerances))
    answers = [run.predictions() for run in (first, second)]
    at_hand = bool(answers[0]) and answers[0].keys() == answers[1].keys()
    told = sample_metric(first, name)
    signatures = [run.run.manifest.signature[name] for run in (first, second)]
    return GateResult(
        task=task.metadata.name,
        split=first.split,
        protocol=name,
        alpha=tolerances.alpha,
        names=(first.name, second.name),
        paired=True,
        verdicts=verdicts,
        changed=changed_answers(answers[0], answers[1], task.protocol(name), second.task.protocol(name))
        if at_hand
        else None,
        falls=_falls(first, second, name, told) if told else [],
        sample_metric=told,
        warnings=[*_disagreements(*signatures), *first.notes, *second.notes],
    )


def _unpaired(
    task: Task,
    first: ResultFile,
    second: ResultFile,
    names: tuple[str, str],
    tolerances: Tolerances,
    protocol: str | None,
) -> GateResult:
    """Compare two values by the widths of their intervals, as if the two runs had seen different pictures."""
    if first.dataset.sha256 != second.dataset.sha256:
        raise UsageError(
            f"baseline and candidate saw different data ({first.dataset.sha256[:8]} and {second.dataset.sha256[:8]}); "
            "use the same files"
        )
    shared = [p.name for p in task.protocols if p.name in first.protocols and p.name in second.protocols]
    name = _protocol(shared, protocol, first.task)
    one, other = first.protocols[name], second.protocols[name]
    _check_metrics(set(one), set(other), names[1])
    order = [m for m in metric_order(task, one) if one[m].value is not None and other[m].value is not None]
    order = [metric for metric in order if not card(metric).is_count]
    steps = {m: (other[m].value or 0.0) - (one[m].value or 0.0) for m in order}
    errors: dict[str, float | None] = {}
    for metric in order:
        known = [_standard_error(result, name, metric) for result in (first, second)]
        errors[metric] = None if None in known else sum(error**2 for error in known if error is not None) ** 0.5
    p_values = {
        metric: _normal_p(-steps[metric] if metric in task.metadata.lower_is_better else steps[metric], error)
        for metric, error in errors.items()
        if error is not None
    }
    corrected = holm(p_values)
    verdicts = []
    for metric in order:
        error = errors[metric]
        width = half_widths(CONFIDENCE) * (error or 0.0)
        around = (None, None) if error is None else (steps[metric] - width, steps[metric] + width)
        values = (one[metric].value or 0.0, other[metric].value or 0.0)
        verdicts.append(_verdict(task, metric, values, around, corrected.get(metric), tolerances))
    warnings = ["stored results are compared by their intervals alone, which finds only larger differences"]
    methods = [result.intervals.method for result in (first, second) if result.intervals]
    if len(set(methods)) > 1:
        warnings.append(f"the intervals were made in different ways: {' and '.join(methods)}")
    warnings += _disagreements(first.signature[name], second.signature[name])
    return GateResult(
        task=first.task,
        split=first.split,
        protocol=name,
        alpha=tolerances.alpha,
        names=names,
        paired=False,
        verdicts=verdicts,
        changed=None,
        warnings=warnings,
    )


def half_widths(confidence: float) -> float:
    """Standard errors in half of an interval."""
    return float(norm.ppf((1 + confidence) / 2))


def _standard_error(result: ResultFile, protocol: str, metric: str) -> float | None:
    value = result.protocols[protocol][metric]
    if value.low is None or value.high is None:
        return None
    confidence = result.intervals.confidence if result.intervals else CONFIDENCE
    return (value.high - value.low) / 2 / half_widths(confidence)


def _normal_p(step: float, error: float) -> float:
    """How likely a step this low or lower is by chance."""
    if error == 0:
        return 1.0 if step >= 0 else 0.0
    return float(norm.cdf(step / error))


def _verdict(
    task: Task,
    metric: str,
    values: tuple[float, float],
    interval: tuple[float | None, ...],
    p: float | None,
    tolerances: Tolerances,
) -> Verdict:
    tolerance = tolerances.of(task.metadata.name, metric)
    fall = values[0] - values[1]
    if metric in task.metadata.lower_is_better:
        fall = -fall
    regressed = p is not None and fall > tolerance and p < tolerances.alpha
    return Verdict(metric, *values, interval[0], interval[1], tolerance, p, regressed)


def _falls(first: ScoredRun, second: ScoredRun, protocol: str, metric: str) -> list[Fall]:
    sign = -1 if metric in first.task.metadata.lower_is_better else 1
    one, other = (sample_values(run, protocol, metric) for run in (first, second))
    falls = [
        Fall(name, one[name], other[name]) for name in one if name in other and sign * (other[name] - one[name]) < 0
    ]
    return sorted(falls, key=lambda fall: (sign * (fall.candidate - fall.baseline), fall.id))[:WORST_SHOWN]


def _protocol(shared: Sequence[str], asked: str | None, where: str) -> str:
    if asked is None and shared:
        return shared[0]
    if asked is None or asked not in shared:
        raise UsageError(f"{where}: both sides have the protocols {', '.join(shared) or 'none'}, not {asked}")
    return asked


def _check_metrics(first: set[str], second: set[str], name: str) -> None:
    """A metric that the candidate lacks was not measured, which is no pass."""
    lacking = sorted(first - second)
    if lacking:
        raise IncompleteRunError(
            f"{name} has no {', '.join(lacking)}, which the baseline has; score it with the same tools installed"
        )


def _disagreements(first: str, second: str) -> list[str]:
    return [
        f"not only the model differs: {name} is {other}, in the baseline {one}"
        for name, (one, other) in differences(first, second).items()
    ]


def _check_complete(given: ScoredRun | ResultFile, side: Path) -> None:
    counters = given.run.metrics["counters"] if isinstance(given, ScoredRun) else given.counters
    for name in ("missing", "errored"):
        if counters.get(name):
            raise IncompleteRunError(f"{side}: {counters[name]} samples are {name}; complete the run, then gate it")


def _name(given: ScoredRun | ResultFile) -> str:
    return given.name if isinstance(given, ScoredRun) else f"{given.model.name}@{given.model.revision}"


def _result(given: ScoredRun | ResultFile) -> ResultFile:
    """A run as a stored result, under a name that is not shown."""
    return given if isinstance(given, ResultFile) else result_of(given.run, "a/run", "unnamed", None)


def _read_all(path: Path, tasks_dirs: Sequence[Path]) -> dict[tuple[str, str], ScoredRun | ResultFile]:
    """Runs or the stored result under a path, by task and split."""
    if path.is_file():
        result = read_result(path)
        return {(result.task, result.split): result}
    if not path.is_dir():
        raise DataError(f"{path} does not exist; give a run folder or a result file")
    manifests = [path / "manifest.json"] if (path / "manifest.json").is_file() else sorted(path.rglob("manifest.json"))
    if not manifests:
        raise DataError(f"{path} holds no run; give a run folder or a result file")
    found: dict[tuple[str, str], ScoredRun | ResultFile] = {}
    for manifest in manifests:
        run = read_scored(manifest.parent, tasks_dirs)
        key = (run.task.metadata.name, run.split)
        if key in found:
            raise UsageError(f"{path} holds several runs of {key[0]}:{key[1]}; give the run folder itself")
        found[key] = run
    return found
