"""The scripts of CycleGRPO's evaluation that repeat those of others: GCG, GRES, GroundingSuite, and code vectors.

Of the values taken from that tree, two have nothing here to equal them: open-vocabulary detection, which has no metric,
and the order that `topk` gives equal scores of scene graphs, where the order of the text is the rank.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samtok_eval.datasets.grounding_suite import CLASSES
from samtok_eval.masks import Rle, area, decode
from samtok_eval.metrics.gcg import iou_matrix, pairs, recalled
from samtok_eval.prediction import CocoRle, Prediction
from tests.support.originals import released, task, values_of, write_json

GCG, GRES, GROUNDING, VECTORS = map(released, ("gcg", "gres", "groundingsuite_metric", "embed_code"))


def against_truth(predictions: list[dict[str, Any]]):
    return iou_matrix(*([Rle.from_coco(rle) for rle in rles] for rles in (GCG["gt"], predictions)))


@pytest.mark.parametrize("name", GCG["miou"])
def test_mean_iou_of_a_picture_is_that_of_its_pairs(name):
    case = GCG["miou"][name]
    found = pairs(against_truth(case["predictions"]))
    assert sum(found) / max(len(found), 1) == pytest.approx(case["miou"], abs=1e-9)


@pytest.mark.parametrize("name", GCG["recall"])
def test_recalled_phrases_are_as_many_and_the_same_answer_stops(name):
    case = GCG["recall"][name]

    def count():
        same = lambda row, column: GCG["gt_phrases"][row] == case["phrases"][column]  # noqa: E731
        return recalled(against_truth(case["masks"]), same, stops=True)

    if case["stops"]:
        with pytest.raises(IndexError):
            count()
    else:
        assert count() == len(case["matches"])


def read_gres(root: Path, refs: list[dict[str, Any]], instances: dict[str, Any]):
    write_json(root / "grefcoco" / "grefs(unc).json", refs)
    write_json(root / "grefcoco" / "instances.json", instances)
    return task("gres").read(root, "val")


OTHERWISE = {
    "bad_polygon_shifts": [("first", 16), ("bad", 0), ("after bad", 16)],
    "only_bad_parts": [("all bad", 0)],
    "text_rle_first": [("text rle", 4)],
    "text_rle_after_polygon": [("overlap polygons", 24), ("text rle", 4)],
}
"""What is read where the original stops, or gives a sentence the mask of another one."""


@pytest.mark.parametrize("name", GRES["load"])
def test_sentences_have_the_masks_that_the_original_gives_them_where_it_confuses_none(tmp_path, name):
    case = GRES["load"][name]
    samples = read_gres(tmp_path, case["refs"], GRES["instances"])
    found = [(sample.phrase.strip().lower(), sum(map(area, sample.target.masks))) for sample in samples]
    expected = OTHERWISE.get(name) or [(row["phrase"], row["area"]) for row in case["expected"]]
    assert found == expected


def runs(rle: Rle) -> list[int]:
    """Run lengths as a list, which the script's loader wants."""
    pixels = decode(rle).flatten("F").astype(np.int8)
    ends = np.flatnonzero(np.diff(pixels, prepend=0)).tolist()
    return np.diff([0, *ends, pixels.size]).tolist()


@pytest.mark.parametrize("name", GRES["metric"])
def test_gres_gives_the_numbers_of_the_script_and_lacks_one_where_that_stops(tmp_path, name):
    case = GRES["metric"][name]
    height, width = GRES["size"]
    refs, annotations, answers = [], [], []
    for number, row in enumerate(GRES["rows"][named] for named in case["rows"]):
        target = Rle.from_coco(row["gt"])
        named = number if area(target) else -1
        annotations.append({"id": number, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "iscrowd": 0,
                            "segmentation": {"size": GRES["size"], "counts": runs(target)}})  # fmt: skip
        sentence = {"sent_id": number, "sent": f"thing {number}", "raw": "", "tokens": []}
        refs.append({"ref_id": number, "ann_id": [named], "category_id": [min(named, 1)], "image_id": 1,
                     "split": "val", "sentences": [sentence]})  # fmt: skip
        mask = row["prediction"] if area(Rle.from_coco(row["prediction"])) else None
        answers.append(
            Prediction(id=f"{number}-{number}", masks=() if mask is None else (CocoRle.model_validate(mask),))
        )
    images = [{"id": 1, "file_name": "COCO_train2014_1.jpg", "height": height, "width": width}]
    content = {"images": images, "categories": [{"id": 1, "name": "person"}], "annotations": annotations}
    read_gres(tmp_path, refs, content)
    found = values_of("gres", tmp_path, "val", answers, "samtok")
    names = {"N_acc": "n_acc", "T_acc": "t_acc", "g_iou": "giou", "c_iou": "ciou"}
    if "stops" in case["expected"]:
        assert None in found.values() or len(found) < len(names)
        return
    # The script prints two decimals.
    wanted = {names[key]: value / 100 for key, value in case["expected"].items()}
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=6e-5)


def test_grounding_suite_gives_the_scripts_numbers_once_lines_without_a_picture_are_left_out(tmp_path):
    """It leaves out lines whose picture is not on disk; its shares of boxes by class have no counterpart here."""
    (absent,) = {row["idx"] for row in GROUNDING["gt"] if row["image_path"] == "missing.jpg"}
    path = tmp_path / "grounding_suite" / "GroundingSuite-Eval.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in GROUNDING["gt"] if row["idx"] != absent))
    predictions = task("grounding_suite").foreign([row for row in GROUNDING["predictions"] if row["idx"] != absent])
    found = values_of("grounding_suite", tmp_path, "eval", predictions, "official")
    mask, box = GROUNDING["expected"]["mask"], GROUNDING["expected"]["box"]
    wanted = {"giou": mask["overall"], "box_acc@0.5": box["overall"]}
    wanted |= {f"giou_{CLASSES[int(kind)]}": value for kind, value in mask["by_class"].items()}
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: f"{case['size']}x{case['depth']} {case['codes']}")
def test_absent_codes_are_entry_zero_as_in_the_original(case):
    torch = pytest.importorskip("torch")
    from samtok_eval.tokenizer.quantizer import ResidualQuantizer

    quantizer = ResidualQuantizer(case["size"], case["depth"], 3)
    rows = torch.arange(3.0 * (case["size"] + 1)).reshape(-1, 3)
    rows[-1] = 0
    for depth, book in enumerate(quantizer.books):
        book.weight.data = rows * 10**depth
    assert quantizer.decode(torch.tensor([case["codes"]]), "zero").tolist() == [case["vector"]]
