"""One evaluation from options to a finished run folder; what the command line and `samtok_eval.evaluate` share.

The run folder's name is a hash of everything that can change an answer, so a run goes on only where it left off and
never reads what another model, split or setting wrote.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rich.console import Console

import samtok_eval
from samtok_eval.device import computing_threads, float32_products
from samtok_eval.errors import UsageError
from samtok_eval.files import write_json
from samtok_eval.metrics.judge import JUDGE_REPLIES
from samtok_eval.progress import Progress
from samtok_eval.registry import find_task, load_tasks
from samtok_eval.run.answers import check_same_data, layout_of, prediction_paths, read_answers
from samtok_eval.run.described import foreign_manifest, manifest_of_run, saved
from samtok_eval.run.fingerprints import now
from samtok_eval.run.folder import Run, RunFolder, slug
from samtok_eval.run.known_masks import KnownMasks, check_reusable
from samtok_eval.run.manifest import COMPLETE, Manifest, Profile, Scoring, Times, read_manifest
from samtok_eval.run.measure import Profiler, device_rates, sizes_of, work_of
from samtok_eval.run.prepared import Prepared, prepared
from samtok_eval.run.profile import Work
from samtok_eval.run.questions import Questions
from samtok_eval.run.ranks import Ranks, Shard, Share, launched, ranks_here, shard_of, together
from samtok_eval.run.record_file import RecordsWriter
from samtok_eval.run.references import reference_texts
from samtok_eval.run.samples import read_samples
from samtok_eval.run.score import score
from samtok_eval.run.settings import DEMO, RunKeywords, RunOptions, keywords, settings_of_scoring
from samtok_eval.run.shards import forget_shards, mark_shard
from samtok_eval.run.signature import sealed
from samtok_eval.sample import Sample
from samtok_eval.task import Task

if TYPE_CHECKING:
    from samtok_eval.models.backend import Backend
    from samtok_eval.models.loaded import LoadedModels
    from samtok_eval.run.predict import PredictCounts

RUN_ID_LENGTH = 12


def evaluate(task: str, **options: Unpack[RunKeywords]) -> Run:
    """Run one task with one model: predict, then score.

    Args:
        task: task name.
        **options: fields of `RunOptions`; `model` may also be a back end of your own, see docs/backends.md.

    Raises:
        SamtokError: anything a user can act on.
    """
    given: dict[str, Any] = {**options}
    own = given.get("model", DEMO)
    if isinstance(own, str):
        return run(RunOptions(task=task, **given))
    from samtok_eval.models.python_file import PYTHON, given_backend

    backend = given_backend(own)
    return run_all([RunOptions(task=task, **{**given, "model": f"{PYTHON}{backend.name}"})], given=backend)[0]


evaluate.__signature__ = keywords().replace(return_annotation=Run)  # type: ignore[attr-defined]


def run(options: RunOptions, console: Console | None = None, scoring: bool = True) -> Run:
    """Carry out one run, see `run_all`."""
    return run_all([options], console, scoring)[0]


def run_all(
    several: Sequence[RunOptions],
    console: Console | None = None,
    scoring: bool = True,
    given: Backend | None = None,
    alone: bool = False,
    questions: Questions | None = None,
) -> list[Run]:
    """Carry out several runs; each model is loaded once.

    Processes that `torchrun` or `srun` started together share the questions of each run, and only the first of them
    scores. It does so after the last question of the last run, so that no process waits while it scores.

    Args:
        several: settings of each run, in any order.
        console: for the progress bar; none is shown without it.
        scoring: False stops after predicting; so does a shard.
        given: answers, where the options name no model that could be loaded.
        alone: whether this process asks everything, though others were started with it.
        questions: may hold those of the first split, and holds those of the last one then.

    Returns:
        The runs in the order of `several`; without metrics where this process did not score.

    Raises:
        SamtokError: anything a user can act on.
    """
    from samtok_eval.models.loaded import LoadedModels
    from samtok_eval.models.select import check_used

    check_used(several)
    ranks = None if alone else _ranks(several)
    questions = questions or Questions()
    answered: dict[int, _Answered] = {}
    scored: dict[int, Run] = {}
    with together(ranks):
        for members in _by_model(several):
            models = LoadedModels(given)
            for i in members:
                answered[i] = _answer(several[i], models, questions, ranks, console or Console(quiet=True))
                if scoring and ranks is None and several[i].shard is None:
                    scored[i] = answered.pop(i).scored()
    scores = scoring and ranks is not None and ranks.first
    scored |= {i: each.scored() if scores else each.run for i, each in answered.items()}
    return [scored[i] for i in range(len(several))]


def _ranks(several: Sequence[RunOptions]) -> Ranks | None:
    """The processes that share the runs; a shard talks to none.

    Raises:
        UsageError: each of them would start an engine of vLLM's, all on the same GPU.
    """
    from samtok_eval.models.select import is_vllm

    if any(options.shard for options in several):
        return None
    if launched(os.environ) and any(is_vllm(options.model) for options in several):
        raise UsageError(
            "--model vllm:... takes several GPUs in one process: give --tensor-parallel N instead of starting ranks, "
            "or --shard I/N with one of CUDA_VISIBLE_DEVICES each"
        )
    return ranks_here()


def _by_model(several: Sequence[RunOptions]) -> list[list[int]]:
    """Indices of the runs of each model, so that one model at a time is in memory."""
    found: dict[str, list[int]] = {}
    for i, options in enumerate(several):
        found.setdefault(options.model, []).append(i)
    return list(found.values())


@dataclass(frozen=True)
class _Answered:
    """A run whose questions were asked."""

    task: Task
    samples: Sequence[Sample]
    run: Run
    """Without metrics."""

    def scored(self) -> Run:
        """The same with metrics."""
        folder = RunFolder(self.run.path)
        profiler = Profiler("cpu")
        with profiler.stage("score"):
            run = score_into(self.task, self.samples, folder, self.run.manifest)
        profile = run.manifest.profile
        if profile is None:
            return run
        profile = profile.model_copy(update={"stages": profile.stages | profiler.stages()})
        return replace(run, manifest=saved(folder, run.manifest.replace(profile=profile)))


def _answer(
    options: RunOptions, models: LoadedModels, questions: Questions, ranks: Ranks | None, console: Console
) -> _Answered:
    """Ask this process's share of a run's questions; the first process returns when all are answered."""
    share = shard_of(options.shard) if options.shard else ranks.run() if ranks else Shard()
    ready = prepared(options, models, questions)
    with ExitStack() as held:
        begun = begin(ready, manifest_of_run(ready), held) if share.first else None
        folder = RunFolder(Path(share.same(str(begun.path) if begun else None)))
        started = time.perf_counter()
        counts, profile = ask(ready, folder, share, console if share.first else Console(quiet=True))
        if begun is None or options.shard:
            return _Answered(ready.task, ready.samples, Run(folder.path, read_manifest(folder.manifest)))
        seconds = round(time.perf_counter() - started, 3)
        times = Times(started=begun.manifest.times.started, predict_seconds=seconds, finished=now())
        measured = {"profile": profile} if profile else {}
        changes = {"state": "predicted", "counters": asdict(counts), "times": times, **measured}
        manifest = saved(folder, begun.manifest.replace(**changes))
    return _Answered(ready.task, ready.samples, Run(folder.path, manifest))


def begin(ready: Prepared, manifest: Manifest, held: ExitStack) -> Run:
    """Take hold of a run's folder and mend it, so that questions can be asked.

    Args:
        ready: what is asked.
        manifest: of the run, see `manifest_of_run`.
        held: keeps the folder until the questions are asked.
    """
    options = ready.options
    # Refused before hours of answering, not after.
    _references(manifest)
    if options.reuse_decoded:
        check_reusable(options.reuse_decoded, manifest)
    folder = _folder(options, ready.task, ready.split, manifest)
    held.enter_context(folder.held(shared=options.shard is not None))
    predictions = folder.part().parent
    if options.shard is None:
        folder.repair()
        forget_shards(predictions)
    else:
        mark_shard(predictions, shard_of(options.shard))
    if options.shard and folder.manifest.exists():
        # Shards share the folder, and the first of them describes the run.
        return Run(folder.path, read_manifest(folder.manifest))
    return Run(folder.path, saved(folder, manifest.replace(run_id=folder.path.name)))


def ask(
    ready: Prepared,
    folder: RunFolder,
    share: Share,
    console: Console,
    known: KnownMasks | None = None,
    goes_on: bool = False,
) -> tuple[PredictCounts, Profile | None]:
    """Ask a share of the questions; what happened, and how fast where that was to be measured.

    Args:
        ready: everything that asking needs.
        folder: receives the answers.
        share: which batches are asked.
        console: for the progress bar.
        known: masks that need not be decoded; those of `--reuse-decoded` by default.
        goes_on: whether this command has asked another share of them before.
    """
    from samtok_eval.run.predict import predict

    options, backend, device = ready.options, ready.backend, ready.chosen.device_name()
    if known is None and options.reuse_decoded:
        known = KnownMasks(options.reuse_decoded)
    profiler = Profiler(device) if options.profile else None
    before = work_of(backend)
    title = f"{ready.task.metadata.name}:{ready.split} {ready.name}"
    with (
        Progress(title, console, goes_on) as progress,
        computing_threads(ready.threads),
        float32_products(options.tf32),
    ):
        counts = predict(
            ready.task, ready.samples, backend, ready.tokenizer, folder, options, progress, share, known, profiler
        )  # fmt: skip
    if profiler is None:
        return counts, None
    work, sizes = Work(**(work_of(backend) - before)), sizes_of(backend, ready.tokenizer)
    return counts, profiler.profile(counts.predicted, work, sizes, device_rates(device, ready.chosen.torch_dtype()))


@contextmanager
def _without_search_for_cycles() -> Iterator[None]:
    """Scoring makes millions of objects and no cycles of them; to search for some took a sixth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_search_for_cycles()
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
    settings = manifest.settings
    seed = settings.seed_of_statistics
    # Refused before answers are read.
    references = _references(manifest)
    paths = folder.parts() if predictions is None else predictions
    with RecordsWriter(folder.records) as writer:
        scored = score(
            task,
            samples,
            # Held by nobody else, so that it leaves memory before metrics are made.
            read_answers(task, samples, paths, own),
            seed,
            settings.protocols,
            settings.judge,
            folder.path / JUDGE_REPLIES,
            references,
            writer.add,
        )
        for name, content in scored.exports.items():
            write_json(folder.official_format / name, content)
        writer.finish()
    write_json(folder.metrics, scored.metrics.to_json())
    manifest = manifest.replace(
        state=COMPLETE,
        counters=manifest.counters | scored.metrics.counters.model_dump(),
        scoring=Scoring(samtok_eval=samtok_eval.__version__, task_version=task.metadata.version, seed=seed),
    )
    manifest = sealed(manifest, list(scored.metrics.protocols))
    return Run(folder.path, saved(folder, manifest), scored.metrics)


