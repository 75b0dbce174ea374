"""Masks that another run decoded from the same codes over the same pictures, so that they need not be decoded again.

A change of the language model leaves most answers of a benchmark as they were. Their masks stand in the other run's
predictions; only a share of them is decoded again, to see that they still come out the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samtok_eval.errors import DataError, UsageError
from samtok_eval.mask_tokens import Codes
from samtok_eval.masks import Rle, encode
from samtok_eval.models.backend import Request
from samtok_eval.prediction_log import read_own_predictions
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.manifest import Manifest, Settings, read_manifest
from samtok_eval.tokenizer.pictures import MaskOrRle, decode_by_picture

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer

DECODED_AGAIN = 50
"""Of so many known masks one is decoded again, the first among them."""
COMPUTED = ("device", "tf32", "compile")
"""Settings that change how masks are computed, beside the precision."""


class KnownMasks:
    """The decoded masks of a run, read where they stand."""

    def __init__(self, run: Path) -> None:
        """Look where they stand.

        Args:
            run: its folder.

        Raises:
            DataError: its predictions are broken.
        """
        self._run = run
        self._predictions = read_own_predictions(RunFolder(run).parts())
        self._found = 0
        self.reused = 0
        """Masks that were not decoded."""

    def decode(
        self, tokenizer: MaskTokenizer, requests: Sequence[Request], wanted: Sequence[Sequence[Codes]]
    ) -> list[dict[Codes, MaskOrRle]]:
        """Masks of answers, known or decoded.

        Args:
            tokenizer: decodes what is not known.
            requests: whose answers they are.
            wanted: codes of each answer.

        Returns:
            Per answer the mask of each of its codes, in their order.

        Raises:
            UsageError: a known mask does not come out the same.
        """
        known = [self._known(request.id, codes) for request, codes in zip(requests, wanted, strict=True)]
        trusted = [{codes: rle for codes, rle in masks.items() if not self._is_due()} for masks in known]
        decoded = decode_by_picture(
            tokenizer,
            [request.images[0] for request in requests],
            [[codes for codes in mine if codes not in have] for mine, have in zip(wanted, trusted, strict=True)],
        )
        for request, masks, fresh in zip(requests, known, decoded, strict=True):
            for codes in masks.keys() & fresh.keys():
                if masks[codes] != encode(fresh[codes]):
                    raise UsageError(
                        f"--reuse-decoded {self._run}: codes {codes.key} of sample {request.id} decode to another mask "
                        "here than there; run without it, or on a machine like that of the run"
                    )
        self.reused += sum(map(len, trusted))
        return [
            {codes: have[codes] if codes in have else fresh[codes] for codes in mine}
            for mine, have, fresh in zip(wanted, trusted, decoded, strict=True)
        ]

    def _known(self, sample: str, wanted: Sequence[Codes]) -> dict[Codes, Rle]:
        prediction = self._predictions.get(sample)
        decoded = prediction.decoded if prediction else {}
        try:
            return {codes: prediction.decoded_mask(codes) for codes in wanted if prediction and codes.key in decoded}
        except DataError as error:
            raise DataError(f"{self._run}: {error}, or run without --reuse-decoded") from error

    def _is_due(self) -> bool:
        self._found += 1
        return self._found % DECODED_AGAIN == 1


def check_reusable(run: Path, manifest: Manifest) -> None:
    """Refuse masks of another mask tokenizer, of other pictures, or computed in another way.

    Args:
        run: folder of the run that decoded them.
        manifest: of the run that would reuse them.

    Raises:
        UsageError: they are not the same.
        DataError: it is no run folder.
    """
    path = RunFolder(run).manifest
    if not path.is_file():
        raise DataError(f"--reuse-decoded {run} is no run folder; give one that holds manifest.json")
    other = read_manifest(path)
    for what, theirs, mine in (
        ("the mask tokenizer", other.tokenizer_sha256, manifest.tokenizer_sha256),
        ("pictures", other.dataset.images_sha256, manifest.dataset.images_sha256),
        *((name, getattr(other.settings, name), getattr(manifest.settings, name)) for name in COMPUTED),
        ("precision", _precision(other.settings), _precision(manifest.settings)),
    ):
        if theirs != mine or mine is None:
            raise UsageError(
                f"--reuse-decoded {run}: {what} of that run: {_short(theirs)}, of this one: {_short(mine)}; masks are "
                "reused only where all of that is the same"
            )


def _precision(settings: Settings) -> str:
    """What the mask tokenizer computed in."""
    return {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}.get(str(settings.mask_dtype), settings.dtype)


def _short(value: object) -> str:
    return "none" if value is None else str(value)[:12]
