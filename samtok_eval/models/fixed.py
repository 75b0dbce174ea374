"""Backends without a language model: the ceiling, the floor, and recorded answers.

`oracle` writes the right answer with the codes of the true masks: what the tokenizer alone would reach. `random`
guesses without looking. `replay` repeats the texts of a predictions file. All three go by the id of a request; the
oracle alone looks the right answer up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout
from samtok_eval.messages import messages
from samtok_eval.models.backend import Answer, Backend, Picture, Request
from samtok_eval.prediction import check_codes
from samtok_eval.prediction_log import read_predictions
from samtok_eval.tokenizer.pictures import encoder

if TYPE_CHECKING:
    from samtok_eval.sample import Sample
    from samtok_eval.task import Task
    from samtok_eval.tokenizer.model import MaskTokenizer


class Oracle(Backend):
    """The task's right answer, its masks encoded by the run's own tokenizer."""

    name = "oracle"

    def __init__(self, task: Task, samples: Sequence[Sample], tokenizer: MaskTokenizer) -> None:
        """Prepare.

        Args:
            task: writes right answers.
            samples: all that may be asked.
            tokenizer: gives the codes of their masks.
        """
        self.task, self.encode = task, encoder(tokenizer)
        self.by_id = {sample.id: sample for sample in samples}

    def identity(self) -> dict[str, Any]:
        """Its name; the tokenizer's fingerprint is part of every run key."""
        return {"model": self.name}

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """Right answers, also to earlier rounds of a conversation."""
        del max_new_tokens
        return [Answer(self._answer(request)) for request in requests]

    def _answer(self, request: Request) -> str:
        sample, picture, turn = self.by_id[request.id], request.images[0], len(request.messages)
        if turn < len(sample.turns):
            return self._earlier_answer(sample, picture, turn)
        written = self.task.written(sample)
        codes = self.encode(picture, np.stack([masks.decode(rle) for rle in written])) if written else []
        return self.task.answer(sample, codes)

    def _earlier_answer(self, sample: Sample, picture: Picture, turn: int) -> str:
        # The whole conversation, so that masks are encoded together as they are for the later question.
        parts = messages(sample.turns, picture, self.encode, self.task.layout)[turn].parts
        return "".join(part for part in parts if isinstance(part, str))


class Random(Backend):
    """The task's guess, drawn from the seed and the sample's id."""

    name = "random"

    def __init__(self, task: Task, samples: Sequence[Sample], seed: int) -> None:
        """Prepare.

        Args:
            task: guesses.
            samples: all that may be asked, from which guesses may be drawn.
            seed: of all guesses.
        """
        self.task, self.samples, self.seed = task, samples, seed
        self.by_id = {sample.id: sample for sample in samples}

    def identity(self) -> dict[str, Any]:
        """Its name and seed."""
        return {"model": self.name, "seed": self.seed}

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """A guess each, whatever the order of the requests."""
        del max_new_tokens
        return [Answer(self._answer(request.id)) for request in requests]

    def _answer(self, sample_id: str) -> str:
        digest = hashlib.sha256(f"{self.seed}/{sample_id}".encode()).digest()
        return self.task.guess(self.by_id[sample_id], self.samples, np.random.default_rng(list(digest)))


class Replay(Backend):
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
        return [Answer(self._text(request.id)) for request in requests]

    def _text(self, sample_id: str) -> str:
        text = self.texts.get(sample_id)
        if text is None:
            raise DataError(f"{self.path} has no text for sample {sample_id}; use `score` if it holds masks")
        return text
