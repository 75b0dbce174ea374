"""Run folders, as gate, compare, report and score read them."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tests.fuzz import outputs
from tests.fuzz.targets.benchmarks import prepare_task
from tests.fuzz.targets.target import GATED, Target, command


def prepare_runs(folder: Path) -> None:
    """Two finished runs, and tolerances for a gate."""
    prepare_task("gres", "val", ("grefcoco",))(folder)
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for name, worse in (("baseline", 0), ("candidate", 2)):
        run = folder / "runs" / name
        for row in rows[:worse]:
            row["text"], row["decoded"] = "nothing", {}
        (run / "predictions").mkdir(parents=True)
        part = run / "predictions" / "part-0.jsonl"
        part.write_text("".join(json.dumps(row) + "\n" for row in rows))
        command("score", "--task", "gres", "--data-root", folder / "data", "--out", run, "--predictions", part)
    (folder / "tolerances.toml").write_text('alpha = 0.05\non_undecided = "warn"\n\n[gres]\ngiou = 0.5\nciou = 1.0\n')


def _gate(folder: Path) -> None:
    runs = folder / "runs"
    words = [
        "gate",
        "--baseline",
        runs / "baseline",
        "--candidate",
        runs / "candidate",
        "--tolerances",
        folder / "tolerances.toml",
        "--junit",
        folder / "out" / "junit.xml",
        "--json",
        folder / "out" / "x.json",
    ]
    command(*words, "--summary", folder / "summary.md", codes=GATED)
    outputs.check_folder(folder)


def _compare(folder: Path) -> None:
    command("compare", folder / "runs" / "baseline", folder / "runs" / "candidate", "--published", "")
    command("runs", folder / "runs", "--json", folder / "out" / "runs.json")
    command("plan", "--baseline", folder / "runs" / "baseline")


def _report(folder: Path) -> None:
    command("report", folder / "runs" / "baseline", folder / "runs" / "candidate", "--out", folder / "out")
    outputs.check_folder(folder)


def _again(folder: Path) -> None:
    words = ["score", "--task", "gres", "--data-root", folder / "data", "--out", folder / "out"]
    command(*words, "--predictions", folder / "runs" / "candidate")


RUN_FILES = ("runs/candidate/manifest.json", "runs/candidate/metrics.json", "runs/candidate/records.jsonl",
             "runs/candidate/predictions/*.jsonl")  # fmt: skip


def _renamed(rng: Random, name: str, content: bytes) -> bytes:
    """A run whose model, ids and phrases are hostile, and which is whole otherwise."""
    from samtok_eval.run.manifest import manifest_of
    from samtok_eval.run.signature import sealed
    from tests.fuzz.mutations import TEXTS

    word = rng.choice([text for text in TEXTS if len(text) < 400 and "\ud800" not in text])
    if name.endswith("manifest.json"):
        manifest = json.loads(content)
        manifest["model"]["name"] = word
        manifest["dataset"]["root"] = rng.choice([manifest["dataset"]["root"], word])
        return json.dumps(sealed(manifest_of(manifest), manifest["signature"]).to_json()).encode()
    rows = [json.loads(line) for line in content.splitlines()]
    which, number = rng.choice(["phrase", "id", "image_id"]), rng.randrange(len(rows))
    mine = rows[number]["id"]
    for row in rows:
        if row["id"] == mine:
            row[which] = f"{word}{row['id']}" if which == "id" else word
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


TARGETS: tuple[Target, ...] = (
    Target("run folder, gate", prepare_runs, (*RUN_FILES, "tolerances.toml"), _gate, weight=30),
    Target("run folder, compare", prepare_runs, RUN_FILES, _compare, weight=20),
    Target("run folder, report", prepare_runs, RUN_FILES, _report, weight=10),
    Target("run folder, score again", prepare_runs, RUN_FILES, _again, weight=20),
    Target("names, gate", prepare_runs, (RUN_FILES[0], RUN_FILES[2]), _gate, _renamed, weight=10),
    Target("names, compare", prepare_runs, (RUN_FILES[0], RUN_FILES[2]), _compare, _renamed, weight=10),
    Target("names, report", prepare_runs, (RUN_FILES[0], RUN_FILES[2]), _report, _renamed, weight=10),
)  # fmt: skip
