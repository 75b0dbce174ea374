"""What is asked: one question with its picture and its target. Readers make samples, everything later reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

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
    """A mask inside a text, written there as its mask words."""

    mask: Rle
    """At the picture's own size."""
    view: Crop | Frame | None = None
    """Encode the mask in this view instead of in the whole picture. One in a further picture is at that one's size."""


@dataclass(frozen=True)
class Crop:
    """A second view: a rectangle of the picture, enlarged. As a part of a turn it shows that view."""

    box: tuple[int, int, int, int]
    """x1 y1 x2 y2 in pixels, the last row and column not included."""
    height: int
    """Of the view, in pixels."""
    width: int


@dataclass(frozen=True)
class Frame:
    """A further picture, such as another frame of a video. As a part of a turn it shows that picture."""

    image: ImageRef


Part = str | Region | Crop | Frame


@dataclass(frozen=True)
class Turn:
    """One turn of the conversation before the answer."""

    role: str
    """`user` or `assistant`; an assistant's turn is the right answer to an earlier question."""
    parts: tuple[Part, ...]
    """Text, masks and further views in the order in which they are read; the picture stands before the first turn."""

    @property
    def text(self) -> str:
        """The turn as one text, masks and views as short descriptions."""
        return "".join(part if isinstance(part, str) else _described(part) for part in self.parts)


class Triplet(NamedTuple):
    """A relation between two of a target's masks."""

    subject: int
    """Index into `Target.masks`."""
    predicate: str
    object: int


class Graded(NamedTuple):
    """A choice question that a judge answers about a description."""

    question: str
    choices: tuple[tuple[str, float], ...]
    """Texts and the points that each gives."""
    kind: str
    """`positive`: about what is there; `negative`: about what is not."""


@dataclass(frozen=True)
class Target:
    """The right answer; which fields are set depends on the task."""

    masks: tuple[Rle, ...] = ()
    """One mask per instance; empty for a no-target question."""
    labels: tuple[str, ...] = ()
    """A phrase or class name per mask, where the task asks for them."""
    texts: tuple[str, ...] = ()
    """Reference captions."""
    choice: str = ""
    """The letter of the right option."""
    triplets: tuple[Triplet, ...] = ()
    questions: tuple[Graded, ...] = ()
    """What a judge is asked about a description."""
    box: tuple[float, float, float, float] | None = None
    """x1 y1 x2 y2 in pixels, where the benchmark gives a box of its own."""
    other_masks: Mapping[str, tuple[Rle, ...] | None] = field(default_factory=dict)
    """By protocol: `masks` as the scorer that it copies makes them of the same annotations, where they differ; None
    where that scorer stops at them."""

    @property
    def no_target(self) -> bool:
        """Whether nothing in the picture is meant."""
        return not self.masks

    @property
    def for_judge(self) -> bool:
        """Whether it takes a judge to say whether an answer is right."""
        return bool(self.questions)

    @property
    def unusual(self) -> tuple[Any, ...]:
        """What else a copied scorer knows of the masks, where it is not ordinary; enters the hash of the data."""
        others = self.other_masks.items()
        return tuple((name, None if rles is None else [rle.counts for rle in rles]) for name, rles in others)

    def masks_under(self, protocol: str) -> tuple[Rle, ...] | None:
        """The masks that a protocol compares with; None where the scorer that it copies stops at the annotations."""
        return self.other_masks.get(protocol, self.masks)


@dataclass(frozen=True)
class CaptionTarget(Target):
    """What is right about a region, and of which benchmark it is."""

    benchmark: str = ""
    """The split of the task; says in which format results are written, and what a judge is asked."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What else a judge is given, under the benchmark's own names."""
    shown: tuple[Rle, ...] = ()
    """Regions that a judge looks at, in the benchmark's order."""
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    """x1 y1 x2 y2 in pixels of what is marked for a judge, numbered from 1."""

    @classmethod
    def of(cls, sample: Sample) -> CaptionTarget:
        """The target of a sample; an empty one of a sample that has another kind."""
        return sample.target if isinstance(sample.target, cls) else cls()

    @property
    def for_judge(self) -> bool:
        """Whether it takes a judge to say whether an answer is right."""
        return bool(self.questions or self.words)

    @property
    def unusual(self) -> tuple[Any, ...]:
        """What a judge is given."""
        given = (sorted(self.words.items()), [rle.counts for rle in self.shown]) if self.words else ()
        return super().unusual + given + ((self.boxes,) if self.boxes else ())


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

    @property
    def pictures(self) -> tuple[ImageRef, ...]:
        """All that are shown, the sample's own first."""
        further = [part.image for turn in self.turns for part in turn.parts if isinstance(part, Frame)]
        return (self.image, *dict.fromkeys(further))


def _described(part: Region | Crop | Frame) -> str:
    if isinstance(part, Frame):
        return f"<picture {part.image.id}>"
    if isinstance(part, Crop):
        return f"<view {part.box} {part.height}x{part.width}>"
    where = f" in {part.view.image.id}" if isinstance(part.view, Frame) else " in view" if part.view else ""
    return f"<mask {part.mask.counts}{where}>"
