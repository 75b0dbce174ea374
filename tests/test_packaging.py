"""The wheel carries tasks and checkpoint, and its loader finds them; imports run downward only."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from samtok_eval.registry import load_tasks

ROOT = Path(__file__).parents[1]
MAX_CHECKPOINT_BYTES = 12_000_000
FLOORS = (
    # The vocabulary: what is asked, what came back, masks, the grammar, files.
    (
        "errors", "sample", "sample_table", "prediction", "records", "text_column", "masks", "mask_tokens", "messages",
        "prompts", "images", "regions", "hub", "files", "append_log", "prediction_log", "name_index", "progress",
        "text", "device", "svg", "setting", "resume", "user_code", "ahead", "weight_headers", "offline", "passages",
        "unfinished", "retry_after",
    ),
    ("protocol",),
    ("datasets", "metrics", "tokenizer", "statistics", "sequential"),
    # A task names its metrics, so it stands above them.
    ("task_checks",),
    ("task", "registry"),
    ("models",),
    ("run",),
    ("training", "conversations", "reports", "fetch"),
    ("demo",),
    ("doctor", "new_task"),
    ("cli",),
)  # fmt: skip
"""Low to high: a module imports from its own package, from lower floors, and what `ALLOWED` names."""
ALLOWED = {
    ("models", "samtok_eval.run.settings"): "a back end takes its settings from the one typed description of a run",
    ("models", "samtok_eval.demo.checkpoint"): "the path behind the name `demo`",
    ("run", "samtok_eval.demo.benchmark"): "the data behind the name `demo`, built when first asked for",
    ("registry", "samtok_eval.task"): "what is found",
    ("task_checks", "samtok_eval.task"): "what is checked",
    ("statistics", "samtok_eval.metrics.ratio"): "what is estimated",
}
"""Imports that are not downward, each with its reason."""
VOCABULARY = FLOORS[0]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_tasks_and_checkpoint(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "samtok_eval/bundled_tasks/gres.py",
        "samtok_eval/bundled_tasks/refcoco.py",
        "samtok_eval/bundled_tasks/reconstruction.py",
        "samtok_eval/demo/answers.zip",
        "samtok_eval/demo/checkpoint/model.safetensors",
        "samtok_eval/demo/checkpoint/mask_tokenizer/model.safetensors",
        "samtok_eval/bundled_leaderboards/published.csv",
        "samtok_eval/bundled_leaderboards/computed_by.csv",
        "samtok_eval/fetch/sources.toml",
        "samtok_eval/metrics/modules/gres/gres.py",
        "samtok_eval/new_task/task_file.py",
        "samtok_eval/reports/templates/report.html.j2",
        "samtok_eval/reports/templates/base.css",
        "samtok_eval/training/configs/zero2.yaml",
        "samtok_eval/py.typed",
    ):
        assert name in names
    assert not any(name.startswith(("tests/", "tasks/")) for name in names)


def test_every_folder_of_modules_is_packed():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    # A folder in which Python files lie is imported from a checkout with or without an __init__.py.
    folders = {path.parent.relative_to(ROOT) for path in PACKAGE.rglob("*.py")}
    bundled = {"samtok_eval.bundled_leaderboards", "samtok_eval.bundled_tasks"}
    assert listed == {".".join(folder.parts) for folder in folders} | bundled


def test_the_wheel_runs_a_task_away_from_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import samtok_eval.registry as t\n"
        f"assert t.__file__.startswith({str(tmp_path)!r}), t.__file__\n"
        "print(t.bundled_tasks_dir()); print(*t.load_tasks())\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", "import site; site.main()\n" + code],
                          capture_output=True, text=True, cwd=tmp_path, check=True)  # fmt: skip
    folder, names = done.stdout.splitlines()
    assert folder == str(tmp_path / "site" / "samtok_eval" / "bundled_tasks")
    assert set(names.split()) == set(load_tasks())


def test_the_wheel_checks_published_numbers_away_from_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import samtok_eval.cli.main as program\n"
        f"assert program.__file__.startswith({str(tmp_path)!r}), program.__file__\n"
        "sys.argv = ['samtok-eval', 'leaderboard', 'check']; program.main()\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", "import site; site.main()\n" + code],
                          capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "gres:val official" in done.stdout


def test_the_shipped_checkpoint_is_small_and_its_card_names_its_hashes():
    import hashlib
    import json

    folder = ROOT / "samtok_eval" / "demo" / "checkpoint"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_CHECKPOINT_BYTES
    card = json.loads((folder / "card.json").read_text())
    for name, digest in card["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def imported(path: Path) -> set[str]:
    """Modules of this package that a file imports, also lazily or for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("samtok_eval."):
            found.add(node.module)
        elif isinstance(node, ast.ImportFrom) and node.module == "samtok_eval":
            found |= {f"samtok_eval.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("samtok_eval.")}
    return found


def part_of(module: str) -> str:
    return module.split(".")[1]


def floor(part: str) -> int | None:
    return next((level for level, parts in enumerate(FLOORS) if part in parts), None)


PACKAGE = ROOT / "samtok_eval"
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or not path.name.startswith("__")]


def crossings() -> set[tuple[str, str]]:
    """(part, module) of every import that does not run downward."""
    found = set()
    for path in FILES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for module in imported(path):
            other = part_of(module)
            below = floor(other) < floor(own) or own == other or {own, other} <= set(VOCABULARY)
            if not below:
                found.add((own, module))
    return found


def test_every_module_has_a_floor():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert parts == {part for parts in FLOORS for part in parts}


def test_imports_run_downward_only_and_every_exception_is_named():
    assert crossings() == set(ALLOWED)


def test_no_package_of_reports_imports_in_a_circle():
    folders = ("compare", "gate", "page", "leaderboard")
    edges = {
        (path.parent.name, module.split(".")[2])
        for path in PACKAGE.glob("reports/*/*.py")
        for module in imported(path)
        if module.startswith("samtok_eval.reports.") and module.split(".")[2] in folders
    }
    order: list[str] = []
    left = set(folders)
    while left:
        free = {name for name in left if all(used in order for user, used in edges if user == name and used != name)}
        assert free, f"a circle among {sorted(left)}"
        order += sorted(free)
        left -= free
