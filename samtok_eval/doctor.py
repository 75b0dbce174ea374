"""Health checks: versions, device, weights, mask words, one round trip, benchmarks present."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from samtok_eval.errors import SamtokError
from samtok_eval.evaluation import DEMO, PACKAGES, data_root
from samtok_eval.task import Task, load_tasks


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


def _split(task: Task, name: str, split: str, folder: Path) -> Check:
    title = f"{name}:{split}"
    try:
        samples = task.read(folder, split)
    except SamtokError as error:
        absent = "is missing" in str(error)
        return Check(title, False, str(error), required=not absent)
    pictures = {sample.image.path for sample in samples}
    missing = sorted(path for path in pictures if not path.is_file())
    if missing:
        return Check(title, False, f"{len(missing)} of {len(pictures)} pictures are missing, {missing[0]} first")
    return Check(title, True, f"{len(samples)} samples on {len(pictures)} pictures")


def _model(model: str, tokenizer: str | None, device: str) -> Iterator[Check]:
    import torch

    from samtok_eval.mask_tokens import WORDS
    from samtok_eval.models.select import ModelOptions, load_backend, load_mask_tokenizer, tokenizer_sha256

    options = ModelOptions(model=model, tokenizer=tokenizer, device=device)
    try:
        yield Check(
            "device", True, f"{options.device_name()}, {torch.get_num_threads()} threads, {options.torch_dtype()}"
        )
        masks = load_mask_tokenizer(options)
        yield Check("mask tokenizer", True, f"{masks.config.image_size} px, sha256 {tokenizer_sha256(masks)[:12]}")
        backend = load_backend(options, masks)
    except SamtokError as error:
        yield Check("model", False, str(error))
        return
    yield Check("mask words", True, f"all {len(WORDS)} in the vocabulary of {backend.name}")
    side = 96
    picture = np.full((side, side, 3), 40, dtype=np.uint8)
    picture[24:72, 24:72] = (215, 45, 45)
    square = (picture[:, :, 0] > 100)[None]
    codes = masks.encode(picture, square)
    again = masks.decode(picture, codes)
    iou = float((again & square).sum() / (again | square).sum())
    note = " (the bundled tokenizer reaches about 0.9)" if model == DEMO else ""
    yield Check("round trip", iou > 0.5, f"a red square -> {codes[0].tolist()} -> IoU {iou:.2f}{note}")
