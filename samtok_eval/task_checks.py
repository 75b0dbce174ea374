"""What a task file of a user must give: every message names the file, the field and what to do.

Tasks of this program are not looked at again; their own tests do that. `user_code.blamed` tells what a file raises.
"""

from __future__ import annotations

import inspect
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samtok_eval.errors import TaskFileError
from samtok_eval.mask_tokens import POLICIES
from samtok_eval.masks import Rle
from samtok_eval.metrics.ratio import Description, Ranked, Ratio, Sums
from samtok_eval.prediction import Record
from samtok_eval.prompts import Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.records import Records
from samtok_eval.sample import Crop, Frame, ImageRef, Region, Sample, Target, Turn
from samtok_eval.sample_table import SampleTable

if TYPE_CHECKING:
    from samtok_eval.task import Task

SEE = "see docs/adding_a_task.md"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
"""Of a task and of a split: folders of runs have these names."""
CALLS: Mapping[str, tuple[str, ...]] = {
    "read": ("data_root", "split"),
    "score": ("sample", "prediction", "protocol"),
    "metrics": ("records", "protocol"),
}
"""What methods are called with."""
WHOLE = ("inter", "union", "gt_area", "pred_area")
FLAGS = ("no_target", "failed", "crashed")


def check_tasks(found: Any, path: Path) -> tuple[Task, ...]:
    """Refuse a `TASKS` that is no tuple of whole tasks.

    Args:
        found: what the file defines; None where it defines none.
        path: of the file.

    Returns:
        The same.

    Raises:
        TaskFileError: naming the first thing that is wrong.
    """
    from samtok_eval.task import Task

    example = "end the file with `TASKS = (MyTask(),)`"
    if found is None:
        raise TaskFileError(f"{path} must define TASKS, a tuple of Task objects; {example}, {SEE}")
    if not isinstance(found, tuple) or not found:
        got = "an empty tuple" if found == () else _kind(found)
        raise TaskFileError(f"{path} must define TASKS as a tuple of Task objects, got {got}; {example}, {SEE}")
    for entry in found:
        if not isinstance(entry, Task):
            call = f"; call it: {entry.__name__}()" if isinstance(entry, type) else ""
            raise TaskFileError(
                f"{path} must define TASKS, a tuple of Task objects; it holds {_kind(entry)}{call}; {SEE}"
            )
        for field, problem in _problems(entry):
            raise TaskFileError(f"{path}: {type(entry).__name__}.{field} {problem}; {SEE}")
    return found


def _problems(task: Any) -> Iterator[tuple[str, str]]:
    """Fields of a task that cannot be used, and why; later ones may rest on earlier ones."""
    from samtok_eval.task import TaskMetadata

    for name in ("metadata", "prompt", "protocols"):
        if not hasattr(task, name):
            yield name, "is missing; give it as an attribute of the class"
    card, prompt, protocols = task.metadata, task.prompt, task.protocols
    if not isinstance(card, TaskMetadata):
        yield "metadata", f"must be a TaskMetadata, got {_kind(card)}"
    for field, names in (("name", (card.name,)), ("splits", card.splits)):
        for name in names:
            if not NAME.fullmatch(name):
                yield (
                    f"metadata.{field}",
                    f"holds {name!r}; use letters, digits, _ . + -, beginning with one of the first two",
                )
    if card.default_split not in card.splits:
        yield "metadata.default_split", f"is {card.default_split!r}; choose from splits {', '.join(card.splits)}"
    if card.main_metric not in card.metrics:
        yield "metadata.main_metric", f"is {card.main_metric!r}; choose from metrics {', '.join(card.metrics)}"
    if not isinstance(prompt, Prompt | None):
        yield "prompt", f"must be a Prompt, or None where no language model is asked; got {_kind(prompt)}"
    if not isinstance(protocols, tuple) or not protocols or not all(isinstance(p, Protocol) for p in protocols):
        yield "protocols", f"must be a tuple of Protocol objects, the usual one first; got {reprlib.repr(protocols)}"
    for protocol in protocols:
        if protocol.policy not in POLICIES:
            yield "protocols", f"reads answers by {protocol.policy!r}; choose a policy from {', '.join(POLICIES)}"
    if len({protocol.name for protocol in protocols}) < len(protocols):
        yield "protocols", "holds a name twice; give each protocol one of its own"
    for name, given in CALLS.items():
        try:
            inspect.signature(getattr(task, name)).bind(*given)
        except (TypeError, ValueError) as error:
            yield f"{name}({', '.join(given)})", f"cannot be called so: {error}"


