"""Runs in a real browser, served and opened from a disk: filtered, opened, compared, and nobody else is asked."""

from __future__ import annotations

import re
import threading

import pytest
from playwright.sync_api import expect

from samtok_eval.reports.server import Server
from samtok_eval.reports.site import Site
from samtok_eval.reports.static_site import export_site
from tests.conftest import right, shifted
from tests.e2e.test_pages import CHROMIUM, browser  # noqa: F401 - a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def site(make_run, tmp_path):
    make_run("gres/val/first/aaaa", right, limit=12)
    make_run(f"gres/val/{HOSTILE}/bbbb", shifted(6), limit=12)
    make_run("refcoco/val/first/cccc", right, limit=12, task="refcoco")
    return Site(tmp_path / "runs")


@pytest.fixture
def opened(browser):  # noqa: F811
    """A function that opens an address; when the test is over, only that place was asked and nothing went wrong."""
    complaints, contexts = [], []

    def show(address, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        home = address.rpartition("/")[0]
        page.on("request", lambda r: None if r.url.startswith((home, "data:")) else complaints.append(r.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        return page

    yield show
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture
def served(site, tmp_path):
    server = Server(site, 0, tmp_path / "cache")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.address
    server.shutdown()
    server.server_close()
    thread.join()


def rows(page):
    return page.locator("table[data-name=runs] tbody tr:visible")


def compare(page):
    page.locator("tr[data-task='gres:val'] input[name=baseline]").nth(1).check()
    # Neither itself nor other questions.
    assert page.locator("input[name=candidate]:disabled").count() == 2
    page.locator("input[name=candidate]:enabled").check()
    page.get_by_role("link", name="Compare").click()
    expect(page.locator("#comparison")).to_be_visible()


def test_runs_are_filtered_opened_and_compared(opened, served, make_run):
    page = opened(served)
    assert rows(page).count() == 3 and page.locator("main img").count() == 0
    assert HOSTILE in page.locator("table").inner_text()
    page.get_by_label("Task").select_option("refcoco:val")
    expect(rows(page)).to_have_count(1)
    page.reload()
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Search, signatures too").fill("task:gres:val n:12")
    expect(rows(page)).to_have_count(2)
    page.get_by_label("Search, signatures too").fill("seed:7")
    expect(rows(page)).to_have_count(0)
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Model").select_option(index=2)
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Show all").click()
    page.get_by_role("link", name="gres/val/first/aaaa").click()
    assert page.title() == "gres:val, gres/val/first/aaaa"
    page.get_by_role("link", name="Every sample").click()
    expect(page.locator("[data-cards] .card")).to_have_count(12)
    page.get_by_role("link", name="Summary").click()
    page.get_by_role("link", name="All runs").click()
    compare(page)
    assert re.search("against gres/val/", page.title()) and page.locator("main img").count() == 0
    make_run("gres/val/later/dddd", right, limit=12)
    page.get_by_role("link", name="All runs").click()
    expect(rows(page)).to_have_count(4)


def test_the_exported_site_works_from_a_disk(opened, site, tmp_path):
    page = opened(export_site(site, tmp_path / "site").as_uri())
    page.get_by_label("Status").select_option("complete")
    expect(rows(page)).to_have_count(3)
    compare(page)
    page.get_by_role("link", name="Every sample").click()
    expect(page.locator("[data-cards] .card")).to_have_count(12)
    page.get_by_role("link", name="Summary").click()
    page.get_by_role("link", name="All runs").click()
    page.get_by_role("link", name="refcoco/val/first/cccc").click()
    assert page.title() == "refcoco:val, refcoco/val/first/cccc"


def test_a_narrow_screen_needs_no_sideways_scrolling_and_no_script_to_open_runs(opened, served):
    page = opened(served, viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    plain = opened(served, java_script_enabled=False)
    plain.get_by_role("link", name="refcoco/val/first/cccc").click()
    assert plain.locator("#scores").is_visible()
