"""The commands of README and docs, as they stand there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?:<!-- needs: (?P<needs>[^\n]+) -->\n)?```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^```", re.S | re.M
)
SHELLS = ("", "bash", "console", "sh")
OURS = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:(?:samtok-eval|python run_eval\.py) )")
"""Commands of this program that a reader types as they are, without a launcher before them."""


@dataclass(frozen=True)
class Command:
    """One command of a page."""

    page: str
    words: tuple[str, ...]
    """After the name of the program; `run_eval.py` is `run`."""
    cut: bool
    """Whether it ends in an ellipsis, for options that stand elsewhere."""
    needs: str
    """What the page says that it needs; empty for one that runs anywhere."""

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def commands() -> Iterator[Command]:
    """Every command of this program in a fenced block."""
    for page in PAGES:
        for block in FENCE.finditer(page.read_text()):
            if block["language"] not in SHELLS:
                continue
            for line in re.sub(r"\\?\n +(?=[\[\-])", " ", block["body"]).splitlines():
                if OURS.match(line):
                    where, cut = page.relative_to(ROOT).as_posix(), " ..." in line
                    yield Command(where, _words(line), cut, block["needs"] or "")


def _words(line: str) -> tuple[str, ...]:
    # The mark of a comment also stands in openai:URL#NAME.
    plain = re.sub(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*|\s+#.*", "", line)
    # [--budget 500 | 30min] and [CANDIDATE...] say what may be left out; [options of a run] are words.
    plain = re.sub(r"\[[a-z][^\]]*\]|\s*\|[^\s\]]*(?:\s(?=\d)[^\s\]]+)?", "", plain).replace("...", " ")
    words = shlex.split(plain.replace("[", " ").replace("]", " "))
    return ("run", *words[2:]) if words[0] == "python" else tuple(words[1:])
