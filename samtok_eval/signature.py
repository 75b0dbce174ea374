"""The short string under every table: everything that can change its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import samtok_eval

HASH_SHOWN = 8


def signature(manifest: Mapping[str, Any], protocol: str) -> str:
    """`key:value` pairs joined by `|`, from a run's manifest."""
    settings = manifest["settings"]
    parts = {
        "task": f"{manifest['task']}:{manifest['split']}",
        "version": manifest["task_version"],
        "protocol": protocol,
        "model": manifest["model"]["name"],
        "weights": _short(manifest["model"]["identity"].get("weights_sha256")),
        "tokenizer": _short(manifest["tokenizer_sha256"]),
        "prompt": manifest["prompt"],
        "data": _short(manifest["dataset"]["sha256"]),
        "n": manifest["dataset"]["samples"],
        "dtype": settings["dtype"],
        "batch": settings["batch_size"],
        "tokens": settings["max_new_tokens"],
        "seed": settings["seed"],
        "samtok-eval": samtok_eval.__version__,
        "run": _short(manifest.get("run_key")),
    }
    return "|".join(f"{key}:{value}" for key, value in parts.items())


def _short(digest: str | None) -> str:
    return digest[:HASH_SHOWN] if digest else "none"
