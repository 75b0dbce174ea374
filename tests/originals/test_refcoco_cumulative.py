"""RefCOCO by the two cumulative SAMTok scripts: each answer alone, and all that do not stop them together."""

from __future__ import annotations

from pathlib import Path

import pytest

from samtok_eval.masks import Rle
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from samtok_eval.sample import ImageRef, Sample, Target
from tests.support.originals import released

GOLDEN = released("refcoco_cumulative")
PROTOCOLS = {"qwen3vl": "samtok_cumulative", "qwen25vl": "samtok_cumulative_qwen25"}
TASK = load_tasks()["refcoco"]


def scored(names, protocol):
    samples, answers = [], []
    for name in names:
        case = GOLDEN["cases"][name]
        image = ImageRef(name, Path("none.png"), *GOLDEN["size"])
        samples.append(Sample(name, image, (), Target((Rle.from_coco(case["gt"]),))))
        answers.append(Prediction.model_validate({"id": name, "text": case["answer"], "decoded": GOLDEN["decoded"]}))
    return score(TASK, samples, answers, protocols=[protocol])


def values(names, protocol):
    return {name: entry["value"] for name, entry in scored(names, protocol).metrics[protocol].items()}


@pytest.mark.parametrize("script", PROTOCOLS)
def test_every_answer_is_scored_as_there_and_what_stops_the_script_is_counted(script):
    for name in GOLDEN["cases"]:
        expected = GOLDEN["scripts"][script]["expected"][name]
        record = scored([name], PROTOCOLS[script]).records[0]
        assert record.crashed == ("stops" in expected), name
        if not record.crashed:
            assert record.pred_area == expected["pred_area"], name
            wanted = {metric: expected[metric] for metric in ("ciou", "giou")}
            # The script shows six decimals, and both add their epsilons.
            assert values([name], PROTOCOLS[script]) == pytest.approx(wanted, abs=1e-6), name


@pytest.mark.parametrize("script", PROTOCOLS)
def test_pixels_add_up_over_answers(script):
    pooled = GOLDEN["scripts"][script]["expected"]["_pooled"]
    found = values(pooled["cases"], PROTOCOLS[script])
    assert found == pytest.approx({"ciou": pooled["ciou"], "giou": pooled["giou"]}, abs=1e-6)


@pytest.mark.parametrize("script", PROTOCOLS)
def test_the_question_is_the_one_that_the_script_asks(script):
    asked = GOLDEN["scripts"][script]["question"][0]
    assert TASK.prompt(phrase=asked.removeprefix("Please segment ").removesuffix(" in this image.")) == asked
