"""Folders of leaderboards, and the results kept in them."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from random import Random

from tests.fuzz import outputs
from tests.fuzz.mutations import FORMULAS, MARKUP, PATHS, damaged, hostile
from tests.fuzz.targets.runs import prepare_runs
from tests.fuzz.targets.target import GATED, Target, command

BOARD_FILES = ("board/*.csv", "board/results/**/*.json")


def _prepare_board(folder: Path) -> None:
    """A folder with a few published numbers and two results of ours."""
    from tests.support.results import PUBLISHED

    board = folder / "board"
    board.mkdir()
    with PUBLISHED.open(newline="") as file:
        rows = list(csv.reader(file))
    with (board / "published.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [rows[0], *(r for r in rows[1:] if r[0].startswith("GRES"))][:30]
        )
    for name in ("authors.csv", "computed_by.csv"):
        lines = (PUBLISHED.parent / name).read_text().splitlines(keepends=True)
        (board / name).write_text("".join(lines[:8]))
    prepare_runs(folder)
    for name in ("baseline", "candidate"):
        command("leaderboard", "submit", folder / "runs" / name, "--model", f"org/{name}", "--revision", "abc1234",
                "--folder", board)  # fmt: skip


def _build(folder: Path) -> None:
    command("leaderboard", "build", "--folder", folder / "board")
    outputs.check_folder(folder / "board")


def _hostile_board(rng: Random, name: str, content: bytes) -> bytes:
    """Cells of the CSV files replaced by names that no format should obey."""
    if not name.endswith(".csv") or rng.random() < 0.3:
        return damaged(rng, name, content)
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    for _ in range(rng.choice([1, 2, 4])):
        row = rng.randrange(1, len(rows)) if len(rows) > 1 else 0
        cell = rng.randrange(len(rows[row]))
        rows[row][cell] = rng.choice([*FORMULAS, *MARKUP, *PATHS, str(hostile(rng))[:300]])
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8", "replace")


STORED_FILES = ("stored.json", "board/results/**/*.json", "board/results/**/*.gz")


def _prepare_stored(folder: Path) -> None:
    _prepare_board(folder)
    (stored,) = (folder / "board" / "results" / "org__baseline").rglob("*.json")
    shutil.copy(stored, folder / "stored.json")


def _stored(folder: Path) -> None:
    words = ["gate", "--baseline", folder / "stored.json", "--candidate", folder / "runs" / "candidate"]
    command(*words, codes=GATED)
    command("leaderboard", "verify", "--folder", folder / "board")
    command("leaderboard", "publish", "org/baseline", "--revision", "abc1234", "--folder", folder / "board", "--out",
            folder / "out")  # fmt: skip


TARGETS: tuple[Target, ...] = (
    Target("leaderboard", _prepare_board, BOARD_FILES, _build, _hostile_board, weight=30),
    Target("stored results", _prepare_stored, STORED_FILES, _stored, weight=15),
)  # fmt: skip
