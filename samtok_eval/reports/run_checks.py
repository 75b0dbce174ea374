"""Whether what a run folder says of itself follows from its records and its manifest.

In: a run with its records. Out: nothing, or an error that names the first thing that does not follow; and, of folders
that older versions wrote, a note of what cannot be checked. Everything is computed again: the protocols and the set of
metrics, values, intervals by the method that the folder names, n, slices, counters, signatures and both keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from samtok_eval.errors import DataError, IncompleteRunError
from samtok_eval.metrics.ratio import Metric
from samtok_eval.records import Records
from samtok_eval.run.folder import Run
from samtok_eval.run.manifest import Manifest, Scoring
from samtok_eval.run.metrics_file import Entry, IntervalMethod, Metrics
from samtok_eval.run.score import (
    FEW_OF_METHOD,
    PERCENTILE,
    counters,
    entries_by_protocol,
    interval_method,
    slice_entries,
    stopped,
)
from samtok_eval.run.signature import run_key, scoring_key, signature, signature_dict
from samtok_eval.task import Task
from samtok_eval.text_column import same_texts

TOLERANCE = 1e-9
"""Between a value in a file and the same value computed again; sums of floats may be added in another order."""
MOST_DRAWS = 100_000
"""More are not computed again: a file must not decide how long reading it takes."""
RUN_AGAIN = "it was changed by hand or made by another version; run `score` again"


def check_version(run: Run, task: Task) -> None:
    """Refuse numbers of another version of the task than the installed one.

    Raises:
        DataError: scored by another version.
    """
    scored, installed = run.manifest.scored_version, task.metadata.version
    if scored != installed:
        raise DataError(
            f"{run.path} was scored by version {scored} of the task {task.metadata.name}, this program has version "
            f"{installed}; run `score` again, or the whole run where that says that the questions have changed"
        )


def check_identity(run: Run, task: Task) -> list[str]:
    """Compute signatures and keys from the manifest again.

    Returns:
        What an older folder does not let us check.

    Raises:
        DataError: one of them does not follow, so that something in the manifest was changed.
    """
    manifest, notes = run.manifest, []
    scoring = manifest.scoring
    if scoring is None:
        notes.append("what neither signature nor run key of this older folder holds")
    elif scoring_key(manifest) != scoring.key:
        raise DataError(f"{run.path}: manifest.json does not fit the key of its scores; {RUN_AGAIN}")
    if manifest.run_key is not None:
        prompt = task.asked_with(manifest.settings.prompt, manifest.split).prompt
        template = (prompt.template if prompt else "") if manifest.template is None else manifest.template
        if run_key(manifest.replace(template=template)) != manifest.run_key:
            raise DataError(
                f"{run.path}: manifest.json does not fit its run key: task version, model, mask tokenizer, prompt, "
                "data or a setting of the answers was changed; run again"
            )
    signatures = manifest.signature
    names = list(run.metrics.protocols)
    if set(signatures) != set(names):
        raise DataError(
            f"{run.path}: manifest.json signs {sorted(signatures)}, metrics.json has {sorted(names)}; {RUN_AGAIN}"
        )
    for name in names:
        told = signatures[name]
        complete = manifest if scoring else manifest.replace(scoring=_scoring_of(manifest, told))
        if signature(complete, name) != told:
            raise DataError(f"{run.path}: the signature of {name} does not follow from manifest.json; {RUN_AGAIN}")
    return notes


def check_records(run: Run, task: Task, records: Mapping[str, Records]) -> None:
    """Refuse records of other protocols than the metrics, and of fewer or other samples.

    Raises:
        DataError: other protocols or samples.
        IncompleteRunError: records are missing.
    """
    names = list(run.metrics.protocols)
    if set(names) != set(records):
        raise DataError(
            f"{run.path}: metrics.json has the protocols {sorted(names)}, records.jsonl {sorted(records)}; "
            "run `score` again"
        )
    unknown = sorted(set(names) - {protocol.name for protocol in task.protocols})
    if unknown or not names:
        raise DataError(f"{run.path}: {task.metadata.name} has no protocol {', '.join(unknown)}; run `score` again")
    expected = run.manifest.dataset.samples
    first = records[names[0]].id
    for name in names:
        if len(records[name]) != expected:
            raise IncompleteRunError(
                f"{run.path}: {len(records[name])} records of {expected} samples; run `score` again"
            )
        if not same_texts(records[name].id, first):
            raise DataError(f"{run.path}: records.jsonl has other samples under {name} than under {names[0]}")


def check_numbers(
    run: Run, task: Task, records: Mapping[str, Records], measured: Mapping[str, Mapping[str, Metric]]
) -> list[str]:
    """Compute everything in `metrics.json` from the records again.

    Args:
        run: what the folder says.
        task: the rules.
        records: by protocol.
        measured: the metrics of these records, by protocol.

    Returns:
        What cannot be checked.

    Raises:
        DataError: something does not follow from the records.
    """
    told = run.metrics
    method, notes = _method(run)
    found = entries_by_protocol([(name, measured[name]) for name in told.protocols], method)
    if method is None:
        found = {
            name: {metric: _with_bounds(entry, told.protocols[name].get(metric)) for metric, entry in values.items()}
            for name, values in found.items()
        }
    mine = {name: records[name] for name in told.protocols}
    counted, slices = counters(mine), slice_entries(task, mine)
    computed = Metrics(protocols=found, slices=slices, counters=counted).to_json()
    if "stopped" in told:
        computed["stopped"] = stopped(task, records)
    said = told.to_json()
    for name, value in computed.items():
        difference = first_difference(said.get(name), value, name)
        if difference is not None:
            raise DataError(f"{run.path}: metrics.json says {difference}; {RUN_AGAIN}")
    kept = run.manifest.counters
    if any(kept.get(name) != value for name, value in counted.model_dump().items()):
        raise DataError(f"{run.path}: manifest.json has other counters than metrics.json; {RUN_AGAIN}")
    there = [metric for metric in told.absent if any(metric in values for values in found.values())]
    if there:
        raise DataError(f"{run.path}: metrics.json says that {', '.join(there)} is absent and holds it; {RUN_AGAIN}")
    return notes


def _scoring_of(manifest: Manifest, told: str) -> Scoring:
    """What older folders keep of their scoring in other places: the seed in the settings, the scorer in a signature."""
    scorer = signature_dict(told).get("scorer", "")
    return Scoring(samtok_eval=scorer, task_version=manifest.task_version, seed=manifest.settings.seed)


def _method(run: Run) -> tuple[IntervalMethod | None, list[str]]:
    """How to draw the intervals again; None, and a note, where this version does not know how."""
    named = run.metrics.intervals
    if named is None:
        # Folders from before the method was kept know this one only.
        return interval_method(run.manifest.settings.seed, PERCENTILE), []
    if named.method not in FEW_OF_METHOD:
        return None, [f"intervals by {named.method!r}, which this version does not know"]
    if named.draws > MOST_DRAWS:
        return None, [f"intervals of {named.draws} draws, more than {MOST_DRAWS}"]
    return named, []


def _with_bounds(entry: Entry, told: Entry | None) -> Entry:
    """An entry with the interval that the folder says, as far as that is one."""
    low, high = (told.low, told.high) if told else (None, None)
    real = low is not None and high is not None and -math.inf < low <= high < math.inf
    return entry.model_copy(update={"low": low, "high": high}) if real else entry


def first_difference(told: Any, computed: Any, where: str) -> str | None:
    """The first place at which two pieces of JSON differ, in words; None where they do not."""
    if isinstance(told, Mapping) and isinstance(computed, Mapping):
        if told.keys() != computed.keys():
            more, less = (sorted(map(str, a.keys() - b.keys())) for a, b in ((told, computed), (computed, told)))
            return f"{where} has {more}, which the records do not give" if more else f"{where} lacks {less}"
        found = (first_difference(told[key], value, f"{where} {key}") for key, value in computed.items())
        return next((difference for difference in found if difference is not None), None)
    numbers = all(isinstance(each, float | int) and not isinstance(each, bool) for each in (told, computed))
    same = math.isclose(told, computed, rel_tol=TOLERANCE, abs_tol=TOLERANCE) if numbers else told == computed
    return None if same else f"{where.removesuffix(' value')} = {told!r:.80}, the records give {computed!r:.80}"
