"""What is asked: one question with its picture and its target. Readers make samples, everything later reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from samtok_eval.masks import Rle


@dataclass(frozen=True)
class ImageRef:
    """A picture on disk."""

    id: str
    """Native id; samples of one picture share it, and intervals are clustered on it."""
    path: Path
    height: int
    """As the annotations say, in pixels."""
    width: int


@dataclass(frozen=True)
class Region:
    """A mask that the question refers to."""

    mask: Rle
    label: str = ""


@dataclass(frozen=True)
class Turn:
    """One turn of the conversation before the answer."""

    role: str
    """`user` or `assistant`."""
    text: str
    regions: tuple[Region, ...] = ()
    """Regions in the order in which the text mentions them."""


@dataclass(frozen=True)
class Target:
    """The right answer."""

    masks: tuple[Rle, ...] = ()
    """One mask per instance; empty for a no-target question."""

    @property
    def no_target(self) -> bool:
        """Whether nothing in the picture is meant."""
        return not self.masks


@dataclass(frozen=True)
class Sample:
    """One question."""

    id: str
    """Stable and native to the benchmark."""
    image: ImageRef
    turns: tuple[Turn, ...]
    target: Target
    phrase: str = ""
    """The bare expression, where the benchmark has one."""
    slices: Mapping[str, str] = field(default_factory=dict)
    """Names and values by which results are broken down, e.g. `{"targets": "one"}`."""
