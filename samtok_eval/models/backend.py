"""The one interface between asking and whatever answers: requests in, answers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samtok_eval.masks import Rle, encode
from samtok_eval.messages import Message

Picture = NDArray[np.uint8]
"""uint8 (H, W, 3) RGB, EXIF orientation applied."""


@dataclass(frozen=True)
class Request:
    """What a model may see of one question."""

    id: str
    """Of the sample, also where an earlier round of its conversation is asked: the number of messages tells which."""
    images: tuple[Picture, ...]
    """What the messages show, in this order. The first is the whole picture, which tasks without messages have, too;
    one that several requests share is the same array."""
    messages: tuple[Message, ...]
    """The conversation to be answered, masks written as mask words."""


def request_of(sample_id: str, picture: Picture, messages: Sequence[Message]) -> Request:
    """The request that asks messages.

    Args:
        sample_id: of the sample.
        picture: the whole picture.
        messages: the conversation to be answered.
    """
    shown = [part for message in messages for part in message.parts if not isinstance(part, str)]
    return Request(sample_id, tuple(shown) or (picture,), tuple(messages))


@dataclass(frozen=True)
class Answer:
    """What came back for one request."""

    text: str
    seconds: dict[str, float] = field(default_factory=dict)
    """Share of this request in the time of its batch, per stage."""
    masks: Sequence[NDArray[np.bool_] | Rle] | None = None
    """From a model that draws masks instead of writing mask words: bool (H, W) or run lengths, each of the first
    picture's size, in order of mention; they are the answer's masks, whatever the text says."""
    phrases: Sequence[str] | None = None
    """The phrase of each mask, where the text does not mark them."""
    error: str | None = None
    """Why there is no answer; such a question is asked again by the same command."""

    @property
    def rles(self) -> list[Rle] | None:
        """`masks` as run lengths."""
        if self.masks is None:
            return None
        return [mask if isinstance(mask, Rle) else encode(mask) for mask in self.masks]


class Backend(Protocol):
    """Answers questions in batches."""

    name: str
    """Short name for tables and folders."""
    batch_size: int | None = None
    """Requests that it is best given at once; None leaves that to `--batch-size`."""

    def identity(self) -> dict[str, Any]:
        """Everything about this backend that can change an answer: fingerprints and settings; goes into the run key."""

    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """Answers in the order of the requests."""