def check_samples(task: Task, split: str, samples: Any) -> None:
    """Refuse what a user's `read` returns if it is no sequence of whole samples.

    Raises:
        TaskFileError: naming the first sample that is wrong, and its field.
    """
    if task.file is None or isinstance(samples, SampleTable):
        return
    where = f"{task.file}: {type(task).__name__}.read(data_root, {split!r})"
    if not isinstance(samples, Sequence):
        raise TaskFileError(f"{where} must return a list of Sample objects, got {_kind(samples)}; {SEE}")
    if not samples:
        raise TaskFileError(f"{where} returns no samples; read some, or leave the split out of metadata.splits")
    for i, sample in enumerate(samples):
        if not isinstance(sample, Sample):
            raise TaskFileError(f"{where} must return a list of Sample objects, got {_kind(sample)} at {i}; {SEE}")
        for field, problem in _wrong_in(sample):
            raise TaskFileError(f"{where}, sample {sample.id!r}: {field} {problem}; {SEE}")


def _wrong_in(sample: Any) -> Iterator[tuple[str, str]]:
    """Fields of a sample that cannot be used, and why."""
    image, target = sample.image, sample.target
    if not isinstance(sample.id, str) or not sample.id:
        yield "id", f"must be a text that is not empty, got {sample.id!r}"
    if not isinstance(image, ImageRef):
        yield "image", f"must be an ImageRef, got {_kind(image)}"
    for field, value, kind in (("id", image.id, str), ("path", image.path, Path)):
        if not isinstance(value, kind):
            yield f"image.{field}", f"must be a {kind.__name__}, got {value!r}"
    for field, pixels in (("height", image.height), ("width", image.width)):
        if not _whole(pixels) or pixels < 1:
            yield f"image.{field}", f"must be a whole number of pixels, got {pixels!r}"
    if not isinstance(sample.turns, tuple) or not sample.turns or not all(isinstance(t, Turn) for t in sample.turns):
        yield "turns", f"must be a tuple of Turn objects, got {reprlib.repr(sample.turns)}"
    for i, turn in enumerate(sample.turns):
        if turn.role not in ("user", "assistant"):
            yield f"turns[{i}].role", f"must be user or assistant, got {turn.role!r}"
        if not isinstance(turn.parts, tuple) or not all(
            isinstance(part, str | Region | Crop | Frame) for part in turn.parts
        ):
            yield f"turns[{i}].parts", f"must be a tuple of texts and regions, got {reprlib.repr(turn.parts)}"
    if not isinstance(target, Target):
        yield "target", f"must be a Target, got {_kind(target)}"
    if not isinstance(target.masks, tuple):
        yield "target.masks", f"must be a tuple of Rle objects, got {_kind(target.masks)}"
    shown = [part.mask for turn in sample.turns for part in turn.parts if isinstance(part, Region)]
    for name, masks in (("target.masks", target.masks), ("the region", shown)):
        for i, mask in enumerate(masks):
            if not isinstance(mask, Rle):
                yield (
                    f"{name}[{i}]",
                    f"must be a Rle, got {_kind(mask)}; samtok_eval.masks.encode makes one of an array",
                )
            if (mask.height, mask.width) != (image.height, image.width):
                size = f"{mask.height}x{mask.width}, its picture {image.height}x{image.width} (height x width)"
                yield f"{name}[{i}]", f"is {size}; give every mask at the size of the picture"
    if not isinstance(sample.phrase, str):
        yield "phrase", f"must be a text, got {sample.phrase!r}"
    pairs = sample.slices.items() if isinstance(sample.slices, Mapping) else [(sample.slices, "")]
    if not all(isinstance(name, str) and isinstance(value, str) for name, value in pairs):
        yield "slices", f"must be texts by name, got {reprlib.repr(sample.slices)}"


