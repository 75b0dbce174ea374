"""How the leaderboard is written: marks, notes, and names that stay text in every format."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard.page import billions, html_page, method_files, method_pages, size_class
from samtok_eval.reports.leaderboard.published_file import read_published
from samtok_eval.reports.leaderboard.table import sections
from samtok_eval.reports.leaderboard.text import latex, markdown
from samtok_eval.reports.markup import latex_text, one_line
from tests.support.results import OTHER_PAPER, PAPER, printed, result, two_and_a_third
from tests.support.results import PUBLISHED as PUBLISHED_CSV

HOSTILE = (
    "<script>alert(1)</script>",
    "a|b || c",
    'quo"te\' `tick` <b title="x">',
    "**bold** _it_ [link](http://example.org) ![i](x) $x$ ~~s~~",
    "# heading",
    "1. item",
    "back\\slash \\| \\input{/etc/passwd} %comment & #1 ^ ~ {",
    "[0.5ex] star",
    "* star",
    "&lt; &amp; {{ 7 * 7 }} {% raw %}",
    "Ünïcode × ± … – 模型",
    "a--b",
)


@pytest.fixture(scope="module")
def tasks():
    return load_tasks()


@pytest.fixture(scope="module")
def shipped(tasks):
    return sections(read_published(PUBLISHED_CSV), [], tasks)


class Page(HTMLParser):
    """What a browser would find: elements, attributes that run code, row names, table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.cells: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag in ("td", "th"):
            self._open = True
            self.cells.append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data):
        if self._open:
            self.cells[-1] += data


@pytest.mark.parametrize(
    ("write", "best", "second", "plain"),
    [
        (lambda s: markdown(s), "| **80.0** |", "| <u>70.0</u>† |", "| 60.0 |"),
        (lambda s: latex(s[0]), r"& \textbf{80.0} &", r"& \underline{70.0}$^\dagger$ &", "& 60.0 &"),
        (
            html_page,
            '<td data-label="val cIoU" data-value="80.0"><strong>80.0</strong></td>',
            "<u>70.0</u><sup>†</sup>",
            '<td data-label="val cIoU" data-value="60.0">60.0</td>',
        ),
    ],
)
def test_best_is_bold_second_underlined_and_a_copied_number_has_a_dagger(tasks, write, best, second, plain):
    text = write(sections(two_and_a_third(), [], tasks))
    assert best in text
    assert second in text
    assert plain in text


def test_sources_are_numbered_and_listed(tasks):
    found = sections(two_and_a_third(), [], tasks)
    assert f"\n1. <{PAPER}>\n2. <{OTHER_PAPER}>\n" in markdown(found)
    assert f"[1] {PAPER}\\par\n[2] {OTHER_PAPER}\\par\n" in latex(found[0])
    assert f'<li><a href="{PAPER}" rel="noreferrer">{PAPER}</a></li>' in html_page(found)
    assert "| mid |  | <u>70.0</u>† | 2 |" in markdown(found)


