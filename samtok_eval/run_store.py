"""The run folder: what is written, when, and how it is read back.

`predictions/part-<rank>.jsonl` is appended to and flushed per sample, so it is also the resume log; every other file
appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from samtok_eval.append_log import AppendLog
from samtok_eval.errors import DataError
from samtok_eval.prediction import Prediction, Record

SCHEMA_VERSION = 1
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


def slug(name: str) -> str:
    """A model name as one folder name: `zhouyik/X` -> `zhouyik__X`."""
    text = name.rstrip("/").replace("/", "__")
    return re.sub(r"[^A-Za-z0-9._+-]", "-", text).strip("-.") or "model"


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records, one JSON object a line, whole or not at all."""
    write_text(path, "".join(json.dumps(record.to_json(), ensure_ascii=False) + "\n" for record in records))


def read_records(path: Path) -> list[Record]:
    """Records of all protocols, in the order of the file.

    Raises:
        DataError: the file is missing, a line is no record, or a sample occurs twice under one protocol.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); run `score` again") from error
    records = []
    seen: set[tuple[str, str]] = set()
    for number, line in enumerate(lines, start=1):
        try:
            record = _RECORD.validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise DataError(f"{path}:{number}: {where}: {first['msg']}; run `score` again") from error
        if (record.protocol, record.id) in seen:
            raise DataError(f"{path}:{number}: sample {record.id!r} occurs twice under {record.protocol}")
        seen.add((record.protocol, record.id))
        records.append(record)
    return records


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


class PredictionLog(AppendLog):
    """Appends predictions, each on disk before the next is made; one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open the log.

        Raises:
            UsageError: another process is writing it.
        """
        super().__init__(path, "wait for it, or use --fresh")

    def append(self, prediction: Prediction) -> None:
        """Write one line and flush it."""
        line = prediction.model_dump(mode="json", exclude={"masks", "phrases", "box"})
        self.write_line(json.dumps(line, ensure_ascii=False))


def read_own_predictions(parts: Iterable[Path]) -> dict[str, Prediction]:
    """Answers of a run of ours by sample id, from the logs of its processes.

    A question that failed is asked again, so that its error may stand in a log beside a later line; that one counts.

    Args:
        parts: `predictions/part-<rank>.jsonl`; a line that a kill cut off is left out.

    Raises:
        DataError: a log is missing or broken, or answers a sample twice.
    """
    found: dict[str, Prediction] = {}
    for prediction in read_predictions(parts, torn_tail=True):
        before = found.get(prediction.id)
        if before is None or before.error is not None:
            found[prediction.id] = prediction
        elif prediction.error is None:
            raise DataError(f"prediction {prediction.id!r} occurs twice; remove one of the two lines")
    return found


def read_predictions(paths: Iterable[Path], torn_tail: bool = False) -> Iterator[Prediction]:
    """Predictions of several files.

    Args:
        paths: JSON-lines files.
        torn_tail: leave out a last line without its line end, as a killed run leaves one.

    Raises:
        DataError: a file is missing, or a line is not a prediction; the message names file and line.
    """
    for path in paths:
        try:
            text = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); give a predictions file") from error
        lines = text.removeprefix(BOM_UTF8).split(b"\n")
        if torn_tail:
            lines = lines[:-1]
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield Prediction.model_validate_json(line)
                except ValidationError as error:
                    first = error.errors()[0]
                    where = ".".join(str(part) for part in first["loc"]) or "line"
                    raise DataError(f"{path}:{number}: {where}: {first['msg']}; correct or remove the line") from error
