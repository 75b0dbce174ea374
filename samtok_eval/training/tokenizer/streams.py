"""An endless, reproducible stream of pictures with masks out of mask collections.

In: sources and a position, counted over all ranks from the start of the run. Out: the picture that belongs there. The
picture depends on seed and position alone, so a stream needs no state to resume, and ranks share one stream by taking
turns. What cannot be used is skipped and named in `Drawn.problems`; another picture, drawn for that position, stands
in.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from samtok_eval.errors import DataError, UsageError
from samtok_eval.training.tokenizer.sources import MaskSource, OpenPicture, open_source

ATTEMPTS = 16
"""Pictures tried for one position before the data is called unusable."""
SHUFFLE, STAND_IN, HELD_OUT = 1, 2, 3
"""Keep the random numbers of different purposes apart."""


class MaskedPicture(NamedTuple):
    """One picture and masks on it."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB"""
    masks: NDArray[np.bool_]
    """(N, H, W)"""


class Problem(NamedTuple):
    """Something that was skipped."""

    key: str
    """Picture, and number of the mask where one mask is meant; counted once however often it is met."""
    message: str
    """Empty for empty masks and pictures without masks, which are no errors."""

    @property
    def broken(self) -> bool:
        """Whether it counts against `--max-errors`."""
        return bool(self.message)


class Drawn(NamedTuple):
    """What a stream gives for one position."""

    picture: MaskedPicture
    problems: tuple[Problem, ...]


class PictureStream(Protocol):
    """Pictures by position."""

    @property
    def pictures(self) -> int | None:
        """Different pictures, None where there is no end."""

    def draw(self, position: int, most: int, rng: np.random.Generator) -> Drawn:
        """The picture at a position.

        Args:
            position: from 0, without end.
            most: masks wanted at most; at least one is given.
            rng: chooses the masks.

        Raises:
            DataError: many pictures in a row cannot be used.
        """


class FunctionStream:
    """A function of the position as a stream; nothing in it is ever broken."""

    def __init__(self, picture: Callable[[int], MaskedPicture]) -> None:
        self._picture = picture

    @property
    def pictures(self) -> int | None:
        """Unknown."""
        return None

    def draw(self, position: int, most: int, rng: np.random.Generator) -> Drawn:
        """The function's picture with some of its masks."""
        image, masks = self._picture(position)
        return Drawn(MaskedPicture(image, masks[rng.permutation(len(masks))[:most]]), ())


class JoinedSources:
    """Several collections as one."""

    def __init__(self, sources: Sequence[MaskSource]) -> None:
        self._sources = list(sources)
        self._ends = list(accumulate(len(source) for source in self._sources))

    @classmethod
    def of_specs(cls, specs: Sequence[str]) -> JoinedSources:
        """Open every `FORMAT:PATH...`.

        Raises:
            UsageError: a format that does not exist, or no data at all.
            DataError: a file is missing or broken.
        """
        joined = cls([open_source(spec) for spec in specs])
        if not len(joined):
            raise UsageError("training needs pictures; give --data FORMAT:PATH at least once")
        return joined

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def key(self, index: int) -> str:
        """The picture's key, led by the number of its collection."""
        which, inner = self._find(index)
        return f"{which}/{self._sources[which].key(inner)}"

    def open(self, index: int) -> OpenPicture:
        """One picture of one collection."""
        which, inner = self._find(index)
        return self._sources[which].open(inner)

    def _find(self, index: int) -> tuple[int, int]:
        which = bisect.bisect_right(self._ends, index)
        return which, index - (self._ends[which - 1] if which else 0)


class MaskStream:
    """Pictures of a collection, shuffled anew for every pass."""

    def __init__(self, source: MaskSource, indices: NDArray[np.int64], seed: int) -> None:
        """Draw from a part of a collection.

        Args:
            source: the collection.
            indices: int64 (N,), the pictures that belong to the stream.
            seed: of the shuffling.
        """
        self._source, self._indices, self._seed = source, indices, seed
        self._order: tuple[int, NDArray[np.int64]] = (-1, indices)

    @property
    def pictures(self) -> int:
        """Different pictures."""
        return len(self._indices)

    def draw(self, position: int, most: int, rng: np.random.Generator) -> Drawn:
        """The picture at a position, or one that stands in for it."""
        problems: list[Problem] = []
        index = self._at(position)
        stand_ins = np.random.default_rng([self._seed, STAND_IN, position])
        for _ in range(ATTEMPTS):
            picture = read_picture(self._source, index, most, rng, problems)
            if picture is not None:
                return Drawn(picture, tuple(problems))
            index = int(self._indices[stand_ins.integers(len(self._indices))])
        raise DataError(
            f"{ATTEMPTS} pictures in a row cannot be used; the last was {self._source.key(index)}: "
            f"{problems[-1].message or 'no mask with a pixel'}; check --data"
        )

    def _at(self, position: int) -> int:
        one_pass, place = divmod(position, len(self._indices))
        if self._order[0] != one_pass:
            order = np.random.default_rng([self._seed, SHUFFLE, one_pass]).permutation(self._indices)
            self._order = (one_pass, order)
        return int(self._order[1][place])


class HeldOutPictures:
    """Pictures for the reported reconstruction, read anew at every evaluation so that they need no memory."""

    def __init__(self, source: MaskSource, indices: NDArray[np.int64], most: int, seed: int) -> None:
        self._source, self._indices, self._most, self._seed = source, indices, most, seed

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> MaskedPicture | None:
        """One picture with always the same masks; None where it cannot be used."""
        where = int(self._indices[index])
        rng = np.random.default_rng([self._seed, HELD_OUT, where])
        return read_picture(self._source, where, self._most, rng, [])


def split_held_out(pictures: int, held_out: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices for training and for evaluation, both in ascending order.

    Raises:
        UsageError: nothing would be left for training.
    """
    if held_out >= pictures:
        raise UsageError(
            f"the data has {pictures} pictures and {held_out} are to be held out; give more data or --held-out-pictures"
        )
    chosen = np.random.default_rng([seed, HELD_OUT]).choice(pictures, held_out, replace=False)
    return np.setdiff1d(np.arange(pictures), chosen), np.sort(chosen)


def read_picture(
    source: MaskSource, index: int, most: int, rng: np.random.Generator, problems: list[Problem]
) -> MaskedPicture | None:
    """A picture and some of its masks, drawn at random among those that can be used.

    Args:
        source: where from.
        index: which picture.
        most: masks at most.
        rng: chooses the masks.
        problems: what was skipped is added here.

    Returns:
        None where the picture is broken or no mask can be used.
    """
    key = source.key(index)
    try:
        opened = source.open(index)
        found = list(_usable(opened, key, most, rng, problems))
        if not found:
            problems.append(Problem(f"{key} without masks", ""))
            return None
        return MaskedPicture(opened.image(), np.stack(found))
    except DataError as error:
        problems.append(Problem(key, str(error)))
        return None


def _usable(
    opened: OpenPicture, key: str, most: int, rng: np.random.Generator, problems: list[Problem]
) -> Iterator[NDArray[np.bool_]]:
    given = 0
    for number in rng.permutation(opened.count).tolist():
        if given == most:
            return
        try:
            mask = opened.mask(number)
        except (ValueError, DataError) as error:
            problems.append(Problem(f"{key} mask {number}", f"{key}: mask {number}: {error}"))
            continue
        if not mask.any():
            problems.append(Problem(f"{key} mask {number}", ""))
            continue
        given += 1
        yield mask
