"""Small results and runs that the tests of this folder build their cases from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samtok_eval.files import read_json_lines
from samtok_eval.reports.leaderboard.published_file import PublishedValue
from samtok_eval.reports.result_file import ResultFile
from samtok_eval.run.folder import Run
from samtok_eval.run.manifest import manifest_of
from samtok_eval.run.metrics_file import PARTS, metrics_of

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = REPOSITORY / "leaderboards" / "published.csv"
DATA = "ab" * 32
PAPER, OTHER_PAPER = "https://arxiv.org/abs/2401.00001", "https://arxiv.org/abs/2401.00002"


def value(number: float | None, n: int = 100) -> dict[str, Any]:
    """A metric's entry; the interval is 2 points to either side."""
    if number is None:
        return {"value": None, "low": None, "high": None, "n": n}
    return {"value": number, "low": round(number - 0.02, 6), "high": round(number + 0.02, 6), "n": n}


def run(path: Path = Path("run"), **changes: Any) -> Run:
    """A complete run of GRES val; `changes` go into the manifest, `metrics` replaces the metrics."""
    metrics = changes.pop("metrics", None) or {
        "strict": {"giou": value(0.7), "ciou": value(0.65), "n_acc": value(0.5)},
        "samtok": {"giou": value(0.71), "ciou": value(0.66), "n_acc": value(None)},
        "slices": {},
    }
    counters = {"scored": 100, "invalid": 0, "errored": 0, "missing": 0, "repaired": 0, "reference_crashes": {}}
    counters |= changes.pop("counters", {})
    protocols = [name for name in metrics if name not in PARTS]
    manifest = {
        "schema_version": 1,
        "task": "gres",
        "split": "val",
        "task_version": 1,
        "model": {"name": "/home/someone/checkpoint", "identity": {}},
        "dataset": {"root": "/data", "samples": 100, "sha256": DATA},
        "tokenizer_sha256": None,
        "prompt": "segment-phrase",
        "passed": [],
        "counters": {},
        "settings": {"data_root": "/data", "seed": 0, "limit": None, "history": "gt"},
        "times": {"started": "2026-01-02T03:04:05Z", "finished": "2026-01-02T04:04:05Z"},
        "samtok_eval": "0.1.0",
        "state": "complete",
        "signature": {name: f"task:gres:val|model:/home/someone/checkpoint|protocol:{name}" for name in protocols},
    }
    return Run(path, manifest_of(manifest | changes), metrics_of(metrics | {"counters": counters}))


def result(name: str = "org/model", revision: str = "abc123", **changes: Any) -> ResultFile:
    """A result of GRES val; `demo` and `sha256` change the data, everything else is a field."""
    metrics = {"strict": {"giou": value(0.7), "ciou": value(0.65), "n_acc": value(0.5)}}
    protocols = changes.pop("protocols", metrics)
    content = {
        "task": "gres",
        "split": "val",
        "task_version": 1,
        "model": {"name": name, "revision": revision, "parameters": changes.pop("parameters", "3B")},
        "dataset": {"sha256": changes.pop("sha256", DATA), "samples": 100, "demo": changes.pop("demo", False)},
        "protocols": protocols,
        "signature": {protocol: f"task:gres:val|protocol:{protocol}|model:{name}" for protocol in protocols},
        "counters": {"scored": 100},
        "date": "2026-01-02T03:04:05Z",
        "samtok_eval": "0.1.0",
    }
    return ResultFile.model_validate(content | changes)


def printed(*rows: tuple[str, str], trust: str = "own", source: str = PAPER, via: str = "") -> list[PublishedValue]:
    """Published values of RefCOCO val: (method, value)."""
    return [PublishedValue("RefCOCO", "val", "cIoU", name, "", number, trust, source, via) for name, number in rows]


def two_and_a_third() -> list[PublishedValue]:
    """Best, worst and one that somebody copied between them."""
    return printed(("low", "60.0"), ("high", "80.0")) + printed(("mid", "70.0"), trust="copied", source=OTHER_PAPER)


def written(run: Run) -> tuple[list[Any], bytes, bytes]:
    """What a run of one process wrote: predictions without their times, records, metrics."""
    lines = read_json_lines(run.path / "predictions" / "part-0.jsonl")
    plain = [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
    return plain, (run.path / "records.jsonl").read_bytes(), (run.path / "metrics.json").read_bytes()
