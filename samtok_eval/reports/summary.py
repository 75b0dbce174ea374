"""What finished runs say of themselves: their numbers in one table, and the lines that must stand with them.

In: runs as their folders hold them. Out: text of one task's runs, or of several tasks in one table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from samtok_eval.metrics.cards import MetricKey, card
from samtok_eval.reports.format import ABSENT, estimate
from samtok_eval.reports.table import Table, Writer, aligned_text, left, naming, right
from samtok_eval.run.folder import Run
from samtok_eval.run.settings import DEMO
from samtok_eval.run.signature import short_signature
from samtok_eval.task import Task

UNITS = "Values x 100, ± half of the 95 % interval over pictures."


def metric_order(task: Task, present: Iterable[str]) -> list[str]:
    """Metrics in the order of the task's tables, each judge's after another; those that the task does not name last."""
    names = list(present)
    shown = [name for base in task.metadata.metrics for name in names if MetricKey.of(name).metric == base]
    return shown + [name for name in names if name not in shown]


def runs_table(task: Task, runs: Sequence[Run], write: Writer = aligned_text, only_main: bool = False) -> str:
    """One row per protocol and run, with half the width of the 95 % interval, and what the numbers rest on.

    Args:
        task: gives title and order of columns.
        runs: runs of this task on one split.
        write: how the table is written.
        only_main: leave all protocols but the task's first out, and name them in a line.
    """
    every = [p.name for p in task.protocols if any(p.name in run.metrics for run in runs)]
    protocols = every[:1] if only_main else every
    others = ", ".join(every[len(protocols) :])
    hidden = [f"numbers by the rules of {others}: metrics.json, or --protocol all"] if others else []
    shown = metric_order(task, {m: None for p in protocols for run in runs for m in run.metrics.get(p, {})})
    rows = []
    for protocol in protocols:
        for run in runs:
            if protocol in run.metrics:
                n = max((int(value["n"]) for value in run.values(protocol).values()), default=0)
                rows.append([protocol, run.manifest.model.name, *(_cell(run, protocol, m) for m in shown), str(n)])
    names = naming("protocol", "model")
    columns = [*names, *right(*(card(metric).title for metric in shown), "n")]
    return write(Table(columns, rows, [f"{subject(task, runs)}. {UNITS}"], [*hidden, *footer(runs)]))


def overview_table(pairs: Sequence[tuple[Task, Sequence[Run]]], write: Writer = aligned_text) -> str:
    """Several tasks in one table: the main metric of each under its first protocol, one column per model.

    Args:
        pairs: each task with its runs, the models in the same order.
        write: how the table is written.
    """
    rows = []
    for task, runs in pairs:
        metric, protocol = task.metadata.main_metric, task.protocols[0].name
        values = [_cell(run, protocol, metric) for run in runs]
        manifest = runs[0].manifest
        name = f"{task.metadata.name}:{manifest.split}"
        rows.append([name, protocol, card(metric).title, *values, str(manifest.dataset.samples)])
    models = [run.manifest.model.name for run in pairs[0][1]]
    columns = [*left("task", "protocol", "metric"), *right(*models, "n")]
    return write(Table(columns, rows, [f"All tasks, main metric of each. {UNITS}"]))


def _cell(run: Run, protocol: str, metric: str) -> str:
    found = run.metrics.get(protocol, {}).get(metric)
    return estimate(metric, found["value"], found["low"], found["high"]) if found else ABSENT


def subject(task: Task, runs: Sequence[Run]) -> str:
    """Benchmark, split, and a plain word where defaults stand in for real data or models."""
    manifest = runs[0].manifest
    title = f"{task.metadata.title}, {manifest.split}"
    if manifest.settings.limit:
        title += f", a sample of it (the first {manifest.dataset.samples} questions)"
    if manifest.dataset.root == DEMO:
        title += ", on the bundled DEMO benchmark (synthetic scenes, not the real data)"
    if any(run.manifest.model.name in (DEMO, f"tokenizer-of-{DEMO}") for run in runs):
        title += "; model demo is the bundled tiny checkpoint"
    return title


def footer(runs: Sequence[Run]) -> list[str]:
    """Counters, what could not be measured and why, short signature and folder of each run."""
    lines = []
    for run in runs:
        c = run.metrics["counters"]
        name = run.manifest.model.name
        lines.append(
            f"{name}: scored {c['scored']}, invalid {c['invalid']}, errored {c['errored']}, missing {c['missing']}, "
            f"repaired {c['repaired']}"
            + (f", targets answered without a mask {c['empty_on_target']}/{c['targets']}" if c["targets"] else "")
        )
        for protocol, crashes in c["reference_crashes"].items():
            lines.append(
                f"  under {protocol} the reference script would have stopped on {crashes} answer{'s' * (crashes != 1)}"
            )
        lines += [f"  {line}" for line in limits(run)]
        lines += [f"  {line}" for line in speed(run)]
        first = next(iter(run.manifest.signature.values()))
        lines += [f"  signature {short_signature(first)}, in full in {run.path / 'manifest.json'}"]
    return lines


def speed(run: Run) -> list[str]:
    """What `--profile` measured, e.g. `generate 2.10 s (limit 0.70); 41.2 samples/s, 310.0 tokens/s`; else nothing."""
    profile = run.manifest.profile
    if profile is None:
        return []
    parts = []
    for name, stage in profile.stages.items():
        least = profile.least_seconds.get(name)
        parts.append(f"{name} {stage.seconds:.2f} s" + (f" (limit {least:.2f})" if least else ""))
    peak = max((stage.peak_bytes for stage in profile.stages.values()), default=0)
    rates = f"{profile.samples_per_second:.1f} samples/s, {profile.tokens_per_second:.1f} tokens/s"
    return [f"{', '.join(parts)}; {rates}, at most {peak / 1e9:.2f} GB"]


def limits(run: Run) -> list[str]:
    """What a run could not measure, and protocols whose original would have stopped, with reasons; a line each."""
    stops = run.metrics.get("stopped", {})
    return [
        *(f"without {line}" for line in absences(run)),
        *(f"under {protocol} not all numbers: {reason}" for protocol, reason in stops.items()),
    ]


def absences(run: Run) -> list[str]:
    """What could not be measured, e.g. `METEOR, CIDEr: no Java`, a line for each reason."""
    names: dict[str, list[str]] = {}
    for metric, reason in run.metrics.get("absent", {}).items():
        names.setdefault(reason, []).append(card(metric).title)
    return [f"{', '.join(titles)}: {reason}" for reason, titles in names.items()]
