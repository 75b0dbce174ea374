"""Runs as pandas frames: samples, metrics and slices, of one run or of many.

In: run folders. Out: tidy frames, one row per observation, with the values of the files to the digit: shares are 0..1.
pandas is imported when a frame is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, overload

import pandas as pd

from samtok_eval.errors import DataError, IncompleteRunError
from samtok_eval.metrics.cards import card
from samtok_eval.prediction_log import read_own_predictions
from samtok_eval.records import PLAIN, Records
from samtok_eval.run.folder import Run, RunFolder, load_run, run_paths
from samtok_eval.run.record_file import read_records
from samtok_eval.run.slices import slices_of

RUN_COLUMNS = ("task", "split", "model", "run")
"""Which run a row is of, in frames of many; `run` is the folder."""
SAMPLE_COLUMNS = (
    "protocol", "id", "image_id", "phrase", "text", "status", "iou", "inter", "union", "gt_area", "pred_area",
    "no_target", "failed", "crashed",
)  # fmt: skip
METRIC_COLUMNS = ("protocol", "metric", "value", "low", "high", "n")
SLICE_COLUMNS = ("protocol", "slice", "group", "metric", "value", "n")


def samples_frame(run: Run) -> pd.DataFrame:
    """Every sample of a run under every protocol.

    Returns:
        `SAMPLE_COLUMNS`, then the further statistics of the task (NaN where a sample has none), then its slices. `iou`
        is that of all masks together, 0 where both are empty; `text` is None where the answers are not in the folder.

    Raises:
        DataError: the records or predictions are missing or broken.
    """
    folder = RunFolder(run.path)
    texts = {name: answer.text for name, answer in read_own_predictions(folder.parts()).items()}
    parts = [_of_protocol(records, texts) for records in read_records(folder.records).values()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(SAMPLE_COLUMNS))


def _of_protocol(records: Records, texts: Mapping[str, str | None]) -> pd.DataFrame:
    plain: dict[str, Any] = {name: getattr(records, name) for name in PLAIN if name not in ("series", "slices")}
    plain["text"] = [texts.get(name) for name in records.id]
    frame = pd.DataFrame(plain)
    # As `Record.iou`: 0 where nothing is united.
    frame["iou"] = (frame["inter"] / frame["union"].where(frame["union"] > 0)).fillna(0.0)
    statistics = {name: pd.Series(column.values).where(column.there) for name, column in records.values.items()}
    slices = pd.DataFrame([slices_of(record) for record in records]).drop(columns="status")
    further = pd.DataFrame(statistics).join(slices, lsuffix="_value") if statistics else slices
    return frame[list(SAMPLE_COLUMNS)].join(further, rsuffix="_of_task")


def metrics_frame(run: Run) -> pd.DataFrame:
    """The numbers of a run: `METRIC_COLUMNS`, those of `metrics.json`."""
    rows = [
        (protocol, metric, entry.value, entry.low, entry.high, entry.n)
        for protocol, metrics in run.metrics.protocols.items()
        for metric, entry in metrics.items()
    ]
    return pd.DataFrame(rows, columns=list(METRIC_COLUMNS))


def slices_frame(run: Run) -> pd.DataFrame:
    """The numbers of a run's slices: `SLICE_COLUMNS`, e.g. slice `size`, group `small`."""
    rows = [
        (protocol, name, group, metric, entry.value, entry.n)
        for protocol, slices in run.metrics.slices.items()
        for name, groups in slices.items()
        for group, metrics in groups.items()
        for metric, entry in metrics.items()
    ]
    return pd.DataFrame(rows, columns=list(SLICE_COLUMNS))


def run_html(run: Run) -> str:
    """A run as a notebook shows it: its name, and metrics x 100, protocols as rows."""
    about = run.manifest
    title = (
        f"<b>{escape(f'{about.task}:{about.split}')}</b> {escape(about.model.name)}, {about.dataset.samples} samples"
    )
    frame = metrics_frame(run)
    if frame.empty:
        return f"<p>{title}; not scored</p>"
    cells = [
        f"{100 * value:.1f}" if card(metric).is_share and value == value else f"{value:.3g}"
        for metric, value in zip(frame["metric"], frame["value"].astype(float), strict=True)
    ]
    titles = [card(metric).title for metric in frame["metric"]]
    shown = pd.DataFrame({"protocol": frame["protocol"], "metric": titles, "value": cells})
    order = list(dict.fromkeys(titles))
    table = shown.pivot(index="protocol", columns="metric", values="value")[order].fillna("")
    table = table.loc[list(dict.fromkeys(frame["protocol"]))].rename_axis(index=None, columns=None)
    return f"<p>{title} (shares x 100)</p>{table.to_html()}"


@dataclass(frozen=True, repr=False)
class Runs(Sequence[Run]):
    """Runs in order, and their frames one below the other."""

    found: Sequence[Run]
    skipped: Mapping[Path, str] = field(default_factory=dict)
    """Folders that were not loaded, e.g. unfinished ones, with the reason."""

    def samples(self) -> pd.DataFrame:
        """`samples_frame` of each run, behind `RUN_COLUMNS`."""
        return self._joined([samples_frame(run) for run in self.found], SAMPLE_COLUMNS)

    def metrics_frame(self) -> pd.DataFrame:
        """`metrics_frame` of each run, behind `RUN_COLUMNS`."""
        return self._joined([metrics_frame(run) for run in self.found], METRIC_COLUMNS)

    def slices(self) -> pd.DataFrame:
        """`slices_frame` of each run, behind `RUN_COLUMNS`."""
        return self._joined([slices_frame(run) for run in self.found], SLICE_COLUMNS)

    def _joined(self, frames: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
        if not frames:
            return pd.DataFrame(columns=[*RUN_COLUMNS, *columns])
        for run, frame in zip(self.found, frames, strict=True):
            about = run.manifest
            for place, value in enumerate((about.task, about.split, about.model.name, str(run.path))):
                frame.insert(place, RUN_COLUMNS[place], value)
        return pd.concat(frames, ignore_index=True)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> Runs: ...

    def __getitem__(self, index: int | slice) -> Run | Runs:
        return Runs(self.found[index], self.skipped) if isinstance(index, slice) else self.found[index]

    def __iter__(self) -> Iterator[Run]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        return "\n".join([f"<Runs {len(self)}, {len(self.skipped)} skipped>", *map(repr, self.found)])

    def _repr_html_(self) -> str:
        lines = [f"<p>{escape(str(path))}: {escape(reason)}</p>" for path, reason in self.skipped.items()]
        return "".join([*(run_html(run) for run in self.found), *lines])


def load_runs(folder: str | Path) -> Runs:
    """Read all finished runs below a folder.

    Args:
        folder: of runs, e.g. `runs` or `runs/gres`.

    Returns:
        The runs by path. Unfinished and unreadable folders are named in `skipped`.

    Raises:
        DataError: the folder does not exist.
    """
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: expected a folder of runs, there is none; give the --out of a run")
    found, skipped = [], {}
    for path in run_paths(Path(folder)):
        try:
            found.append(load_run(path))
        except (DataError, IncompleteRunError) as error:
            skipped[path] = str(error)
    return Runs(found, skipped)
