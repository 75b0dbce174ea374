"""One evaluation from options to a finished run folder; what the command line and `samtok_eval.evaluate` share.

The run folder's name is a hash of everything that can change an answer, so a run goes on only where it left off and
never reads what another model, split or setting wrote.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console

import samtok_eval
from samtok_eval.datasets.files import read_json, read_json_lines
from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout
from samtok_eval.metrics.token_match import reference_texts
from samtok_eval.prediction import Prediction
from samtok_eval.progress import Progress
from samtok_eval.run.manifest import (
    COMPLETE,
    FOREIGN,
    Dataset,
    Manifest,
    Model,
    Scoring,
    Settings,
    Times,
    read_manifest,
    read_object,
)
from samtok_eval.run.settings import DEMO, RunOptions, keywords, recorded, settings_of_scoring
from samtok_eval.run_store import (
    SCHEMA_VERSION,
    RunFolder,
    read_own_predictions,
    read_predictions,
    slug,
    write_json,
    write_records,
)
from samtok_eval.sample import Sample
from samtok_eval.score import NOT_PROTOCOLS, score
from samtok_eval.signature import run_key, sealed
from samtok_eval.task import Task, find_task, load_tasks

if TYPE_CHECKING:
    from samtok_eval.models.select import ModelOptions
    from samtok_eval.runner import PredictSettings

__all__ = ["Run", "RunOptions", "evaluate", "load_run", "read_samples", "run", "score_file", "tasks"]
RUN_ID_LENGTH = 12
PACKAGES = ("torch", "torchvision", "transformers", "tokenizers", "sam2", "numpy", "pillow", "pycocotools")


@dataclass(frozen=True)
class Run:
    """A run folder that has been read."""

    path: Path
    manifest: Manifest
    metrics: dict[str, Any] = field(default_factory=dict)

    def values(self, protocol: str) -> dict[str, dict[str, Any]]:
        """Metrics of one protocol: name -> value, low, high, n."""
        return dict(self.metrics[protocol])


def tasks(tasks_dirs: Sequence[Path] = ()) -> dict[str, Task]:
    """All tasks by name."""
    return load_tasks(tasks_dirs)


def load_run(path: str | Path) -> Run:
    """Read a finished run folder.

    The numbers are taken as they stand; `reports.runs.read_scored` also checks that they follow from the records.

    Raises:
        DataError: a file is missing or broken.
        IncompleteRunError: the run was not finished.
    """
    folder = RunFolder(Path(path))
    if not folder.manifest.is_file():
        raise DataError(f"{folder.manifest} is missing; {path} is not a finished run folder")
    manifest = read_manifest(folder.manifest)
    if manifest.state != COMPLETE:
        raise IncompleteRunError(f"{path} is {manifest.state}, not {COMPLETE}; run the same command again")
    return Run(folder.path, manifest, read_object(folder.metrics))


def evaluate(task: str, **options: Any) -> Run:
    """Run one task with one model: predict, then score.

    Args:
        task: task name.
        **options: fields of `RunOptions`.

    Raises:
        SamtokError: anything a user can act on.
    """
    return run(RunOptions(task=task, **options))


evaluate.__signature__ = keywords().replace(return_annotation=Run)  # type: ignore[attr-defined]


def run(options: RunOptions, console: Console | None = None, scoring: bool = True) -> Run:
    """Carry out one run.

    Args:
        options: settings.
        console: for the progress bar; none is shown without it.
        scoring: False stops after predicting.
    """
    from samtok_eval.models.select import load_backend, load_mask_tokenizer, tokenizer_sha256
    from samtok_eval.runner import PredictSettings, predict

    task = find_task(load_tasks(options.tasks_dirs), options.task).asked_with(options.prompt)
    split = task.check_split(options.split)
    task.check_judge(options.judge)
    for name in options.protocols or ():
        task.protocol(name)
    samples = read_samples(task, split, options.data_root, options.limit)
    _check_pictures(samples, options.data_root)
    chosen = _model_options(task, options)
    tokenizer = load_mask_tokenizer(chosen)
    task = task.with_layout(tokenizer.config.layout)
    # A layout may leave a protocol out that the task has otherwise.
    for name in options.protocols or ():
        task.protocol(name)
    _check_replayed(chosen.model, task.layout)
    backend = load_backend(chosen, tokenizer, task, samples)
    settings = PredictSettings(
        batch_size=options.batch_size,
        max_new_tokens=options.max_new_tokens or task.max_new_tokens,
        group_pictures=options.group_pictures,
        max_errors=options.max_errors,
        history=options.history,
    )
    name = options.model if task.needs_language_model else f"tokenizer-of-{options.model}"
    manifest = _manifest(
        task, split, samples, options, chosen, Model(name=name, identity=backend.identity()),
        tokenizer_sha256(tokenizer), settings,
    )  # fmt: skip
    # Refused before hours of answering, not after.
    _references(manifest)
    folder = _folder(options, task, split, manifest)
    manifest = _saved(folder, manifest.replace(run_id=folder.path.name))
    started = time.perf_counter()
    with Progress(f"{task.metadata.name}:{split} {name}", console or Console(quiet=True)) as progress:
        counts = predict(task, samples, backend, tokenizer, folder, settings, progress)
    seconds = round(time.perf_counter() - started, 3)
    times = Times(started=manifest.times.started, predict_seconds=seconds, finished=_now())
    manifest = _saved(folder, manifest.replace(state="predicted", counters=asdict(counts), times=times))
    if not scoring:
        return Run(folder.path, manifest)
    return score_into(task, samples, folder, manifest)


def score_into(
    task: Task,
    samples: Sequence[Sample],
    folder: RunFolder,
    manifest: Manifest,
    predictions: Sequence[Path] | None = None,
) -> Run:
    """Score a run folder's predictions, or given files, and write records, metrics and manifest there.

    Args:
        task: the rules.
        samples: everything that was to be answered.
        folder: where to write.
        manifest: of the answers, with the settings of the scoring.
        predictions: files to read, the folder's own by default.
    """
    own = manifest.run_key is not None
    answers = _read_answers(task, folder.parts() if predictions is None else predictions, own)
    settings = manifest.settings
    seed = settings.seed_of_statistics
    scored = score(
        task,
        samples,
        answers,
        seed,
        settings.protocols,
        settings.judge,
        folder.path / "judge_replies.jsonl",
        _references(manifest),
    )
    for name, content in scored.exports.items():
        write_json(folder.path / "official_format" / name, content)
    write_records(folder.records, scored.records)
    write_json(folder.metrics, scored.metrics)
    manifest = manifest.replace(
        state=COMPLETE,
        counters=manifest.counters | scored.metrics["counters"],
        scoring=Scoring(samtok_eval=samtok_eval.__version__, task_version=task.metadata.version, seed=seed),
    )
    manifest = sealed(manifest, [name for name in scored.metrics if name not in NOT_PROTOCOLS])
    return Run(folder.path, _saved(folder, manifest), scored.metrics)


def score_file(options: RunOptions, predictions: Path) -> Run:
    """Score saved predictions, ours or foreign, without a model.

    Args:
        options: task, split, data root, limit and where to write (`out` is the folder itself).
        predictions: a predictions file, a folder of parts or of the benchmark's own files, or a run folder. Of a run
            folder, split and limit come from its manifest where the options do not say.

    Raises:
        SamtokError: wrong task, split or data, or broken predictions.
    """
    paths, origin = _prediction_paths(predictions)
    task = find_task(load_tasks(options.tasks_dirs), options.task)
    split, limit = options.split, options.limit
    if origin:
        if origin.task != options.task:
            raise UsageError(f"{predictions} holds predictions for {origin.task}, not {options.task}; correct --task")
        split = split or origin.split
        limit = limit or origin.settings.limit
        task = task.asked_with(origin.settings.prompt)
    task = task.with_layout(_layout(origin, options.tokenizer, predictions))
    split = task.check_split(split)
    task.check_judge(options.judge)
    samples = read_samples(task, split, options.data_root, limit)
    if origin:
        _check_same_data(task, samples, options.data_root, origin, predictions)
    manifest = origin or _foreign_manifest(task, split, samples, options, predictions, paths)
    changes = {"limit": limit, "data_root": options.data_root, **settings_of_scoring(options)}
    passed = {name for name in manifest.passed if name not in changes}
    passed |= {name for name in options.model_fields_set if name in changes}
    passed |= {"statistics_seed"} if "seed" in options.model_fields_set else set()
    manifest = manifest.replace(settings=manifest.settings.model_copy(update=changes), passed=tuple(sorted(passed)))
    return score_into(task, samples, RunFolder(options.out), manifest, paths)


def _layout(origin: Manifest | None, tokenizer: str | None, predictions: Path) -> Layout:
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


def _check_replayed(model: str, layout: Layout) -> None:
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


def _check_same_data(task: Task, samples: Sequence[Sample], root: str, origin: Manifest, predictions: Path) -> None:
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


def _references(manifest: Manifest) -> dict[str, str] | None:
    given = manifest.settings.reference_codes
    return reference_texts(given, *_prediction_paths(given, "--reference-codes"), manifest) if given else None


def _read_answers(task: Task, paths: Sequence[Path], own: bool) -> list[Prediction]:
    """Predictions of all files.

    Args:
        task: knows the benchmark's own result format.
        paths: the files.
        own: whether lines are the logs of a run, in which a failed question may be answered later.

    Raises:
        DataError: a file is missing, broken or in no known format, or nothing in the files can be scored.
    """
    answers: list[Prediction] = []
    logs = []
    for path in paths:
        found = _foreign_predictions(task, path)
        if found is not None:
            answers += found
        elif own:
            logs.append(path)
        else:
            answers += read_predictions([path])
    answers += read_own_predictions(logs).values()
    if not any(task.answered(prediction) for prediction in answers):
        names = paths[0] if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} files)"
        raise DataError(f"{names} holds no answer that {task.metadata.name} could score; see docs/run_folder.md")
    return answers


def _foreign_predictions(task: Task, path: Path) -> list[Prediction] | None:
    """Predictions of a file in the benchmark's own result format; None for lines that are to be read as ours."""
    whole = path.suffix == ".json"
    if not whole and _has_our_lines(path):
        return None
    content = read_json(path) if whole else read_json_lines(path)
    try:
        found = task.foreign(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {where}: {first['msg']}; see docs/run_folder.md for the format") from error
    if found is None and whole:
        raise DataError(f"{path} is not in the result format of {task.metadata.name}; see docs/run_folder.md")
    return found


def _has_our_lines(path: Path) -> bool:
    """Whether a file of lines is ours, by its first one; a broken one is left to our reader, which names it."""
    try:
        with path.open("rb") as file:
            first = json.loads(next((line for line in file if line.strip()), b"{}"))
    except (OSError, ValueError, RecursionError):
        return True
    return isinstance(first, dict) and "id" in first


def data_root(name: str) -> Path:
    """The folder of a `--data-root`; `demo` is built on first use.

    Raises:
        DataError: no such folder.
    """
    if name == DEMO:
        from samtok_eval.demo.benchmark import cached_demo

        return cached_demo()
    path = Path(name)
    if not path.is_dir():
        raise DataError(f"--data-root {name} is not a folder; give the folder that holds the benchmarks, or demo")
    return path


def read_samples(task: Task, split: str, root: str, limit: int | None) -> list[Sample]:
    """Samples of a split, the first `limit` of them.

    Raises:
        DataError: the files are missing or broken, or two samples share an id, so that one answer would be lost.
    """
    samples = task.read(data_root(root), split)
    repeated = [name for name, count in Counter(sample.id for sample in samples).items() if count > 1]
    if repeated:
        raise DataError(f"{task.metadata.name}:{split}: {len(repeated)} ids occur twice, {repeated[0]} first")
    return samples[:limit]


def missing_pictures(samples: Sequence[Sample]) -> list[Path]:
    """Distinct pictures that are not there, in the order of the samples."""
    return [path for path in dict.fromkeys(sample.image.path for sample in samples) if not path.is_file()]


def _check_pictures(samples: Sequence[Sample], root: str) -> None:
    """Refuse missing pictures before the model is loaded.

    Raises:
        DataError: one is missing; the message says how many.
    """
    missing = missing_pictures(samples)
    if missing:
        raise DataError(
            f"{len(missing)} of the pictures under --data-root {root} are missing, {missing[0]} first; put them there, "
            "then see `samtok-eval data verify`"
        )


def _model_options(task: Task, options: RunOptions) -> ModelOptions:
    """What the model side needs to know; tasks of the tokenizer alone are answered with the true codes."""
    from samtok_eval.models.select import ModelOptions, is_fixed

    model, tokenizer = options.model, options.tokenizer
    if not task.needs_language_model:
        tokenizer = tokenizer or (DEMO if is_fixed(model) else model)
        model = "oracle"
    return ModelOptions(model, options.model_copy(update={"tokenizer": tokenizer}))


def _folder(options: RunOptions, task: Task, split: str, manifest: Manifest) -> RunFolder:
    base = options.out / task.metadata.name / split / slug(manifest.model.name)
    run_id = str(manifest.run_key)[:RUN_ID_LENGTH]
    if options.fresh:
        taken = sum(1 for path in base.glob(f"{run_id}*") if path.is_dir())
        run_id = f"{run_id}-{taken + 1}" if taken else run_id
    return RunFolder(base / run_id)


def _manifest(
    task: Task,
    split: str,
    samples: Sequence[Sample],
    options: RunOptions,
    chosen: ModelOptions,
    model: Model,
    tokenizer_hash: str,
    settings: PredictSettings,
) -> Manifest:
    dataset = Dataset(
        root=options.data_root,
        samples=len(samples),
        images=len({sample.image.id for sample in samples}),
        sha256=samples_sha256(samples),
        images_sha256=images_sha256(samples),
    )
    effective = {
        "device": chosen.device_name(),
        "dtype": str(chosen.torch_dtype()).removeprefix("torch."),
        "max_new_tokens": settings.max_new_tokens,
    }
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        state="predicting",
        task=task.metadata.name,
        task_version=task.metadata.version,
        split=split,
        model=model,
        tokenizer_sha256=tokenizer_hash,
        prompt=task.prompt.id if task.prompt else "none",
        template=task.prompt.template if task.prompt else "",
        dataset=dataset,
        settings=Settings(**recorded(options) | effective),
        passed=tuple(sorted(options.model_fields_set)),
        packages=_versions(),
        samtok_eval=samtok_eval.__version__,
        git_commit=_git_commit(),
        hardware=_hardware(chosen.device_name()),
        times=Times(started=_now()),
        counters={},
    )
    manifest = manifest.of_layout(task.layout)
    return manifest.replace(run_key=run_key(manifest))


