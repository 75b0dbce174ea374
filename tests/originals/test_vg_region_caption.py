"""GLaMM's evaluation of region captions and protocol `official` give the same METEOR and CIDEr."""

from __future__ import annotations

import json

import pytest

from samtok_eval.run.score import score
from tests.support.meteor import needs_meteor
from tests.support.originals import ORIGINALS, cases, task

CASES = cases("vg_region_caption")


@needs_meteor
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_meteor_and_cider_are_those_of_the_original(case, tmp_path):
    folder = tmp_path / "visual_genome"
    folder.mkdir()
    annotations = json.loads((ORIGINALS / "vg_region_caption.json").read_text())["annotations"]
    (folder / "test_caption.json").write_text(json.dumps(annotations))
    ours = task("region_caption")
    samples = ours.read(tmp_path, "vg")
    found = score(ours, samples, ours.foreign(case["results"]), protocols=["official"]).metrics["official"]
    assert found["meteor"]["value"] == pytest.approx(case["meteor"], abs=1e-12)
    assert found["cider"]["value"] == pytest.approx(case["cider"], abs=1e-12)
    assert found["cider"]["n"] == len(case["results"])
