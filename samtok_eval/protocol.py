"""Protocols: named sets of rules by which answers are read and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal

from typing_extensions import TypeVar

from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Codes, Layout, PolicyCrashError, masks_of

Rules = TypeVar("Rules", covariant=True, default=object)
"""A task's own dataclass of rules; `Protocol` alone is a protocol of any task."""


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
