"""My benchmark: its reader, cases worked by hand, and the ceiling of the bundled mask tokenizer on two toy pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import samtok_eval
from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.prediction import CocoRle, Prediction, Record
from samtok_eval.registry import load_tasks
from samtok_eval.sample import Sample

FOLDER = Path(__file__).parents[1]
TASK = load_tasks([FOLDER])["my_benchmark"]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return list(TASK.read(Path(), "toy"))


def scored(sample: Sample, *answer: np.ndarray) -> Record:
    """The record of an answer of masks, bool (H, W)."""
    found = [CocoRle.model_validate(masks.encode(mask).to_coco()) for mask in answer]
    return TASK.score(sample, Prediction(id=sample.id, masks=found), TASK.protocols[0])


def test_the_reader_gives_pictures_phrases_and_masks(samples: list[Sample]) -> None:
    assert [sample.phrase for sample in samples] == ["the red square", "the blue circle", "the green cross"]
    assert [sample.image.id for sample in samples] == ["one.png", "two.png", "two.png"]
    assert [sum(map(masks.area, sample.target.masks)) for sample in samples] == [39 * 39, 1245, 0]


def test_cases_worked_by_hand(samples: list[Sample]) -> None:
    square, _, nothing = samples
    right = masks.decode(square.target.masks[0])
    half = right.copy()
    half[:, 41:] = False  # 20 of the square's 39 columns stay
    records = [scored(square, right), scored(square, half), scored(nothing), scored(nothing, right)]
    assert [(record.inter, record.union) for record in records] == [(1521, 1521), (780, 1521), (0, 0), (0, 1521)]
    values = {name: metric.value for name, metric in TASK.metrics(records, "strict").items()}
    assert values["giou"] == pytest.approx((1 + 20 / 39 + 1 + 0) / 4)
    assert values["ciou"] == pytest.approx((1521 + 780) / (3 * 1521))
    assert values["n_acc"] == 0.5


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"val\.json is missing"):
        TASK.read(tmp_path, "val")


def test_the_oracle_comes_close_to_100(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    run = samtok_eval.evaluate("my_benchmark", model="oracle", tasks_dirs=(FOLDER,), out=tmp_path)
    assert run.values("strict")["giou"]["value"] > 0.9
