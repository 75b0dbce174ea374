"""What README and docs tell people to type is what the program takes."""

from __future__ import annotations

import json
import shutil
from contextlib import chdir
from itertools import cycle, pairwise
from pathlib import Path

import pytest
import typer.main

import samtok_eval
from samtok_eval.cli.main import app, main
from samtok_eval.errors import IncompleteRunError
from samtok_eval.reports.gate.verdict import RegressionError
from tests.docs.commands import ROOT, Command, commands

COMMANDS = list(commands())


def test_commands_are_found():
    assert len(COMMANDS) > 90
    assert {command.page for command in COMMANDS} >= {"README.md", "docs/faq.md", "docs/watch.md"}


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_documented_command_is_one_of_the_program(command: Command):
    entry, words = typer.main.get_command(app), list(command.words)
    while hasattr(entry, "commands") and words:
        assert words[0] in entry.commands
        entry = entry.commands[words.pop(0)]
    # What is asked for elsewhere need not stand here.
    for parameter in entry.params:
        parameter.required = parameter.required and not command.cut
    # Raises where an option is unknown, a value is missing, or there are too many arguments; runs nothing.
    entry.make_context("documented", words)


# Below, what pages do not mark with what it needs is run, small, with what the words in capitals stand for.

FEW = "8"
HERE = {
    "/data": "demo", "DIR": "demo", "FRESH": "demo", "/shared/runs": "shared_runs", "org/model": "org/model",
    "zhouyik/Qwen2.5-VL-3B-SAMTok-co": "demo", "CHECKPOINT": "demo", "M": "demo", "RL": "demo", "SFT": "demo",
    "PATH": "demo",
    "$GITHUB_STEP_SUMMARY": "summary.md", "RESULT.json": "RESULT/gres.json",
}  # fmt: skip
"""What a reader would put in the place of a word."""
FILES = {
    "--train": "mix.json", "--overlap": "overlap.json", "--predictions": "runs/gres/val/demo/RUN",
    "--records": "RESULT/gres.records.jsonl.gz",
    "--json": "out.json", "--junit": "out.xml", "--out": "out", "--images": "OUT",
    "--tasks-dir": "tasks_of_mine",
}  # fmt: skip
"""What FILE, DIR and the like mean after an option."""
RUNS = {"--ceiling": "runs/gres/val/oracle/RUN", "--floor": "runs/gres/val/random/RUN"}
ALSO_FINE = {
    ("gate",): RegressionError.exit_code,
    ("doctor", "--precision"): 1,
    ("leaderboard", "verify"): IncompleteRunError.exit_code,
}
"""Exit codes of commands that did their work: a worse candidate, other texts in bf16, results without records."""


@pytest.fixture(scope="module")
def tidy_desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs and the small files that commands name."""
    folder = tmp_path_factory.mktemp("desk")
    with chdir(folder):
        for model in ("demo", "random", "oracle"):
            run = samtok_eval.evaluate("gres", model=model, out="runs")
            shutil.move(run.path, Path("runs/gres/val", model, "RUN"))
        shutil.copytree("runs/gres/val/random", "runs/gres/val/RL")
        shutil.copytree("runs/gres/val/demo", "runs/gres/val/SFT")
        Path("gate.toml").write_text("[tolerance]\ngiou = 5.0\n")
        Path("run.toml").write_text('task = "gres"\nmodel = "random"\n')
        Path("gres.toml").write_text('task = "gres:testA"\nmodel = "random"\n')
        picture = samtok_eval.load_run("runs/gres/val/demo").samples()["image_id"].iloc[0]
        Path("mix.json").write_text(json.dumps([{"image": f"{picture}.png"}]))
        Path("more.jsonl").write_text(json.dumps({"image": "another.png"}))
        Path("tasks_of_mine").mkdir()
        found = ["data", "overlap", "--train", "mix.json", "--task", "gres:val", "--data-root", "demo"]
        assert _code([*found, "--json", "overlap.json"]) == 0
        shutil.copytree(ROOT / "leaderboards", "leaderboards")
        shutil.copytree(next(Path("leaderboards/results/samtok-eval__demo").iterdir()), "RESULT")
        Path("examples").symlink_to(ROOT / "examples")
    return folder


@pytest.fixture
def desk(tidy_desk: Path, tmp_path: Path) -> Path:
    """The same for one page, whose commands may write into it."""
    return shutil.copytree(tidy_desk, tmp_path / "desk", symlinks=True)


RUN_HERE = [one for one in COMMANDS if not one.needs and not one.cut]


# A page at a time, since a command may read what one before it wrote.
@pytest.mark.docs
@pytest.mark.parametrize("page", sorted({command.page for command in RUN_HERE}))
def test_the_commands_of_a_page_run(page: str, desk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(desk)
    for command in (one for one in RUN_HERE if one.page == page):
        fine = {0, *(code for words, code in ALSO_FINE.items() if command.words[: len(words)] == words)}
        assert _code(_here(command.words, desk)) in fine, str(command)


def _code(words: list[str]) -> int | str | None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr("sys.argv", ["samtok-eval", *words])
        main()
    return end.value.code


def _here(words: tuple[str, ...], desk: Path) -> list[str]:
    runs = cycle([str(desk / "runs/gres/val" / model) for model in ("demo/RUN", "random/RUN")])
    found = []
    for before, word in pairwise(["", *words]):
        if word in ("RUN", "BASELINE", "CANDIDATE"):
            found.append(str(desk / RUNS[before]) if before in RUNS else next(runs))
        elif "--published" in (before, word):
            continue  # The demo benchmark has no published numbers.
        elif word in ("FILE", "DIR", "OUT"):
            found.append(FILES.get(before, HERE.get(word, word)))
        else:
            found.append(HERE.get(word, word))
    if words[0] in ("run", "tokenize") and "--validate" not in words and "--list-tasks" not in words:
        found = [*found, "--limit", FEW]
    return found
