"""The gate from the command line: the demo checkpoint against itself, and against a copy with noise in its weights."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.run.evaluate import run
from samtok_eval.run.settings import RunOptions
from tests.support.command import command

LIMIT = 240
SHARE = 0.05


def noisy_copy(folder):
    """The demo checkpoint with noise of each tensor's own spread on 5 % of its weights."""
    shutil.copytree(DEMO_CHECKPOINT, folder)
    generator = torch.Generator().manual_seed(0)
    weights = load_file(folder / "model.safetensors")
    for name, tensor in weights.items():
        values = tensor.float()
        hit = torch.rand(values.shape, generator=generator) < SHARE
        noise = torch.randn(values.shape, generator=generator) * values.std(correction=0)
        weights[name] = torch.where(hit, values + noise, values).to(tensor.dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def runs(demo_root, tmp_path_factory):
    """Runs of the checkpoint and of its noisy copy."""
    tmp = tmp_path_factory.mktemp("gate")
    models = {"demo": "demo", "noisy": str(noisy_copy(tmp / "noisy"))}
    return {
        name: run(RunOptions(task="gres", model=model, data_root=str(demo_root), out=tmp / "runs", limit=LIMIT)).path
        for name, model in models.items()
    }


def gate(*options):
    return command("gate", *options)


def test_a_checkpoint_passes_against_itself(runs):
    done = gate("--baseline", runs["demo"], "--candidate", runs["demo"])
    assert done.returncode == 0, done.stderr
    assert f"Of {LIMIT} answers changed: text 0, codes 0, masks 0." in done.stdout


def test_a_damaged_checkpoint_fails(runs, tmp_path):
    done = gate("--baseline", runs["demo"], "--candidate", runs["noisy"], "--json", tmp_path / "gate.json",
                "--junit", tmp_path / "gate.xml", "--summary", tmp_path / "summary.md")  # fmt: skip
    assert done.returncode == 4
    (told,) = json.loads((tmp_path / "gate.json").read_text())
    worse = [verdict["metric"] for verdict in told["verdicts"] if verdict["regressed"]]
    assert "giou" in worse and "gIoU" in done.stderr and done.stderr.count("\n") == 1
    changed = told["changed"]
    assert LIMIT >= changed["text"] >= changed["codes"] >= changed["masks"] > 0
    assert "Samples that lost most in gIoU" in done.stdout
    assert (tmp_path / "gate.xml").read_text().count("<failure") == len(worse)
    assert "REGRESSED" in (tmp_path / "summary.md").read_text()


def test_an_incomplete_run_never_passes(runs, tmp_path):
    folder = tmp_path / "part"
    shutil.copytree(runs["demo"], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"state": "predicting"}))
    assert gate("--baseline", runs["demo"], "--candidate", folder).returncode == 5


def test_comparing_shows_the_loss(runs):
    done = command("compare", runs["demo"], runs["noisy"])
    assert done.returncode == 0, done.stderr
    assert "differences to demo" in done.stdout and "by slice, largest loss first" in done.stdout
