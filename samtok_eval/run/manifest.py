"""The description of one run, `manifest.json`: what ran, on what, with which settings, and what came of it.

In: JSON that anybody may have written, so its shape is checked before its use. Out: a frozen `Manifest`, and the same
JSON again. Keys that this version does not know are kept; what an older version did not write yet stays unwritten, and
reads as the default, which is how the program behaved before the key existed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from samtok_eval.errors import DataError
from samtok_eval.files import read_object, reading
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout
from samtok_eval.run.settings import RunSettings

SCHEMA_VERSION = 1
COMPLETE = "complete"
"""State of a run that was answered and scored."""
FOREIGN = "foreign"
"""As the prompt: the answers were not made here."""
SCORE_AGAIN = "run `score` again"
"""What mends a broken file of a run folder."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Model(_Part):
    """Who answered."""

    name: str
    identity: dict[str, Any]
    """What the backend says of itself: kind, hash of the weights, settings of the processor."""

    @property
    def kind(self) -> str | None:
        """`oracle` and the like; None for answers from elsewhere."""
        return self.identity.get("model")


class Dataset(_Part):
    """What was asked."""

    root: str
    samples: int
    images: int | None = None
    sha256: str
    """Of questions and targets."""
    images_sha256: str | None = None


class Settings(RunSettings):
    """Settings as they took effect: `auto` and the task's own values are replaced by what they led to."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    data_root: str
    seed: int = Field(ge=0)

    def to_json(self) -> dict[str, Any]:
        """What is written; a setting that did not exist yet is not there."""
        return self.model_dump(mode="json", exclude_unset=True)


class Times(_Part):
    """UTC, ISO 8601."""

    started: str
    predict_seconds: float | None = None
    finished: str | None = None
    """End of answering."""


class Stage(_Part):
    """One stage of a run."""

    seconds: float
    peak_bytes: int
    """Most memory: of the GPU where models compute there, else of the process so far."""


class Profile(_Part):
    """What `--profile` measured in the process that wrote the manifest, see `samtok_eval.run.measure`."""

    stages: dict[str, Stage]
    samples_per_second: float
    tokens_per_second: float
    """Tokens of answers over the seconds of `generate`, which reads the prompts as well."""
    work: dict[str, int]
    """See `run.profile.Work`."""
    rates: dict[str, float]
    """See `run.profile.Rates`."""
    least_seconds: dict[str, float]
    """Lower bound of stages, from work and rates."""


class Asked(_Part):
    """Which part of the questions was asked, of a run that was asked in parts."""

    batches: int
    """From the first, in the seeded order of `run.in_parts`."""
    of_batches: int
    samples: int
    """Answered; `dataset.samples` says of how many."""
    pictures: int


class Scoring(_Part):
    """How the answers were scored."""

    samtok_eval: str
    task_version: int
    seed: int = Field(ge=0)
    """Of the intervals."""
    key: str = ""
    """Hash of all that was scored and how, see `signature.scoring_key`."""


class Manifest(_Part):
    """The description of one run."""

    schema_version: int
    state: str
    """`predicting`, `predicted` or `complete`."""
    task: str
    task_version: int
    split: str
    model: Model
    tokenizer_sha256: str | None
    """Of the mask tokenizer; None for answers from elsewhere."""
    layout: tuple[int, int] | None = None
    """Size and depth of the codebooks; absent where they are 256x2."""
    prompt: str
    template: str | None = None
    predictions: str | None = None
    """Where answers from elsewhere were read; a place on the machine that scored them."""
    dataset: Dataset
    settings: Settings
    passed: tuple[str, ...]
    """Fields of `RunOptions` that the user gave."""
    packages: dict[str, str] = {}
    samtok_eval: str
    git_commit: str | None = None
    hardware: dict[str, Any] = {}
    times: Times
    profile: Profile | None = None
    """None without `--profile`."""
    asked: Asked | None = None
    """Of a run that a gate stopped early; None where all questions are asked, or were."""
    counters: dict[str, int | dict[str, int]] = {}
    run_key: str | None = None
    """Hash of everything that can change an answer; None for answers from elsewhere."""
    run_id: str | None = None
    scoring: Scoring | None = None
    """None before scoring, and in folders from before it was kept."""
    signature: dict[str, str] = {}
    """By protocol, see `samtok_eval.run.signature`."""

    @field_validator("layout")
    @classmethod
    def _can_be_one(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None:
            Layout(*value)
        return value

    @property
    def code_layout(self) -> Layout:
        """Layout of the mask tokenizer whose codes the answers hold."""
        return Layout(*self.layout) if self.layout else DEFAULT_LAYOUT

    def of_layout(self, layout: Layout) -> Manifest:
        """A copy that names a layout; 256x2 is not named, so that older manifests and their keys stay as they are."""
        return self if layout == DEFAULT_LAYOUT else self.replace(layout=(layout.size, layout.depth))

    @property
    def scored_version(self) -> int:
        """The version of the task whose rules gave the numbers; that of the answers where this is not told."""
        return self.scoring.task_version if self.scoring else self.task_version

    @property
    def scored_by(self) -> str:
        """The version of this program that gave the numbers."""
        return self.scoring.samtok_eval if self.scoring else self.samtok_eval

    def to_json(self) -> dict[str, Any]:
        """What is written."""
        return self.model_dump(mode="json", exclude_unset=True)

    def replace(self, **changes: Any) -> Manifest:
        """A copy with other values."""
        return self.model_copy(update=changes)


def read_manifest(path: Path) -> Manifest:
    """A run's manifest.

    Raises:
        DataError: it cannot be read, is of another schema version, or its shape is not that of a manifest.
    """
    content = read_object(path, SCORE_AGAIN)
    schema = content.get("schema_version")
    if schema != SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {schema}, this program reads {SCHEMA_VERSION}; use the version that wrote it"
        )
    with reading(str(path), "it is no manifest of this program's, run again"):
        return manifest_of(content)


def manifest_of(content: dict[str, Any]) -> Manifest:
    """A manifest from its JSON.

    Raises:
        ValidationError: the shape is not that of a manifest.
    """
    # As text, because strict reading takes a list for a tuple and a string for a path from JSON alone.
    return Manifest.model_validate_json(json.dumps(content))
