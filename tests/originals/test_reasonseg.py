"""ReasonSeg against the SAMTok scripts: polygons, questions, and every answer under every script."""

from __future__ import annotations

import pytest
from PIL import Image

from samtok_eval import masks
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from tests.support.originals import released, write_json

GOLDEN = released("reasonseg")
HEIGHT, WIDTH = GOLDEN["size"]
TASK = load_tasks()["reasonseg"]
PROTOCOLS = {"qwen25vl": "samtok", "plm": "samtok", "cold_start": "samtok_rl"}
CASES = [(script, case) for script, entry in GOLDEN["scripts"].items() for case in entry["expected"]]


@pytest.fixture
def sample_of(tmp_path):
    """A function that gives the sample of one annotation file."""

    def sample(name):
        write_json(tmp_path / "reasonseg" / "val" / f"{name}.json", GOLDEN["annotations"][name])
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "reasonseg" / "val" / f"{name}.jpg")
        return next(sample for sample in TASK.read(tmp_path, "val") if sample.id == name)

    return sample


def values(sample, answer, protocol):
    prediction = Prediction.model_validate({"id": sample.id, "text": answer, "decoded": GOLDEN["decoded"]})
    found = score(TASK, [sample], [prediction], protocols=[protocol])
    return found.records[0], {name: entry["value"] for name, entry in found.metrics[protocol].items()}


@pytest.mark.parametrize("name", GOLDEN["annotations"])
def test_shapes_are_drawn_as_there(name, sample_of):
    expected, target = GOLDEN["masks"][name], sample_of(name).target
    ignored = target.ignored or masks.empty(HEIGHT, WIDTH)
    assert [target.masks[0].counts, ignored.counts] == [
        expected[f"{kind}_rle"]["counts"] for kind in ("target", "ignore")
    ]


@pytest.mark.parametrize(("script", "case"), CASES)
def test_every_answer_is_scored_as_there(script, case, sample_of):
    name, answer = case.split("/")
    expected, sample = GOLDEN["scripts"][script]["expected"][case], sample_of(name)
    assert sample.turns[0].text == expected["question"]
    record, found = values(sample, GOLDEN["answers"][answer], PROTOCOLS[script])
    if "ciou" not in expected:
        assert record.crashed
        return
    # The script after a cold start stops behind the first answer without a mask; until then it scores it as empty.
    assert not record.crashed
    assert (record.pred_area, record.gt_area) == (expected["pred_area"], expected["gt_area"])
    assert found == pytest.approx({name: expected[name] for name in ("ciou", "giou")}, abs=1e-6)


def test_lisa_leaves_ignored_areas_out_and_the_scripts_take_them_for_background(sample_of):
    sample, answer = sample_of("inner_ignore"), GOLDEN["answers"]["wide"]
    found = {name: values(sample, answer, name)[1]["giou"] for name in ("strict", "official", "samtok")}
    assert found == pytest.approx({"strict": 1.0, "official": 1.0, "samtok": 0.873684}, abs=1e-6)


def test_where_everything_but_the_ignored_is_background_an_answer_in_it_is_empty(sample_of):
    sample = sample_of("only_ignore")
    assert values(sample, GOLDEN["answers"]["mask"], "strict")[1] == {"giou": 1.0, "ciou": None}
    assert values(sample, GOLDEN["answers"]["none"], "official")[1]["giou"] == 1.0
    assert values(sample, GOLDEN["answers"]["wide"], "strict")[1]["giou"] == 0.0