def check_records(task: Task, samples: Sequence[Sample], found: Any, protocols: Sequence[Protocol[Any]]) -> None:
    """Refuse what a user's `score` gives if it is not one whole record per sample and protocol.

    Args:
        task: that scored.
        samples: what was scored.
        found: records by protocol.
        protocols: by whose rules.

    Raises:
        TaskFileError: naming the first record that is wrong, and its field.
    """
    if task.file is None:
        return
    where = f"{task.file}: {type(task).__name__}.score"
    for protocol in protocols:
        records = found.get(protocol.name) if isinstance(found, Mapping) else None
        if not isinstance(records, Sequence) or len(records) != len(samples):
            got = f"{len(records)}" if isinstance(records, Sequence) else _kind(records)
            raise TaskFileError(
                f"{where}_all must return one Record for each of {len(samples)} samples, got {got} under "
                f"{protocol.name}; {SEE}"
            )
        for sample, record in zip(samples, () if isinstance(records, Records) else records, strict=False):
            if not isinstance(record, Record):
                raise TaskFileError(
                    f"{where} must return a Record, got {_kind(record)} for sample {sample.id!r}; {SEE}"
                )
            for field, problem in _wrong_in_record(record, sample, protocol):
                raise TaskFileError(f"{where}, sample {sample.id!r}: Record.{field} {problem}; {SEE}")


def _wrong_in_record(record: Record, sample: Sample, protocol: Protocol[Any]) -> Iterator[tuple[str, str]]:
    """Fields of a record that cannot be used, and why."""
    for field, came, right in (
        ("id", record.id, sample.id),
        ("image_id", record.image_id, sample.image.id),
        ("protocol", record.protocol, protocol.name),
    ):
        if came != right:
            yield field, f"must be {right!r}, got {came!r}"
    for field in WHOLE:
        if not _whole(getattr(record, field)) or getattr(record, field) < 0:
            yield field, f"must be a whole number of pixels, got {getattr(record, field)!r}"
    for field in FLAGS:
        if not isinstance(getattr(record, field), bool | np.bool_):
            yield field, f"must be True or False, got {getattr(record, field)!r}"
    if not isinstance(record.values, Mapping) or not all(_number(value) for value in record.values.values()):
        yield "values", f"must be numbers by name, got {reprlib.repr(record.values)}"


def check_metrics(task: Task, found: Any, count: int) -> None:
    """Refuse what a user's `metrics` returns if it is not metrics by name.

    Args:
        task: whose metrics they are.
        found: what it returned.
        count: of the records that it was given.

    Raises:
        TaskFileError: naming the metric.
    """
    if task.file is None:
        return
    where = f"{task.file}: {type(task).__name__}.metrics(records, protocol)"
    if not isinstance(found, Mapping):
        raise TaskFileError(f"{where} must return metrics by name, got {_kind(found)}; {SEE}")
    for name, metric in found.items():
        if not isinstance(metric, Ratio | Sums | Ranked | Description):
            kinds = "a Ratio, Sums, Ranked or Description of samtok_eval/metrics/ratio.py"
            raise TaskFileError(f"{where}: {name} must be {kinds}, got {_kind(metric)}; {SEE}")
        if (
            isinstance(metric, Ratio)
            and len({len(metric.numerators), len(metric.denominators), len(metric.clusters)}) > 1
        ):
            parts = f"{len(metric.numerators)} numerators, {len(metric.denominators)} denominators"
            raise TaskFileError(
                f"{where}: {name} has {parts} and {len(metric.clusters)} pictures for {count} records; {SEE}"
            )
    if count and task.metadata.main_metric not in found:
        raise TaskFileError(
            f"{where} gives {', '.join(map(str, found)) or 'nothing'}, but not metadata.main_metric "
            f"{task.metadata.main_metric!r}; {SEE}"
        )


def _kind(value: Any) -> str:
    """What kind of thing a value is, in words."""
    if value is None:
        return "None"
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.bool_)
