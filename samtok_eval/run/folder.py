"""The run folder: what is written, when, and how it is read back.

`predictions/part-<rank>.jsonl` is appended to and flushed per sample, so it is also the resume log; every other file
appears whole or not at all.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.files import numbered_lines, reading, write_text, writing
from samtok_eval.prediction import Record
from samtok_eval.prediction_log import PredictionLog
from samtok_eval.run.manifest import COMPLETE, SCORE_AGAIN, Manifest, read_manifest
from samtok_eval.run.metrics_file import Metrics, read_metrics

_RECORD = TypeAdapter(Record)


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


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records, one JSON object a line, whole or not at all."""
    write_text(path, "".join(json.dumps(record.to_json(), ensure_ascii=False) + "\n" for record in records))


def read_records(path: Path) -> list[Record]:
    """Records of all protocols, in the order of the file.

    Raises:
        DataError: the file is missing, a line is no record, or a sample occurs twice under one protocol.
    """
    records = []
    seen: set[tuple[str, str]] = set()
    for number, line in numbered_lines(path, SCORE_AGAIN):
        with reading(f"{path}:{number}", SCORE_AGAIN):
            record = _RECORD.validate_json(line)
        if (record.protocol, record.id) in seen:
            raise DataError(f"{path}:{number}: sample {record.id!r} occurs twice under {record.protocol}")
        seen.add((record.protocol, record.id))
        records.append(record)
    return records


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
