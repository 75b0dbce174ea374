"""A report shows what the records say, escapes what models say, and stays small."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from samtok_eval import masks
from samtok_eval.errors import DataError, UsageError
from samtok_eval.mask_tokens import render
from samtok_eval.registry import load_tasks
from samtok_eval.reports.counted import counted_notes, n_differences
from samtok_eval.reports.html import TEXT_SHOWN, shown
from samtok_eval.reports.page.bounds import bounds_of
from samtok_eval.reports.page.cards import without
from samtok_eval.reports.page.content import ROWS, BoundedScore, gather
from samtok_eval.reports.page.figures import counts_of, difference_bar, reach_of, scatter
from samtok_eval.reports.page.galleries import galleries
from samtok_eval.reports.page.page import page, write_report, write_reports
from samtok_eval.reports.page.pictures import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    INSTANCES,
    SIDE,
    TRUE_POSITIVE,
    difference_layer,
    fitted,
    instances_layer,
    photograph,
)
from samtok_eval.reports.page.tables import scores_table
from samtok_eval.reports.runs import read_scored, reproduce
from samtok_eval.statistics import Difference
from tests.conftest import edit_manifest, right, shifted

TOKENIZER = "ab" * 32
HOSTILE = (
    "<script>document.title='owned'</script></style></pre><img src=x onerror=\"document.title='owned'\">"
    "\u202eright to left' \" {{ 7*7 }} </script>"
)


def pixels(address):
    kind, _, data = address.partition(";base64,")
    return kind, Image.open(io.BytesIO(base64.b64decode(data)))


def rle(rows):
    return masks.encode(np.array([[c == "#" for c in row] for row in rows]))


def test_differences_have_a_colour_each():
    truth, answer = rle(["##..", "##..", "....", "...."]), rle([".##.", ".##.", "....", "...."])
    kind, image = pixels(difference_layer([truth], [answer], 4, 4))
    assert kind == "data:image/png"
    found = np.asarray(image.convert("RGBA"))
    assert [tuple(found[0, x, :3]) for x in range(3)] == [FALSE_NEGATIVE, TRUE_POSITIVE, FALSE_POSITIVE]
    assert found[0, 3, 3] == found[3, 0, 3] == 0 and found[0, 0, 3] == 255


def test_masks_beside_each_other_have_a_colour_each():
    first, second = rle(["#...", "....", "....", "...."]), rle(["...#", "....", "....", "...."])
    found = np.asarray(pixels(instances_layer([first, second], 4, 4))[1].convert("RGBA"))
    assert (tuple(found[0, 0, :3]), tuple(found[0, 3, :3])) == INSTANCES[:2]


@pytest.mark.parametrize(
    ("size", "expected"), [((100, 50), (100, 50)), ((720, 1440), (SIDE // 2, SIDE)), ((4000, 1), (SIDE, 1))]
)
def test_pictures_are_made_smaller_and_never_larger(size, expected):
    assert fitted(*size) == expected
    kind, image = pixels(photograph(np.zeros((*size, 3), dtype=np.uint8)))
    assert kind == "data:image/jpeg" and (image.height, image.width) == expected


@pytest.fixture
def runs(make_run):
    """A run that is shown, the one before it, its ceiling and its floor."""

    def answers(sample):
        return (sample.image and right(sample)) if not sample.target.no_target else (masks.components(full(sample))[:1])

    def full(sample):
        return masks.encode(np.ones((sample.image.height, sample.image.width), dtype=bool))

    def now(sample):
        return () if sample.id.endswith("3") else shifted(5)(sample) if not sample.target.no_target else answers(sample)

    names = {"before": right, "after": now, "oracle": right, "random": shifted(25)}
    return {name: read_scored(make_run(name, masks_of)) for name, masks_of in names.items()}


def test_a_report_holds_what_the_records_say(runs):
    report = gather([runs["before"], runs["after"]], runs["oracle"], runs["random"])
    after = runs["after"]
    assert report.metric == "giou" and report.protocol == "strict" and report.samples == 80
    giou = next(b for b in report.scores if (b.protocol, b.metric) == ("strict", "giou"))
    assert giou.floor < giou.value < giou.ceiling == 1
    assert giou.lost_to_tokenizer == 0 and giou.lost_to_model == pytest.approx(1 - giou.value)
    assert sum(report.histogram) == 80 and sum(report.ceiling_histogram) == 80
    by_name = {}
    for row in report.slices:
        by_name.setdefault(row.name, 0.0)
        by_name[row.name] += row.lost
    # Slices that cover all samples share all that is lost.
    assert by_name["targets"] == pytest.approx(1 - giou.value)
    assert [row.lost for row in report.slices] == sorted((row.lost for row in report.slices), reverse=True)
    galleries = {gallery.name: gallery for gallery in report.galleries}
    assert list(galleries) == ["regressions", "worst", "median", "best", "false-alarms", "empty"]
    scores = [item.score for item in galleries["worst"].items]
    assert scores == sorted(scores) and scores[0] == 0
    assert galleries["best"].items[0].score >= galleries["median"].items[0].score >= scores[-1]
    assert all(item.baseline > item.score for item in galleries["regressions"].items)
    records = after.records["strict"]
    assert galleries["false-alarms"].total == sum(r.no_target and r.pred_area > 0 for r in records) > 0
    assert galleries["empty"].total == sum(r.gt_area > 0 and not r.pred_area for r in records) > 0
    assert all(not item.answered for item in galleries["empty"].items)
    spans = sum((prediction.text or "").count("<|mt_start|>") for prediction in after.predictions().values())
    assert report.books[1].used > 10 and [sum(book.counts) for book in report.books] == [spans, spans]
    assert report.stages[0].name == "generate" and report.stages[0].total == pytest.approx(0.8)


def test_the_page_says_it(runs, tmp_path):
    path = write_report(gather([runs["before"], runs["after"]], runs["oracle"], runs["random"]), tmp_path / "page")
    text = path.read_text()
    assert path.name == "index.html" and text.startswith("<!doctype html>")
    words = (
        "gres:val, after against before",
        "Where points are lost",
        "Distribution of per-sample IoU",
        "No-target false alarms",
        "Codebook",
        "Regressions",
    )
    for word in (*words, "Slices by points lost", "metrics.csv", "samtok-eval score", "right codes, decoded"):
        assert word in text, word
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    assert "http://" not in text.replace("http://www.w3.org", "") and "https://" not in text
    data = re.search(r'download="metrics.json" href="data:application/json;base64,([^"]+)"', text)[1]
    told = json.loads(base64.b64decode(data))
    assert told["metrics"] == runs["after"].run.metrics.to_json() and told["comparison"]["cells"]
    rows = base64.b64decode(re.search(r'download="samples.csv" href="data:text/csv;base64,([^"]+)"', text)[1]).decode()
    assert len(rows.splitlines()) == 81


def test_every_run_of_a_command_gets_a_page_and_models_stand_against_the_first(make_run):
    paths = [
        make_run(f"val/{name}/1", right if name == "a" else shifted(4), model=name, tokenizer=TOKENIZER)
        for name in ("a", "b", "oracle")
    ]
    for path, name in zip(paths, ("a", "b", "oracle"), strict=True):
        edit_manifest(path, lambda manifest, name=name: manifest["model"].update(name=name))
    pages = [path.read_text() for path in write_reports(paths)]
    titles = [re.search("<title>(.*)</title>", text)[1] for text in pages]
    assert titles == ["gres:val, a", "gres:val, b against a", "gres:val, oracle"]
    assert "Where points are lost" in pages[0] and (paths[1] / "report" / "index.html").is_file()


def test_a_report_without_bounds_or_pictures_of_its_own(make_run):
    run = read_scored(make_run("alone", shifted(3)))
    report = gather([run])
    assert report.ceiling is None and all(bound.lost_to_model is None for bound in report.scores)
    text = page(report)
    assert "Where points are lost" not in text and 'id="comparison"' not in text and 'svg class="scatter' not in text


def test_columns_of_bounds_need_bounds(make_run):
    alone, ceiling = read_scored(make_run("alone", shifted(3))), read_scored(make_run("oracle", right))
    titles = [column.title for column in scores_table(gather([alone]), main=True).columns]
    assert titles == ["metric", "value", "95 % interval", "as a bar", "n"]
    titles = [column.title for column in scores_table(gather([alone], ceiling), main=True).columns]
    assert titles == ["metric", "value", "95 % interval", "floor to ceiling", "floor", "ceiling", "n"]


def test_the_legend_speaks_of_what_is_drawn(make_run):
    against, number = "In the pictures of one against the other", "One number and its colour"
    masks_alone = page(gather([read_scored(make_run("masks", shifted(3), text_of=lambda _, codes: render(codes)))]))
    assert against in masks_alone
    choices = make_run("choices", lambda _: (), task="region_vqa", limit=4, text_of=lambda *_: "B")
    text = page(gather([read_scored(choices)]))
    assert against not in text and number in text


def test_the_worst_of_a_metric_that_counts_failures_are_the_highest(make_run):
    answered = gather([read_scored(make_run("run", right))]).answered
    some = dict(zip(answered.scores, [0.0, 0.5, 1.0], strict=False))
    before = dict.fromkeys(some, 0.5)
    shown_of = replace(answered, scores=some, baseline=before, lower_is_better=True)
    found = {gallery.name: gallery for gallery in galleries(shown_of)}
    first, _, last = some
    assert [found[name].items[0].id for name in ("worst", "regressions", "improvements")] == [last, last, first]
    assert found["worst"].note == "The highest scores." and found["worst"].items[0].score == 1.0


def test_masks_without_a_pixel_are_told(make_run):
    def blank(sample):
        return tuple(masks.encode(np.zeros((each.height, each.width), dtype=bool)) for each in right(sample))[:1]

    def told(name, masks_of):
        report = gather([read_scored(make_run(name, masks_of))])
        return {line for gallery in report.galleries for item in gallery.items for line in without(item)}

    assert "The answer has a mask without a pixel." in told("blank", blank)
    assert "The answer has 2 masks, 1 of them without a pixel." in told("half", lambda s: (*right(s)[:1], *blank(s)))


def test_what_a_model_says_stays_text(make_run):
    folder = make_run("<b>bold</b>", right, text_of=lambda sample, codes: f"{HOSTILE}{render(codes)}")
    text = page(gather([read_scored(folder)]))
    assert "<script>document" not in text and "<img src=x" not in text and "<b>bold" not in text
    assert "&lt;script&gt;document.title=&#39;owned&#39;&lt;/script&gt;" in text
    assert "\u202e" not in text and "\\u202eright to left" in text and "{{ 7*7 }}" in text


def test_a_sample_of_a_split_says_so_at_the_top(make_run):
    said = "A sample of the split: the first 80 questions."
    text = page(gather([read_scored(make_run("some", right))]))
    assert said in text and text.index(said) < text.index('id="scores"')
    whole = make_run("whole", right, task="refcoco-m", limit=None)
    assert "A sample of the split" not in page(gather([read_scored(whole)]))


def test_the_page_says_whom_a_metric_does_not_count(make_run):
    run = read_scored(make_run("run", right))
    nothing = sum(record.no_target for record in run.records["strict"])
    lines = counted_notes(run, "strict")
    assert lines[0].startswith("cIoU, T-acc, Pr@0.5")
    assert lines[0].endswith(f"n counts {80 - nothing} of 80 samples, not the {nothing} without a target.")
    assert lines[1] == f"N-acc: n counts {nothing} of 80 samples, not the {80 - nothing} with a target."
    assert lines[0] in page(gather([run])).replace("&#39;", "'")


def test_the_page_says_why_two_runs_count_different_samples(make_run, demo_samples):
    say = load_tasks()["scene_graph"].answer
    silent = [sample.id for sample in demo_samples("scene_graph", 6)[:2]]
    whole = read_scored(make_run("whole", right, task="scene_graph", limit=6, text_of=say))
    part = make_run("part", lambda s: None if s.id in silent else right(s), task="scene_graph", limit=6, text_of=say)
    # OpenPSG leaves out pictures without an answer.
    [line] = n_differences(whole, read_scored(part), "official")
    assert line.startswith("recall@20, recall@50, recall@100")
    assert line.endswith("n differs. 2 count for whole alone; for part the status is missing (2).")
    assert not any("recall@" in line for line in n_differences(whole, read_scored(part), "strict"))
    assert n_differences(whole, whole, "official") == []


@pytest.mark.parametrize("count", [3, 1000])
def test_every_sample_is_in_one_dot_on_its_side_of_the_diagonal(count):
    before = {str(k): k / count for k in range(count)}
    after = {name: min(1.0, score + (0.2 if int(name) % 3 else 0.0)) for name, score in before.items()}
    dots = scatter(before, after, 1.0)
    assert sum(dot.n for dot in dots) == count and len(dots) <= 41 * 41
    assert counts_of(dots)["equal"] == len([k for k in range(count) if k % 3 == 0])
    assert counts_of(dots)["worse"] == 0 and counts_of(scatter(before, after, 1.0, lower_is_better=True))["better"] == 0
    assert all(0 <= dot.x <= 300 and 0 <= dot.y <= 300 for dot in dots)


def test_bars_of_differences_share_a_scale_and_their_middle_is_none():
    better, worse = (
        Difference(v, v - 0.1, v + 0.1, p=1.0, p_worse=1.0, test="permutation", wins=1, ties=1, losses=1, margin=None,
                   error=0.1, pictures=3)
        for v in (0.1, -0.3)
    )  # fmt: skip
    reach = reach_of([better, worse, None])
    assert reach == pytest.approx(0.4) and difference_bar(None, reach, lower_is_better=False) is None
    right_of, left_of = (difference_bar(each, reach, lower_is_better=False) for each in (better, worse))
    assert right_of.start == right_of.low == 90 and right_of.width == pytest.approx(22.5) and right_of.better
    assert left_of.start + left_of.width == pytest.approx(90) and left_of.low == 0 and not left_of.better
    assert difference_bar(worse, reach, lower_is_better=True).better


def test_long_texts_are_cut(make_run):
    folder = make_run("long", right, limit=12, text_of=lambda sample, codes: render(codes) + "x" * 1_000_000)
    text = page(gather([read_scored(folder)]))
    assert len(text) < 2_000_000 and "… (1,000," in text and "x" * (TEXT_SHOWN + 1) not in text


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [
        ("plain\n\ttext", 50, "plain\n\ttext"),
        ("\u202ereversed\u200b\x00", 50, "\\u202ereversed\\u200b\\x00"),
        ("abcdef", 3, "abc … (6 characters)"),
        ("\ud800", 5, "\\ud800"),
    ],
)
def test_hidden_characters_are_spelt_out_and_long_texts_cut(text, length, expected):
    assert shown(text, length) == expected


def test_other_data_are_refused(make_run, demo_root, tmp_path):
    folder = make_run("run", right)
    edit_manifest(folder, lambda manifest: manifest["dataset"].update(sha256="0" * 64))
    with pytest.raises(DataError, match="are not those of"):
        gather([read_scored(folder)])


def test_pictures_that_are_gone_are_told(make_run, monkeypatch):
    from samtok_eval.reports.page import cards

    def gone(image):
        raise DataError(f"image {image.path} cannot be read")

    run = read_scored(make_run("run", right))
    monkeypatch.setattr(cards, "read_image", gone)
    text = page(gather([run]))
    assert "cannot be read; its masks stand on an empty ground" in text


def bound(make_run, name, **options):
    """A run of the oracle or the random model beside others, with their mask tokenizer."""
    return make_run(f"val/{name}/1", right, **{"model": name, "tokenizer": TOKENIZER} | options)


def test_bounds_are_found_beside_the_run(make_run):
    for name in ("oracle", "random"):
        bound(make_run, name)
    ceiling, floor = bounds_of(read_scored(make_run("val/other/1", shifted(2), tokenizer=TOKENIZER)), None, None)
    assert (ceiling.name, floor.name) == ("val/oracle/1", "val/random/1")
    far = make_run("far/away/1", right, tokenizer=TOKENIZER)
    assert bounds_of(read_scored(far), None, None) == (None, None)


@pytest.mark.parametrize(
    "options", [{"tokenizer": "cd" * 32}, {"tokenizer": None}, {"model": "demo"}, {"limit": 40}, {"pictures": "0" * 64}]
)
def test_a_run_beside_it_of_another_kind_is_no_ceiling(make_run, options):
    pictures = options.pop("pictures", "1" * 64)
    oracle = bound(make_run, "oracle", **options)
    edit_manifest(oracle, lambda manifest: manifest["dataset"].update(images_sha256=pictures))
    run = make_run("val/demo/1", right, tokenizer=TOKENIZER)
    edit_manifest(run, lambda manifest: manifest["dataset"].update(images_sha256="1" * 64))
    assert bounds_of(read_scored(run), None, None) == (None, None)


def test_a_run_that_does_not_know_its_mask_tokenizer_takes_no_ceiling_by_itself(make_run):
    oracle = bound(make_run, "oracle")
    run = read_scored(make_run("val/foreign/1", shifted(2)))
    assert bounds_of(run, None, None) == (None, None)
    assert bounds_of(run, oracle, None)[0].name == "val/oracle/1"


def test_a_broken_oracle_is_passed_over_for_the_one_before(make_run):
    for number, state in (("1", "complete"), ("2", "predicting"), ("3", "complete")):
        folder = make_run(f"val/oracle/{number}", right, model="oracle", tokenizer=TOKENIZER)
        edit_manifest(folder, lambda m, n=number, s=state: m.update(state=s, times={"finished": n, "started": n}))
    (folder / "records.jsonl").write_text("")
    run = read_scored(make_run("val/demo/1", shifted(2), tokenizer=TOKENIZER))
    assert bounds_of(run, None, None)[0].name == "val/oracle/1"


def test_a_given_bound_that_does_not_fit_is_refused_with_the_reason(make_run):
    run = read_scored(make_run("val/demo/1", shifted(2), model="demo", tokenizer=TOKENIZER))
    other = bound(make_run, "oracle", tokenizer="cd" * 32)
    with pytest.raises(UsageError, match=r"--ceiling .*: its mask tokenizer is cdcdcdcd, that of the run abababab"):
        bounds_of(run, other, None)
    with pytest.raises(UsageError, match=r"--floor .*: expected a run of --model random, got one of val/oracle/1"):
        bounds_of(run, None, other)
    with pytest.raises(UsageError, match=r"--ceiling .*: expected a run of --model oracle, got one of val/demo/1"):
        bounds_of(run, run.run.path, None)
    with pytest.raises(UsageError, match="of task gres"):
        bounds_of(run, make_run("else", right, task="refcoco"), None)


# What a page may not say


@pytest.mark.parametrize(
    ("metric", "value", "ceiling", "lost"),
    [
        ("giou", 0.7, 0.9, (0.1, 0.2)),
        ("giou", 0.7, 0.6, (0.3, 0.0)),
        ("giou", None, 0.9, None),
        ("giou", 0.7, None, None),
        ("recall@20", 0.5, 1.0, (0.0, 0.5)),
        ("giou_stuff", 0.5, 1.0, (0.0, 0.5)),
        ("cider", 1.5, 10.0, None),
        ("meteor", 0.2, 1.0, None),
        ("accuracy", 0.7, 1.0, None),
        ("majority", 0.3, 0.3, None),
        ("parse_failure", 0.1, 0.0, None),
        ("empty", 0.1, 0.0, None),
        ("dlc_pos|judge", 0.1, 0.6, None),
        ("label_recall", 0.5, 1.0, None),
        ("used_1", 19.0, 20.0, None),
        ("somebodys_own", 0.5, 0.9, None),
    ],
)
def test_only_shares_of_masks_divide_into_losses(metric, value, ceiling, lost):
    found = BoundedScore("strict", metric, value, None, None, 10, ceiling, None)
    told = (found.lost_to_tokenizer, found.lost_to_model)
    assert told == ((None, None) if lost is None else pytest.approx(lost))
    if lost is not None:
        assert value + sum(told) == pytest.approx(1)


def test_the_command_says_what_was_given(make_run, demo_root):
    run = read_scored(make_run("run", right))
    folder = run.run.path
    assert reproduce(run) == (
        f"samtok-eval score --task gres:val --predictions {folder}/predictions/part-0.jsonl "
        f"--data-root {demo_root} --out {folder} --limit 80"
    )
    passed = ["limit", "batch_size", "group_pictures", "protocols", "task"]
    edit_manifest(folder, lambda m: m.update(prompt="segment-phrase", passed=passed))
    edit_manifest(folder, lambda m: m["settings"].update(batch_size=4, group_pictures=False, protocols=["a", "b"]))
    assert reproduce(read_scored(folder)) == (
        "python run_eval.py --task gres:val --model run --protocol a,b --limit 80 --batch-size 4 --no-group"
    )


def test_of_many_samples_the_worst_and_some_are_listed(make_run):
    run = read_scored(make_run("run", shifted(5)))
    records = run.records["strict"]
    many = [type(r)(**{**r.__dict__, "id": f"{r.id}-{copy}"}) for copy in range(40) for r in records]
    from samtok_eval.reports.page.content import _rows

    by_id = {record.id: record for record in many}
    scores = {record.id: record.iou for record in many}
    rows = _rows(by_id, scores)
    assert len(rows) == ROWS < len(many) and len({record.id for record, _ in rows}) == ROWS
    assert max(score for _, score in rows[: ROWS // 2]) <= min(score for _, score in rows[ROWS // 2 :])
