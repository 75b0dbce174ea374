"""Region classification: what is read, what is asked, and what an answer is worth."""

from __future__ import annotations

import json

import pytest

from samtok_eval.errors import DataError
from samtok_eval.passages import Answer
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score

TASK = load_tasks()["region_class"]
SQUARE = [[0.0, 0.0, 4.0, 0.0, 4.0, 4.0, 0.0, 4.0]]


def entry(**changed):
    whole = {
        "file_name": "a.jpg",
        "height": 8,
        "width": 6,
        "categories": ["bath_mat", "mug:handle"],
        "annotations": [{"segmentation": SQUARE}, {"segmentation": SQUARE}],
    }
    return whole | changed


def read(tmp_path, entries, split="lvis"):
    folder = tmp_path / "osprey"
    folder.mkdir(exist_ok=True)
    (folder / f"{split}_val_1k_category.json").write_text(json.dumps(entries))
    return TASK.read(tmp_path, split)


def test_a_region_is_asked_for_its_name_and_known_by_its_place(tmp_path):
    samples = read(
        tmp_path, [entry(), entry(file_name="b.jpg", categories=["cup"], annotations=[{"segmentation": SQUARE}])]
    )
    assert [sample.id for sample in samples] == ["0-0", "0-1", "1-0"]
    assert [sample.phrase for sample in samples] == ["bath mat", "mug handle", "cup"]
    before, region, after = samples[0].turns[0].parts
    assert (before, after) == ("What is the category of ", "? Using only one word or phrase.")
    assert (region.mask.height, region.mask.width) == (8, 6)
    assert samples[2].image.path == tmp_path / "osprey" / "images" / "b.jpg"


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([], "no region"),
        ({"images": []}, "list of pictures"),
        ([entry(categories=["mat"])], "one length"),
        ([entry(categories=["mat", "_:"])], "no word"),
        ([entry(annotations=[{"segmentation": SQUARE}, {}])], "segmentation"),
        ([entry(file_name="../a.jpg")], "a.jpg"),
    ],
)
def test_a_file_that_is_not_osprey_s_is_refused_with_its_reason(tmp_path, entries, problem):
    with pytest.raises(DataError, match=problem):
        read(tmp_path, entries)


def test_strict_reads_the_final_answer_and_official_the_text_as_it_came(tmp_path):
    samples = read(tmp_path, [entry(categories=["mug"], annotations=[{"segmentation": SQUARE}])])
    answer = [Prediction(id="0-0", text="<think>a cup?</think>Mug.")]
    found = score(TASK, samples, answer).metrics
    assert found["strict"]["semantic_iou"]["value"] == 1.0
    assert found["official"]["semantic_iou"]["value"] < 1.0


@pytest.mark.parametrize("answers", [[], [Prediction(id="0-0", text="")]], ids=["missing", "empty"])
def test_no_answer_is_worth_nothing_but_the_encoder_likens_it_to_something(tmp_path, answers):
    samples = read(tmp_path, [entry(categories=["mug"], annotations=[{"segmentation": SQUARE}])])
    found = score(TASK, samples, answers).metrics
    assert found["strict"]["semantic_similarity"]["value"] == 0.0
    assert found["official"]["semantic_similarity"]["value"] > 0.0
    assert found["official"]["semantic_iou"]["value"] == 0.0


def test_without_the_encoder_words_are_scored_and_the_absent_metric_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("samtok_eval.metrics.text_similarity.PACKAGE", "no_such_package")
    samples = read(tmp_path, [entry()])
    found = score(TASK, samples, [Prediction(id="0-0", text="bath mat"), Prediction(id="0-1", text="mug")])
    assert set(found.metrics["strict"]) >= {"semantic_iou"}
    assert "semantic_similarity" not in found.metrics["strict"]
    assert found.metrics["strict"]["semantic_iou"]["value"] == 0.75


def test_a_card_tells_how_alike_the_answer_of_the_run_is_and_not_the_baselines(tmp_path):
    sample = read(tmp_path, [entry()])[0]
    answers = [
        Answer(side, Prediction(id=sample.id, text=said)) for side, said in (("prediction", "mat"), ("baseline", "cup"))
    ]
    rules = TASK.protocols[0]
    found = TASK.passages(sample, answers, TASK.score(sample, answers[0].prediction, rules), rules)
    titles = [passage.title for passage in found]
    assert titles[:2] == ["question", "class"]
    assert titles[2:] == ["answer", "compared as", "likeness", "the baseline's answer", "compared as"]
    assert found[4].lines[0][0].text == "words in common 50.0"