@_without_search_for_cycles()
def score_file(options: RunOptions, predictions: Path) -> Run:
    """Score saved predictions, ours or foreign, without a model.

    Args:
        options: task, split, data root, limit and where to write (`out` is the folder itself).
        predictions: a predictions file, a folder of parts or of the benchmark's own files, or a run folder. Of a run
            folder, split and limit come from its manifest where the options do not say.

    Raises:
        SamtokError: wrong task, split or data, or broken predictions.
    """
    paths, origin = prediction_paths(predictions)
    task = find_task(load_tasks(options.tasks_dirs), options.task)
    split, limit = options.split, options.limit
    if origin:
        if origin.task != options.task:
            raise UsageError(f"{predictions} holds predictions for {origin.task}, not {options.task}; correct --task")
        split = split or origin.split
        limit = limit or origin.settings.limit
        task = task.asked_with(origin.settings.prompt, split)
    task = task.with_layout(layout_of(origin, options.tokenizer, predictions))
    split = task.check_split(split)
    task.check_judge(options.judge)
    samples = read_samples(task, split, options.data_root, limit)
    if origin:
        check_same_data(task, samples, options.data_root, origin, predictions)
    manifest = origin or foreign_manifest(task, split, samples, options, predictions, paths)
    changes = {"limit": limit, "data_root": options.data_root, **settings_of_scoring(options)}
    passed = {name for name in manifest.passed if name not in changes}
    passed |= {name for name in options.model_fields_set if name in changes}
    passed |= {"statistics_seed"} if "seed" in options.model_fields_set else set()
    manifest = manifest.replace(settings=manifest.settings.model_copy(update=changes), passed=tuple(sorted(passed)))
    return score_into(task, samples, RunFolder(options.out), manifest, paths)


def _references(manifest: Manifest) -> dict[str, str] | None:
    given = manifest.settings.reference_codes
    return reference_texts(given, *prediction_paths(given, "--reference-codes"), manifest) if given else None


def _folder(options: RunOptions, task: Task, split: str, manifest: Manifest) -> RunFolder:
    base = options.out / task.metadata.name / split / slug(manifest.model.name)
    run_id = str(manifest.run_key)[:RUN_ID_LENGTH]
    if options.fresh:
        taken = sum(1 for path in base.glob(f"{run_id}*") if path.is_dir())
        run_id = f"{run_id}-{taken + 1}" if taken else run_id
    return RunFolder(base / run_id)
