"""Health checks: versions, device, weights, mask words, one round trip, benchmarks present."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from samtok_eval.demo.benchmark import HELD_OUT
from samtok_eval.demo.world.scenes import draw_scene
from samtok_eval.errors import MissingFileError, SamtokError
from samtok_eval.metrics.caption_programs import CaptionToolsError, probe
from samtok_eval.registry import load_tasks
from samtok_eval.run.fingerprints import PACKAGES
from samtok_eval.run.samples import data_root, missing_pictures, read_samples
from samtok_eval.run.settings import DEMO, RunSettings
from samtok_eval.task import Task
from samtok_eval.task_checks import check_samples

AUDITED = 32
"""Questions that are asked both ways."""
LEAST_ROUND_TRIP = 0.5
"""Mean IoU of a round trip; one below this means that the weights were not loaded, or not for this code."""


class Check(NamedTuple):
    """One finding."""

    name: str
    ok: bool
    found: str
    required: bool = True


def examine(model: str, root: str, tokenizer: str | None, device: str) -> Iterator[Check]:
    """Look at everything a run needs, one finding at a time.

    Args:
        model: checkpoint.
        root: data root.
        tokenizer: mask tokenizer, when not beside the model.
        device: `auto`, `cpu` or `cuda`.
    """
    for name in PACKAGES:
        try:
            yield Check(name, True, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Check(name, False, "absent; install samtok-eval[model]")
            return
    yield _captions()
    yield from _model(model, tokenizer, device)
    yield from verify_data(root, ())


def verify_data(root: str, tasks_dirs: Sequence[Path]) -> Iterator[Check]:
    """Read every split of every task whose files are there; look for its pictures.

    Args:
        root: data root.
        tasks_dirs: further task folders.
    """
    try:
        folder = data_root(root)
    except SamtokError as error:
        yield Check("data root", False, str(error))
        return
    yield Check("data root", True, str(folder))
    for name, task in load_tasks(tasks_dirs).items():
        for split in task.metadata.splits:
            yield _split(task, name, split, folder)


def check_precision(model: str, settings: RunSettings) -> Iterator[Check]:
    """Compare an asked way to compute with float32, on a few questions of the demo.

    Args:
        model: checkpoint.
        settings: the asked way.
    """
    from samtok_eval.run.precision import LEAST_EQUAL, LEAST_IOU, LEAST_MEAN_IOU, audit

    task = load_tasks()["gres"]
    found = audit(model, settings, task, read_samples(task, task.metadata.default_split, DEMO, AUDITED))
    codes = found.equal_codes >= LEAST_EQUAL
    decoding = found.mean_iou >= LEAST_MEAN_IOU and found.least_iou >= LEAST_IOU
    texts = found.equal_texts >= LEAST_EQUAL
    ious = f"mean {found.mean_iou:.4f}, least {found.least_iou:.4f}"
    yield Check("codes", codes, f"{found.equal_codes:.1%} of {found.masks} equal those of fp32")
    yield Check("masks", decoding, f"IoU with those that fp32 decodes from the same codes: {ious}")
    yield Check("texts", texts, f"{found.equal_texts:.1%} of {found.texts} equal those of fp32")
    if found.is_close:
        verdict = "a benchmark says the same, up to near ties"
    elif codes and decoding:
        verdict = "masks may be decoded this way; texts change, so compare a run each way with `gate`"
    else:
        verdict = "masks change; keep --mask-dtype fp32, without --tf32 and --compile"
    yield Check("verdict", found.is_close, verdict)


def _split(task: Task, name: str, split: str, folder: Path) -> Check:
    title = f"{name}:{split}"
    try:
        samples = task.read(folder, split)
        check_samples(task, split, samples)
    except SamtokError as error:
        return Check(title, False, str(error), required=not isinstance(error, MissingFileError))
    pictures = {sample.image.path for sample in samples}
    missing = missing_pictures(samples)
    if missing:
        return Check(title, False, f"{len(missing)} of {len(pictures)} pictures are missing, {missing[0]} first")
    return Check(title, True, f"{len(samples)} samples on {len(pictures)} pictures")


def _captions() -> Check:
    try:
        probe()
    except CaptionToolsError as error:
        return Check("METEOR and CIDEr", False, str(error), required=False)
    return Check("METEOR and CIDEr", True, "pycocoevalcap and Java")


def _model(model: str, tokenizer: str | None, device: str) -> Iterator[Check]:
    import torch

    from samtok_eval.models.select import (
        ModelOptions,
        is_fixed,
        is_served,
        load_backend,
        load_mask_tokenizer,
        tokenizer_sha256,
    )

    options = ModelOptions(model, RunSettings(tokenizer=tokenizer, device=device))
    try:
        yield Check(
            "device", True, f"{options.device_name()}, {torch.get_num_threads()} threads, {options.torch_dtype()}"
        )
        masks = load_mask_tokenizer(options)
        yield Check("mask tokenizer", True, f"{masks.config.image_size} px, sha256 {tokenizer_sha256(masks)[:12]}")
        backend = load_backend(options, masks, load_tasks()["gres"], [])
    except SamtokError as error:
        yield Check("model", False, str(error))
        return
    if not (is_fixed(model) or is_served(model)):
        yield Check("mask words", True, f"all {len(masks.config.layout.words)} in the vocabulary of {backend.name}")
    scene = draw_scene(HELD_OUT)
    truth = np.stack([o.mask for o in scene.objects])
    found = masks.decode(scene.image, masks.encode(scene.image, truth))
    iou = float(np.mean((found & truth).sum((1, 2)) / (found | truth).sum((1, 2))))
    yield Check("round trip", iou > LEAST_ROUND_TRIP, f"{len(truth)} masks of a synthetic scene, mean IoU {iou:.2f}")
