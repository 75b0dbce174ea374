"""The one interface between asking and whatever answers: requests in, answers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samtok_eval.messages import Message
from samtok_eval.sample import Sample


@dataclass(frozen=True)
class Request:
    """One question ready to be asked."""

    sample: Sample
    image: NDArray[np.uint8]
    """uint8 (H, W, 3) RGB, EXIF orientation applied."""
    messages: tuple[Message, ...]
    """The conversation to be answered, masks written as mask words."""


@dataclass(frozen=True)
class Answer:
    """What came back for one request."""

    text: str
    seconds: dict[str, float] = field(default_factory=dict)
    """Share of this request in the time of its batch, per stage."""


class Backend(Protocol):
    """Answers questions in batches."""

    name: str
    """Short name for tables and folders."""

    def identity(self) -> dict[str, Any]:
        """Everything about this backend that can change an answer: fingerprints and settings; goes into the run key."""

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """Answers in the order of the requests."""
