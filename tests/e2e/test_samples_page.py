"""The page of all samples in a real browser, opened from a disk: by mouse, by keyboard, by link, wide and narrow."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from samtok_eval import masks
from samtok_eval.mask_tokens import render
from samtok_eval.reports.page.content import gather
from samtok_eval.reports.runs import read_scored
from samtok_eval.reports.samples.data import SHARD
from samtok_eval.reports.samples.write import call, write_samples
from tests.conftest import right, shifted
from tests.e2e.test_pages import CHROMIUM, browser  # noqa: F401 - a fixture
from tests.reports.page.test_page import HOSTILE

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")
AREA = """canvas => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let k = 3; k < data.length; k += 4) count += data[k] > 0;
  return count;
}"""
"""Pixels that are painted; allowed while no photograph of the disk is on the canvas."""


@pytest.fixture
def opened(browser) -> Iterator:  # noqa: F811
    complaints, contexts = [], []

    def show(path, address="", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        inside = path.parent.as_uri()
        page.on("request", lambda r: None if r.url.startswith((inside, "data:")) else complaints.append(r.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{path.as_uri()}{address}")
        return page

    yield show
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture
def gathered(make_run):
    def say(sample, codes):
        return f"{HOSTILE}{render(codes)}"

    before, after = make_run("before", right, limit=130), make_run("after", shifted(6), limit=130, text_of=say)
    return gather([read_scored(before), read_scored(after)])


@pytest.fixture
def page_of(gathered, tmp_path):
    return write_samples(gathered, tmp_path)


def filled(page):
    """Wait until the cards are those of the filters."""
    expect(page.locator("[data-cards]")).to_have_attribute("aria-busy", "false")


def labels(page):
    filled(page)
    return page.locator(".card h4 bdi").all_inner_texts()


def test_samples_are_filtered_sorted_and_turned(opened, page_of, gathered):
    page = opened(page_of)
    status, cards = page.locator("[data-status]"), page.locator(".card")
    expect(status).to_have_text("1 to 24 of 130")
    expect(cards).to_have_count(24)
    page.get_by_role("button", name="Later").click()
    expect(status).to_have_text("25 to 48 of 130")
    page.keyboard.press("ArrowLeft")
    expect(status).to_have_text("1 to 24 of 130")

    worse = sum(gathered.answered.scores[n] < s for n, s in gathered.answered.baseline.items())
    page.select_option("[name=change]", "worse")
    expect(status).to_have_text(f"1 to 24 of {worse} (130 in all)")
    page.select_option("[name=sort]", "low")
    filled(page)
    lowest = sorted(gathered.answered.scores.values())
    expect(page.locator(".score").first).to_have_text(f"100.0 → {100 * lowest[0]:.1f}")
    page.get_by_role("button", name="Show all").click()

    phrase = next(sample.phrase for sample in gathered.answered.samples.values() if sample.phrase)
    page.keyboard.press("/")
    page.keyboard.type(phrase)
    words = phrase.lower().split()
    fitting = [n for n, s in gathered.answered.samples.items() if all(w in f"{n} {s.phrase}".lower() for w in words)]
    expect(status).to_contain_text(f"of {len(fitting)} (130 in all)")
    page.fill("[name=q]", "no such words")
    expect(status).to_have_text("none of 130 samples fits")
    page.fill("[name=q]", "")
    page.fill("[name=from]", "100")
    full = sum(score == 1 for score in gathered.answered.scores.values())
    expect(status).to_contain_text(f"of {full} (130 in all)")


def test_slices_are_filtered_and_the_address_keeps_what_is_looked_at(opened, page_of, gathered):
    page = opened(page_of)
    option = page.locator("[name=slice] option[value^='kind:']").first
    value = option.get_attribute("value")
    page.select_option("[name=slice]", value)
    page.select_option("[name=sort]", "high")
    status = page.locator("[data-status]")
    expect(status).to_contain_text("(130 in all)")
    told, names, address = status.inner_text(), labels(page), page.url
    again = opened(page_of, address[address.index("#") :])
    expect(again.locator("[data-status]")).to_have_text(told)
    expect(again.locator(".card")).to_have_count(len(names))
    assert labels(again) == names


def test_a_link_opens_one_sample_and_keys_go_through_them(opened, page_of, gathered):
    names = list(gathered.answered.records)
    page = opened(page_of, f"#sample={names[101]}")
    dialog = page.locator("dialog[data-sample]")
    expect(dialog).to_have_attribute("data-shown", names[101])
    page.keyboard.press("ArrowRight")
    expect(dialog).to_have_attribute("data-shown", names[102])
    assert page.url.endswith(f"sample={names[102]}&page=5")
    page.keyboard.press("ArrowLeft")
    expect(dialog).to_have_attribute("data-shown", names[101])
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    page.locator(".card .open").first.click()
    expect(dialog).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(dialog).not_to_be_visible()
    wrong = opened(page_of, "#sample=none-of-them")
    expect(wrong.locator("[data-status]")).to_have_text("there is no sample none-of-them")


def test_what_a_model_wrote_stays_text(opened, page_of, gathered):
    name = next(n for n, s in gathered.answered.samples.items() if s.target.masks)
    page = opened(page_of, f"#sample={name}")
    expect(page.locator("dialog pre", has_text="<script>").first).to_be_visible()
    assert page.locator("dialog script, dialog img, .card script, .card img").count() == 0
    assert page.evaluate("typeof window.hacked") == "undefined"


def test_masks_are_those_of_the_files_and_can_be_switched_off(opened, page_of, gathered):
    # With photographs of the disk on them, a browser lets nobody read the canvases.
    for path in (page_of.parent / "shards").iterdir():
        path.write_text(re.sub(r'"picture":"\d+\.jpg",', "", path.read_text()))
    page = opened(page_of)
    filled(page)
    samples = list(gathered.answered.samples.values())[:24]

    def painted(*layers):
        for box in page.locator("[data-overlays] input[type=checkbox]").all():
            box.set_checked(box.get_attribute("name") in layers)
        return [canvas.evaluate(AREA) for canvas in page.locator(".card canvas").all()]

    def areas(of):
        return [masks.area(masks.union(of(s), s.image.height, s.image.width)) for s in samples]

    assert painted() == [0] * 24
    assert painted("reference") == painted("baseline") == areas(right)
    assert painted("prediction") == areas(shifted(6))
    both = areas(lambda sample: [*right(sample), *shifted(6)(sample)])
    assert painted("difference") == both
    assert all(lined < area for lined, area in zip(painted("reference", "outlines"), areas(right), strict=True) if area)


def test_a_sample_is_zoomed_and_moved(opened, page_of, gathered):
    page = opened(page_of, f"#sample={next(iter(gathered.answered.records))}")
    canvas = page.locator("dialog canvas")
    expect(canvas).to_be_visible()
    page.get_by_role("button", name="+").click()
    expect(canvas).to_have_attribute("data-scale", "1.50")
    page.keyboard.press("+")
    expect(canvas).to_have_attribute("data-scale", "2.25")
    page.keyboard.press("0")
    expect(canvas).to_have_attribute("data-scale", "1.00")
    canvas.hover()
    page.mouse.wheel(0, -100)
    expect(canvas).to_have_attribute("data-scale", "1.20")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_scrolling_sideways(opened, page_of, gathered, scheme):
    size = {"width": 400, "height": 800}
    page = opened(page_of, f"#sample={next(iter(gathered.answered.records))}", viewport=size, color_scheme=scheme)
    expect(page.locator("dialog canvas")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.locator("dialog").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")


def test_fifty_thousand_samples_are_as_many_elements_as_five_hundred(opened, page_of, tmp_path):
    text = (page_of.parent / "index.js").read_text()
    index = json.loads(text[text.index("(") + 1 : -3])
    shard = json.loads(f"[{(page_of.parent / 'shards' / '0.js').read_text()[len('samtokShard(') : -3]}]")[1]

    def elements(count):
        folder = shutil.copytree(page_of.parent, tmp_path / f"of-{count}")
        many = index | {"phrases": [index["phrases"][k % 130] for k in range(count)]}
        many |= {name: [index[name][k % 130] for k in range(count)] for name in ("scores", "before")}
        many["ids"] = [f"{k}-{index['ids'][k % 130]}" for k in range(count)]
        coded = {"statuses": index["statuses"], **index["slices"]}
        coded = {n: c | {"codes": [c["codes"][k % 130] for k in range(count)]} for n, c in coded.items()}
        many["statuses"] = coded.pop("statuses")
        (folder / "index.js").write_text(call("samtokIndex", many | {"slices": coded}))
        # The first page, and the one to which the link below leads.
        for number in (0, (count - 1) // SHARD):
            (folder / "shards" / f"{number}.js").write_text(call("samtokShard", number, shard))
        page = opened(folder / "index.html", f"#page={-(-count // 24)}")
        expect(page.locator("[data-status]")).to_contain_text(f"of {count}")
        page.locator("[name=q]").fill("0-")
        expect(page.locator("[data-status]")).to_contain_text("1 to 24")
        expect(page.locator(".card")).to_have_count(24)
        assert (folder / "index.js").stat().st_size < 10_000_000
        return page.locator("*").count()

    few = elements(500)
    assert elements(50_000) <= few
