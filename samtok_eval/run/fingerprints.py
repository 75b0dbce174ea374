"""Hashes of what was asked, and what is known of the machine and its packages."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import samtok_eval
from samtok_eval.files import read_bytes, read_chunks
from samtok_eval.sample import Sample, Target
from samtok_eval.sample_table import SampleTable

_quoted = json.encoder.encode_basestring_ascii
PACKAGES = ("torch", "torchvision", "transformers", "tokenizers", "sam2", "numpy", "pillow", "pycocotools")


TOGETHER = 256
"""Questions that are hashed at a time."""


def samples_sha256(samples: Sequence[Sample]) -> str:
    """Hash of questions and targets."""
    digest = hashlib.sha256()
    questions = _questions_of_table(samples) if isinstance(samples, SampleTable) else map(_question, samples)
    while some := "".join(islice(questions, TOGETHER)):
        digest.update(some.encode())
    return digest.hexdigest()


def _question(sample: Sample) -> str:
    """JSON of a question and its target; put together by hand, since a million of them are hashed."""
    turns = ", ".join([_quoted(turn.text) for turn in sample.turns])
    return f"[{_quoted(sample.id)}, {_quoted(sample.image.id)}, [{turns}], {_target(sample.target)}]"


def _target(target: Target) -> str:
    further = (target.labels, target.texts, target.choice, target.triplets, target.questions, target.unusual)
    parts = [
        f"[{', '.join([_quoted(mask.counts) for mask in target.masks])}]",
        *[json.dumps(value) for value in further if value],
    ]
    return ", ".join(parts)


def _questions_of_table(samples: SampleTable) -> Iterator[str]:
    """`_question` of each sample, without building it."""
    ends: dict[int, tuple[str, str]] = {}
    for name, question, common in zip(samples.ids, samples.questions, samples.common, strict=True):
        parts = ends.get(id(common))
        if parts is None:
            parts = ends[id(common)] = _quoted(common.image.id), _target(common.target)
        yield f"[{_quoted(name)}, {parts[0]}, [{_quoted(question)}], {parts[1]}]"


def images_sha256(samples: Sequence[Sample]) -> str:
    """Hash of the bytes of every picture; a missing one counts as such."""
    digest = hashlib.sha256()
    for path in dict.fromkeys(image.path for sample in samples for image in sample.pictures):
        digest.update(read_bytes(path) if path.is_file() else b"missing")
    return digest.hexdigest()


def files_sha256(paths: Sequence[Path]) -> str:
    """Hash of the bytes of all files, in their order.

    Raises:
        DataError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        for chunk in read_chunks(path, remedy="give files that can be read"):
            digest.update(chunk)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that answers rest on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def git_commit() -> str | None:
    """Commit of the checkout this package lies in; None for an installed wheel."""
    home = Path(samtok_eval.__file__).parent.parent
    if not (home / ".git").exists():
        return None
    command = ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def hardware(device: str, threads: int) -> dict[str, Any]:
    """What is known of the machine.

    Args:
        device: where models compute.
        threads: of torch on the CPU.
    """
    found: dict[str, Any] = {"machine": platform.machine(), "cpus": os.cpu_count(), "device": device}
    found["threads"] = threads
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None:
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def now() -> str:
    """UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
