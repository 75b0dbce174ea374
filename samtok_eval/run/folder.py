"""The run folder: what is written, when, and how it is read back.

`predictions/part-<rank>.jsonl` is appended to and flushed per sample, so it is also the resume log; every other file
appears whole or not at all.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from pydantic import TypeAdapter

from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.files import numbered_lines, reading, writing
from samtok_eval.prediction import Record
from samtok_eval.prediction_log import PredictionLog
from samtok_eval.records import Records
from samtok_eval.run.manifest import COMPLETE, SCORE_AGAIN, Manifest, read_manifest
from samtok_eval.run.metrics_file import Metrics, read_metrics

_RECORD = TypeAdapter(Record)
_JSON = json.JSONEncoder(ensure_ascii=False)
_quoted = json.encoder.encode_basestring
_FLAG = {False: "false", True: "true"}
BATCH = 4096
"""Records that are read before they become columns."""


class RunFolder:
    """Paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> Path:
        """Settings, fingerprints, versions, counters, signature."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """Values per protocol."""
        return self.path / "metrics.json"

    @property
    def records(self) -> Path:
        """One line per sample and protocol."""
        return self.path / "records.jsonl"

    def part(self, rank: int = 0) -> Path:
        """Predictions of one process."""
        return self.path / "predictions" / f"part-{rank}.jsonl"

    def parts(self) -> list[Path]:
        """Predictions of all processes."""
        return sorted((self.path / "predictions").glob("part-*.jsonl"))

    @contextmanager
    def held(self, shared: bool = False) -> Iterator[None]:
        """Keep other commands from asking the same questions.

        Args:
            shared: among the shards of a run, each of which asks others.

        Raises:
            UsageError: another command is at work here.
        """
        path = self.path / "predictions" / ".lock"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("ab")
        with lock:
            try:
                fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"another process is writing {self.path / 'predictions'}; wait for it, or use --fresh"
                ) from error
            yield

    def repair(self) -> None:
        """Cut off the last lines that a kill tore, whichever process wrote them.

        Raises:
            UsageError: a process is writing one of the files.
        """
        for path in self.parts():
            PredictionLog(path).close()


def slug(name: str) -> str:
    """A model name as one folder name: `zhouyik/X` -> `zhouyik__X`, `openai:URL#zhouyik/X` -> `openai-zhouyik__X`."""
    # The address of a server, and the place of a folder there, are no part of what answers.
    name = re.sub(r"openai:[^#]*#(/.*/)?(?=.)", "openai:", name.rstrip("/"))
    text = name.replace("/", "__")
    return re.sub(r"[^A-Za-z0-9._+-]", "-", text).strip("-.") or "model"


class RecordsWriter:
    """Writes records while they are made, one JSON object a line, protocol after protocol; whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[str, BinaryIO] = {}

    def add(self, protocol: str, records: Sequence[Record]) -> None:
        """Write records of one protocol behind its earlier ones.

        Raises:
            UsageError: the system refuses, e.g. because the disk is full.
        """
        lines = "".join(record_lines(records))
        with writing(self._path):
            if protocol not in self._parts:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._parts[protocol] = self._part(len(self._parts)).open("w+b")
            self._parts[protocol].write(lines.encode())

    def finish(self) -> None:
        """Make one file of everything.

        Raises:
            UsageError: the system refuses.
        """
        with writing(self._path):
            if not self._parts:
                self._parts[""] = self._part(0).open("w+b")
            first, *others = self._parts.values()
            for file in others:
                file.seek(0)
                shutil.copyfileobj(file, first)
            first.close()
            self._part(0).replace(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, file in enumerate(self._parts.values()):
            # What could not be written is written again by closing.
            with suppress(OSError):
                file.close()
            self._part(number).unlink(missing_ok=True)

    def _part(self, number: int) -> Path:
        return self._path.with_name(f".{self._path.name}.{os.getpid()}.{number}.part")


def record_lines(records: Sequence[Record]) -> Iterator[str]:
    """The line of each record, which is JSON of its `to_json`, in a fifth of the time."""
    texts: dict[int, str] = {}
    rows = records.rows() if isinstance(records, Records) else (tuple(record.__dict__.values()) for record in records)
    for name, image, protocol, status, *areas, empty, failed, crashed, phrase, values, series, slices in rows:
        inter, union, gt_area, pred_area = areas
        # Many samples share their slices.
        if id(slices) not in texts:
            texts[id(slices)] = _encoded(slices)
        yield (
            f'{{"id": {_quoted(name)}, "image_id": {_quoted(image)}, "protocol": {_quoted(protocol)}, '
            f'"status": {_quoted(status)}, "inter": {inter}, "union": {union}, "gt_area": {gt_area}, '
            f'"pred_area": {pred_area}, "no_target": {_FLAG[empty]}, "failed": {_FLAG[failed]}, '
            f'"crashed": {_FLAG[crashed]}, "phrase": {_quoted(phrase)}, "values": {_encoded(values)}, '
            f'"series": {_encoded(series)}, "slices": {texts[id(slices)]}}}\n'
        )


def _encoded(mapping: Mapping[str, Any]) -> str:
    return _JSON.encode(dict(mapping)) if mapping else "{}"


def read_records(path: Path) -> dict[str, Records]:
    """Records by protocol, in the order of the file.

    Raises:
        DataError: the file is missing, a line is no record, or a sample occurs twice under one protocol.
    """
    parts: dict[str, list[Records]] = {}
    seen: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    batch: list[Record] = []
    for number, line in numbered_lines(path, SCORE_AGAIN):
        with reading(f"{path}:{number}", SCORE_AGAIN):
            record = _RECORD.validate_json(line)
        known = seen.setdefault(record.protocol, set())
        # The protocols share the texts of a sample.
        name = names.setdefault(record.id, record.id)
        if name in known:
            raise DataError(f"{path}:{number}: sample {record.id!r} occurs twice under {record.protocol}")
        known.add(name)
        if batch and (record.protocol != batch[0].protocol or len(batch) == BATCH):
            parts.setdefault(batch[0].protocol, []).append(_columns(path, batch))
            batch = []
        batch.append(replace(record, id=name, phrase=names.setdefault(record.phrase, record.phrase)))
    if batch:
        parts.setdefault(batch[0].protocol, []).append(_columns(path, batch))
    return {protocol: Records.joined(mine) for protocol, mine in parts.items()}


def _columns(path: Path, records: Sequence[Record]) -> Records:
    with reading(str(path), SCORE_AGAIN):
        return Records.of(records)


@dataclass(frozen=True)
class Run:
    """A run folder that has been read."""

    path: Path
    manifest: Manifest
    metrics: Metrics = field(default_factory=Metrics)
    """Without anything before scoring."""

    def values(self, protocol: str) -> dict[str, dict[str, Any]]:
        """Metrics of one protocol as plain JSON: name -> value, low, high, n."""
        return {name: entry.model_dump() for name, entry in self.metrics.protocols[protocol].items()}


def load_run(path: str | Path) -> Run:
    """Read a finished run folder.

    The numbers are taken as they stand; `reports.runs.read_scored` also checks that they follow from the records.

    Raises:
        DataError: a file is missing or broken.
        IncompleteRunError: the run was not finished.
    """
    folder = RunFolder(Path(path))
    if not folder.manifest.is_file():
        raise DataError(f"{folder.manifest} is missing; {path} is not a finished run folder")
    manifest = read_manifest(folder.manifest)
    if manifest.state != COMPLETE:
        raise IncompleteRunError(f"{path} is {manifest.state}, not {COMPLETE}; run the same command again")
    return Run(folder.path, manifest, read_metrics(folder.metrics))
