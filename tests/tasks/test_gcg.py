"""Grounded conversation generation: GLaMM's files and rules through the task, captions, and what bad answers score."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from samtok_eval import evaluate, masks
from samtok_eval.datasets.gcg import read_gcg
from samtok_eval.errors import DataError, UsageError
from samtok_eval.mask_tokens import Codes, render
from samtok_eval.metrics.gcg import GLAMM_MARKS, QWEN_MARKS, read_paired, read_released
from samtok_eval.metrics.judges import Judges
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.score import score
from samtok_eval.run.settings import RunOptions
from samtok_eval.sample import ImageRef, Sample, Target
from tests.support.timing import LINEAR, growth

HEIGHT, WIDTH = 20, 40


@pytest.fixture(scope="module")
def task():
    return load_tasks()["gcg"]


@pytest.fixture
def plain(monkeypatch):
    """Phrases are alike when their first letters are; no caption scores."""

    class Alike:
        suffix = "_first_letter"

        def embed(self, texts):
            pass

        def __call__(self, one, other):
            return float(one[:1] == other[:1])

    monkeypatch.setattr(Judges, "similarity", Alike())
    monkeypatch.setattr(Judges, "captions", None)


def box(x, width, y=0, height=10):
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y : y + height, x : x + width] = True
    return masks.encode(mask)


def sample(name, regions, labels, captions=("a caption",)):
    image = ImageRef(name, None, HEIGHT, WIDTH)
    return Sample(name, image, (), Target(masks=tuple(regions), labels=tuple(labels), texts=tuple(captions)))


def answer(name, regions, phrases, caption="a caption"):
    return Prediction(id=name, text=caption, phrases=phrases, masks=[rle.to_coco() for rle in regions])


def value(found, protocol, metric):
    return found.metrics[protocol][metric]["value"]


RIGHT, WRONG, NOTHING = box(0, 10), box(20, 10), box(0, 0)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("order", "official"), [([RIGHT, WRONG], 0.756), ([WRONG, RIGHT], 0.500)])
def test_average_precision_counts_masks_in_the_order_of_mention(task, order, official):
    samples = [sample(name, [RIGHT], ["a"]) for name in "abc"]
    found = score(task, samples, [answer(name, order, ["a", "b"]) for name in "abc"])
    assert value(found, "official", "ap50") == pytest.approx(official, abs=5e-4)
    # 3 of 6 masks are right and every object is found, in whatever order.
    assert value(found, "strict", "ap50") == 0.5


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("names", "official"), [("abc", 0.663), ("bca", 0.332)])
def test_average_precision_counts_pictures_in_the_order_of_their_ids(task, names, official):
    """Two good pictures and one with a missed object and two false masks: its id decides."""
    good, other, bad = names
    samples = sorted((sample(name, [RIGHT], ["a"]) for name in names), key=lambda s: s.id)
    answers = [answer(good, [RIGHT], ["a"]), answer(other, [RIGHT], ["a"]), answer(bad, [WRONG, WRONG], ["b", "b"])]
    found = score(task, samples, answers)
    assert value(found, "official", "ap50") == pytest.approx(official, abs=5e-4)
    assert value(found, "strict", "ap50") == pytest.approx(2 / 4 * 67 / 101)


@pytest.mark.usefixtures("plain")
def test_only_the_strict_iou_sees_missed_and_surplus_masks(task):
    """One mask of IoU 0.9 for five objects scores 0.9 officially; three of 0.9, 0.4 and 0.1 only 0.467."""
    objects = [box(8 * i, 8, 10, 10) for i in range(4)]
    truth = [box(0, 10), *objects]
    one = score(task, [sample("a", truth, "abcde")], [answer("a", [box(0, 9)], ["a"])])
    assert value(one, "official", "miou_gcg") == pytest.approx(0.9)
    assert value(one, "strict", "miou_gcg") == pytest.approx(0.9 / 5)
    three = [box(0, 10), box(12, 10), box(24, 10)]
    said = [box(0, 9), box(12, 4), box(24, 1)]
    several = score(task, [sample("a", three, "abc")], [answer("a", said, list("abc"))])
    assert value(several, "official", "miou_gcg") == pytest.approx(0.467, abs=5e-4)
    surplus = score(task, [sample("a", [RIGHT], "a")], [answer("a", [RIGHT, WRONG], list("ab"))])
    assert value(surplus, "official", "miou_gcg") == 1
    assert value(surplus, "strict", "miou_gcg") == 0.5


@pytest.mark.usefixtures("plain")
def test_only_the_official_recall_stops_at_the_first_pair_whose_words_differ(task):
    samples = [sample("a", [RIGHT, WRONG], ["apple", "ball"])]
    found = score(task, samples, [answer("a", [RIGHT, box(20, 9)], ["xylophone", "bell"])])
    assert {p: found.records[i].values["recalled_first_letter"] for i, p in enumerate(("strict", "official"))} == {
        "strict": 1,
        "official": 0,
    }


@pytest.mark.usefixtures("plain")
def test_a_best_mask_without_a_phrase_ends_the_official_count_of_its_picture(task):
    samples = [sample("a", [RIGHT, WRONG], ["apple", "ball"])]
    found = score(task, samples, [answer("a", [box(0, 9), WRONG], ["apple"])])
    strict, official = found.records[:2]
    assert strict.values["recalled_first_letter"] == 1
    assert official.values["recalled_first_letter"] == 0
    assert strict.values["without_phrase"] == 1


@pytest.mark.usefixtures("plain")
def test_two_empty_masks_are_nan_officially(task):
    """NaN ends the official pairing, yet passes as an overlap in the official recall."""
    samples = [sample("a", [NOTHING, RIGHT], ["apple", "ball"])]
    found = score(task, samples, [answer("a", [NOTHING, RIGHT], ["apple", "ball"])])
    strict, official = found.records[:2]
    assert (strict.values["paired_iou"], strict.values["recalled_first_letter"]) == (1, 1)
    assert (official.values["paired_iou"], official.values["recalled_first_letter"]) == (0, 2)


@pytest.mark.usefixtures("plain")
def test_no_answer_at_all_scores_zero_and_is_counted(task):
    samples = [sample("a", [RIGHT], "a"), sample("b", [RIGHT], "b")]
    found = score(task, samples, [Prediction(id="b", status="error", error="out of memory")])
    assert value(found, "strict", "ap50") == value(found, "strict", "miou_gcg") == 0
    # COCO's reader of results stops at an empty list.
    assert not found.metrics["official"]
    assert not found.metrics["samtok"]
    assert found.metrics["counters"]["missing"] == 1
    assert [record.failed for record in found.records[:2]] == [True, True]
    assert found.metrics["counters"]["reference_crashes"]["official"] == 1


def test_the_released_cleaning_loses_line_breaks_and_text_between_angle_brackets():
    said = f"a < b and <p> c </p> {render([Codes(1, 2)])} d >\nend  <|object_ref_start|> e <|object_ref_end|>"
    assert read_released(said) == ("a c d >end e", ["e"])
    assert read_released(said, (QWEN_MARKS, GLAMM_MARKS)).phrases == ["c", "e"]
    assert read_paired(said).caption == "a < b and c d > end e"


def test_the_caption_of_a_prediction_file_is_scored_as_it_stands_by_the_official_scorer(task):
    found = task.export([sample("a", [RIGHT], ["x"])], {"a": answer("a", [RIGHT], ["x"], "if a < b\nthen c > d")})
    assert found["a.json"]["caption"] == "if a < b\nthen c > d"


def test_an_answer_of_hundreds_of_masks_is_scored(task):
    samples = [sample("a", [RIGHT], ["x"])]
    found = score(task, samples, [answer("a", [RIGHT] * 300, ["x"] * 300)])
    assert value(found, "official", "ap50") == pytest.approx(1.0)
    assert value(found, "strict", "miou_gcg") == pytest.approx(1 / 300)


@pytest.mark.parametrize("read", [read_paired, read_released])
@pytest.mark.parametrize(
    "piece",
    [
        "<|object_ref_start|>",
        "<p>",
        "<",
        "<|object_ref_start|> a <|object_ref_end|>",
        "a</p>",
        "<|mt_start|><|mt_0001|>",
    ],
)
def test_reading_takes_time_in_proportion_to_the_length_of_an_answer(read, piece):
    assert growth(lambda count: partial(read, piece * count), 8_000) < LINEAR


def test_the_strict_reading_gives_each_mask_the_phrase_before_it():
    words = render([Codes(1, 2)])
    one, two = (f"<|object_ref_start|> {name} <|object_ref_end|>" for name in ("one", "two"))
    text = f"{words} {one} {two} {words}{words}"
    assert read_paired(text).phrases == ["", "two", "two"]
    assert read_released(text).phrases == ["one", "two"]


def test_reasoning_stays_out_of_the_strict_caption_alone():
    text = "<think>Is it a cat?</think><answer>A dog.</answer>"
    assert read_paired(text).caption == "A dog."
    assert read_released(text).caption == "Is it a cat?A dog."


def test_answers_say_what_the_demo_teaches(task, demo_root):
    from samtok_eval.demo.world.language import grounded_caption
    from samtok_eval.demo.world.questions import left_to_right
    from samtok_eval.demo.world.scenes import draw_scene

    first = task.read(demo_root, "val")[0]
    scene = draw_scene(int(first.id.removeprefix("demo_")))
    codes = [Codes(i, i) for i in range(len(scene.objects))]
    in_order = [codes[i] for i in left_to_right(scene)]
    assert task.answer(first, in_order) == grounded_caption(scene, codes)


def test_an_answer_keeps_phrases_that_the_caption_does_not_contain(task):
    codes = [Codes(1, 2), Codes(3, 4)]
    text = task.answer(sample("a", [RIGHT, WRONG], ["a cat", "a dog"], ["Here is a dog."]), codes)
    assert read_paired(text).phrases == ["a cat", "a dog"]
    assert text.endswith(".")


@pytest.mark.usefixtures("plain")
def test_official_files_go_out_and_come_back_with_the_same_scores(task):
    samples = [sample("a", [RIGHT], ["apple"]), sample("b", [WRONG], ["ball"])]
    said = f"see <|object_ref_start|> apple <|object_ref_end|> {render([Codes(1, 2)])} there"
    answers = [
        Prediction(id=s.id, text=said, status="ok", decoded={"1,2": mask.to_coco(), "1,-": mask.to_coco()})
        for s, mask in zip(samples, (box(0, 9), box(0, 5)), strict=True)
    ]
    first = score(task, samples, answers)
    rows = [json.loads(json.dumps(first.exports[f"{s.id}.json"])) for s in samples]
    assert rows[0]["caption"] == "see apple there"
    assert set(rows[0]) == {"image_id", "caption", "phrases", "pred_masks"}
    again = score(task, samples, [p for row in rows for p in task.foreign(row)])
    assert again.metrics["official"] == first.metrics["official"]
    assert task.foreign({"image_id": "a"}) is None


@pytest.mark.usefixtures("plain")
def test_a_folder_of_official_files_is_scored(demo_root, tmp_path):
    made = evaluate("gcg", model="oracle", data_root=str(demo_root), out=tmp_path, limit=4)
    options = RunOptions(task="gcg", data_root=str(demo_root), out=tmp_path / "scored", limit=4)
    again = score_file(options, made.path / "official_format")
    assert again.values("official") == made.values("official")
    assert again.metrics["counters"]["missing"] == 0


def test_masks_of_other_pictures_are_refused(task):
    wrong = Prediction(id="a", masks=[masks.encode(np.ones((5, 5), dtype=bool)).to_coco()], phrases=["a"], text="")
    with pytest.raises(DataError, match="5x5"):
        score(task, [sample("a", [RIGHT], "a")], [wrong])


def test_other_wordings_are_chosen_by_id(task, demo_root):
    assert "interleaved     segmentation" in task.read(demo_root, "val")[0].turns[0].text
    detailed = task.asked_with("gcg-detailed")
    assert "detailed" in detailed.read(demo_root, "val")[0].turns[0].text
    assert task.prompt.id == "gcg-brief"
    assert "</think>" in task.asked_with("gcg-brief-rl").read(demo_root, "val")[0].turns[0].text
    with pytest.raises(UsageError, match="gcg-detailed"):
        task.asked_with("gcg-long")


def test_broken_files_are_named(tmp_path):
    with pytest.raises(DataError, match="val_gcg_coco_mask_gt"):
        read_gcg(tmp_path, "val")
    (tmp_path / "val_gcg_coco_mask_gt.json").write_text('{"images": [{"id": 1}], "annotations": []}')
    (tmp_path / "val_gcg_coco_caption_gt.json").write_text('{"annotations": []}')
    with pytest.raises(DataError, match="height"):
        read_gcg(tmp_path, "val")


def test_oracle_beats_random_on_the_demo(task, demo_root, tmp_path, monkeypatch):
    monkeypatch.setattr(Judges, "captions", None)
    run = partial(evaluate, "gcg", data_root=str(demo_root), out=tmp_path, limit=24)
    oracle, chance = (run(model=model).values("strict") for model in ("oracle", "random"))
    for metric in ("ap50", "miou_gcg", "recall_gcg_minilm"):
        assert oracle[metric]["value"] > 0.9 > 0.5 > chance[metric]["value"]


def test_flags_that_change_a_score_change_the_hash_of_the_data(task, demo_root, tmp_path):
    from samtok_eval.run.fingerprints import samples_sha256

    path = demo_root / "gcg" / "val_gcg_coco_mask_gt.json"
    content = json.loads(path.read_text())
    content["annotations"][3]["iscrowd"] = 1
    (tmp_path / "gcg").mkdir()
    (tmp_path / "gcg" / path.name).write_text(json.dumps(content))
    captions = "val_gcg_coco_caption_gt.json"
    (tmp_path / "gcg" / captions).write_text((demo_root / "gcg" / captions).read_text())
    hashes = [samples_sha256(task.read(root, "val")) for root in (demo_root, tmp_path)]
    assert hashes[0] != hashes[1]
