"""Backends without a language model: the ceiling, the floor, and recorded answers.

`oracle` writes the right answer with the codes of the true masks: what the tokenizer alone would reach. `random`
guesses without looking. `replay` repeats the texts of a predictions file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Codes, Layout
from samtok_eval.models.backend import Answer, Request
from samtok_eval.prediction import check_codes
from samtok_eval.prediction_log import read_predictions

if TYPE_CHECKING:
    from samtok_eval.sample import Sample
    from samtok_eval.task import Task
    from samtok_eval.tokenizer.model import MaskTokenizer


class Oracle:
    """The task's right answer, its masks encoded by the run's own tokenizer."""

    name = "oracle"

    def __init__(self, task: Task, tokenizer: MaskTokenizer) -> None:
        self.task, self.tokenizer = task, tokenizer

    def identity(self) -> dict[str, Any]:
        """Its name; the tokenizer's fingerprint is part of every run key."""
        return {"model": self.name}

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """Right answers."""
        del max_new_tokens
        return [Answer(self._answer(request)) for request in requests]

    def _answer(self, request: Request) -> str:
        truth = self.task.written(request.sample)
        codes: list[Codes] = []
        if truth:
            found = self.tokenizer.encode(request.image, np.stack([masks.decode(rle) for rle in truth]))
            codes = [Codes(*pair) for pair in found.tolist()]
        return self.task.answer(request.sample, codes)


class Random:
    """The task's guess, drawn from the seed and the sample's id."""

    name = "random"

    def __init__(self, task: Task, samples: Sequence[Sample], seed: int) -> None:
        self.task, self.samples, self.seed = task, samples, seed

    def identity(self) -> dict[str, Any]:
        """Its name and seed."""
        return {"model": self.name, "seed": self.seed}

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """A guess each, whatever the order of the requests."""
        del max_new_tokens
        return [Answer(self._answer(request.sample)) for request in requests]

    def _answer(self, sample: Sample) -> str:
        digest = hashlib.sha256(f"{self.seed}/{sample.id}".encode()).digest()
        return self.task.guess(sample, self.samples, np.random.default_rng(list(digest)))


class Replay:
    """The texts of a predictions file, decoded again."""

    name = "replay"

    def __init__(self, path: Path, layout: Layout = DEFAULT_LAYOUT) -> None:
        """Read the file.

        Args:
            path: a predictions file.
            layout: of the mask tokenizer that decodes the texts.

        Raises:
            DataError: the file is broken, or holds masks by codes of another layout.
        """
        self.path = path
        recorded = list(read_predictions([path]))
        check_codes(recorded, layout)
        # What a machine failed to answer is no recorded answer.
        self.texts = {p.id: p.text for p in recorded if p.error is None}

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
