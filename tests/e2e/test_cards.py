"""Cards of every kind of task in a real browser: the summary and the page of all samples say the same of a sample."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from samtok_eval.registry import load_tasks
from samtok_eval.reports.page.content import gather
from samtok_eval.reports.page.page import write_report
from samtok_eval.reports.runs import read_scored
from samtok_eval.reports.samples.write import write_samples
from tests.conftest import right, shifted
from tests.e2e.test_pages import CHROMIUM, browser  # noqa: F401 - a fixture
from tests.e2e.test_samples_page import filled, opened  # noqa: F401 - a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")


@pytest.fixture
def cards(opened, make_run, tmp_path):  # noqa: F811
    """A function that gives the texts of the first sample's passages, by title, once both pages say the same."""

    def of(task, masks_of=right, text_of=None, baseline=None):
        known = load_tasks()[task]
        say = text_of or known.answer
        folders = [make_run("before", baseline, task=task, limit=6, text_of=say)] if baseline else []
        folders.append(make_run("now", masks_of, task=task, limit=6, text_of=say))
        report = gather([read_scored(folder) for folder in folders])
        samples = write_samples(report, tmp_path / "out")
        name = next(iter(report.answered.records))
        page = opened(samples)
        filled(page)
        here = _told(page.locator(".card").first)
        summary = opened(write_report(report, tmp_path / "out", samples))
        card = summary.locator(f".card:has(a[href$='#sample={quote(name, safe='/')}'])").first
        assert _told(card) == here
        return here, page

    return of


def _told(card):
    found = {}
    for passage in card.locator(".told").all():
        title, *lines = (line.strip() for line in passage.inner_text().splitlines())
        found.setdefault(title, []).append([line for line in lines if line])
    return found


def colours(card, title):
    """Background of the numbers in a passage of a card."""
    passage = card.locator(".told", has_text=title).first
    return passage.locator(".number").evaluate_all("all => all.map(x => getComputedStyle(x).backgroundColor)")


def test_phrases_of_grounded_captions_have_the_colours_of_their_masks(cards):
    task = load_tasks()["gcg"]
    # The answer names the masks in the other order: numbers and colours follow the objects.
    told, page = cards(
        "gcg",
        lambda sample: right(sample)[::-1],
        lambda sample, codes: task.answer(sample, codes[::-1]) + " <script>x</script>",
    )
    [[reference]], [[answer]] = told["reference"], told["answer"]
    assert reference in answer.replace("\xa0", " ") and "<script>x</script>" in answer
    card = page.locator(".card").first
    assert colours(card, "reference") == colours(card, "answer") and len(set(colours(card, "answer"))) > 1


def test_choices_show_options_answer_and_reference(cards):
    told, _ = cards("region_vqa", lambda sample: (), lambda sample, codes: "B")
    right_letter = told["reference"][0][0]
    options = told["options"][0]
    assert [option[0] for option in options].count("✓") == 1
    assert next(option for option in options if option[0] == "✓")[2] == right_letter
    assert told["answer"][0][0] == ("✓ B" if right_letter == "B" else "✗ B")


def test_scene_graphs_show_which_triplets_are_hit(cards):
    told, page = cards("scene_graph", shifted(30), baseline=right)
    card = page.locator(".card").first
    hit = next(lines for title, [lines] in told.items() if title.endswith("hit by the baseline"))
    [missed] = next(told[title] for title in told if title.startswith("right triplets") and title.endswith(" hit"))
    assert all(line.startswith("✓") for line in hit) and any(line.startswith("✗") for line in missed)
    assert len(told["reference masks"][0]) == 1
    assert colours(card, "reference masks")
