"""The data of a page as files that the page itself carries."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass

from samtok_eval.prediction import Record
from samtok_eval.reports.html import NAME_SHOWN
from samtok_eval.reports.markup import csv_lines
from samtok_eval.reports.page.content import Report

ROWS = 20_000
"""Samples in the page's own CSV; `records.jsonl` beside the page always has all."""
SCORE_FIELDS = ("protocol", "metric", "value", "low", "high", "n", "ceiling", "floor")
SAMPLE_FIELDS = ("id", "image", "status", "phrase", "inter", "union", "gt_area", "pred_area")


@dataclass(frozen=True)
class Download:
    """One file."""

    name: str
    address: str
    """A data address that holds all of it."""


def downloads(report: Report) -> list[Download]:
    """Metrics as CSV and JSON, samples as CSV."""
    metrics = {
        "metrics": report.run.run.metrics.to_json(),
        "signature": report.run.run.manifest.signature,
        "comparison": report.comparison.to_json() if report.baseline else None,
        "training_mix": report.leaks.to_json() if report.leaks else None,
        "separation": asdict(report.separation) if report.separation else None,
    }
    scores = {record.id: score for record, score in report.rows}
    records = report.run.records[report.protocol][:ROWS]
    samples = csv_lines(
        [*SAMPLE_FIELDS, report.metric or "score"], ([*_sample(record), scores.get(record.id)] for record in records)
    )
    return [
        _download(
            "metrics.csv",
            "text/csv",
            csv_lines(SCORE_FIELDS, ([getattr(score, name) for name in SCORE_FIELDS] for score in report.scores)),
        ),
        _download("metrics.json", "application/json", json.dumps(metrics, indent=1, ensure_ascii=False)),
        _download("samples.csv", "text/csv", samples),
    ]


def _sample(record: Record) -> list[object]:
    areas = [record.inter, record.union, record.gt_area, record.pred_area]
    return [record.id, record.image_id, record.status, record.phrase[:NAME_SHOWN], *areas]


def _download(name: str, kind: str, content: str) -> Download:
    data = base64.b64encode(content.encode("utf-8", "replace")).decode()
    return Download(name, f"data:{kind};base64,{data}")
