"""The Dockerfile's steps run in a shell, in order, with the files that `.dockerignore` admits and nothing else."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKED = ("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "leaderboards", "samtok_eval", "tasks")
HOST = {
    # What would change this machine is only tried; nothing is fetched that is here already.
    "apt-get": 'case " $* " in *" update "*) exit 0;; esac\nexec /usr/bin/apt-get --simulate "$@"',
    "rm": "exit 0",
    "useradd": 'exec /usr/sbin/useradd --prefix "$SCRATCH/root" "$@"',
    "python3": (
        '"$PYTHON" "$@" || exit\n'
        'if [ "$1 $2" = "-m venv" ]; then echo "$PACKAGES" >"$(echo "$3"/lib/python3*/site-packages)/host.pth"; fi'
    ),
}
"""Programs in whose place something else runs: name -> script."""


def instructions() -> list[tuple[str, str]]:
    """Name and words of each, lines that go on put together."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name, words) for name, _, words in (line.partition(" ") for line in text.splitlines() if line)]


def copied(to: Path) -> None:
    """The build's context: what git knows and `.dockerignore` admits."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*" and [rule[1:] for rule in rules[1:] if rule.startswith("!")] == list(PACKED)
    left_out = shutil.ignore_patterns(*(rule.removeprefix("**/") for rule in rules if rule.startswith("**/")))
    for name in PACKED:
        source = ROOT / name
        shutil.copytree(source, to / name, ignore=left_out) if source.is_dir() else shutil.copy(source, to / name)


@pytest.mark.full
def test_the_steps_of_the_dockerfile_run_in_a_shell(tmp_path):
    scratch, programs = tmp_path / "scratch", tmp_path / "programs"
    (scratch / "root" / "etc").mkdir(parents=True)
    for name in ("passwd", "group", "shadow"):
        (scratch / "root" / "etc" / name).touch()
    programs.mkdir()
    for name, script in HOST.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
    environment = {
        "HOME": str(tmp_path), "SCRATCH": str(scratch), "PYTHON": sys.executable, "PACKAGES": str(packages),
        "PATH": os.environ["PATH"],
    }  # fmt: skip
    environment |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    shell, folder, ran = ["/bin/sh", "-c"], scratch, []

    def step(words: str, command: list[str]) -> None:
        path = f"{programs}:{environment['PATH']}"
        done = subprocess.run(command, env={**environment, "PATH": path}, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        ran.append(words)

    for name, words in instructions():
        here = words.replace("/opt/", f"{scratch}/opt/").replace("/src", f"{scratch}/src")
        if name in ("ARG", "ENV"):
            for pair in shlex.split(here):
                key, _, value = pair.partition("=")
                environment[key] = value.replace("$PATH", environment["PATH"])
        elif name == "SHELL":
            shell = json.loads(words)
        elif name == "WORKDIR":
            folder = Path(here) if here.startswith(str(scratch)) else scratch / "root" / here.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            assert words == ". ."
            copied(folder)
        elif name == "RUN":
            step(words, [*shell, words])
        elif name == "CMD":
            step(words, ["/bin/sh", "-c", f"samtok-eval {' '.join(json.loads(words))}"])
    assert ran[-1] == '["--help"]' and len(ran) == 5
    assert next(scratch.glob("opt/samtok-eval/lib/python3*/site-packages/samtok_eval/bundled_tasks/gres.py")).is_file()
