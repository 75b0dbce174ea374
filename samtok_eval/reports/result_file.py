"""One result of one model as a small JSON file under `leaderboards/results/`, from which every table can be rebuilt.

In: a scored run, or a file of `<org>__<model>/<revision>/<task>.json`. Out: a validated `ResultFile`, and the one place
it belongs to. The layout follows mteb's results repository. Values are shares 0..1, as in `metrics.json`; where the
data lay is not kept, only whether they were the demo's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from samtok_eval.errors import DataError
from samtok_eval.files import read_json, reading
from samtok_eval.metrics.cards import MetricKey
from samtok_eval.run.folder import Run, slug
from samtok_eval.run.manifest import Manifest
from samtok_eval.run.settings import DEMO
from samtok_eval.run.signature import signature
from samtok_eval.task import Task

SCHEMA_VERSION: Final = 2
HUB_ID = r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
REVISION = r"[A-Za-z0-9][A-Za-z0-9._-]*"
PARAMETERS = r"(<=)?[0-9]+(\.[0-9]+)?[KMBT]"
ADDRESS = r"https://[a-z0-9.-]+/[A-Za-z0-9._~/+?=&%-]+"
NAME = r"[A-Za-z0-9][A-Za-z0-9_+-]*"
"""Tasks and splits are parts of a file name, where a dot separates them."""
DEMO_PICTURES = "DEMO_*"
"""Names of the demo's pictures, which give it away under any folder name."""

