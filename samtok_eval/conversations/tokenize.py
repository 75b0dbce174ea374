"""Benchmark masks to fine-tuning conversations with mask words, by one process or many.

In: a task's samples and a mask tokenizer. Out: a folder with `conversations.json` in the released training format
(`datasets/sft.py`), `manifest.json`, and enlarged views. Pictures are shared out in fixed groups that are tokenized
together; the groups depend neither on the number of processes nor on where an earlier run stopped, so neither do the
codes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

import samtok_eval
from samtok_eval.conversations.recipe import ConversationJob, ConversationRecipe
from samtok_eval.conversations.samples import build
from samtok_eval.conversations.store import ConversationFolder, Entry, PartLog
from samtok_eval.datasets.sft import VIEWS, SftCounts, layout_note
from samtok_eval.device import memory_named
from samtok_eval.errors import TooManyErrorsError, UsageError
from samtok_eval.models.select import tokenizer_sha256
from samtok_eval.progress import Progress
from samtok_eval.run.fingerprints import images_sha256, samples_sha256
from samtok_eval.run.samples import data_root as resolved_root
from samtok_eval.run.samples import read_samples
from samtok_eval.sample import Sample
from samtok_eval.task import Task

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "sam2", "pillow")
"""Other releases may give other codes; recorded, not compared."""


@dataclass(frozen=True)
class Tokenized:
    """What one call did."""

    path: Path
    """The finished file; there only when `waiting` is 0."""
    written: int
    """Conversations of this call."""
    skipped: int
    """Samples of all processes and calls for which there is none."""
    waiting: int
    """Samples that other processes have not written yet."""


def tokenize(
    task: Task,
    split: str | None,
    tokenizer: MaskTokenizer,
    recipe: ConversationRecipe,
    job: ConversationJob,
    *,
    console: Console | None = None,
) -> Tokenized:
    """Write the conversations of one split, going on where an earlier call with the same settings stopped.

    Args:
        task: its samples, prompts and right answers are written.
        split: the task's default one if None.
        tokenizer: gives the codes; where it computes counts as a setting.
        recipe: which conversations, and how.
        job: everything around; `out` is the folder of this split. The number of processes may differ from an earlier
            call's.
        console: for the progress bar; none is shown without it.

    Raises:
        UsageError: a setting cannot be, or the folder was begun with other settings.
        DataError: the benchmark's files or the folder's are missing or broken.
        TooManyErrorsError: more samples were skipped than allowed; everything else is on disk.
    """
    rank, world_size = job.share()
    _check(task)
    split = task.check_split(split)
    task = task.asked_with(recipe.prompt, split).with_layout(tokenizer.config.layout)
    root = resolved_root(job.data_root)
    samples = _chosen(_answerable(task, split, root), recipe)
    manifest = _manifest(task, split, samples, tokenizer, recipe)
    folder = ConversationFolder(job.out, task.layout)
    if job.fresh:
        folder.clear(world_size)
    folder.open(manifest)
    known = folder.entries()
    groups = _groups(samples, recipe.batch_size)[rank::world_size]
    mine = [sample for group in groups for sample in group]
    waiting = {sample.id for sample in mine} - set(known)
    skipped, written = sum(entry.skipped is not None for entry in known.values()), 0
    with (
        Progress(f"{task.metadata.name}:{split} tokenize", console or Console(quiet=True)) as progress,
        PartLog(folder, rank) as log,
    ):
        progress.start(total=len(mine), done=len(mine) - len(waiting))
        for group in groups:
            for entry, views in _tokenized(task, group, waiting, tokenizer, recipe, root):
                log.append(entry, views)
                written += entry.conversation is not None
                skipped += entry.skipped is not None
                progress.advance()
            _check_skipped(skipped, job.max_errors, job.out)
    return _finish(folder, samples, manifest, job.max_errors, written)


def _tokenized(
    task: Task,
    group: Sequence[Sample],
    waiting: set[str],
    tokenizer: MaskTokenizer,
    recipe: ConversationRecipe,
    root: Path,
) -> Iterator[tuple[Entry, dict[str, bytes]]]:
    """Lines of a group that are not written yet. A begun group is tokenized whole, for the same codes as at first."""
    if not any(sample.id in waiting for sample in group):
        return
    with memory_named(f"{recipe.batch_size} pictures at once", ("--batch-size, with another --out",)):
        for built in build(task, group, tokenizer, recipe.batch_size, recipe.answers, root):
            if built.id not in waiting:
                continue
            if built.skipped is not None:
                logger.warning("sample %s: %s", built.id, built.skipped)
            yield Entry(**{name: getattr(built, name) for name in Entry.model_fields}), built.views


def _finish(
    folder: ConversationFolder, samples: Sequence[Sample], manifest: dict[str, Any], max_errors: int, written: int
) -> Tokenized:
    """Merge the parts if they hold every sample."""
    known = folder.entries()
    missing = sum(sample.id not in known for sample in samples)
    entries = [known[sample.id] for sample in samples if sample.id in known]
    skipped = [{"id": entry.id, "reason": entry.skipped} for entry in entries if entry.skipped is not None]
    if not missing:
        _check_skipped(len(skipped), max_errors, folder.path)
        counters = {
            "samples": len(samples),
            "skipped": len(skipped),
            **asdict(_counts(entries)),
            "kept_answers": sum(entry.kept_answers for entry in entries),
        }
        folder.finish(entries, {**manifest, "counters": counters, "skipped": skipped})
        if counters["kept_answers"]:
            logger.warning(
                "%d earlier answers keep the file's own mask words; tokenize without a limit, or with the tokenizer "
                "that made the file",
                counters["kept_answers"],
            )
    return Tokenized(folder.finished, written, len(skipped), missing)


def _counts(entries: Sequence[Entry]) -> SftCounts:
    found = [entry.conversation for entry in entries if entry.conversation is not None]
    names = {name for conversation in found for name in conversation.images}
    views = sum(name.startswith(f"{VIEWS}/") for name in names)
    return SftCounts(len(found), len(names) - views, views, sum(conversation.mask_count for conversation in found))


def _check(task: Task) -> None:
    if not task.needs_language_model:
        raise UsageError(
            f"--task {task.metadata.name}: it asks no question, so there is no conversation; choose another"
        )


def _answerable(task: Task, split: str, root: Path) -> Sequence[Sample]:
    """Samples of a split that says what is right, not only what a judge would ask.

    Raises:
        UsageError: of another split.
    """
    samples = read_samples(task, split, str(root), None)
    if any(sample.target.for_judge and not sample.target.texts for sample in samples):
        raise UsageError(
            f"{task.metadata.name}:{split} holds questions for a judge and no right answers; choose another split"
        )
    return samples


def _check_skipped(skipped: int, max_errors: int, out: Path) -> None:
    if skipped > max_errors:
        raise TooManyErrorsError(
            f"{skipped} samples were skipped, --max-errors allows {max_errors}; see the reasons in {out / 'parts'}, "
            "then go on with a larger --max-errors"
        )


def _chosen(samples: Sequence[Sample], recipe: ConversationRecipe) -> Sequence[Sample]:
    """The first samples, or drawn ones in the order of the file."""
    if recipe.seed is None:
        return samples[: recipe.limit]
    drawn = np.random.default_rng(recipe.seed).permutation(len(samples))[: recipe.limit]
    return [samples[i] for i in sorted(drawn.tolist())]


def _groups(samples: Sequence[Sample], pictures: int) -> list[list[Sample]]:
    """Samples of so many pictures each, pictures in order of first mention, none in two groups."""
    by_picture: dict[Path, list[Sample]] = {}
    for sample in samples:
        by_picture.setdefault(sample.image.path, []).append(sample)
    each = list(by_picture.values())
    return [
        [sample for several in each[first : first + pictures] for sample in several]
        for first in range(0, len(each), pictures)
    ]


def _manifest(
    task: Task, split: str, samples: Sequence[Sample], tokenizer: MaskTokenizer, recipe: ConversationRecipe
) -> dict[str, Any]:
    dtype = tokenizer.autocast_dtype
    return {
        "task": task.metadata.name,
        "task_version": task.metadata.version,
        "split": split,
        "prompt": task.prompt.id if task.prompt else "none",
        "dataset": {
            "samples": len(samples),
            "images": len({sample.image.path for sample in samples}),
            "sha256": samples_sha256(samples),
            "images_sha256": images_sha256(samples),
        },
        "tokenizer_sha256": tokenizer_sha256(tokenizer),
        "settings": {name: value for name, value in asdict(recipe).items() if name != "prompt"}
        | {"device": tokenizer.device.type, "dtype": str(dtype).removeprefix("torch.") if dtype else "auto"},
        "samtok_eval": samtok_eval.__version__,
        "packages": {name: metadata.version(name) for name in PACKAGES},
        **layout_note(task.layout),
    }