def _foreign_manifest(
    task: Task, split: str, samples: Sequence[Sample], options: RunOptions, given: Path, paths: Sequence[Path]
) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        state="predicted",
        task=task.metadata.name,
        task_version=task.metadata.version,
        split=split,
        model=Model(name=given.stem, identity={"predictions_sha256": _files_sha256(paths)}),
        tokenizer_sha256=None,
        prompt=FOREIGN,
        predictions=str(given),
        dataset=Dataset(root=options.data_root, samples=len(samples), sha256=samples_sha256(samples)),
        settings=Settings(**recorded(options)),
        passed=tuple(sorted(options.model_fields_set)),
        samtok_eval=samtok_eval.__version__,
        times=Times(started=_now()),
        counters={},
    ).of_layout(task.layout)


def _prediction_paths(given: Path, option: str = "--predictions") -> tuple[list[Path], Manifest | None]:
    """Files to read, and the manifest of the run they belong to."""
    if not given.exists():
        raise DataError(f"{option} {given} does not exist; give a predictions file or a run folder")
    if given.is_file():
        return [given], _run_manifest([given.parent.parent] if given.parent.name == "predictions" else [])
    folder = given / "predictions" if (given / "predictions").is_dir() else given
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
            content = read_json(path)
            if isinstance(content, dict) and {"task", "split", "settings"} <= set(content):
                return read_manifest(path)
    return None


def samples_sha256(samples: Sequence[Sample]) -> str:
    """Hash of questions and targets."""
    digest = hashlib.sha256()
    for sample in samples:
        target = sample.target
        row: list[Any] = [sample.id, sample.image.id, [t.text for t in sample.turns], [m.counts for m in target.masks]]
        further = (target.labels, target.texts, target.choice, target.triplets, target.questions, target.unusual)
        row += [value for value in further if value]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def images_sha256(samples: Sequence[Sample]) -> str:
    """Hash of the bytes of every picture; a missing one counts as such."""
    digest = hashlib.sha256()
    for path in dict.fromkeys(sample.image.path for sample in samples):
        digest.update(path.read_bytes() if path.is_file() else b"missing")
    return digest.hexdigest()


def _saved(folder: RunFolder, manifest: Manifest) -> Manifest:
    write_json(folder.manifest, manifest.to_json())
    return manifest


def _files_sha256(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _git_commit() -> str | None:
    """Commit of the checkout this package lies in; None for an installed wheel."""
    home = Path(samtok_eval.__file__).parent.parent
    if not (home / ".git").exists():
        return None
    command = ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _hardware(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": platform.machine(), "cpus": os.cpu_count(), "device": device}
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None:
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
