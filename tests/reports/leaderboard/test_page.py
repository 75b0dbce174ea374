"""The leaderboard's page in a browser: sorting by mouse and keyboard, filters, narrow screens, no network."""

from __future__ import annotations

import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard.authors import AUTHORS_FILE, read_authors
from samtok_eval.reports.leaderboard.page import html_page, method_pages
from samtok_eval.reports.leaderboard.published_file import read_published
from samtok_eval.reports.leaderboard.table import sections
from tests.support.results import PUBLISHED, result

BROWSER = shutil.which("chromium")
# A busy machine takes its time.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    authors = read_authors(PUBLISHED.parent / AUTHORS_FILE)
    found = sections(read_published(PUBLISHED), [result(), result(demo=True, revision="d")], load_tasks())
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(html_page(found, authors), encoding="utf-8")
    (path.parent / "methods").mkdir()
    for name, text in method_pages(found, authors).items():
        (path.parent / "methods" / name).write_text(text, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("chromium is not on the path")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser, address):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    opened = context.new_page()
    opened.problems = []
    opened.on("console", lambda message: opened.problems.append(message.text))
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.asked, opened.followed = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.goto(address)
    yield opened
    assert opened.problems == []
    assert set(opened.asked) <= {address, *(f"{address.rpartition('/')[0]}/methods/{name}" for name in opened.followed)}
    context.close()


def column(page, index: int) -> list[str]:
    return page.locator("table").first.locator(f"tbody tr :nth-child({index})").all_inner_texts()


def test_a_head_sorts_by_key_and_click_with_missing_values_last(page):
    table = page.locator("table").first
    head = table.locator("thead th[data-column='4']")
    assert head.inner_text() == "N-acc"
    assert head.get_attribute("aria-sort") == "none"
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    names = table.locator("tbody tr").all_inner_texts()
    assert names[0].startswith("CycleGRPO (release ckpt)")
    assert names[-1].split("\t")[4] == "-"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    names = table.locator("tbody tr").all_inner_texts()
    assert names[0].startswith("LISA (zero-shot)")
    assert names[-1].split("\t")[4] == "-"
    method = table.locator("thead th[data-column='0']")
    method.locator("button").click()
    assert method.get_attribute("aria-sort") == "ascending"
    assert head.get_attribute("aria-sort") == "none"


@pytest.mark.parametrize(
    ("filters", "search", "left"),
    [
        ({"benchmark": "psg"}, "", 6),
        ({"protocol": "strict"}, "", 2),
        ({"benchmark": "demo-gres-grefcoco"}, "", 1),
        ({"trust": "measured"}, "", 2),
        ({"benchmark": "refcoco", "size": "larger"}, "", 2),
        ({}, "osprey refcocog meteor-nowhere", 0),
        ({"benchmark": "reasonseg"}, "unipixel 64.0", 1),
        ({"trust": "copied"}, "SA2VA paper-notes", 1),
    ],
)
def test_filters_leave_the_rows_that_fit_and_hide_empty_tables(page, filters, search, left):
    for key, wanted in filters.items():
        page.select_option(f"[data-filter={key}]", wanted)
    page.fill("[data-filter-text]", search)
    assert page.inner_text("[data-filter-status]").startswith(f"{left} of ")
    assert page.locator("tbody tr:visible").count() == left
    assert (page.locator("section:visible").count() > 0) == (left > 0)
    page.click("button[type=reset]")
    # Not by a script in the page, which forbids `eval`.
    expect(page.locator("tbody tr[hidden]")).to_have_count(0, timeout=60_000)


def test_colours_follow_the_system_until_the_reader_chooses(browser, address):
    def ground(page) -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(address)
    dark = ground(page)
    page.click("[data-theme-toggle]")
    assert page.get_attribute("html", "data-theme") == "light"
    assert ground(page) == "rgb(255, 255, 255)" != dark
    page.reload()
    assert ground(page) == "rgb(255, 255, 255)"
    context.close()


