"""The steps of the GitHub action, as its runner starts them, but for what it downloads and sends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}


def step(name, folder, **inputs):
    """Run a shell step with inputs as given, the others by default; a program `samtok-eval` is on the path."""
    given = {key: entry.get("default", "") for key, entry in ACTION["inputs"].items()}
    given |= {key.replace("_", "-"): str(value) for key, value in inputs.items()}
    known = {f"${{{{ inputs.{key} }}}}": value for key, value in given.items()}
    known["${{ runner.temp }}/samtok-eval-gate"] = str(folder / "gate")
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name_, words in (("samtok-eval", "-m samtok_eval"), ("python", "")):
        (programs / name_).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (programs / name_).chmod(0o755)
    environment = {key: known[value] for key, value in STEPS[name]["env"].items()}
    environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    script = folder / "step.sh"
    script.write_text(STEPS[name]["run"])
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        env={**os.environ, **environment, "GITHUB_STEP_SUMMARY": str(folder / "summary.md")},
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_regression_fails_the_step_after_its_files_are_written(make_run, tmp_path):
    before = make_run("before", lambda sample: sample.target.masks)
    after = make_run("after", lambda sample: [])
    done = step("Gate", tmp_path, baseline=before, candidate=after, options="--alpha 0.1\n  --protocol strict")
    assert done.returncode == 4, done.stderr
    (told,) = json.loads((tmp_path / "gate" / "gate.json").read_text())
    assert (told["verdict"], told["alpha"], told["protocol"]) == ("regression", 0.1, "strict")
    assert (tmp_path / "summary.md").read_text() == (tmp_path / "gate" / "gate.md").read_text()
    assert "REGRESSED: gres:val" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "gate" / "gate.xml").exists()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "give --candidate RUN, or --model CHECKPOINT"),
        ({"candidate": "x", "model": "oracle"}, "give --candidate RUN, or --model CHECKPOINT"),
        ({"candidate": "none", "options": "*.md"}, "unexpected extra argument(s) (*.md)"),
    ],
    ids=["neither", "both", "a star stays one"],
)
def test_what_makes_no_gate_fails_the_step(tmp_path, inputs, message):
    (tmp_path / "a.md").write_text("")
    done = step("Gate", tmp_path, baseline="base", **inputs)
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert not (tmp_path / "summary.md").exists()


def test_what_is_to_be_installed_reaches_pip_word_by_word(tmp_path):
    done = step("Install", tmp_path, install="--dry-run --no-deps\n--no-index ./none[model]")
    # `pip` is the real one; it finds no such folder.
    assert done.returncode == 1 and "none[model]" in done.stderr, done.stderr
