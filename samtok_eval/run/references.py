"""Right answers as an oracle run wrote them, for the metric `token_match`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from samtok_eval.errors import UsageError
from samtok_eval.prediction_log import read_predictions
from samtok_eval.run.manifest import Manifest


def reference_texts(given: Path, parts: Sequence[Path], origin: Manifest | None, manifest: Manifest) -> dict[str, str]:
    """Right answers by sample id, as an oracle run wrote them.

    Args:
        given: what the user named.
        parts: its prediction files.
        origin: the manifest beside them, if there is one.
        manifest: of the run to be scored. Where both tell, task, split and mask tokenizer must agree, since codes mean
            masks only to the tokenizer that made them.

    Raises:
        UsageError: not the oracle's, or of another task, split or tokenizer.
        DataError: a file is missing or broken.
    """
    if origin is not None:
        _check_origin(given, origin, manifest)
    return {p.id: p.text for p in read_predictions(parts) if p.text is not None}


def _check_origin(given: Path, origin: Manifest, manifest: Manifest) -> None:
    if origin.model.kind != "oracle":
        raise UsageError(f"--reference-codes {given}: expected a run of --model oracle, got {origin.model.name}")
    for what in ("task", "split", "tokenizer_sha256"):
        mine, theirs = getattr(manifest, what), getattr(origin, what)
        if None not in (mine, theirs) and mine != theirs:
            raise UsageError(f"--reference-codes {given}: its {what} is {theirs}, not {mine}; run the oracle likewise")
