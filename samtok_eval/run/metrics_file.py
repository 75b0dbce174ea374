"""The numbers of one run, `metrics.json`: values by protocol, slices, counters, and how the intervals were drawn.

In: JSON that anybody may have written, so its shape is checked before its use. Out: frozen `Metrics`, and the same JSON
again. In the file the protocols stand beside the other parts, under their own names. Keys that this version does not
know are kept inside a part; what an older version did not write yet stays unwritten, and reads as the default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from samtok_eval.files import read_object, reading
from samtok_eval.run.manifest import SCORE_AGAIN


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Entry(_Part):
    """One metric."""

    value: int | float | None
    """A share 0..1, or a count for the metrics that are counts; None where nothing could be measured."""
    low: float | None
    high: float | None
    """Of the interval; None in slices."""
    n: int = Field(ge=0)
    """Samples that it rests on."""


class Counters(_Part):
    """What became of the samples."""

    scored: int = 0
    invalid: int = 0
    errored: int = 0
    missing: int = 0
    repaired: int = 0
    empty_on_target: int = 0
    """Answered without a mask where there is one."""
    targets: int = 0
    """Samples that have a mask."""
    open_prompts: int = 0
    """Prompts that a judge has not replied to."""
    reference_crashes: dict[str, int] = {}
    """By protocol: answers on which the reference script would have stopped."""


class IntervalMethod(_Part):
    """How intervals were made; stands beside the numbers, so that they can be made again."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seed: int = Field(ge=0)
    draws: int = Field(ge=1)
    confidence: float = Field(gt=0, lt=1)
    method: str
    """An unknown one is another version's."""


class Metrics(_Part):
    """The numbers of one run; by subscript, the parts of `metrics.json` as plain JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    protocols: dict[str, dict[str, Entry]] = {}
    """Protocol -> metric -> entry."""
    slices: dict[str, dict[str, dict[str, dict[str, Entry]]]] = {}
    """Protocol -> slice -> its value -> metric -> entry."""
    counters: Counters = Counters()
    intervals: IntervalMethod | None = None
    """None in folders from before it was kept."""
    absent: dict[str, str] = {}
    """Metrics that could not be computed, with the reason."""
    stopped: dict[str, str] = {}
    """Protocols whose original would stop on these answers, with the reason."""

    def to_json(self) -> dict[str, Any]:
        """What is written."""
        parts = self.model_dump(exclude_unset=True)
        return {**parts.pop("protocols", {}), **parts}

    @cached_property
    def _parts(self) -> dict[str, Any]:
        """What is looked up, made once."""
        return self.to_json()

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def keys(self) -> Iterable[str]:
        """Names of the protocols, then of the other parts."""
        return self._parts.keys()

    def get(self, name: str, default: Any = None) -> Any:
        """A part as plain JSON, or the default."""
        return self._parts.get(name, default)


PARTS = tuple(name for name in Metrics.model_fields if name != "protocols")
"""What `metrics.json` holds beside protocols."""


def read_metrics(path: Path) -> Metrics:
    """A run's `metrics.json`.

    Raises:
        DataError: it cannot be read, or its shape is another.
    """
    content = read_object(path, SCORE_AGAIN)
    with reading(str(path), SCORE_AGAIN):
        return metrics_of(content)


def metrics_of(content: Mapping[str, Any]) -> Metrics:
    """Metrics from their JSON.

    Raises:
        ValidationError: the shape is another.
    """
    parts = {name: content[name] for name in PARTS if name in content}
    return Metrics(protocols={name: content[name] for name in content if name not in PARTS}, **parts)