@pytest.mark.parametrize("width", [1400, 400])
def test_no_page_scrolls_sideways_and_no_table_is_wider_than_it(page, address, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.followed.append("samtok.html")
    for place in (address, address.replace("index", "methods/samtok")):
        page.goto(place)
        for summary in page.locator("main > details > summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = page.locator(".scroll:visible")
        widths = boxes.evaluate_all("boxes => boxes.map(box => [box.scrollWidth, box.clientWidth])")
        assert widths and all(inside <= room for inside, room in widths)


def test_a_tab_shows_one_kind_of_task_and_the_address_keeps_it(page, address):
    page.get_by_label("Scene graphs").check(force=True)
    assert page.locator("section:visible h2").all_inner_texts() == ["PSG", "PSG (open-ended, text)"]
    page.select_option("[data-filter=trust]", "own")
    page.fill("[data-filter-text]", "PSGTR R50")
    expect(page).to_have_url(f"{address}#?tab=scene-graphs&trust=own&q=PSGTR+R50")
    page.goto("about:blank")
    page.goto(f"{address}#?tab=scene-graphs&trust=own&q=PSGTR+R50")
    assert page.locator("tbody tr:visible").count() == 1
    assert page.get_by_label("Scene graphs").is_checked()
    assert page.locator("[data-filter-text]").input_value() == "PSGTR R50"
    page.click("button[type=reset]")
    expect(page).to_have_url(address)


def test_an_anchor_and_filters_share_the_address(page, address):
    page.select_option("[data-filter=trust]", "copied")
    page.click("nav a[href='#refcoco']")
    expect(page).to_have_url(f"{address}#refcoco?trust=copied")
    assert page.locator("#refcoco").bounding_box()["y"] < 300
    assert set(page.locator("#refcoco tbody tr:visible").evaluate_all("rows => rows.map(r => r.dataset.trust)")) == {
        "copied"
    }


def test_an_address_of_a_filter_that_is_not_there_shows_everything(page, address):
    page.goto(f"{address}#gcg?tab=nowhere&trust=hearsay&colour=red")
    assert page.locator("tbody tr[hidden]").count() == 0
    expect(page).to_have_url(f"{address}#gcg")


def test_the_demo_is_folded_away_at_the_end_and_opens_for_its_anchor_and_its_filters(page, address):
    demo = page.locator("details#demo")
    assert page.locator("main > *").last.get_attribute("id") == "demo"
    assert demo.locator("tbody tr:visible").count() == 0
    page.select_option("[data-filter=benchmark]", "demo-gres-grefcoco")
    assert demo.locator("tbody tr:visible").count() == 1
    page.click("button[type=reset]")
    expect(demo.locator("tbody tr:visible")).to_have_count(0)
    page.click("nav a[href='#demo-gres-grefcoco']")
    expect(demo.locator("tbody tr:visible")).to_have_count(1)


def test_points_of_a_plot_go_with_their_rows(page):
    points = page.locator("#refcoco circle[data-for]:visible")
    everything = points.count()
    rows = page.locator("#refcoco tbody tr:visible")
    assert everything > 15
    page.select_option("[data-filter=trust]", "copied")
    assert 0 < points.count() < everything
    sizes = rows.evaluate_all("rows => rows.filter(r => r.cells[1].dataset.value && r.cells[2].dataset.value).length")
    assert points.count() == sizes


def test_a_name_leads_to_all_numbers_of_its_method_and_back(page, address):
    page.followed.append("samtok.html")
    page.click("#gcg a:has-text('Qwen25VL-SAMTok (rl)')")
    assert page.title() == "SAMTok"
    assert page.locator("a", has_text="https://arxiv.org/abs/2601.16093").count() >= 1
    page.fill("[data-filter-text]", "GCG val AP50")
    shown = page.locator("tbody tr:visible").all_inner_texts()
    assert any(row.split("\t")[2:6] == ["Qwen25VL-SAMTok (rl)", "3B", "41.5§", "1 of 11"] for row in shown)
    page.click("tbody tr:visible th a")
    expect(page).to_have_url(f"{address}#gcg")


def test_without_a_script_every_row_is_there(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("tbody tr:visible").count() > 250
    assert page.locator("form:visible").count() == 0
    page.click("#demo > summary")
    assert page.locator("#demo tbody tr:visible").count() == 1
    context.close()
