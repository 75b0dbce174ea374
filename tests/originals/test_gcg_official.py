from __future__ import annotations

import pytest

from samtok_eval.metrics.judges import Judges
from tests.support.originals import cases, task, write_json

NAMES = {"AP50": "ap50", "mIoU": "miou_gcg", "recall": "recall_gcg_minilm", "METEOR": "meteor", "CIDEr": "cider"}


@pytest.fixture(scope="module")
def judges():
    with Judges() as started:
        yield started


def test_every_set_gives_the_numbers_of_glamms_scorer_or_none_where_it_stops(tmp_path, judges):
    gcg = task("gcg")
    all_cases = cases("gcg_official")
    assert len(all_cases) == 20
    for number, case in enumerate(all_cases):
        root = tmp_path / str(number)
        write_json(root / "gcg" / f"{case['split']}_gcg_coco_mask_gt.json", case["mask_gt"])
        write_json(root / "gcg" / f"{case['split']}_gcg_coco_caption_gt.json", case["caption_gt"])
        answers = {p.id: p for p in gcg.foreign(list(case["predictions"].values()))}
        records = gcg.score_all(gcg.read(root, case["split"]), answers, gcg.protocol("official"), judges)
        found = {name: metric.value for name, metric in gcg.measured(records, "official").items()}
        if case["glamm"] == "crash":
            assert not found, (number, case["feature"])
            continue
        wanted = {NAMES[name]: value for name, value in case["glamm"].items()}
        assert found == pytest.approx(wanted, abs=1e-9), (number, case["feature"])
