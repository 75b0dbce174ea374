from __future__ import annotations

import pytest

from tests.support.originals import cases, values_of, write_json, write_pickle


def found_of(case, root, protocol):
    write_pickle(root / "refcoco" / "refs(unc).p", case["refs"])
    write_json(root / "refcoco" / "instances.json", case["instances"])
    return values_of("refcoco", root, case["split"], case["predictions"], protocol)


def test_official_gives_the_numbers_of_lisa_or_none_where_it_stops(tmp_path):
    all_cases = cases("refcoco_lisa")
    assert len(all_cases) == 20
    for number, case in enumerate(all_cases):
        found = found_of(case, tmp_path / str(number), "official")
        if case["lisa"] == "crash":
            assert not found, (number, case["feature"])
            continue
        # Its meter divides by n + 1e-5, and works in single precision.
        n = sum(len(ref["sentences"]) for ref in case["refs"] if ref["split"] == case["split"])
        wanted = {"ciou": case["lisa"]["cIoU"], "giou": case["lisa"]["gIoU"] * (n + 1e-5) / n}
        assert found == pytest.approx(wanted, abs=1e-6), (number, case["feature"])


def test_samtok_gives_the_numbers_of_its_script(tmp_path):
    for number, case in enumerate(cases("refcoco_lisa")):
        found = found_of(case, tmp_path / str(number), "samtok")
        wanted = {"box_acc@0.5": case["samtok"]["REC AP_50"], "giou_by_phrase": case["samtok"]["RES CIoU"]}
        assert found == pytest.approx(wanted, abs=1e-9), (number, case["feature"])
