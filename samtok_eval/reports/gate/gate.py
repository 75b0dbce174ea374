"""A gate for checkpoints: does a candidate do worse than a baseline, beyond a tolerance and beyond chance?

In: run folders, folders of runs, or stored result files. Out: a result per task and split of the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.registry import find_task, load_tasks
from samtok_eval.reports.gate.paired import gate_runs
from samtok_eval.reports.gate.stored import gate_results
from samtok_eval.reports.gate.tolerances import Tolerances
from samtok_eval.reports.gate.verdict import GateResult
from samtok_eval.reports.result_file import ResultFile, read_result, result_of
from samtok_eval.reports.runs import ScoredRun, read_scored
from samtok_eval.run.folder import RunFolder, find_run, newest_runs, run_paths
from samtok_eval.run.manifest import read_manifest

Side: TypeAlias = ScoredRun | ResultFile


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
    before, after = read_sides(baseline, tasks_dirs), read_sides(candidate, tasks_dirs)
    lacking = [f"{task}:{split}" for task, split in before if (task, split) not in after]
    if lacking:
        raise IncompleteRunError(f"{candidate} has no run of {', '.join(lacking)}, which {baseline} has; run it too")
    results = []
    for key, expected in before.items():
        found = after[key]
        check_complete(expected, baseline)
        check_complete(found, candidate)
        if isinstance(expected, ScoredRun) and isinstance(found, ScoredRun):
            results.append(gate_runs(expected, found, tolerances, protocol, seed))
        else:
            names = (_name(expected), _name(found))
            task = find_task(load_tasks(tasks_dirs), key[0])
            results.append(gate_results(task, _result(expected), _result(found), names, tolerances, protocol))
    return results


def check_complete(given: Side, path: Path) -> None:
    """Refuse a side to which answers are missing.

    Raises:
        IncompleteRunError: how many are.
    """
    counters = given.run.metrics["counters"] if isinstance(given, ScoredRun) else given.counters
    for name in ("missing", "errored"):
        if counters.get(name):
            raise IncompleteRunError(f"{path}: {counters[name]} samples are {name}; complete the run, then gate it")


def _name(given: Side) -> str:
    return given.name if isinstance(given, ScoredRun) else f"{given.model.name}@{given.model.revision}"


def _result(given: Side) -> ResultFile:
    """A run as a stored result, under a name that is not shown."""
    return given if isinstance(given, ResultFile) else result_of(given.run, "a/run", "unnamed", None)


def read_sides(path: Path, tasks_dirs: Sequence[Path]) -> dict[tuple[str, str], Side]:
    """Runs or the stored result under a path, by task and split."""
    if path.is_file():
        result = read_result(path)
        return {(result.task, result.split): result}
    if not path.exists():
        path = find_run(path)
    if not path.is_dir():
        raise DataError(f"{path} does not exist; give a run folder or a result file")
    # A broken manifest is an error here: a run that is left out would not be judged.
    folders = newest_runs((folder, read_manifest(RunFolder(folder).manifest)) for folder in run_paths(path)).values()
    if not folders:
        raise DataError(f"{path} holds no run; give a run folder or a result file")
    found: dict[tuple[str, str], Side] = {}
    for folder in folders:
        run = read_scored(folder, tasks_dirs)
        key = (run.task.metadata.name, run.split)
        if key in found:
            raise UsageError(f"{path} holds several runs of {key[0]}:{key[1]}; give the run folder itself")
        found[key] = run
    return found
