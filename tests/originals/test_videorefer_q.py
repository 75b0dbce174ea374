"""VideoRefer-Bench-Q's own scorer: letters are read as it does, and it stops where it does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from samtok_eval.errors import DataError
from samtok_eval.masks import area, encode
from samtok_eval.metrics.choices import bracketed, videorefer_letter
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from samtok_eval.sample import Frame, Region
from tests.support.originals import ORIGINALS, write_json

GOLDEN = json.loads((ORIGINALS / "videorefer_q.json").read_text())
OPTIONS = ["(A) A helmet", "(B) A hat", "(C) Sunglasses", "(D) A watch"]


@pytest.fixture(scope="module")
def task():
    return load_tasks()["region_vqa"]


def entry(**changes):
    mask, none = {"segmentation": encode(np.eye(4, dtype=bool)).to_coco()}, {"segmentation": None}
    return {
        "video": "DAVIS/clip", "Question": "What is <object3><region> not wearing?", "type": "Basic Questions",
        "options": OPTIONS, "Answer": OPTIONS[0], "frame_idx": "1", "annotation": [{"0": none, "1": mask}],
    } | changes  # fmt: skip


def read(task, root, entries, split="videorefer", frames=("00000.jpg", "00005.jpg")):
    folder = root / "videorefer_bench"
    write_json(folder / "VideoRefer-Bench-Q.json", entries)
    (folder / "DAVIS" / "clip").mkdir(parents=True, exist_ok=True)
    for name in frames:
        Image.new("RGB", (4, 4)).save(folder / "DAVIS" / "clip" / name)
    return task.read(root, split)


def test_answers_count_as_they_do_for_the_original(task, tmp_path):
    rows = GOLDEN["rows"]
    samples = read(task, tmp_path, [entry(Answer=row["Answer"], type=row["type"]) for row in rows])
    answers = task.foreign([{name: row[name] for name in ("video", "Answer", "pred", "type")} for row in rows])
    found = score(task, samples, answers)
    right = [int(r.values["right"]) for r in found.records if r.protocol == "official"]
    assert right == [row["right"] for row in rows]
    whole = GOLDEN["accuracy"]
    assert found.metrics["official"]["accuracy"]["value"] == pytest.approx(whole["whole"])
    by_type = found.metrics["slices"]["official"]["type"]
    assert {name: by_type[name]["accuracy"]["value"] for name in by_type} == pytest.approx(
        {name: value for name, value in whole.items() if name != "whole"}
    )
    assert found.metrics["official"]["accuracy"]["n"] == len(rows)


@pytest.mark.parametrize("text", GOLDEN["stops"])
def test_an_answer_without_a_character_stops_the_original_and_is_wrong_under_strict(task, tmp_path, text):
    assert videorefer_letter(text) is None
    samples = read(task, tmp_path, [entry(), entry()])
    answers = [Prediction(id="0", text="A"), Prediction(id="1", text=text)]
    found = score(task, samples, answers)
    assert "accuracy" not in found.metrics["official"]
    assert found.metrics["strict"]["accuracy"]["value"] == 0.5
    official = [record for record in found.records if record.protocol == "official"]
    assert task.stopped(official, "official").endswith("stops at 1 answers without a character, 1 first")


def test_a_missing_answer_is_wrong_but_not_seen_by_the_original(task, tmp_path):
    samples = read(task, tmp_path, [entry(), entry()])
    found = score(task, samples, [Prediction(id="0", text="(A)")])
    values = {p: found.metrics[p]["accuracy"] for p in ("strict", "lenient", "official")}
    assert {p: (v["value"], v["n"]) for p, v in values.items()} == {
        "strict": (0.5, 2), "lenient": (0.5, 2), "official": (1, 1)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "right"), [("B", True), (" (b). ", True), ("B.", True), ("A", False), ("B hat", False)]
)
def test_strict_takes_the_letter_alone_in_brackets_or_not(text, right):
    assert bracketed(text, "B") is right


def test_regions_and_frame_are_those_of_the_entry(task, tmp_path):
    (sample,) = read(task, tmp_path, [entry()])
    assert (sample.id, sample.image.id, sample.image.path.name) == ("0", "DAVIS/clip", "00005.jpg")
    text = "".join("M" if isinstance(part, Region) else part for part in sample.turns[0].parts)
    options = " ".join(OPTIONS)
    assert text == (
        f"What is <object3>M not wearing? {options}. Answer with the option's letter from the given choices directly."
    )


def mark(pixels=1, side=4):
    mask = np.zeros((side, side), dtype=bool)
    mask[0, :pixels] = True
    return {"segmentation": encode(mask).to_coco()}


TWO = {"Question": "Does <object1><region> follow <object2><region>?", "frame_idx": "5"}


def test_several_frames_are_shown_in_the_order_of_time_and_each_object_is_named_in_those_that_mark_it(task, tmp_path):
    names = [f"{number:05}.jpg" for number in range(12)]
    objects = [{"10": mark(1), "2": mark(2), "5": mark(3)}, {"5": mark(4), "7": {"segmentation": None}}]
    (sample,) = read(task, tmp_path, [entry(**TWO, annotation=objects)], "videorefer-frames", names)
    assert [image.path.stem for image in sample.pictures] == ["00002", "00005", "00010"]
    assert [image.id for image in sample.pictures] == ["DAVIS/clip", "DAVIS/clip 5", "DAVIS/clip 10"]
    (turn,) = sample.turns
    assert [part.image for part in turn.parts if isinstance(part, Frame)] == list(sample.pictures[1:])
    regions = [part for part in turn.parts if isinstance(part, Region)]
    assert [area(region.mask) for region in regions] == [2, 3, 1, 4]
    second, third = (Frame(image) for image in sample.pictures[1:])
    assert [region.view for region in regions] == [None, second, third, second]
    said = "".join({Region: "M", Frame: ""}.get(type(part), part) for part in turn.parts)
    assert said.startswith("Does <object1>M, M, M follow <object2>M? (A) A helmet (B)")
    alone = task.read(tmp_path, "videorefer")[0]
    assert [image.path.stem for image in alone.pictures] == ["00005"]
    assert [area(part.mask) for part in alone.turns[0].parts if isinstance(part, Region)] == [3, 4]


def test_of_many_frames_sixteen_are_shown_and_one_more_for_an_object_that_none_of_them_marks(task, tmp_path):
    names = [f"{number:05}.jpg" for number in range(31)]
    often = {str(number): mark() for number in range(31) if number != 15}
    (sample,) = read(task, tmp_path, [entry(**TWO, annotation=[often, {"15": mark()}])], "videorefer-frames", names)
    shown = [int(image.path.stem) for image in sample.pictures]
    assert shown == sorted({*range(0, 31, 2), 15})


def test_frames_of_several_sizes_are_refused(task, tmp_path):
    with pytest.raises(DataError, match="several sizes"):
        read(task, tmp_path, [entry(annotation=[{"0": mark(), "1": mark(side=5)}])], "videorefer-frames")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_idx": "2"}, "'2' is missing"),
        ({"annotation": []}, "names 1 regions, but 0 are marked"),
        ({"annotation": [{"1": {"segmentation": encode(np.zeros((4, 4), dtype=bool)).to_coco()}}]}, "is empty"),
        ({"annotation": [{"7": {"segmentation": encode(np.eye(4, dtype=bool)).to_coco()}}], "frame_idx": "7"},
         "has 2 frames"),
        ({"Answer": "A helmet"}, "an answer such as"),
        ({"options": []}, "needs options"),
    ],
)  # fmt: skip
def test_entries_that_cannot_be_asked_are_refused(task, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        read(task, tmp_path, [entry(**change)])


@pytest.mark.parametrize("split", ["videorefer", "videorefer-frames"])
def test_results_come_back_under_the_same_ids(task, demo_root, split):
    samples = task.read(demo_root, split)[:3]
    answers = {s.id: Prediction(id=s.id, text="(B)") for s in samples[1:]}
    rows = task.export(samples, answers)["outputs.json"]
    assert task.foreign(rows) == list(answers.values())
    assert all(set(row) == {"id", "video", "Answer", "pred", "type"} for row in rows)
