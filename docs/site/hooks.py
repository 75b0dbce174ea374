"""What `mkdocs build` adds to `docs/`: pages that lie elsewhere, lists of tasks and metrics, and code that is linked.

The front page is the README, so that it is written once. A link to a file outside `docs/` leads to a page of the site
that shows this file; nothing on the site points to another host but what a page itself names.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "site")]
import generated  # noqa: E402

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md",
         "SECURITY.md": "SECURITY.md", "leaderboards/README.md": "leaderboards/README.md"}  # fmt: skip
"""Pages of the repository, from its root, and where they stand on the site."""
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
TABLE = re.compile(r"<!-- table: (.+?) -->")
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".yaml": "yaml", ".sh": "bash"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside `docs/`, and a page for each file of code that any page links to."""
    texts = {page.src_uri: page.content_string for page in files.documentation_pages() if page.src_uri.endswith(".md")}
    for origin, place in PAGES.items():
        if (ROOT / origin).is_file():
            texts[place] = (ROOT / origin).read_text(encoding="utf-8")
            files.append(File.generated(config, place, content=texts[place]))
    files.append(File.generated(config, "commands.md", content=generated.commands()))
    shown = {_repository_path(place, target) for place, text in texts.items() for target, _ in LINK.findall(text)}
    for path in sorted(shown):
        place = _place(path)
        if files.get_file_from_path(place) is None and (ROOT / path).is_file():
            files.append(File.generated(config, place, content=_as_page(path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn links between places of the repository into links between pages of the site, and fill in the lists."""
    here = page.file.src_uri

    def moved(link: re.Match[str]) -> str:
        return posixpath.relpath(_place(_repository_path(here, link[1])), posixpath.dirname(here)) + (link[2] or "")

    return TABLE.sub(lambda table: generated.TABLES[table[1]](), LINK.sub(moved, markdown))


def _repository_path(page: str, target: str) -> str:
    """The file of the repository that a link means, on a page of the site."""
    origins = {place: origin for origin, place in PAGES.items()}
    folder = posixpath.dirname(origins.get(page, posixpath.join("docs", page)))
    path = posixpath.normpath(posixpath.join(folder, target))
    if path.startswith(".."):
        raise PluginError(f"{page}: the link to {target} leaves the repository")
    return path


def _place(path: str) -> str:
    """Where the site shows a file of the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path == "leaderboards":
        return PAGES["leaderboards/README.md"]
    return f"files/{path}.md"


def _as_page(path: str) -> str:
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"# `{path}`\n\n~~~~~~{language}\n{(ROOT / path).read_text(encoding='utf-8')}\n~~~~~~\n"
