"""MMR against the SAMTok script: questions, and every answer alone and together."""

from __future__ import annotations

import pytest

from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from tests.support.originals import released, write_json

GOLDEN = released("mmr")
TASK = load_tasks()["mmr"]


def scored(root, names, protocol="samtok"):
    rows = [
        {"file_name": f"val2017/{name}.jpg", "questions": ["Which?"], "answers": [GOLDEN["cases"][name]["anno"]]}
        for name in names
    ]
    write_json(root / "mmr" / "MMR_val.json", rows)
    samples = TASK.read(root, "val")
    answers = [
        Prediction.model_validate(
            {"id": sample.id, "text": GOLDEN["cases"][name]["answer"], "decoded": GOLDEN["decoded"]}
        )
        for sample, name in zip(samples, names, strict=True)
    ]
    return score(TASK, samples, answers, protocols=[protocol])


def values(root, names, protocol="samtok"):
    return {name: entry["value"] for name, entry in scored(root, names, protocol).metrics[protocol].items()}


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_every_answer_is_scored_as_there(name, tmp_path):
    expected = GOLDEN["cases"][name]["expected"]
    record = scored(tmp_path, [name]).records[0]
    assert record.crashed == ("stops" in expected)
    if not record.crashed:
        assert (record.gt_area, record.pred_area) == (sum(expected["gt_areas"]), sum(expected["pred_areas"]))
        wanted = {metric: expected[metric] for metric in ("giou", "ciou")}
        found = values(tmp_path, [name])
        # Of two empty masks there is no ratio here and 0 / 1e-10 there.
        assert {"giou": found["giou"], "ciou": found["ciou"] or 0.0} == pytest.approx(wanted, abs=1e-6)


def test_terms_and_pixels_add_up_over_questions(tmp_path):
    pooled = GOLDEN["pooled"]
    wanted = {"giou": pooled["giou"], "ciou": pooled["ciou"]}
    assert values(tmp_path, pooled["cases"]) == pytest.approx(wanted, abs=1e-6)


def test_questions_are_asked_as_there(tmp_path):
    prepared = GOLDEN["prepare"]
    write_json(tmp_path / "mmr" / "MMR_val.json", prepared["raw"])
    samples = TASK.read(tmp_path, "val")
    assert [sample.turns[0].text for sample in samples] == [row["question"] for row in prepared["expected"]]
    assert [f"./data/coco/{sample.image.id}" for sample in samples] == [row["image"] for row in prepared["expected"]]
    assert [len(sample.target.masks) for sample in samples] == [len(row["anno"]) for row in prepared["expected"]]
    assert [sample.id for sample in samples] == ["0-0", "0-1"]
    assert TASK.max_new_tokens == GOLDEN["generation"]["max_new_tokens"]


def test_surplus_masks_cost_nothing_there_and_count_as_wrong_under_strict(tmp_path):
    name = "one_pred_two"
    assert values(tmp_path, [name])["giou"] == pytest.approx(1.0, abs=1e-6)
    assert values(tmp_path, [name], "strict") == {"giou": 0.5, "ciou": 0.5}


def test_a_question_without_masks_stops_the_script_and_is_right_under_strict_when_nothing_is_answered(tmp_path):
    write_json(tmp_path / "mmr" / "MMR_val.json", GOLDEN["prepare"]["raw"])
    sample = TASK.read(tmp_path, "val")[1]
    nothing, something = (
        Prediction.model_validate({"id": sample.id, "text": text, "decoded": GOLDEN["decoded"]})
        for text in ("None.", GOLDEN["cases"]["one_one"]["answer"])
    )
    assert score(TASK, [sample], [nothing], protocols=["samtok"]).records[0].crashed
    strict = [
        score(TASK, [sample], [answer], protocols=["strict"]).metrics["strict"] for answer in (nothing, something)
    ]
    assert [found["giou"]["value"] for found in strict] == [1.0, 0.0]
