"""What a written file may not do, whatever names stand in it: each format is read by a reader of that format."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

FORMULA = re.compile(r"[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
ACTIVE = ("iframe", "object", "embed", "base", "frame")


class _Page(HTMLParser):
    """Looks for what runs or loads something in a page."""

    def __init__(self, scripts: int) -> None:
        super().__init__()
        self.scripts, self.wrong = scripts, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts -= tag == "script"
        if tag in ACTIVE or self.scripts < 0:
            self.wrong.append(f"<{tag}>")
        for name, value in attrs:
            text = (value or "").strip().lower()
            if name.startswith("on") or (name in ("href", "src") and text.startswith(("javascript:", "vbscript:"))):
                self.wrong.append(f"{tag} {name}={value!r}")
            if name == "src" and text.startswith(("http:", "https:", "//")):
                self.wrong.append(f"{tag} loads {value!r}")


def check_html(text: str, scripts: int = 3) -> None:
    """A page has only scripts of its own, and loads nothing."""
    page = _Page(scripts)
    page.feed(text)
    assert not page.wrong, page.wrong


def check_csv(text: str) -> None:
    """No cell is a formula."""
    for row in csv.reader(io.StringIO(text, newline="")):
        for cell in row:
            assert cell == "-" or not FORMULA.match(cell) or NUMBER.fullmatch(cell), f"a formula: {cell!r}"


def check_xml(text: str) -> None:
    """Legal XML, as its reader sees it."""
    ElementTree.fromstring(text)  # noqa: S314 - written by this program


def check_markdown(text: str) -> None:
    """Nothing in it becomes a link that is not one of ours, a picture, a mention, a reference, or markup."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    for token in parser.parse(text):
        ours = False
        for inner in token.children or [token]:
            if inner.type == "link_open":
                assert inner.markup == "autolink" and str(inner.attrs["href"]).startswith("https://"), inner.attrs
            ours = inner.type == "link_open" or (ours and inner.type != "link_close")
            assert inner.type != "image", f"a picture: {inner.attrs}"
            assert inner.type not in ("fence", "code_block"), f"a block: {inner.content!r}"
            if inner.type in ("html_inline", "html_block"):
                assert inner.content in ("<u>", "</u>"), f"markup: {inner.content!r}"
            if inner.type == "text" and not ours:
                found = re.search(r"(?<!\w)@\w|\w@\w+\.\w|#\d|\bGH-\d", inner.content)
                assert not found, f"a reference: {inner.content!r}"
    # An address becomes a link where it is spelt out.
    rest = re.sub(r"<https://[^<>\s]*>", "", text)
    assert not (found := re.search(r"\w*://|\bwww\.\w", rest)), f"a link: {rest[found.start() - 40 :][:80]!r}"


BY_ENDING = {".html": check_html, ".csv": check_csv, ".xml": check_xml, ".md": check_markdown}


def check_folder(folder: Path) -> None:
    """Everything that lies in a folder, by what its ending says; inputs of a case are left out by their names."""
    for path in folder.rglob("*"):
        check = BY_ENDING.get(path.suffix)
        if check and path.is_file() and path.name not in ("published.csv", "authors.csv", "computed_by.csv"):
            check(path.read_text(encoding="utf-8"))
        if path.name.endswith(".json") and path.parent.name == "out":
            json.loads(path.read_text())
