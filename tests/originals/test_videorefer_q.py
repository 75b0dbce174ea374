"""VideoRefer-Bench-Q's own scorer: letters are read as it does, and it stops where it does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from samtok_eval.errors import DataError
from samtok_eval.masks import encode
from samtok_eval.metrics.choices import bracketed, videorefer_letter
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from samtok_eval.sample import Region
from tests.support.originals import ORIGINALS, write_json

GOLDEN = json.loads((ORIGINALS / "videorefer_q.json").read_text())
OPTIONS = ["(A) A helmet", "(B) A hat", "(C) Sunglasses", "(D) A watch"]


@pytest.fixture(scope="module")
def task():
    return load_tasks()["region_vqa"]


def entry(**changes):
    mask = {"segmentation": encode(np.eye(4, dtype=bool)).to_coco()}
    return {
        "video": "DAVIS/clip", "Question": "What is <object3><region> not wearing?", "type": "Basic Questions",
        "options": OPTIONS, "Answer": OPTIONS[0], "frame_idx": "1", "annotation": [{"0": None, "1": mask}],
    } | changes  # fmt: skip


def read(task, root, entries):
    folder = root / "videorefer_bench"
    write_json(folder / "VideoRefer-Bench-Q.json", entries)
    (folder / "DAVIS" / "clip").mkdir(parents=True, exist_ok=True)
    for name in ("00000.jpg", "00005.jpg"):
        Image.new("RGB", (4, 4)).save(folder / "DAVIS" / "clip" / name)
    return task.read(root, "videorefer")


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


def test_results_come_back_under_the_same_ids(task, demo_root):
    samples = task.read(demo_root, "videorefer")[:3]
    answers = {s.id: Prediction(id=s.id, text="(B)") for s in samples[1:]}
    rows = task.export(samples, answers)["outputs.json"]
    assert task.foreign(rows) == list(answers.values())
    assert all(set(row) == {"id", "video", "Answer", "pred", "type"} for row in rows)
