"""The runs between which a run stands: the oracle's above it, the random model's below it.

In: a run, and folders that the user named or that lie beside it. Out: the runs that fit, checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from samtok_eval.errors import DataError, SamtokError, UsageError
from samtok_eval.models.fixed import Oracle, Random
from samtok_eval.reports.runs import ScoredRun, check_comparable, read_scored
from samtok_eval.run.manifest import Manifest, read_manifest
from samtok_eval.run.signature import HASH_SHOWN

CEILING, FLOOR = Oracle.name, Random.name


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
