"""Answers that exist already: where they lie, whose they are, and whether they answer these questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import numbered_json_lines, read_json, read_json_lines, reading
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout
from samtok_eval.prediction import Prediction
from samtok_eval.prediction_log import StoredPredictions
from samtok_eval.run.fingerprints import samples_sha256
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.manifest import Manifest, read_manifest
from samtok_eval.run.score import answers_of
from samtok_eval.run.shards import check_shards
from samtok_eval.sample import Sample
from samtok_eval.sample_table import index_of
from samtok_eval.task import Task

SEE_FORMAT = "see docs/run_folder.md for the format"


def layout_of(origin: Manifest | None, tokenizer: str | None, predictions: Path) -> Layout:
    """That of the run, else of the mask tokenizer that was named, else 256x2; words never tell.

    Raises:
        UsageError: the run and the named mask tokenizer disagree.
    """
    if tokenizer is None:
        return origin.code_layout if origin else DEFAULT_LAYOUT
    from samtok_eval.models.select import named_layout

    named = named_layout(tokenizer)
    if origin:
        _check_layout(predictions, origin.code_layout, named)
    return named


def check_replayed(model: str, layout: Layout) -> None:
    """Refuse to decode a run's answers with a mask tokenizer whose codes mean something else.

    Raises:
        UsageError: the run is of another layout.
    """
    kind, _, name = model.partition(":")
    path = Path(name)
    if kind == "replay" and path.parent.name == "predictions":
        origin = _run_manifest([path.parent.parent])
        _check_layout(path, origin.code_layout if origin else DEFAULT_LAYOUT, layout)


def _check_layout(predictions: Path, written: Layout, read: Layout) -> None:
    if written != read:
        raise UsageError(
            f"{predictions} holds answers in codes of layout {written}, the mask tokenizer is of layout {read}; "
            "name that of the run with --tokenizer"
        )


def check_same_data(task: Task, samples: Sequence[Sample], root: str, origin: Manifest, predictions: Path) -> None:
    """Refuse to score a run's answers as answers to other questions.

    Raises:
        DataError: other questions or targets than those of the run.
    """
    then, now = origin.dataset.sha256, samples_sha256(samples)
    if then != now:
        raise DataError(
            f"{predictions} answers {origin.dataset.samples} questions with hash {then[:8]} (version "
            f"{origin.task_version} of {task.metadata.name}), --data-root {root} has {len(samples)} with {now[:8]} "
            f"(version {task.metadata.version}); use the same files and limit, or run again"
        )


def read_answers(task: Task, samples: Sequence[Sample], paths: Sequence[Path], own: bool) -> Mapping[str, Prediction]:
    """Predictions of all files by sample id.

    Args:
        task: knows the benchmark's own result format.
        samples: everything that was to be answered.
        paths: the files.
        own: whether lines are the logs of a run, in which a failed question may be answered later.

    Returns:
        Of files in our format alone, a view that reads each line when it is asked for.

    Raises:
        DataError: a file is missing, broken or in no known format, an id is unknown or occurs twice, or nothing in the
            files can be scored.
    """
    foreign = {path: found for path in paths if (found := _foreign_predictions(task, path)) is not None}
    stored = StoredPredictions([path for path in paths if path not in foreign], own)
    others = [prediction for mine in foreign.values() for prediction in mine]
    if not any(map(task.answered, chain(others, stored.values()))):
        names = paths[0] if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} files)"
        raise DataError(f"{names} holds no answer that {task.metadata.name} could score; see docs/run_folder.md")
    if others:
        return answers_of(task, samples, [*others, *stored.values()])
    stored.check_known(index_of(samples))
    return stored


def kept_in_words(task: Task, samples: Sequence[Sample], folder: RunFolder) -> Mapping[str, Prediction]:
    """Answers in words that were scored from a file, as scoring left them in the benchmark's own format.

    Args:
        task: of the run; where answers are masks there are none, since its own format does not hold what was written.
        samples: everything that was to be answered.
        folder: of the run.

    Raises:
        DataError: a file is broken or in another format, or answers other questions.
    """
    if not task.answered_in_words:
        return {}
    found: list[Prediction] = []
    # A copied folder may hold a Mac's `._x.json` beside every file.
    for path in sorted(folder.official_format.glob("[!.]*.json")):
        # An empty list or object where nobody answered, which is in no format.
        if content := read_json(path, "score again"):
            found += _read_as(task, path, content)
    return answers_of(task, samples, found)


def _read_as(task: Task, path: Path, content: Any) -> list[Prediction]:
    """Predictions of a content in the benchmark's own result format.

    Raises:
        DataError: it is in another one.
    """
    found = _foreign(task, path, content)
    if found is None:
        raise DataError(f"{path} is not in the result format of {task.metadata.name}; {SEE_FORMAT}")
    return found


def _foreign_predictions(task: Task, path: Path) -> list[Prediction] | None:
    """Predictions of a file in the benchmark's own result format; None for lines that are to be read as ours."""
    whole = path.suffix == ".json"
    if not whole and _has_our_lines(path):
        return None
    if whole:
        return _read_as(task, path, read_json(path, SEE_FORMAT))
    return _foreign(task, path, read_json_lines(path, SEE_FORMAT))


def _foreign(task: Task, path: Path, content: Any) -> list[Prediction] | None:
    with reading(str(path), SEE_FORMAT):
        try:
            return task.foreign(content)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _has_our_lines(path: Path) -> bool:
    """Whether a file of lines is ours, by its first one; a broken one is left to our reader, which names it."""
    try:
        _, first = next(numbered_json_lines(path), (0, None))
    except DataError:
        return True
    return isinstance(first, dict) and "id" in first


def prediction_paths(given: Path, option: str = "--predictions") -> tuple[list[Path], Manifest | None]:
    """Files to read, and the manifest of the run they belong to.

    Args:
        given: a file, a folder of files, or a run folder.
        option: that named it.

    Raises:
        DataError: it does not exist or holds no predictions, or shards of which the numbers differ.
        IncompleteRunError: a shard is missing.
    """
    if not given.exists():
        raise DataError(f"{option} {given} does not exist; give a predictions file or a run folder")
    if given.is_file():
        return [given], _run_manifest([given.parent.parent] if given.parent.name == "predictions" else [])
    folder = given / "predictions" if (given / "predictions").is_dir() else given
    check_shards(folder)
    for pattern in ("part-*.jsonl", "*.json", "*.jsonl"):
        # A copied folder may hold a Mac's `._x.json` beside every file.
        paths = [p for p in sorted(folder.glob(pattern)) if p.name != "manifest.json" and not p.name.startswith(".")]
        if paths:
            return paths, _run_manifest([given, given.parent])
    raise DataError(f"{option} {given} holds neither *.jsonl nor *.json; give predictions or a run folder")


def _run_manifest(folders: Sequence[Path]) -> Manifest | None:
    """The first manifest of a run; a file of another program that has the name is none."""
    for path in (folder / "manifest.json" for folder in folders):
        if path.is_file():
            content = read_json(path, "give a run folder, or a folder without it")
            if isinstance(content, dict) and {"task", "split", "settings"} <= set(content):
                return read_manifest(path)
    return None
