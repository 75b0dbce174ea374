"""Backends without a language model: the ceiling, the floor, and recorded answers.

`oracle` answers with the codes of the true masks: what the tokenizer alone would reach. `random` draws valid spans:
what no looking reaches. `replay` repeats the texts of a predictions file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import CODEBOOK_SIZE, render
from samtok_eval.models.backend import Answer, Request
from samtok_eval.prompts import NO_TARGET_ANSWER
from samtok_eval.run_store import read_predictions

if TYPE_CHECKING:
    from samtok_eval.tokenizer.model import MaskTokenizer


class Oracle:
    """One span per true instance, encoded by the run's own tokenizer."""

    name = "oracle"

    def __init__(self, tokenizer: MaskTokenizer) -> None:
        self.tokenizer = tokenizer

    def identity(self) -> dict[str, Any]:
        """Its name; the tokenizer's fingerprint is part of every run key."""
        return {"model": self.name}

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """True codes; `No target.` where nothing is meant."""
        del max_new_tokens
        return [Answer(self._answer(request)) for request in requests]

    def _answer(self, request: Request) -> str:
        truth = request.sample.target.masks
        if not truth:
            return NO_TARGET_ANSWER
        codes = self.tokenizer.encode(request.image, np.stack([masks.decode(rle) for rle in truth]))
        return render(codes.tolist())


class Random:
    """One span of random codes per question, drawn from the seed and the sample's id."""

    name = "random"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def identity(self) -> dict[str, Any]:
        """Its name and seed."""
        return {"model": self.name, "seed": self.seed}

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """A span each, whatever the order of the requests."""
        del max_new_tokens
        return [Answer(render([self._codes(request.sample.id)])) for request in requests]

    def _codes(self, sample_id: str) -> list[int]:
        digest = hashlib.sha256(f"{self.seed}/{sample_id}".encode()).digest()
        return [code % CODEBOOK_SIZE for code in digest[:2]]


class Replay:
    """The texts of a predictions file, decoded again."""

    name = "replay"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts = {p.id: p.text for p in read_predictions([path])}

    def identity(self) -> dict[str, Any]:
        """The file's hash."""
        return {"model": self.name, "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest()}

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """Recorded texts.

        Raises:
            DataError: a sample has no recorded text.
        """
        del max_new_tokens
        return [Answer(self._text(request.sample.id)) for request in requests]

    def _text(self, sample_id: str) -> str:
        text = self.texts.get(sample_id)
        if text is None:
            raise DataError(f"{self.path} has no text for sample {sample_id}; use `score` if it holds masks")
        return text
