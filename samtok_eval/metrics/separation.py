"""What separates the numbers that several protocols give for the same answers.

In: records of one run under two protocols or more. Out: steps from one protocol to the next, each with what it is
counted by and what it adds to the metric. The steps of two protocols add up to the difference of their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One cause of a difference."""

    baseline: str
    """Protocol."""
    candidate: str
    """Protocol."""
    cause: str
    count: int
    """How often it occurs."""
    of: int
    """Of how many."""
    unit: str
    """What is counted, e.g. `answers`."""
    added: float
    """What it adds to the metric from the baseline to the candidate, -1..1."""


@dataclass(frozen=True)
class Separation:
    """The steps between the protocols of a task."""

    metric: str
    """What the steps add to."""
    metrics: tuple[str, ...]
    """To be shown side by side."""
    pictures: Mapping[str, int]
    """By protocol: how many count."""
    steps: tuple[Step, ...]
