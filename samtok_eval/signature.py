"""The string under every table: everything that can change its numbers, long or as one line with a hash.

The long form is `key:value` joined by `|`; the short one names task, protocol, model and size, and ends in a hash of
the long one, so that equal short forms mean equal long ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import samtok_eval

HASH_SHOWN = 8
OF_THE_MODEL = ("model", "weights", "tokenizer", "run")
"""What may differ between runs that are compared."""
PACKAGES = ("torch", "transformers")
UNSET = "none"


def signature_parts(manifest: Mapping[str, Any], protocol: str) -> dict[str, str]:
    """Everything that can change a number, by name, from a run's manifest."""
    settings = manifest["settings"]
    packages = manifest.get("packages", {})
    parts = {
        "task": f"{manifest['task']}:{manifest['split']}",
        "version": manifest["task_version"],
        "protocol": protocol,
        "model": manifest["model"]["name"],
        "weights": _short(manifest["model"]["identity"].get("weights_sha256")),
        "tokenizer": _short(manifest["tokenizer_sha256"]),
        "prompt": manifest["prompt"],
        "data": _short(manifest["dataset"]["sha256"]),
        "images": _short(manifest["dataset"].get("images_sha256")),
        "n": manifest["dataset"]["samples"],
        "device": settings.get("device"),
        "dtype": settings.get("dtype"),
        "batch": settings.get("batch_size"),
        "grouped": settings.get("group_pictures"),
        "tokens": settings.get("max_new_tokens"),
        "pixels": f"{settings.get('min_pixels') or ''}-{settings.get('max_pixels') or ''}",
        "constrained": settings.get("constrained"),
        "history": settings.get("history"),
        "judge": settings.get("judge"),
        "seed": settings.get("seed"),
        **{name: packages.get(name) for name in PACKAGES},
        "samtok-eval": manifest["samtok_eval"],
        "scorer": samtok_eval.__version__,
        "run": _short(manifest.get("run_key")),
    }
    return {key: UNSET if value is None else str(value).replace("|", "/") for key, value in parts.items()}


def signature(manifest: Mapping[str, Any], protocol: str) -> str:
    """The long form."""
    return "|".join(f"{key}:{value}" for key, value in signature_parts(manifest, protocol).items())


def short_signature(long: str) -> str:
    """The short form of a long one."""
    parts = signature_dict(long)
    shown = [parts[key] for key in ("task", "protocol", "model") if key in parts]
    shown += [f"n:{parts['n']}"] if "n" in parts else []
    return "|".join([*shown, f"#{hashlib.sha256(long.encode()).hexdigest()[:HASH_SHOWN]}"])


def signature_dict(long: str) -> dict[str, str]:
    """The parts of a long signature by name."""
    return {key: value for key, _, value in (part.partition(":") for part in long.split("|"))}


def differences(first: str, second: str) -> dict[str, tuple[str, str]]:
    """What two long signatures disagree about, the model left out: name -> (first, second)."""
    one, other = signature_dict(first), signature_dict(second)
    names = [name for name in {**one, **other} if name not in OF_THE_MODEL]
    pairs = {name: (one.get(name, UNSET), other.get(name, UNSET)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _short(digest: str | None) -> str | None:
    return digest[:HASH_SHOWN] if digest else None
