"""What no number on a page may be, for every task: a share beyond 0 and 100, a loss of what a tokenizer cannot lose."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from samtok_eval import evaluate
from samtok_eval.metrics.cards import card
from samtok_eval.registry import load_tasks
from samtok_eval.reports.page.bounds import bounds_of
from samtok_eval.reports.page.content import gather
from samtok_eval.reports.page.figures import BAR
from samtok_eval.reports.page.page import page
from samtok_eval.reports.runs import read_scored

LIMIT = 12
TASKS = load_tasks()
LOSING = {"cIoU", "gIoU", "AP50", "mIoU", "recall@20", "box acc@0.5"}
"""Heads of which each task about masks has one."""
ABSENT = "-"


class Tables(HTMLParser):
    """Rows of cells and widths of bars, by the id of the section that they stand in."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.bars = {}, {}
        self._section, self._row, self._cell = "", None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "section":
            self._section = values.get("id", "")
        elif tag == "tr":
            self._row = []
            self.rows.setdefault(self._section, []).append(self._row)
        elif tag in ("td", "th") and self._row is not None:
            self._cell = []
        elif tag == "rect" and "width" in values:
            self.bars.setdefault(self._section, []).append(float(values["width"]))

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self._cell is not None:
            self._row.append(" ".join("".join(self._cell).split()))
            self._cell = None


@pytest.fixture(scope="module")
def shown(demo_root, tmp_path_factory):
    """The page of the random model between its bounds, and the names of its metrics by their heads, by task."""
    out = tmp_path_factory.mktemp("runs")
    made = {}

    def show(name):
        if name not in made:
            runs = {
                model: evaluate(name, model=model, data_root=str(demo_root), out=out, limit=LIMIT)
                for model in ("oracle", "random")
            }
            run = read_scored(runs["random"].path)
            bounds = bounds_of(run, None, None)
            named = {card(m).title: m for metrics in runs["random"].metrics.to_json().values() for m in metrics}
            made[name] = (Tables(page(gather([run], *bounds))), named, bounds)
        return made[name]

    return show


def numbers(text):
    return [float(part) for part in text.strip("[]").split(", ") if part != ABSENT]


@pytest.mark.parametrize("name", TASKS)
def test_shares_lie_between_0_and_100_and_other_metrics_within_their_bounds(name, shown):
    tables, named, _ = shown(name)
    head, *rows = tables.rows["scores"]
    assert head[:2] == ["metric", "value"] and rows
    assert head[3:-1] == (["as a bar"] if name == "reconstruction" else ["floor to ceiling", "floor", "ceiling"])
    for row in rows:
        # Below the main protocol's table stands that of the others.
        title, value, interval, _, *bounds, n = row if len(row) == len(head) else [row[0], *row[2:]]
        if title == "metric":
            assert row[:3] == ["metric", "protocol", "value"]
            continue
        metric = named[title]
        for number in (found for text in (value, interval, *bounds) for found in numbers(text)):
            known = card(metric)
            assert number >= known.scale * known.lowest, (title, number)
            assert known.highest is None or number <= known.scale * known.highest, (title, number)
        assert int(n) >= 0


@pytest.mark.parametrize("name", TASKS)
def test_losses_are_of_shares_of_masks_and_make_100_with_the_score(name, shown):
    tables, named, (ceiling, _) = shown(name)
    _, *rows = tables.rows.get("loss", [[]])
    about_masks = bool(LOSING & set(named)) and ceiling is not None
    assert bool(rows) == about_masks
    assert all(card(named[title]).splits_into_losses for title, *_ in rows)
    for title, _, scored, model, tokenizer in rows:
        parts = [float(text) for text in (scored, model, tokenizer)]
        assert all(0 <= part <= 100 for part in parts) and sum(parts) == pytest.approx(100, abs=0.11), title


@pytest.mark.parametrize("name", TASKS)
def test_slices_lose_no_more_than_there_is(name, shown):
    tables, named, _ = shown(name)
    for head, *rows in [tables.rows["slices"]] if "slices" in tables.rows else []:
        metric = named[head[3]]
        assert ("lost" in head) == card(metric).is_share
        for row in rows:
            assert all(0 <= float(text) <= 100 * card(metric).highest for text in row[3:]), row


@pytest.mark.parametrize("name", TASKS)
def test_no_bar_is_longer_than_its_track(name, shown):
    bars = shown(name)[0].bars
    assert all(0 <= width <= BAR for section in ("scores", "loss") for width in bars.get(section, []))
    losses = bars.get("loss", [])
    assert all(sum(losses[i : i + 3]) <= BAR + 0.2 for i in range(0, len(losses), 3))


def test_the_steps_between_protocols_add_up_to_the_numbers_above_them(shown):
    assert [name for name in TASKS if "protocols" in shown(name)[0].rows] == ["scene_graph"]
    rows = shown("scene_graph")[0].rows["protocols"]
    begin = next(i for i, row in enumerate(rows) if row[0] == "from → to")
    recall = {protocol: float(value) for protocol, _, value, *_ in rows[1:begin]}
    assert list(recall) == ["strict", "official", "samtok"]
    for step in ("strict → official", "official → samtok"):
        baseline, candidate = step.split(" → ")
        added = [float(points) for name, _, _, points in rows[begin + 1 :] if name == step]
        assert sum(added) == pytest.approx(recall[candidate] - recall[baseline], abs=0.1 * len(added)), step


def test_what_is_answered_in_words_has_no_loss_of_a_tokenizer(shown):
    for name in ("region_vqa", "region_caption"):
        assert "loss" not in shown(name)[0].rows, name
    titles = [row[0] for row in shown("scene_graph")[0].rows["loss"][1:]]
    assert "recall@20" in titles and not {"label recall", "parse failure"} & set(titles)
    titles = [row[0] for row in shown("gcg")[0].rows["loss"][1:]]
    assert {"AP50", "mIoU"} <= set(titles) and not {"METEOR", "CIDEr"} & set(titles)
