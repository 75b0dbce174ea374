"""`torchrun` with a killed process, on two machines, and the variables of `srun`: as if one process had been alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from samtok_eval import evaluate
from samtok_eval.prediction_log import read_own_predictions
from samtok_eval.run.folder import RunFolder, load_run

ROOT = Path(__file__).parents[2]
TORCHRUN_COMMAND = [sys.executable, "-m", "torch.distributed.run"]
THREE_RANKS = ["--standalone", "--nproc-per-node", "3"]


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


TORCHRUN = {"rank": "RANK", "world": "WORLD_SIZE", "local": "LOCAL_RANK"}
SRUN = {"rank": "SLURM_PROCID", "world": "SLURM_NTASKS", "local": "SLURM_LOCALID"}


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run_by(world: int, names: dict[str, str], **options: object) -> None:
    """Carry out a run by processes that need not import anything again, and find one another by these variables."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}

    def rank(number: int) -> None:
        told = {"rank": number, "world": world, "local": number}
        os.environ |= {**place, **{names[key]: str(value) for key, value in told.items()}}
        evaluate("gres", **options)

    processes = [get_context("fork").Process(target=rank, args=(number,)) for number in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * world


@pytest.fixture(scope="module")
def options(demo_root):
    """What all processes of the larger runs are told."""
    return {"model": "oracle", "data_root": str(demo_root), "limit": 420, "batch_size": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """The same run by one process alone."""
    return evaluate("gres", **options, out=tmp_path_factory.mktemp("whole"))


def torchrun(words: list[str], options: dict[str, object], out: Path) -> subprocess.Popen[bytes]:
    """Start processes as a user does."""
    given = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return subprocess.Popen(
        [*TORCHRUN_COMMAND, *words, "run_eval.py", "--task", "gres", *given, "--out", str(out), "--no-report"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_killed_rank_ends_the_run_and_fewer_go_on_with_what_is_missing(options, whole, tmp_path):
    launcher = torchrun(THREE_RANKS, options, tmp_path / "cut")
    while len(counts := answered(tmp_path / "cut")) < 3 or not min(counts):
        assert launcher.poll() is None
        time.sleep(0.005)
    os.kill(process_of(2, launcher), signal.SIGKILL)
    output, _ = launcher.communicate()
    assert launcher.returncode != 0 and output == b""
    (folder,) = (RunFolder(path.parent) for path in (tmp_path / "cut").rglob("manifest.json"))
    before = answered(folder.path)
    assert len(before) == 3 and sum(before) < options["limit"] and not folder.metrics.exists()
    with folder.part(2).open("a") as part:
        part.write('{"id": "torn')

    run_by(2, TORCHRUN, **options, out=tmp_path / "cut")
    after = answered(folder.path)
    assert sum(after) == options["limit"] and after[2] == before[2]
    assert load_run(folder.path).manifest.counters["done_before"] == sum(before)
    assert lines(folder) == lines(RunFolder(whole.path))
    assert json.loads(folder.metrics.read_text()) == json.loads((whole.path / "metrics.json").read_text())


def test_two_machines_of_one_process_each_share_one_run(options, whole, tmp_path):
    """As two machines would, each started with its own `torchrun`; only that both are this one."""
    meeting = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", free_port()]
    nodes = [torchrun([*meeting, "--node-rank", str(rank)], options, tmp_path) for rank in range(2)]
    outputs = [node.communicate(timeout=120)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0]
    assert b"gres" in outputs[0] and outputs[1] == b""
    (folder,) = (RunFolder(path.parent) for path in tmp_path.rglob("manifest.json"))
    of_each = answered(folder.path)
    assert len(of_each) == 2 and min(of_each) > 0 and sum(of_each) == options["limit"]
    assert lines(folder) == lines(RunFolder(whole.path))
    assert json.loads(folder.metrics.read_text()) == json.loads((whole.path / "metrics.json").read_text())


def test_the_variables_of_srun_make_two_processes_share_one_run(demo_root, tmp_path, monkeypatch):
    """As a job of two tasks has them, by hand."""
    for name, value in {"STEP_ID": "0", "JOB_ID": "7", "JOB_NODELIST": "localhost", "NODELIST": "localhost"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    options = {"model": "oracle", "data_root": str(demo_root), "limit": 60, "batch_size": 2, "device": "cpu"}
    run_by(2, SRUN, **options, out=tmp_path / "two")
    (folder,) = (RunFolder(path.parent) for path in (tmp_path / "two").rglob("manifest.json"))
    assert [path.name for path in folder.parts()] == ["part-0.jsonl", "part-1.jsonl"]
    assert sum(answered(folder.path)) == options["limit"]
    whole = evaluate("gres", **options, out=tmp_path / "whole")
    assert lines(folder) == lines(RunFolder(whole.path))
    assert json.loads(folder.metrics.read_text()) == json.loads((whole.path / "metrics.json").read_text())
