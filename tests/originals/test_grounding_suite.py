"""GroundingSuite-Eval against the original scorer, in both of its modes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samtok_eval.datasets.grounding_suite import CLASSES
from tests.support.originals import cases, task, values_of

CASES = cases("grounding_suite")


def write(root: Path, lines: list[dict[str, Any]]) -> None:
    path = root / "grounding_suite" / "GroundingSuite-Eval.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{i}-{case['feature']}" for i, case in enumerate(CASES)])
def test_official_gives_the_numbers_of_the_original_in_both_modes(tmp_path, number):
    case = CASES[number]
    write(tmp_path, case["ground_truth"])
    predictions = task("grounding_suite").foreign(case["predictions"])
    found = values_of("grounding_suite", tmp_path, "eval", predictions, "official")
    mask, box = case["original_mask"], case["original_box"]
    expected = {"box_acc@0.5": box["overall"]}
    if mask["scored"]:
        expected |= {"giou": mask["overall"], "ciou": found["ciou"]}
    # Without any mask the original prints 0 for a mean of nothing; here the metric is absent.
    expected |= {f"giou_{CLASSES[int(kind)]}": value for kind, value in mask["by_class"].items()}
    assert found == pytest.approx(expected, abs=1e-9)