@pytest.mark.parametrize(
    ("trust", "via", "marks"), [("own", "", ""), ("benchmark", "", "‡"), ("copied", "", "†"), ("own", OTHER_PAPER, "§")]
)
def test_who_prints_a_number_and_what_was_seen_of_it_stand_beside_it(tasks, trust, via, marks):
    found = sections(printed(("A", "70.0"), trust=trust, via=via), [], tasks)
    assert f"| A |  | 70.0{marks} | 1 |" in markdown(found)
    assert f"seen only in <{via}>" in markdown(found) or not via
    assert (f"<sup>{marks}</sup>" in html_page(found)) == bool(marks)
    assert ("a third party" in latex(found[0])) == bool(marks), "explained where it is used"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("50 % & more_#1 $x$", r"50 \% \& more\_\#1 \$x\$"),
        ("{a}\\b", r"\{a\}\textbackslash{}b"),
        ("~^<>|", r"\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"),
        ("[1] *", "{[}1{]} {*}"),
        ("±2.0 ×", r"$\pm$2.0 $\times$"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("Müller", "Müller"),
        ("模", "{[}U+6A21{]}"),
        ("\u202eabc", "{[}U+202E{]}abc"),
        ("line\nline", "line line"),
    ],
)
def test_latex_escaping(text, written):
    assert latex_text(text) == written


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u200fb", "a[U+200F]b"),
        ("a\u202eb", "a[U+202E]b"),
        ("a\x00b", "a[U+0000]b"),
        (" a \n b ", " a b "),
        ("é模", "é模"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(text, shown):
    assert one_line(text) == shown


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text_on_the_page(tasks, name):
    harmless, hostile = (Page(html_page(sections(printed((n, "70.0"), source=n), [], tasks))) for n in ("A", name))
    assert hostile.tags == harmless.tags
    assert hostile.handlers == []
    assert one_line(name) in hostile.cells


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text_on_a_methods_page(tasks, name):
    def of(shown: str) -> Page:
        (page,) = method_pages(sections(printed((shown, "70.0"), source=shown), [], tasks)).values()
        return Page(page)

    assert of(name).tags == of("A").tags
    assert of(name).handlers == []
    assert one_line(name) in of(name).cells


def test_methods_whose_names_differ_in_signs_alone_have_pages_of_their_own(tasks):
    names = ("A+B", "A-B", "模", "C")
    files = method_files(sections(printed(*((name, "1.0") for name in names)), [], tasks))
    assert len(set(files.values())) == 4 and files["C"] == "c.html"
    assert all(re.fullmatch(r"[a-z0-9-]+\.html", file) for file in files.values())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text_in_markdown(tasks, name):
    def page(shown: str) -> Page:
        text = markdown(sections(printed((shown, "70.0"), ("other", "71.0"), source=shown), [], tasks))
        return Page(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))

    assert page(name).tags == page("A").tags
    # What a service would take for a person or an issue is parted by a blank without width.
    assert one_line(name) in [cell.replace("\u200b", "") for cell in page(name).cells]


def compiles(folder: Path, fragment: str) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not on the path")
    head = "\\documentclass{article}\n\\usepackage{booktabs,graphicx,textcomp}\n\\begin{document}\n"
    (folder / "table.tex").write_text(f"{head}{fragment}\n\\end{{document}}\n", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_latex_compiles_whatever_the_names_hold(tmp_path, tasks):
    rows = [row for name in HOSTILE for row in printed((name, "70.0"), source=name)]
    compiles(tmp_path, latex(sections(rows, [result()], tasks)[0]))


def test_every_shipped_latex_table_compiles(tmp_path, shipped):
    compiles(tmp_path, "\\clearpage\n".join(latex(section) for section in shipped))


def test_a_page_asks_the_network_for_nothing(shipped):
    page = html_page(shipped)
    followed = re.findall(r'<a href="(https://[^"]+)" rel="noreferrer">([^<]+)</a>', page)
    assert len(followed) > 50 and all(address == text for address, text in followed)
    loaded = re.sub(r'<a href="(https://[^"]+" rel="noreferrer|methods/[a-z0-9-]+\.html)">', "", page)
    assert not re.search(r"(?:src|href)=\"(?!#)|@import|url\(|fetch\(|XMLHttpRequest|sendBeacon", loaded)
    assert "default-src 'none'" in html.unescape(page)


@pytest.mark.parametrize(
    ("size", "exact", "kind"),
    [
        ("3B", 3.0, "to-5b"),
        ("2B", 2.0, "to-2b"),
        ("300M", 0.3, "to-2b"),
        ("7B", 7.0, "to-10b"),
        ("78B", 78.0, "larger"),
        ("<=8B", None, "bound"),
        ("", None, "unstated"),
    ],
)
def test_sizes_fall_into_classes(size, exact, kind):
    assert billions(size) == (None if exact is None else pytest.approx(exact))
    assert size_class(size) == kind
