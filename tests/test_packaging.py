"""The wheel carries tasks and checkpoint, and its loader finds them; imports run downward only."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from samtok_eval.task import load_tasks

ROOT = Path(__file__).parents[1]
MAX_CHECKPOINT_BYTES = 12_000_000
LAYERS = (
    ("sample", "prediction", "masks", "errors", "mask_tokens", "prompts", "images", "hub", "regions", "conversation"),
    ("append_log", "datasets", "metrics", "tokenizer", "models", "task", "run", "run_store"),
    ("statistics", "slices"),
    ("score", "signature", "progress", "runner"),
    ("evaluation",),
    ("reports", "training", "demo", "doctor"),
    ("cli", "cli_options", "cli_reports", "cli_tokenize", "cli_train_tokenizer", "cli_finetune", "cli_grpo"),
)
"""Low to high. The demo's scene generator and checkpoint path are data, so anything may use them."""
DATA_MODULES = ("samtok_eval.demo.checkpoint", "samtok_eval.demo.benchmark")


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
        "samtok_eval/demo/checkpoint/model.safetensors",
        "samtok_eval/demo/checkpoint/mask_tokenizer/model.safetensors",
        "samtok_eval/bundled_leaderboards/published.csv",
        "samtok_eval/metrics/modules/gres/gres.py",
        "samtok_eval/reports/templates/report.html.j2",
        "samtok_eval/reports/templates/base.css",
        "samtok_eval/training/configs/zero2.yaml",
        "samtok_eval/py.typed",
    ):
        assert name in names
    assert not any(name.startswith(("tests/", "tasks/")) for name in names)


def test_the_wheel_runs_a_task_away_from_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import samtok_eval.task as t\n"
        f"assert t.__file__.startswith({str(tmp_path)!r}), t.__file__\n"
        "print(t.bundled_tasks_dir()); print(*t.load_tasks())\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", "import site; site.main()\n" + code],
                          capture_output=True, text=True, cwd=tmp_path, check=True)  # fmt: skip
    folder, names = done.stdout.splitlines()
    assert folder == str(tmp_path / "site" / "samtok_eval" / "bundled_tasks")
    assert set(names.split()) == set(load_tasks())


def test_the_shipped_checkpoint_is_small_and_its_card_names_its_hashes():
    import hashlib
    import json

    folder = ROOT / "samtok_eval" / "demo" / "checkpoint"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_CHECKPOINT_BYTES
    card = json.loads((folder / "card.json").read_text())
    for name, digest in card["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("samtok_eval."):
            found.add(node.module)
    return found


def layer(module: str) -> int | None:
    part = module.split(".")[1]
    for level, names in enumerate(LAYERS):
        if part in names:
            return level
    return None


def test_imports_run_downward_only():
    for path in (ROOT / "samtok_eval").rglob("*.py"):
        relative = path.relative_to(ROOT / "samtok_eval")
        own = layer("samtok_eval." + relative.parts[0].removesuffix(".py"))
        if own is None:
            continue
        for module in imports(path):
            other = layer(module)
            assert other is not None, f"{module} has no layer; add it to LAYERS"
            if module not in DATA_MODULES:
                assert other <= own, f"{relative} imports {module} from a higher layer"
