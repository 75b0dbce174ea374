"""The leaderboard's page in a browser: sorting by mouse and keyboard, filters, narrow screens, no network."""

from __future__ import annotations

import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard.page import html_page
from samtok_eval.reports.leaderboard.published_file import read_published
from samtok_eval.reports.leaderboard.table import sections
from tests.support.results import PUBLISHED, result

BROWSER = shutil.which("chromium")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    found = sections(read_published(PUBLISHED), [result(), result(demo=True, revision="d")], load_tasks())
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(html_page(found), encoding="utf-8")
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
    opened.asked = []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.goto(address)
    yield opened
    assert opened.problems == []
    assert opened.asked == [address]
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


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_never_scrolls_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_a_script_every_row_is_there(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("tbody tr:visible").count() > 250
    assert page.locator("form:visible").count() == 0
    context.close()
