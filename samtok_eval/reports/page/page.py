"""The page of a report: one HTML file that opens anywhere, with its pictures and its data inside.

In: a gathered `Report`. Out: `index.html`. Everything a model or a benchmark said is escaped by the template,
shortened, and has its invisible characters spelled out.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from typing import Any

from samtok_eval.errors import DataError
from samtok_eval.files import write_text
from samtok_eval.images import read_image
from samtok_eval.metrics.cards import card
from samtok_eval.reports.compare.text import interval_text, p_text, points, signed
from samtok_eval.reports.html import render
from samtok_eval.reports.page.content import (
    BINS,
    CEILING,
    FLOOR,
    ROWS,
    Bound,
    Item,
    Report,
    bounds_of,
    gather,
    highest_of,
)
from samtok_eval.reports.page.pictures import difference_layer, fitted, instances_layer, photograph
from samtok_eval.reports.runs import ScoredRun, read_scored
from samtok_eval.reports.table import ABSENT, limits, number, subject
from samtok_eval.run.signature import short_signature
from samtok_eval.run.slices import slices_of
from samtok_eval.sample import ImageRef, Region, Sample

TEXT_SHOWN = 1500
"""Characters of one text."""
PHRASE_SHOWN = 200
DOWNLOAD_ROWS = 20_000
"""Samples in the page's own CSV; `records.jsonl` beside the page always has all."""
BAR = 180
"""Width of a score's bar in its own units."""


