"""Writes the CI files that the docs show into a folder: usage `tests/workflows.py FOLDER PAGE...`.

A block of YAML is one if its first line says so: `# .github/workflows/...` or `# .gitlab-ci.yml`.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

BLOCK = re.compile(r"^```yaml\n(# \.(github|gitlab)\S*.*\n(?:(?!```).*\n)*)```$", re.MULTILINE)


def write_workflows(folder: Path, pages: list[Path]) -> list[Path]:
    """Write `github-N.yml` and `gitlab-N.yml`, and nothing else, into a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = []
    for page in pages:
        for text, kind in BLOCK.findall(page.read_text()):
            found.append(folder / f"{kind}-{len(found) + 1}.yml")
            found[-1].write_text(text)
    return found


if __name__ == "__main__":
    write_workflows(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
