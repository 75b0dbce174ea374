"""What identifies a run: the string under every table, the key of its answers and the key of its scores.

All three follow from the manifest alone, so that a manifest in which something was changed no longer fits them. The
long form of the string is `key:value` joined by `|`; the short one names task, protocol, model and size, and ends in a
hash of the long one, so that equal short forms mean equal long ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from samtok_eval.run.manifest import Manifest, Scoring
from samtok_eval.run.settings import ALWAYS_KEYED, further_keyed

HASH_SHOWN = 8
OF_THE_MODEL = ("model", "weights", "tokenizer", "run")
"""What may differ between runs that are compared."""
PACKAGES = ("torch", "transformers")
UNSET = "none"
IDENTIFYING = (
    "schema_version", "run_key", "task", "task_version", "split", "model", "tokenizer_sha256", "prompt", "template",
    "dataset", "settings", "packages", "samtok_eval", "git_commit",
)  # fmt: skip
"""What the key of the scores covers: all of a manifest but where and when it ran and what came out."""


def run_key(manifest: Manifest) -> str:
    """Hash of everything that can change an answer.

    Args:
        manifest: of a run that was predicted here, with the prompt's `template`.
    """
    settings = manifest.settings.to_json()
    return _sha256(
        {
            "task": manifest.task,
            "version": manifest.task_version,
            "split": manifest.split,
            "model": manifest.model.identity,
            "tokenizer": manifest.tokenizer_sha256,
            "prompt": manifest.prompt,
            "template": manifest.template,
            "dataset": {"sha256": manifest.dataset.sha256, "images_sha256": manifest.dataset.images_sha256},
            "settings": {name: settings.get(name) for name in ALWAYS_KEYED} | further_keyed(settings),
            "samtok_eval": manifest.samtok_eval,
        }
    )


def scoring_key(manifest: Manifest) -> str:
    """Hash of what was scored, and how; the only key of predictions from elsewhere.

    Args:
        manifest: with `scoring`, whose own `key` does not count.
    """
    content = manifest.to_json()
    scoring = {name: value for name, value in content["scoring"].items() if name != "key"}
    # Only other layouts than 256x2 are named, so that keys from before there were any still fit.
    layout = {"layout": content["layout"]} if "layout" in content else {}
    return _sha256({name: content.get(name) for name in IDENTIFYING} | layout | {"scoring": scoring})


def sealed(manifest: Manifest, protocols: Iterable[str]) -> Manifest:
    """A manifest with the key of its scores and a signature per protocol, both of which follow from the rest of it.

    Args:
        manifest: with `scoring`.
        protocols: that were scored.
    """
    scoring = _scoring(manifest)
    found = manifest.replace(scoring=scoring.model_copy(update={"key": scoring_key(manifest)}))
    return found.replace(signature={name: signature(found, name) for name in protocols})


def signature_parts(manifest: Manifest, protocol: str) -> dict[str, str]:
    """Everything that can change a number, by name, from the manifest of a scored run."""
    settings, scoring = manifest.settings.to_json(), _scoring(manifest)
    parts = {
        "task": f"{manifest.task}:{manifest.split}",
        "version": manifest.scored_version,
        "protocol": protocol,
        "model": manifest.model.name,
        "weights": _short(manifest.model.identity.get("weights_sha256")),
        "tokenizer": _short(manifest.tokenizer_sha256),
        "prompt": manifest.prompt,
        "data": _short(manifest.dataset.sha256),
        "images": _short(manifest.dataset.images_sha256),
        "n": manifest.dataset.samples,
        # A setting that an older version did not have is not the default there: nothing is known of it.
        "device": settings.get("device"),
        "dtype": settings.get("dtype"),
        "batch": settings.get("batch_size"),
        "grouped": settings.get("group_pictures"),
        "tokens": settings.get("max_new_tokens"),
        "pixels": f"{settings.get('min_pixels') or ''}-{settings.get('max_pixels') or ''}",
        "constrained": settings.get("constrained"),
        "history": settings.get("history"),
        "judge": settings.get("judge"),
        "seed": _seeds(settings.get("seed"), scoring.seed),
        **further_keyed(settings),
        **{name: manifest.packages.get(name) for name in PACKAGES},
        "samtok-eval": manifest.samtok_eval,
        "scorer": scoring.samtok_eval,
        "run": _short(manifest.run_key),
    }
    return {key: UNSET if value is None else str(value).replace("|", "/") for key, value in parts.items()}


def signature(manifest: Manifest, protocol: str) -> str:
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


def _scoring(manifest: Manifest) -> Scoring:
    if manifest.scoring is None:
        raise ValueError("only a scored run has a signature")
    return manifest.scoring


def _seeds(of_answers: int | None, of_intervals: int) -> str:
    same = of_answers in (None, of_intervals)
    return f"{of_intervals}" if same else f"{of_answers}, intervals {of_intervals}"


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _short(digest: str | None) -> str | None:
    return digest[:HASH_SHOWN] if digest else None
