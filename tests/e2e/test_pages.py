"""The report and the leaderboard in a real browser: they work by mouse and keyboard, and ask nobody for anything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from samtok_eval.mask_tokens import render
from samtok_eval.reports.page.content import gather
from samtok_eval.reports.page.page import write_report
from samtok_eval.reports.runs import read_scored
from tests.conftest import right, shifted
from tests.reports.page.test_page import HOSTILE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LEADERBOARD = Path(__file__).parents[2] / "leaderboards" / "index.html"
# Pages forbid `eval`, so that nothing may be waited for by a script in them; a busy machine takes its time.
expect.set_options(timeout=60_000)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """A function that opens a file; when the test is over, nothing was asked for and nothing went wrong."""
    complaints, pages = [], []

    def show(path, **options):
        context = browser.new_context(**options)
        page = context.new_page()
        page.set_default_timeout(60_000)
        pages.append(page)
        page.on("request", lambda request: _note(complaints, request.url, path))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield show
    for page in pages:
        page.context.close()
    assert not complaints


def _note(complaints, url, path):
    if not url.startswith(("data:", path.as_uri())):
        complaints.append(url)


@pytest.fixture
def report(make_run, tmp_path):
    """A comparison with hostile answers."""

    def say(sample, codes):
        return f"{HOSTILE}{render(codes)}"

    before, after = make_run("before", right), make_run("<i>after</i>", shifted(6), text_of=say)
    make_run("oracle", right)
    return write_report(gather([read_scored(before), read_scored(after)]), tmp_path / "report")


def column(page, table, index):
    return page.locator(f"{table} tbody tr:visible > :nth-child({index})").all_inner_texts()


def test_a_report_sorts_filters_and_searches(opened, report):
    page = opened(report)
    assert page.title() == "gres:val, <i>after</i> against before"
    slices = "table[data-name=slices]"
    page.locator(f"{slices} th button", has_text="n").nth(0).focus()
    page.get_by_role("button", name="lost").focus()
    page.keyboard.press("Enter")
    lost = [float(text) for text in column(page, slices, 5)]
    assert lost == sorted(lost, reverse=True) and len(lost) > 5
    page.keyboard.press("Enter")
    assert [float(text) for text in column(page, slices, 5)] == sorted(lost)
    assert page.locator(f"{slices} th[aria-sort=ascending]").inner_text().startswith("lost")

    # The task's first protocol stands open, the others are folded.
    scores, others = "table[data-name=scores]", "table[data-name='scores under other protocols']"
    assert column(page, scores, 1)[:2] == ["cIoU", "gIoU"] and not page.locator(others).is_visible()
    page.locator("#scores summary").click()
    everything = len(column(page, others, 2))
    page.locator("#scores select").select_option("official")
    assert set(column(page, others, 2)) == {"official"} and len(column(page, others, 2)) < everything
    assert len(column(page, slices, 1)) == len(lost), "a filter is about its own section"

    samples = "table[data-name=samples]"
    assert len(column(page, samples, 1)) == 80
    page.locator("#samples input[type=search]").fill("red circle")
    found = page.locator(f"{samples} tbody tr:visible").all_inner_texts()
    assert 0 < len(found) < 80 and all("red" in text and "circle" in text for text in found)
    assert page.locator("#samples [data-filter-status]").inner_text() == f"{len(found)} of 80 rows"
    page.locator("#samples button[type=reset]").click()
    expect(page.locator(f"{samples} tbody tr:visible")).to_have_count(80)


def test_a_gallery_opens_and_is_leafed_through_by_keyboard(opened, report):
    page = opened(report)
    first = page.locator("#worst .card .open").first
    first.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[data-lightbox]")
    expect(dialog).to_be_visible()
    assert dialog.locator("svg image").count() >= 3
    start = dialog.locator("[data-count]").inner_text()
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("[data-count]")).not_to_have_text(start)
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator("[data-count]")).to_have_text(start)
    # The photograph inside is really drawn, not an empty box.
    assert dialog.locator("svg use").first.bounding_box()["height"] > 50
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(first).to_be_focused()


def test_what_a_model_says_stays_text_in_the_browser(opened, report):
    page = opened(report)
    page.locator("#worst .card .open").first.click()
    assert HOSTILE.split("\u202e")[0] in page.locator("dialog pre").nth(1).inner_text()
    assert page.title().startswith("gres:val")
    assert page.locator("main img, main i, main b").count() == 0


def test_data_can_be_downloaded(opened, report):
    page = opened(report)
    for name in ("metrics.csv", "metrics.json", "samples.csv"):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename == name
        assert len(Path(download.value.path()).read_text()) > 500


def test_light_and_dark(opened, report):
    def ground(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = opened(report, color_scheme="light"), opened(report, color_scheme="dark")
    assert ground(light) == "rgb(255, 255, 255)" != ground(dark)
    light.locator("[data-theme-toggle]").click()
    assert ground(light) == ground(dark)


def test_samples_that_changed_are_dots_and_slices_are_bars(opened, report):
    page = opened(report)
    dots = page.locator("svg.scatter circle")
    said = [text.split(" sample")[0] for text in dots.locator("title").all_text_contents()]
    assert sum(map(int, said)) == 80 and page.locator("svg.scatter .worse").count() > 5
    box, frame = dots.first.bounding_box(), page.locator("svg.scatter .frame").bounding_box()
    assert frame["width"] == pytest.approx(frame["height"]) and box["width"] >= 4
    bars = page.locator("table[data-name='comparison by slice'] svg.bar")
    assert bars.count() == page.locator("table[data-name='comparison by slice'] tbody tr").count() > 5
    assert page.locator("svg.scatter").evaluate("svg => getComputedStyle(svg.querySelector('.worse')).fill") == (
        "rgb(213, 94, 0)"
    )


def test_heads_end_where_their_numbers_end(opened, report):
    page = opened(report, viewport={"width": 1400, "height": 900})
    shift = page.locator("table[data-name=slices]").evaluate(
        """table => {
          const end = (node) => {
            const range = document.createRange();
            range.selectNodeContents(node);
            return range.getBoundingClientRect().right;
          };
          const last = (row) => row.cells[row.cells.length - 1];
          const head = last(table.tHead.rows[0]).querySelector("button").firstChild;
          return end(head) - end(last(table.tBodies[0].rows[0]).firstChild);
        }"""
    )
    assert abs(shift) < 2


def test_lines_between_rows_stay_under_a_name_that_stays(opened, report):
    page = opened(report, viewport={"width": 400, "height": 800})
    scroll = page.locator("[aria-label=Comparison]")
    scroll.evaluate("box => { box.scrollLeft = 150; }")
    name = scroll.locator("tbody th.name").nth(1)
    assert name.bounding_box()["x"] == pytest.approx(scroll.bounding_box()["x"], abs=2)
    assert name.evaluate("cell => getComputedStyle(cell).borderTopWidth") == "1px"


def test_a_narrow_screen_needs_no_sideways_scrolling(opened, report):
    page = opened(report, viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize("width", [1100, 1280, 1400])
def test_slices_of_a_comparison_stand_within_their_frame(opened, report, width):
    page = opened(report, viewport={"width": width, "height": 800})
    frame = page.locator(".scroll:has([data-name='comparison by slice'])")
    assert frame.evaluate("frame => frame.scrollWidth - frame.clientWidth") == 0


def test_the_page_can_be_read_without_scripts(opened, report):
    page = opened(report, java_script_enabled=False)
    assert page.locator("table[data-name=samples] tbody tr").count() == 80
    assert not page.locator("[data-theme-toggle]").is_visible()


def test_the_leaderboard_sorts_filters_and_searches(opened):
    page = opened(LEADERBOARD)
    table = page.locator("table.sortable").first
    head = table.locator("th button", has_text="gIoU").first
    head.click()
    index = 3
    values = [text for text in table.locator(f"tbody tr > :nth-child({index})").all_inner_texts() if text != "-"]
    numbers = [float(text.rstrip("†‡§").split()[0]) for text in values]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) > 5
    rows = page.locator("table.sortable tbody tr:visible")
    everything = rows.count()
    page.get_by_label("Trust").select_option("own")
    few = rows.count()
    assert 0 < few < everything
    page.locator("input[type=search]").fill("SAMTok")
    assert 0 < rows.count() <= few
    told = rows.evaluate_all("rows => rows.map(row => row.textContent + row.dataset.text)")
    assert all("samtok" in text.lower() for text in told)
    page.get_by_role("button", name="Show all").click()
    expect(rows).to_have_count(everything)