@dataclass
class Pictures:
    """Photographs of a page, each inside it once, and what cannot be shown."""

    known: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Picture -> its name in the page and its data address."""
    missing: list[str] = field(default_factory=list)

    def name(self, image: ImageRef) -> str | None:
        """The name under which a picture stands in the page; None when its file cannot be read."""
        key = str(image.path)
        if key not in self.known and key not in self.missing:
            try:
                self.known[key] = (f"picture-{len(self.known)}", photograph(read_image(image)))
            except DataError:
                # The page says so; the numbers stand without pictures.
                self.missing.append(key)
        return self.known[key][0] if key in self.known else None


def write_report(report: Report, folder: Path) -> Path:
    """Write `index.html` into a folder, whole or not at all.

    Returns:
        Its path.
    """
    path = folder / "index.html"
    write_text(path, page(report))
    return path


def write_reports(paths: Sequence[Path], tasks_dirs: Sequence[Path] = (), seed: int = 0) -> list[Path]:
    """A page in every run folder of one task: models are compared with the first one, between oracle and random.

    Args:
        paths: run folders of one task, split and data set.
        tasks_dirs: further folders of task files.
        seed: of draws and permutations.

    Returns:
        The pages, in the order of the runs.
    """
    runs = [read_scored(path, tasks_dirs) for path in paths]
    models = [run for run in runs if run.name not in (CEILING, FLOOR)]
    pages = []
    for run in runs:
        shown = [models[0], run] if run in models[1:] else [run]
        report = gather(shown, *bounds_of(run, None, None, tasks_dirs, runs), seed=seed)
        pages.append(write_report(report, run.run.path / "report"))
    return pages


def page(report: Report) -> str:
    """The report as one HTML document."""
    pictures = Pictures()
    run = report.run
    comparison = report.comparison if report.baseline else None
    galleries = [
        {
            "name": gallery.name,
            "title": gallery.title,
            "note": gallery.note,
            "total": gallery.total,
            "cards": [_card(item, report, pictures) for item in gallery.items],
        }
        for gallery in report.galleries
    ]
    runs = list(report.comparison.runs)
    return render(
        "report.html.j2",
        style="report.css",
        script="report.js",
        title=_title(report),
        subject=subject(run.task, [each.run for each in runs]),
        model=visible(run.name, PHRASE_SHOWN),
        baseline=visible(report.baseline.name, PHRASE_SHOWN) if report.baseline else None,
        warnings=[visible(warning, TEXT_SHOWN) for warning in report.comparison.warnings],
        counters=run.run.metrics["counters"],
        limits=[visible(line, TEXT_SHOWN) for line in limits(run.run)],
        samples=report.samples,
        protocol=report.protocol,
        protocols=run.protocols,
        metric=card(report.metric).title if report.metric else None,
        bounds=[_bound(bound) for bound in report.bounds],
        has_ceiling=report.ceiling is not None,
        has_floor=report.floor is not None,
        losses=[_loss(b) for b in report.bounds if b.protocol == report.protocol and b.lost_to_model is not None],
        histogram=_bars(report.histogram, report.ceiling_histogram, highest_of(report.metric)),
        ticks=[f"{100 * highest_of(report.metric) * share:g}" for share in (0, 0.25, 0.5, 0.75, 1)],
        bins=BINS,
        slices=report.slices,
        comparison=comparison,
        cells=[_cell(cell, runs) for cell in comparison.cells] if comparison else [],
        slice_cells=[_slice_cell(cell, runs) for cell in comparison.slices] if comparison else [],
        galleries=galleries,
        pictures=list(pictures.known.values()),
        missing=[visible(path, PHRASE_SHOWN) for path in pictures.missing],
        books=[{"book": book, "cells": _grid(book.counts), "side": _side(book.counts)} for book in report.books],
        stages=report.stages,
        rows=[_row(record, score) for record, score in report.rows],
        rows_note=None if report.samples <= ROWS else f"{len(report.rows)} of {report.samples} samples: the lowest "
        f"{ROWS // 2}, and as many spread evenly over the rest.",
        command=visible(report.command, TEXT_SHOWN),
        signatures=[sign for each in runs for sign in _signatures(each)],
        facts=_facts(report),
        downloads=_downloads(report),
        points=points,
        signed=signed,
        p_text=p_text,
        absent=ABSENT,
        number=number,
        change_title=card(report.comparison.sample_metric or "").title,
    )  # fmt: skip


def visible(text: str, length: int) -> str:
    """A text that shows what it is: invisible and direction-changing characters spelled out, the rest cut off."""
    plain = (c in "\n\t" or unicodedata.category(c)[0] != "C" for c in text)
    shown = "".join(c if fine else f"\\u{ord(c):04x}" for c, fine in zip(text[:length], plain, strict=False))
    return shown if len(text) <= length else f"{shown} … ({len(text):,} characters)"


def _title(report: Report) -> str:
    run = report.run
    versus = f" against {report.baseline.name}" if report.baseline else ""
    return visible(f"{run.task.metadata.name}:{run.split}, {run.name}{versus}", PHRASE_SHOWN)


def _bound(bound: Bound) -> dict[str, Any]:
    """A row of scores, with the places of its bar."""
    known = card(bound.metric)
    bar = None
    if bound.value is not None and known.is_share:
        low, high = (bound.value if end is None else end for end in (bound.low, bound.high))
        at = [
            _at(x)
            for x in (bound.floor or 0.0, 1.0 if bound.ceiling is None else bound.ceiling, bound.value, low, high)
        ]
        bar = dict(zip(("floor", "ceiling", "value", "low", "high"), at, strict=True))
    ceiling, floor = (None, None) if known.is_count else (bound.ceiling, bound.floor)
    return {"row": bound, "title": known.title, "value": number(bound.value, bound.metric), "bar": bar,
            "interval": interval_text(bound.low, bound.high),
            "ceiling": number(ceiling, bound.metric), "floor": number(floor, bound.metric)}  # fmt: skip


def _at(share: float) -> float:
    return round(BAR * min(max(share, 0.0), 1.0), 1)


def _loss(bound: Bound) -> dict[str, Any]:
    """Scored, lost by the language model and lost by the tokenizer, in points and as parts of a bar."""
    value, model, tokenizer = bound.value or 0.0, bound.lost_to_model or 0.0, bound.lost_to_tokenizer or 0.0
    return {"title": card(bound.metric).title, "value": value, "model": model, "tokenizer": tokenizer,
            "parts": (_at(value), _at(model), _at(tokenizer))}  # fmt: skip


def _bars(counts: Sequence[int], ceiling: Sequence[int], highest: float) -> list[dict[str, Any]]:
    """Heights 0..100 of each bin; the ceiling's beside, scaled alike."""
    top = max([*counts, *ceiling, 1])
    width = highest / BINS
    return [
        {"low": round(width * i, 2), "high": round(width * (i + 1), 2), "n": n, "height": round(100 * n / top, 1),
         "ceiling": round(100 * ceiling[i] / top, 1) if sum(ceiling) else None, "ceiling_n": ceiling[i]}
        for i, n in enumerate(counts)
    ]  # fmt: skip


