"""What is fuzzed: for each target some good files, which of them are damaged, and the command that reads them.

A command runs in this process as the shell would run it. It may end with the exit codes that are documented for bad
input and with one line of error; whatever else leaves it is a finding, and so is a file that it left half written.
"""

from __future__ import annotations

from tests.fuzz.targets import benchmarks, leaderboards, replies, runs, settings, training
from tests.fuzz.targets.target import FindingError, Target

__all__ = ["BY_NAME", "TARGETS", "FindingError", "Target"]

TARGETS: tuple[Target, ...] = (
    *benchmarks.TARGETS,
    *runs.TARGETS,
    *leaderboards.TARGETS,
    *replies.TARGETS,
    *settings.TARGETS,
    *training.TARGETS,
)
BY_NAME = {target.name: target for target in TARGETS}
