"""Osprey's evaluation of class names and protocol `official` read, compare and score alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.metrics.class_names import named, semantic_iou
from samtok_eval.prediction import Prediction
from samtok_eval.run.score import score
from tests.support.originals import cases, task

CASES = cases("osprey_names")
REGION = masks.encode(np.ones((2, 2), dtype=np.bool_)).to_coco()


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["answer"]))
def test_names_and_their_words_are_those_of_the_original(case):
    assert named(case["answer"]).split() == case["name"].split()
    assert semantic_iou(case["name"], case["category"]) == pytest.approx(case["semantic_iou"], abs=1e-15)


def test_the_task_gives_the_numbers_of_the_original(tmp_path: Path):
    ours = task("region_class")
    (tmp_path / "osprey").mkdir()
    entry = {
        "file_name": "a.jpg",
        "height": 2,
        "width": 2,
        "categories": [case["class"] for case in CASES],
        "annotations": [{"segmentation": REGION}] * len(CASES),
    }
    (tmp_path / "osprey" / "paco_val_1k_category.json").write_text(json.dumps([entry]))
    samples = ours.read(tmp_path, "paco")
    assert [sample.target.texts[0] for sample in samples] == [case["category"] for case in CASES]
    answers = [Prediction(id=f"0-{i}", text=case["answer"]) for i, case in enumerate(CASES)]
    scored = score(ours, samples, answers, protocols=["official"])
    for record, case in zip(scored.records, CASES, strict=True):
        assert record.values["semantic_iou"] == pytest.approx(case["semantic_iou"], abs=1e-15)
        assert record.values["semantic_similarity"] == pytest.approx(case["semantic_similarity"], abs=1e-5)
    mean = sum(case["semantic_iou"] for case in CASES) / len(CASES)
    assert scored.metrics["official"]["semantic_iou"]["value"] == pytest.approx(mean, abs=1e-12)
