"""Samples of a benchmark that asks one sentence at a time, kept small: each is built when it is asked for.

In: ids and phrases, and what phrases about the same objects have in common. Ids and phrases lie in temporary files, so
that a sample takes 8 bytes of memory, where one that is held takes more than a thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import overload

from samtok_eval.name_index import NameIndex
from samtok_eval.records import Texts
from samtok_eval.sample import ImageRef, Sample, Target, Turn
from samtok_eval.text_column import BLOCK, TextColumn, texts


@dataclass(frozen=True, slots=True)
class Common:
    """What phrases about the same objects share."""

    image: ImageRef
    target: Target
    slices: Mapping[str, str]


class SampleTable(Sequence[Sample]):
    """Samples in order, each built anew at every access."""

    def __init__(self, rows: Iterable[tuple[str, str, Common]], ask: Callable[[str], str]) -> None:
        """Hold the rows.

        Args:
            rows: id, phrase and what it shares with others, of each sample.
            ask: the question that asks for a phrase.
        """
        self._common: list[Common] = []
        self._ask = ask
        ids, phrases = TextColumn(), TextColumn()
        rest = iter(rows)
        while some := list(islice(rest, BLOCK)):
            names, said, common = zip(*some, strict=True)
            ids.extend(names)
            phrases.extend(said)
            self._common.extend(common)
        self._ids: Texts = ids
        self._phrases: Texts = phrases

    @property
    def ids(self) -> Texts:
        """Of all samples, without building them, (samples,)."""
        return self._ids

    @cached_property
    def name_index(self) -> NameIndex:
        """Rows by id; it takes more room than the samples, see `forget_index`."""
        return NameIndex(self._ids)

    @property
    def questions(self) -> Iterator[str]:
        """The one turn of each sample, as text."""
        return map(self._ask, self._phrases)

    @property
    def phrases(self) -> Texts:
        """Of all samples, (samples,)."""
        return self._phrases

    @property
    def common(self) -> Sequence[Common]:
        """What each sample shares with others."""
        return self._common

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Sample]:
        return map(self._sample, self._ids, self._phrases, self._common)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> SampleTable: ...

    def __getitem__(self, index: int | slice) -> Sample | SampleTable:
        if isinstance(index, slice):
            part = SampleTable((), self._ask)
            part._ids, part._phrases, part._common = self._ids[index], self._phrases[index], self._common[index]
            return part
        return self._sample(self._ids[index], self._phrases[index], self._common[index])

    def _sample(self, name: str, phrase: str, common: Common) -> Sample:
        turns = (Turn("user", (self._ask(phrase),)),)
        return Sample(name, common.image, turns, common.target, phrase, common.slices)


def in_columns(samples: Sequence[Sample]) -> tuple[Texts, Texts, Sequence[Common | Sample]]:
    """Ids, phrases, and what has picture, target and slices of each sample; those of a table without building them."""
    if isinstance(samples, SampleTable):
        return samples.ids, samples.phrases, samples.common
    return texts([sample.id for sample in samples]), texts([sample.phrase for sample in samples]), samples


def index_of(samples: Sequence[Sample]) -> NameIndex:
    """Rows by id; a table keeps them until `forget_index`."""
    return samples.name_index if isinstance(samples, SampleTable) else NameIndex(sample.id for sample in samples)


def forget_index(samples: Sequence[Sample]) -> None:
    """Free the room of a table's rows by id, which are found again when they are asked for."""
    if isinstance(samples, SampleTable):
        vars(samples).pop("name_index", None)


def sample_ids(samples: Sequence[Sample]) -> Iterable[str]:
    """The id of each sample."""
    return samples.ids if isinstance(samples, SampleTable) else (sample.id for sample in samples)
