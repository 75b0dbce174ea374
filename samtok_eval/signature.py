"""What identifies a run: the string under every table, the key of its answers and the key of its scores.

All three follow from the manifest alone, so that a manifest in which something was changed no longer fits them. The
long form of the string is `key:value` joined by `|`; the short one names task, protocol, model and size, and ends in a
hash of the long one, so that equal short forms mean equal long ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

HASH_SHOWN = 8
OF_THE_MODEL = ("model", "weights", "tokenizer", "run")
"""What may differ between runs that are compared."""
PACKAGES = ("torch", "transformers")
UNSET = "none"
OF_ANSWERS = ("batch_size", "max_new_tokens", "device", "dtype", "seed", "group_pictures", "history")
"""Settings that can change an answer and that nothing else in the key holds."""
IDENTIFYING = (
    "schema_version", "run_key", "task", "task_version", "split", "model", "tokenizer_sha256", "prompt", "template",
    "dataset", "settings", "packages", "samtok_eval", "git_commit",
)  # fmt: skip
"""What the key of the scores covers: all of a manifest but where and when it ran and what came out."""


def run_key(manifest: Mapping[str, Any]) -> str:
    """Hash of everything that can change an answer.

    Args:
        manifest: of a run that was predicted here, with the prompt's `template`.
    """
    return _sha256(
        {
            "task": manifest["task"],
            "version": manifest["task_version"],
            "split": manifest["split"],
            "model": manifest["model"]["identity"],
            "tokenizer": manifest["tokenizer_sha256"],
            "prompt": manifest["prompt"],
            "template": manifest["template"],
            "dataset": {name: manifest["dataset"].get(name) for name in ("sha256", "images_sha256")},
            "settings": {name: manifest["settings"].get(name) for name in OF_ANSWERS},
            "samtok_eval": manifest["samtok_eval"],
        }
    )


def scoring_key(manifest: Mapping[str, Any]) -> str:
    """Hash of what was scored, and how; the only key of predictions from elsewhere.

    Args:
        manifest: with `scoring`, whose own `key` does not count.
    """
    scoring = {name: value for name, value in manifest["scoring"].items() if name != "key"}
    return _sha256({name: manifest.get(name) for name in IDENTIFYING} | {"scoring": scoring})


def scored_version(manifest: Mapping[str, Any]) -> int:
    """The version of the task whose rules gave the numbers; that of the answers where the manifest does not say."""
    return int(manifest.get("scoring", manifest)["task_version"])


def signature_parts(manifest: Mapping[str, Any], protocol: str) -> dict[str, str]:
    """Everything that can change a number, by name, from the manifest of a scored run."""
    settings, scoring = manifest["settings"], manifest["scoring"]
    packages = manifest.get("packages", {})
    parts = {
        "task": f"{manifest['task']}:{manifest['split']}",
        "version": scored_version(manifest),
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
        "seed": _seeds(settings.get("seed"), scoring["seed"]),
        **{name: packages.get(name) for name in PACKAGES},
        "samtok-eval": manifest["samtok_eval"],
        "scorer": scoring["samtok_eval"],
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


def _seeds(of_answers: int | None, of_intervals: int) -> str:
    same = of_answers in (None, of_intervals)
    return f"{of_intervals}" if same else f"{of_answers}, intervals {of_intervals}"


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _short(digest: str | None) -> str | None:
    return digest[:HASH_SHOWN] if digest else None
