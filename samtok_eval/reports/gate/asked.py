"""A gate whose candidate is a model: which runs are asked, with which settings, against which baselines.

In: a folder of baselines and what the user gave. Out: a result per task and split, as of finished runs. The candidate
is asked like the baseline was. Where the baseline's model does not always answer alike, it may be asked again on a
share of the pictures; that noise is added to what is said of the candidate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from samtok_eval.errors import IncompleteRunError, UsageError
from samtok_eval.models.loaded import LoadedModels
from samtok_eval.reports.gate.early import EarlyRules, Noise, Sides, gate_early, noise_of
from samtok_eval.reports.gate.gate import check_complete, read_sides
from samtok_eval.reports.gate.tolerances import Tolerances
from samtok_eval.reports.gate.verdict import GateResult, choose_protocol
from samtok_eval.reports.runs import ScoredRun
from samtok_eval.run.in_parts import in_parts, options_like
from samtok_eval.run.settings import RunOptions
from samtok_eval.statistics import paired_steps

REPEATED = "repeat-baseline"
"""Folder, in that of the candidate's runs, where the baseline's model answers again."""


def ask_and_gate(
    baseline: Path,
    given: Mapping[str, Any],
    tolerances: Tolerances,
    protocol: str | None = None,
    rules: EarlyRules | None = None,
    repeated: float | None = None,
    console: Console | None = None,
) -> list[GateResult]:
    """Ask a candidate until each task's verdict is known.

    Args:
        baseline: a run folder, or a folder with one run per task and split.
        given: the candidate's `model`, and other fields of `RunOptions` that are not to be those of the baseline.
        tolerances: what may be lost.
        protocol: the rules to judge by; each task's first by default.
        rules: when to look, and when to stop.
        repeated: share 0..1 of the batches on which the baseline's model is asked again.
        console: for the progress bar.

    Raises:
        UsageError: a setting is wrong, or the baseline is no run with answers.
        IncompleteRunError: samples failed, or the baseline is unfinished.
    """
    if repeated is not None and not 0 < repeated <= 1:
        raise UsageError(f"--repeat-baseline {repeated}: expected a share above 0 and up to 1, such as 0.1")
    runs = baseline_runs(baseline, given)
    seed = int(given.get("seed", 0))
    noises: list[Mapping[str, Noise]] = [{} for _ in runs]
    if repeated is not None:
        # One model at a time is in memory.
        again = LoadedModels()
        noises = [_noise(run, given, repeated, protocol, seed, again, console) for run in runs]
        del again
    models, results = LoadedModels(), []
    for run, noise in zip(runs, noises, strict=True):
        found = gate_run(run, given, tolerances, models, protocol, rules, noise, console)
        results.append(found if repeated is None else replace(found, repeated=repeated))
    return results


def baseline_runs(baseline: Path, given: Mapping[str, Any]) -> list[ScoredRun]:
    """The runs of a baseline with which a candidate that is asked can be compared.

    Args:
        baseline: a run folder, or a folder with one run per task and split.
        given: what the user gave of `RunOptions`; its `tasks_dirs` are read.

    Raises:
        UsageError: the baseline is no run with answers.
        IncompleteRunError: it is unfinished.
    """
    runs = []
    for side in read_sides(baseline, given.get("tasks_dirs") or ()).values():
        if not isinstance(side, ScoredRun):
            raise UsageError(f"{baseline} is a stored result without answers; give the baseline's run folder")
        check_complete(side, baseline)
        runs.append(side)
    return runs


def gate_run(
    baseline: ScoredRun,
    given: Mapping[str, Any],
    tolerances: Tolerances,
    models: LoadedModels,
    protocol: str | None = None,
    rules: EarlyRules | None = None,
    noise: Mapping[str, Noise] | None = None,
    console: Console | None = None,
) -> GateResult:
    """Ask a candidate the questions of one run of the baseline, until the verdict is known.

    Args:
        baseline: the run.
        given: as for `ask_and_gate`.
        tolerances: what may be lost.
        models: loaded ones; the candidate stays among them, so that its next task does not load it again.
        protocol: the rules to judge by; the task's first by default.
        rules: when to look, and when to stop.
        noise: of the baseline against itself, by metric.
        console: for the progress bar.

    Raises:
        SamtokError: as `ask_and_gate`.
    """
    options = options_like(baseline.run.manifest, **given)
    with in_parts(options, models, console, baseline.run.path) as candidate:
        return gate_early(baseline, candidate, tolerances, protocol, int(given.get("seed", 0)), rules, noise)


def _noise(
    run: ScoredRun,
    given: Mapping[str, Any],
    share: float,
    protocol: str | None,
    seed: int,
    models: LoadedModels,
    console: Console | None,
) -> dict[str, Noise]:
    """How far the baseline's model differs from its own earlier answers, by metric."""
    manifest = run.run.manifest
    if not run.task.needs_language_model:
        raise UsageError(f"--repeat-baseline: {manifest.task} asks a mask tokenizer alone, which answers alike")
    of_model = {"model": manifest.model.name, "tokenizer": manifest.settings.tokenizer}
    out = Path(given.get("out", RunOptions.model_fields["out"].default)) / REPEATED
    options = options_like(manifest, **{**given, **of_model, "out": out})
    name = choose_protocol(run.protocols, protocol, str(run.run.path))
    with in_parts(options, models, console, run.run.path) as again:
        if again.manifest.model.identity != manifest.model.identity:
            raise UsageError(
                f"--repeat-baseline: {manifest.model.name} is no longer the model that {run.run.path} asked; leave the "
                "option out, or run the baseline again"
            )
        end = max(1, math.ceil(share * len(again.batches)))
        again.ask(end)
        with Sides(run, again, name) as sides:
            before, after = sides.upto(end)
        again.finish()
        steps = paired_steps(before.metrics(name), after.metrics(name), seed)
    if not steps:
        raise IncompleteRunError("--repeat-baseline: fewer than two pictures count; give a larger share")
    return {metric: noise_of(step) for metric, step in steps.items()}