Text = Annotated[str, StringConstraints(min_length=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MetricValue(_Frozen):
    """One number with its 95 % interval and what it rests on."""

    value: float | None
    """A share 0..1, or a count for the metrics that are counts; None where nothing could be measured."""
    low: float | None
    high: float | None
    n: int = Field(ge=0)


class ModelEntry(_Frozen):
    """Which model, as readers can find it."""

    name: Annotated[str, StringConstraints(pattern=f"^{HUB_ID}$")]
    """`org/model`."""
    revision: Annotated[str, StringConstraints(pattern=f"^{REVISION}$")]
    """Commit, tag, or the beginning of the weights' hash."""
    parameters: Annotated[str, StringConstraints(pattern=f"^{PARAMETERS}$")] | None = None
    """Size as the model's card says it, e.g. `3B`."""


class DatasetEntry(_Frozen):
    """Which questions."""

    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    """Hash of questions and targets: two results share a column only where it agrees."""
    samples: int = Field(ge=0)
    demo: bool
    """Whether these are the bundled synthetic scenes, not the benchmark."""


class IntervalEntry(_Frozen):
    """How the intervals were made."""

    method: Text
    draws: int = Field(ge=1)
    seed: int = Field(ge=0)
    confidence: float = Field(gt=0, lt=1)


class RecordsEntry(_Frozen):
    """The records that the values follow from."""

    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    """Of the run's `records.jsonl`, before it was compressed."""
    place: Annotated[str, StringConstraints(pattern=rf"^{ADDRESS}$")] | None = None
    """Where they can be had; None where they lie beside the result file."""


class ResultFile(_Frozen):
    """What a leaderboard keeps of one run."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    """2 since it may name its records."""
    task: Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
    split: Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
    task_version: int
    history: Literal["gt", "pred"] = "gt"
    """Whose earlier masks the model saw in several rounds; the two never share a column."""
    model: ModelEntry
    dataset: DatasetEntry
    protocols: dict[Text, dict[Text, MetricValue]] = Field(min_length=1)
    """Protocol -> metric -> value."""
    signature: dict[Text, Text]
    """Protocol -> everything that can change its numbers, in short."""
    counters: dict[str, int | dict[str, int]]
    intervals: IntervalEntry | None = None
    """None in files from before it was kept: 1,000 draws of the percentile bootstrap."""
    records: RecordsEntry | None = None
    """None where they are kept nowhere, as in files of schema 1."""
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """When the run finished, UTC."""
    samtok_eval: Text
    """Version of this program that scored the run."""

    @model_validator(mode="after")
    def _every_protocol_is_signed(self) -> Self:
        if set(self.signature) != set(self.protocols):
            raise ValueError(
                f"signatures of {sorted(self.signature)} do not fit the protocols {sorted(self.protocols)}"
            )
        return self

    @property
    def judges(self) -> tuple[str, ...]:
        """Judge models that gave some of the values."""
        named = {MetricKey.of(metric).judge for metrics in self.protocols.values() for metric in metrics}
        return tuple(sorted(named - {""}))

    def place(self, default_split: str | None) -> Path:
        """The file's path under `results/`.

        Args:
            default_split: the task's default split, which the name leaves out; None where the task is not known, so
                that the split is always named.
        """
        parts = [self.task]
        parts += [self.split] if self.split != default_split else []
        parts += [f"history-{self.history}"] if self.history != "gt" else []
        parts += [f"judge-{slug(judge)}" for judge in self.judges]
        return Path(slug(self.model.name), self.model.revision, f"{'.'.join(parts)}.json")


def result_of(
    run: Run, model: str, revision: str, parameters: str | None, records: RecordsEntry | None = None
) -> ResultFile:
    """What a result file keeps of a scored run.

    Args:
        run: a run with metrics.
        model: `org/model`, which also replaces the name in the signatures: that may be a path of this machine.
        revision: commit, tag, or the beginning of the weights' hash.
        parameters: size, e.g. `3B`.
        records: where its records are kept.

    Raises:
        DataError: manifest or metrics do not hold what a result needs, or a name is not well formed.
    """
    manifest, metrics = run.manifest, run.metrics
    content = {
        "task": manifest.task,
        "split": manifest.split,
        "task_version": manifest.scored_version,
        "history": manifest.settings.history,
        "model": {"name": model, "revision": revision, "parameters": parameters},
        "dataset": {
            "sha256": manifest.dataset.sha256,
            "samples": manifest.dataset.samples,
            "demo": _is_demo(manifest.dataset.root),
        },
        "protocols": {
            protocol: {name: entry.model_dump(include=set(MetricValue.model_fields)) for name, entry in found.items()}
            for protocol, found in metrics.protocols.items()
        },
        "signature": {protocol: _signature(manifest, protocol, model) for protocol in manifest.signature},
        "counters": metrics.counters.model_dump(exclude_unset=True),
        "intervals": metrics.intervals.model_dump() if metrics.intervals else None,
        "records": records and records.model_dump(),
        "date": manifest.times.finished or manifest.times.started,
        "samtok_eval": manifest.scored_by,
    }
    return _validated(content, str(run.path))


def read_result(path: Path) -> ResultFile:
    """Read one result file.

    Raises:
        DataError: not JSON, of a newer schema, or not a result.
    """
    content = read_json(path, "submit the run again")
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is not int:
        raise DataError(f"{path}: expected a result file with a whole schema_version, got {version!r}; submit again")
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {version}, this samtok-eval reads up to {SCHEMA_VERSION}; "
            "upgrade samtok-eval to read it"
        )
    return _validated(content, str(path))


def read_results(folder: Path, tasks: Mapping[str, Task]) -> list[ResultFile]:
    """All result files of a `results/` folder, in the order of their paths.

    Args:
        folder: may be absent, which means no results.
        tasks: tasks by name, for their default splits.

    Raises:
        DataError: a file cannot be read, or its place does not fit its content.
    """
    results = []
    for path in sorted(folder.rglob("*.json")):
        result = read_result(path)
        expected = result.place(default_split(tasks, result.task))
        if path.relative_to(folder) != expected:
            raise DataError(
                f"{path} holds {result.model.name} {result.model.revision} on {result.task}:{result.split}, "
                f"which belongs at {folder / expected}; move it there or submit the run again"
            )
        results.append(result)
    return results


def default_split(tasks: Mapping[str, Task], name: str) -> str | None:
    """A task's default split; None for a task that is not known here."""
    return tasks[name].metadata.default_split if name in tasks else None


def _validated(content: Mapping[str, Any], origin: str) -> ResultFile:
    with reading(origin, "correct it and submit again"):
        return ResultFile.model_validate(content)


def _signature(manifest: Manifest, protocol: str, model: str) -> str:
    """A run's signature with the model's public name."""
    if manifest.scoring is None:
        # All that an older folder keeps is the text.
        return manifest.signature[protocol].replace(f"|model:{manifest.model.name}|", f"|model:{model}|")
    return signature(manifest.replace(model=manifest.model.model_copy(update={"name": model})), protocol)


def _is_demo(root: str) -> bool:
    return root == DEMO or any(Path(root, "coco", "train2014").glob(DEMO_PICTURES))
