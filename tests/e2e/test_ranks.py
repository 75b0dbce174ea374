"""`torchrun` with two processes, one of which is killed; one process then ends the run as if it had been alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from samtok_eval import evaluate
from samtok_eval.prediction_log import read_own_predictions
from samtok_eval.run.folder import RunFolder

ROOT = Path(__file__).parents[2]
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "run_eval.py"]


def answered(out: Path) -> list[int]:
    return [part.read_text().count("\n") for part in sorted(out.rglob("part-*.jsonl"))]


def process_of(rank: int, launcher: subprocess.Popen[bytes]) -> int:
    """Id of the process that has this rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    named = (child for child in children if f"\0RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes())
    return int(next(named))


def lines(folder: RunFolder) -> list[dict[str, object]]:
    """Answers by id, without how long they took."""
    answers = read_own_predictions(folder.parts()).values()
    return sorted((a.model_dump(mode="json", exclude={"seconds"}) for a in answers), key=lambda line: str(line["id"]))


def test_a_killed_rank_ends_the_run_and_one_process_goes_on_with_what_is_missing(demo_root, tmp_path):
    options = {"model": "oracle", "data_root": str(demo_root), "limit": 120, "batch_size": 2, "device": "cpu"}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    launcher = subprocess.Popen(
        [*LAUNCH, "--task", "gres", *words, "--out", str(tmp_path / "cut")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while len(counts := answered(tmp_path / "cut")) < 2 or min(counts) < 2:
        assert launcher.poll() is None
        time.sleep(0.005)
    os.kill(process_of(1, launcher), signal.SIGKILL)
    output, _ = launcher.communicate()
    assert launcher.returncode != 0 and output == b""
    (folder,) = (RunFolder(path.parent) for path in (tmp_path / "cut").rglob("manifest.json"))
    before = sum(answered(folder.path))
    assert 0 < before < 120 and not folder.metrics.exists()
    with folder.part(1).open("a") as part:
        part.write('{"id": "torn')

    again = evaluate("gres", **options, out=tmp_path / "cut")
    assert again.path == folder.path
    assert again.manifest.counters["done_before"] == before
    whole = evaluate("gres", **options, out=tmp_path / "whole")
    assert lines(RunFolder(again.path)) == lines(RunFolder(whole.path))
    assert json.loads(folder.metrics.read_text()) == json.loads((whole.path / "metrics.json").read_text())
