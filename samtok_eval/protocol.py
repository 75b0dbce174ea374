"""Protocols: named sets of rules by which answers are read and scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal

from typing_extensions import TypeVar

from samtok_eval.mask_tokens import (
    ALIKE_ON_PAIRS,
    DEFAULT_LAYOUT,
    LAST_ON_PAIRS,
    Codes,
    Layout,
    PolicyCrashError,
    masks_of,
    plain_pairs,
)

Rules = TypeVar("Rules", covariant=True, default=object)
"""A task's own dataclass of rules; `Protocol` alone is a protocol of any task."""
ALL = 1 << 30
"""More masks than any answer has."""


@dataclass(frozen=True)
class Protocol(Generic[Rules]):
    """A named set of scoring rules; its name is for tables and files, and no rule follows from it."""

    name: str
    policy: str
    """How answers are read, a key of `mask_tokens.POLICIES`."""
    missing_second: Literal["skip", "zero"]
    """What an absent second or later code decodes as: the codes before it alone, or entry 0 of its book."""
    errors_fail: bool
    """Whether a missing or errored prediction is a failure even where an empty answer would be right."""
    rules: Rules = None  # type: ignore[assignment]
    """What else differs between the protocols of a task; None where nothing does."""
    layout: Layout = DEFAULT_LAYOUT
    """Of the mask tokenizer for which the answers were written."""

    def codes(self, answer: str) -> list[Codes]:
        """Codes that this protocol decodes for an answer.

        Raises:
            PolicyCrashError: the reference script would stop here.
        """
        found = masks_of(answer, self.policy, self.layout)
        return [codes.filled() for codes in found] if self.missing_second == "zero" else found

    def codes_or_none(self, answer: str) -> list[Codes] | None:
        """`codes`, or None where the reference script would stop."""
        try:
            return self.codes(answer)
        except PolicyCrashError:
            return None

    @cached_property
    def most_of_pairs(self) -> int | None:
        """How many masks, the last ones, count of an answer of whole pairs; None where that does not say it."""
        if self.layout != DEFAULT_LAYOUT:
            return None
        return ALL if self.policy in ALIKE_ON_PAIRS else 1 if self.policy == LAST_ON_PAIRS else None


def fewest_of_pairs(protocols: Sequence[Protocol[Any]]) -> int:
    """How many masks an answer of whole pairs may have that all of the protocols read alike; -1 for none."""
    return min(-1 if protocol.most_of_pairs is None else protocol.most_of_pairs for protocol in protocols)


def codes_under(
    answer: str, protocols: Sequence[Protocol[Any]], fewest: int | None = None
) -> list[Sequence[Codes] | None]:
    """`codes_or_none` under several protocols; one object for those that read an answer of whole pairs alike.

    Args:
        answer: the model's whole text.
        protocols: how it is read.
        fewest: `fewest_of_pairs` of them, for whoever reads many answers.
    """
    pairs = plain_pairs(answer)
    if pairs is not None and len(pairs) <= (fewest_of_pairs(protocols) if fewest is None else fewest):
        return [pairs] * len(protocols)
    found: list[Sequence[Codes] | None] = []
    for protocol in protocols:
        most = protocol.most_of_pairs
        if pairs is None or most is None:
            found.append(protocol.codes_or_none(answer))
        else:
            found.append(pairs if len(pairs) <= most else pairs[-most:])
    return found
