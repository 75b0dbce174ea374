"""The manifest of a run folder as it is read: anybody may have written it, so its shape is checked before its use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from samtok_eval.errors import DataError
from samtok_eval.run_store import SCHEMA_VERSION


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Model(_Part):
    name: str
    identity: dict[str, Any]


class _Dataset(_Part):
    root: str
    samples: int
    sha256: str


class _Settings(_Part):
    data_root: str
    seed: int = Field(ge=0)
    limit: int | None = None
    prompt: str | None = None
    tasks_dirs: list[str] = []


class _Scoring(_Part):
    samtok_eval: str
    task_version: int
    seed: int = Field(ge=0)
    key: str


class _Manifest(_Part):
    """What reading rests on; a manifest holds more."""

    schema_version: int
    state: str
    task: str
    task_version: int
    split: str
    model: _Model
    tokenizer_sha256: str | None
    prompt: str
    dataset: _Dataset
    settings: _Settings
    passed: list[str]
    samtok_eval: str
    times: dict[str, Any]
    counters: dict[str, int | dict[str, int]]
    run_key: str | None = None
    template: str | None = None
    packages: dict[str, str] = {}
    hardware: dict[str, Any] = {}
    signature: dict[str, str] = {}
    scoring: _Scoring | None = None


def read_manifest(path: Path) -> dict[str, Any]:
    """A run's manifest.

    Raises:
        DataError: it cannot be read, is of another schema version, or its shape is not that of a manifest.
    """
    content = read_object(path)
    schema = content.get("schema_version")
    if schema != SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {schema}, this program reads {SCHEMA_VERSION}; use the version that wrote it"
        )
    try:
        _Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {where}: {first['msg']}; it is no manifest of this program's, run again") from error
    return content


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of a run folder.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); run `score` again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object; run `score` again")
    return content
