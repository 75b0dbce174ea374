"""Configuration files of a run, and logs of a training."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fuzz.targets.benchmarks import prepare_task
from tests.fuzz.targets.target import Target, command


def _prepare_settings(folder: Path) -> None:
    prepare_task("gres", "val", ("grefcoco",))(folder)
    (folder / "run.toml").write_text('task = "gres"\nlimit = 3\nseed = 1\nprotocols = ["strict"]\nbatch_size = 4\n')
    (folder / "run.yaml").write_text("task: gres\nlimit: 3\nseed: 1\nprotocols: [strict]\nbatch_size: 4\n")
    log = "".join(json.dumps({"step": i, "loss": 1 / (i + 1), "rate": 0.1, "seconds": 1.5}) + "\n" for i in range(5))
    (folder / "training_log.jsonl").write_text(log)


def _settings(folder: Path) -> None:
    for name in ("run.toml", "run.yaml"):
        command("score", "--config", folder / name, "--data-root", folder / "data", "--out", folder / "out",
                "--predictions", folder / "predictions.jsonl")  # fmt: skip
    command("curves", folder / "training_log.jsonl", "--field", "loss", "--out", folder / "out" / "x.svg")


TARGETS: tuple[Target, ...] = (
    Target("settings", _prepare_settings, ("run.toml", "run.yaml", "training_log.jsonl"), _settings, weight=10),
)  # fmt: skip