def _cell(cell: Any, runs: Sequence[Any]) -> dict[str, Any]:
    found = cell.difference
    record = ABSENT if found is None or found.wins is None else f"{found.wins}/{found.ties}/{found.losses}"
    return {"cell": cell, "model": visible(runs[cell.run].name, PHRASE_SHOWN), "title": card(cell.metric).title,
            "interval": interval_text(cell.low, cell.high), "record": record,
            "between": interval_text(found.low, found.high, signed) if found else ABSENT}  # fmt: skip


def _slice_cell(cell: Any, runs: Sequence[Any]) -> dict[str, Any]:
    between = interval_text(cell.difference.low, cell.difference.high, signed)
    return {"cell": cell, "model": visible(runs[cell.run].name, PHRASE_SHOWN), "between": between}


def _grid(counts: Sequence[int]) -> list[dict[str, Any]]:
    """Codes of a book as a square, with how dark each is, 0..1."""
    top, side = max([*counts, 1]), _side(counts)
    return [
        {"code": code, "n": n, "x": code % side, "y": code // side, "shade": round((n / top) ** 0.5, 3)}
        for code, n in enumerate(counts)
    ]


def _side(counts: Sequence[int]) -> int:
    """Cells on a side of the smallest square that holds a book, 16 for 256 codes."""
    return isqrt(len(counts) - 1) + 1


def _card(item: Item, report: Report, pictures: Pictures) -> dict[str, Any]:
    """A sample of a gallery: pictures in layers, and every text about it."""
    sample, image = item.sample, item.sample.image
    truth = sample.target.masks
    panels: list[tuple[str, str | None]] = [("picture", None)]
    if item.asked:
        panels.append(("regions in the question", instances_layer(item.asked, image.height, image.width)))
    if truth:
        panels.append(("truth", instances_layer(truth, image.height, image.width)))
    if item.answered:
        panels.append(("answer", instances_layer(item.answered, image.height, image.width)))
    if truth and item.answered:
        panels.append(("difference", difference_layer(truth, item.answered, image.height, image.width)))
    if item.reconstructed:
        panels.append(("right codes, decoded", instances_layer(item.reconstructed, image.height, image.width)))
    height, width = fitted(image.height, image.width)
    text = item.prediction.text if item.prediction else None
    facts = [
        ("sample", item.id),
        ("status", item.record.status),
        *([(card(report.metric).title, points(item.score))] if report.metric and item.score is not None else []),
        *([("before", points(item.before))] if item.before is not None else []),
        *([("right codes", points(item.ceiling))] if item.ceiling is not None else []),
        *([("codes", " ".join(f"({codes})" for codes in item.codes))] if item.codes else []),
        *slices_of(item.record).items(),
    ]
    return {
        "id": item.id,
        "label": visible(sample.phrase or item.id, 80),
        "score": points(item.score),
        "before": None if item.before is None else points(item.before),
        "picture": pictures.name(image),
        "height": height,
        "width": width,
        "panels": panels,
        "facts": [(name, visible(str(value), PHRASE_SHOWN)) for name, value in dict(facts).items()],
        "prompt": visible(_asked(sample), TEXT_SHOWN),
        "truth": visible(_truth_text(sample), TEXT_SHOWN),
        "text": None if text is None else visible(text, TEXT_SHOWN),
        "error": visible(item.prediction.error, TEXT_SHOWN) if item.prediction and item.prediction.error else None,
    }


def _signatures(run: ScoredRun) -> list[dict[str, str]]:
    return [
        {"short": visible(short_signature(text), PHRASE_SHOWN), "long": visible(text, TEXT_SHOWN)}
        for text in run.run.manifest.signature.values()
    ]


def _asked(sample: Sample) -> str:
    """The conversation, with numbers for the regions that stand in it."""
    number = 0
    lines = []
    for turn in sample.turns:
        words = []
        for part in turn.parts:
            if isinstance(part, str):
                words.append(part)
            elif isinstance(part, Region):
                number += 1
                words.append(f"[region {number}]")
            else:
                words.append("[enlarged view]")
        lines.append(f"{turn.role}: {''.join(words)}")
    return "\n".join(lines)


def _truth_text(sample: Sample) -> str:
    target = sample.target
    triplets = [f"{t.subject} {t.predicate} {t.object}" for t in target.triplets]
    return "\n".join([*([target.choice] if target.choice else []), *target.texts, *target.labels, *triplets])


def _row(record: Any, score: float | None) -> dict[str, Any]:
    return {"id": visible(record.id, PHRASE_SHOWN), "phrase": visible(record.phrase, PHRASE_SHOWN), "score": score,
            "status": record.status, "slices": visible(_joined(record.slices), PHRASE_SHOWN)}  # fmt: skip


def _joined(slices: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in slices.items())


def _facts(report: Report) -> list[tuple[str, str]]:
    """What the numbers rest on, for the bottom of the page."""
    manifest = report.run.run.manifest
    bounds = [
        (f"{name} run", str(run.run.path))
        for name, run in (("ceiling", report.ceiling), ("floor", report.floor))
        if run
    ]
    return [
        ("run folder", str(report.run.run.path)),
        *bounds,
        ("finished", manifest.times.finished or ABSENT),
        ("data", f"{manifest.dataset.root}, {manifest.dataset.samples} samples"),
        ("prompt", manifest.prompt),
        ("hardware", ", ".join(f"{name} {value}" for name, value in manifest.hardware.items()) or ABSENT),
        ("packages", ", ".join(f"{name} {version}" for name, version in manifest.packages.items()) or ABSENT),
        ("samtok-eval", manifest.samtok_eval),
    ]


def _downloads(report: Report) -> list[dict[str, str]]:
    """Data of the page as files that the page itself carries."""
    bounds = [
        [b.protocol, b.metric, b.value, b.low, b.high, b.n, b.ceiling, b.floor] for b in report.bounds
    ]  # fmt: skip
    records = report.run.records[report.protocol][:DOWNLOAD_ROWS]
    scores = {record.id: score for record, score in report.rows}
    samples = [
        [
            r.id,
            r.image_id,
            r.status,
            r.phrase[:PHRASE_SHOWN],
            r.inter,
            r.union,
            r.gt_area,
            r.pred_area,
            scores.get(r.id),
        ]
        for r in records
    ]
    told = {
        "metrics": report.run.run.metrics,
        "signature": report.run.run.manifest.signature,
        "comparison": report.comparison.to_json() if report.baseline else None,
    }
    metric_names = ["protocol", "metric", "value", "low", "high", "n", "ceiling", "floor"]
    sample_names = [
        "id",
        "image",
        "status",
        "phrase",
        "inter",
        "union",
        "gt_area",
        "pred_area",
        report.metric or "score",
    ]
    return [
        _download("metrics.csv", "text/csv", _csv(metric_names, bounds)),
        _download("metrics.json", "application/json", json.dumps(told, indent=1, ensure_ascii=False)),
        _download("samples.csv", "text/csv", _csv(sample_names, samples)),
    ]


def _download(name: str, kind: str, content: str) -> dict[str, str]:
    data = base64.b64encode(content.encode("utf-8", "replace")).decode()
    return {"name": name, "address": f"data:{kind};base64,{data}"}


def _csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return buffer.getvalue()
