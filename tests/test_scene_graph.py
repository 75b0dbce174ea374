"""Scene graphs: tolerant reading, OpenPSG's matching and its quirks, and the strict rules beside them."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import Codes, render
from samtok_eval.metrics.scene_graph import Placed, match, normalised, read_triplets
from samtok_eval.prediction import Prediction
from samtok_eval.score import score
from samtok_eval.task import load_tasks

SPAN = render([(1, 2)])


def node(label="cat", words=SPAN):
    return {"mask_2d": words, "label": label}


def triplet(predicate="on", subject=None, target=None):
    return {"subject": subject or node(), "predicate": predicate, "object": target or node("mat")}


CLEAN = json.dumps([triplet(), triplet("under")])


@pytest.mark.parametrize(
    ("text", "count", "repaired", "dropped"),
    [
        (f"```json\n{CLEAN}\n```", 2, False, 0),
        (f"Here it is:\n```json\n{CLEAN}\n``` done", 2, False, 0),
        (CLEAN, 2, True, 0),
        (f"```json\n{CLEAN}", 2, True, 0),
        (f"```json\n{CLEAN[:-1]},]\n```", 2, True, 0),
        (f"```json\n{CLEAN[:-40]}", 1, True, 0),
        (f"```json\n{CLEAN.replace(json.dumps(SPAN), SPAN)}\n```", 2, True, 0),
        ("```json\n" + str([triplet()]) + "\n```", 1, True, 0),
        (
            "```json\n" + json.dumps([{"object": node("mat"), "predicate": "on", "subject": node()}]) + "\n```",
            1,
            False,
            0,
        ),
        ("```json\n" + json.dumps([triplet(), {"subject": node()}, 3, triplet(predicate=4)]) + "\n```", 1, False, 3),
        ("```json\n" + json.dumps([triplet(subject={"mask_2d": 1, "label": "x"})]) + "\n```", 0, False, 1),
        ("```json\n[]\n```", 0, False, 0),
        ("No relations.", 0, False, 0),
        ("", 0, False, 0),
        ("[" * 100_000, 0, False, 0),
        ("```json\n" + json.dumps([triplet("über 在…上")]) + "\n```", 1, False, 0),
    ],
)
def test_reading(text, count, repaired, dropped):
    found = read_triplets(text)
    assert (len(found.triplets), found.repaired, found.dropped) == (count, repaired, dropped)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["[", "]", "{", "}", '"', ":", ",", "subject", "```json", "'", SPAN, CLEAN, "\n"])))
def test_reading_never_raises(pieces):
    read_triplets("".join(pieces))


def test_reading_is_linear():
    def seconds(count):
        text = "```json\n[" + ", ".join([json.dumps(triplet())] * count)
        started = time.perf_counter()
        assert len(read_triplets(text).triplets) == count
        return time.perf_counter() - started

    seconds(100)
    assert seconds(4000) < 12 * seconds(1000)


@pytest.mark.parametrize(
    ("label", "expected"),
    [("Grass-merged", "grass"), ("floor-other-merged", "floor"), ("wall-other", "wall"), ("food-stuff", "food"),
     (" Woman ", "person"), ("dining  table", "dining table"), ("-other", "")],
)  # fmt: skip
def test_normaliser(label, expected):
    assert normalised(label) == expected


def box(x, y, width, height):
    mask = np.zeros((8, 8), dtype=bool)
    mask[y : y + height, x : x + width] = True
    return masks.encode(mask)


LEFT, RIGHT = box(0, 0, 4, 8), box(4, 0, 4, 8)


def placed(subject=LEFT, predicate="on", target=RIGHT, labels=("cat", "mat")):
    return Placed(subject, labels[0], predicate, target, labels[1])


@pytest.mark.parametrize(
    ("answer", "truth", "one_to_one", "first", "hits", "labels"),
    [
        ([placed()], [placed()], True, (0,), (True,), (True,)),
        ([placed("under" and LEFT, "under"), placed()], [placed()], True, (1,), (False, True), (True,)),
        ([placed(subject=None)], [placed()], True, (-1,), (False,), (True,)),
        ([placed(subject=RIGHT)], [placed()], True, (-1,), (False,), (True,)),
        ([placed(subject=box(0, 0, 4, 4))], [placed()], True, (0,), (True,), (True,)),
        ([placed(subject=box(0, 0, 4, 3))], [placed()], True, (-1,), (False,), (True,)),
        ([placed(labels=("dog", "mat"))], [placed()], True, (-1,), (False,), (False,)),
        # One triplet finds both of two overlapping truths under OpenPSG's rule, one of them one to one.
        ([placed()], [placed(), placed(subject=box(0, 0, 4, 7))], False, (0, 0), (True,), (True, False)),
        ([placed()], [placed(), placed(subject=box(0, 0, 4, 7))], True, (0, -1), (True,), (True, False)),
        # The same answer twice counts once, one to one.
        ([placed(), placed()], [placed()], True, (0,), (True, False), (True,)),
        ([placed(), placed()], [placed()], False, (0,), (True, True), (True,)),
        ([], [placed()], True, (-1,), (), (False,)),
    ],
)
def test_matching(answer, truth, one_to_one, first, hits, labels):
    found = match(answer, truth, one_to_one)
    assert (found.first_hit, found.hits, found.label_hits) == (first, hits, labels)


@pytest.fixture(scope="module")
def task():
    return load_tasks()["scene_graph"]


@pytest.fixture
def root(tmp_path):
    write(tmp_path, [row("1", [[0, 1, 0], [0, 1, 0], [0, 1, 1]]), row("2", [[1, 0, 0]]), row("3", [])])
    return tmp_path


def row(image, relations):
    info = [{"id": 300, "category_id": 0}, {"id": 70_000, "category_id": 1}]
    return {"file_name": f"val2017/{image}.jpg", "pan_seg_file_name": "panoptic_val2017/p.png", "height": 8, "width": 8,
            "image_id": image, "segments_info": info, "relations": relations}  # fmt: skip


def write(root, rows):
    ids = np.where(masks.decode(LEFT), 300, 70_000)
    folder = root / "coco" / "panoptic_val2017"
    folder.mkdir(parents=True)
    Image.fromarray(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)).save(folder / "p.png")
    (root / "psg").mkdir()
    content = {"data": rows, "test_image_ids": ["1", "2", "3"], "thing_classes": ["cat"],
               "stuff_classes": ["floor-other-merged"], "predicate_classes": ["on", "beside", "under"]}  # fmt: skip
    (root / "psg" / "psg.json").write_text(json.dumps(content))


def perfect(task, sample):
    """The right answer with the right masks."""
    codes = [Codes(i, i) for i in range(len(sample.target.masks))]
    decoded = {c.key: m.to_coco() for c, m in zip(codes, sample.target.masks, strict=True)}
    return Prediction(id=sample.id, text=task.answer(sample, codes), decoded=decoded, status="ok")


def test_panoptic_segments_and_relations(task, root):
    samples = task.read(root, "test")
    assert [sample.id for sample in samples] == ["1", "2"]
    first = samples[0].target
    assert first.masks == (LEFT, RIGHT)
    assert first.labels == ("cat", "floor-other-merged")
    assert first.triplets == ((0, "on", 1), (0, "beside", 1))


def test_pictures_without_an_answer_count_in_strict_and_are_left_out_in_official(task, root):
    samples = task.read(root, "test")
    broken = Prediction(id="2", text="[{", status="invalid")
    metrics = score(task, samples, [perfect(task, samples[0]), broken]).metrics
    assert metrics["strict"]["recall@20"]["value"] == 0.5
    assert metrics["official"]["recall@20"]["value"] == 1.0
    assert metrics["official"]["recall@20"]["n"] == 1
    assert metrics["strict"]["parse_failure"]["value"] == 0.5
    assert metrics["counters"]["invalid"] == 1


def test_absent_predicates_count_zero_in_the_official_mean(task, root):
    samples = task.read(root, "test")
    metrics = score(task, samples, [perfect(task, sample) for sample in samples]).metrics
    assert metrics["strict"]["mean_recall@20"]["value"] == 1.0
    assert metrics["official"]["mean_recall@20"]["value"] == pytest.approx(2 / 3)


def test_labels_are_normalised_in_strict_only(task, root):
    samples = task.read(root, "test")[1:]
    right = perfect(task, samples[0])
    short = right.model_copy(update={"text": right.text.replace("floor-other-merged", "Floor")})
    metrics = score(task, samples, [short]).metrics
    assert metrics["strict"]["recall@20"]["value"] == 1.0
    assert metrics["official"]["recall@20"]["value"] == 0.0


def test_precision_recall_and_f1_are_pooled(task, root):
    samples = task.read(root, "test")
    right = perfect(task, samples[0])
    content = json.loads(right.text.strip("`json\n"))
    wrong = content[0] | {"predicate": "under"}
    half = right.model_copy(update={"text": f"```json\n{json.dumps([wrong, content[1]])}\n```"})
    strict = score(task, samples, [half]).metrics["strict"]
    values = {
        name: strict[name]["value"] for name in ("triplet_precision", "triplet_recall", "triplet_f1", "label_recall")
    }
    assert values == {"triplet_precision": 1 / 2, "triplet_recall": 1 / 3, "triplet_f1": 2 / 5, "label_recall": 1 / 3}


def test_cuts_count_the_first_triplets_only(task, root):
    samples = task.read(root, "test")[1:]
    right = perfect(task, samples[0])
    content = json.loads(right.text.strip("`json\n"))
    late = [content[0] | {"predicate": "beside"}] * 20 + content
    found = right.model_copy(update={"text": f"```json\n{json.dumps(late)}\n```"})
    strict = score(task, samples, [found]).metrics["strict"]
    assert (strict["recall@20"]["value"], strict["recall@50"]["value"]) == (0.0, 1.0)


def test_foreign_masks_are_taken_in_order_of_mention(task, root):
    samples = task.read(root, "test")[1:]
    text = task.answer(samples[0], [Codes(0, 0)] * 2)
    given = [RIGHT.to_coco(), LEFT.to_coco()]
    for order, expected in ((given, 1.0), (given[::-1], 0.0), (given[:1], 0.0)):
        found = score(task, samples, [Prediction(id="2", text=text, masks=order)])
        assert found.metrics["strict"]["recall@20"]["value"] == expected


def test_missing_files_and_impossible_relations_say_so(task, tmp_path):
    with pytest.raises(DataError, match=r"psg\.json is missing"):
        task.read(tmp_path, "test")
    write(tmp_path, [row("1", [[0, 9, 0]])])
    with pytest.raises(DataError, match="names nothing that is there"):
        task.read(tmp_path, "test")
    (tmp_path / "coco" / "panoptic_val2017" / "p.png").unlink()
    with pytest.raises(DataError, match="put COCO's panoptic PNGs there"):
        task.read(tmp_path, "test")


def test_the_demo_checkpoint_is_taught_the_task_s_own_answers(task, demo_root):
    from samtok_eval.demo import language
    from samtok_eval.demo.scenes import draw_scene

    sample = task.read(demo_root, "test")[0]
    codes = [Codes(i, i) for i in range(len(sample.target.masks))]
    assert task.answer(sample, codes) == language.scene_graph(draw_scene(int(sample.id)), codes)
