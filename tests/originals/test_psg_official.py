from __future__ import annotations

import base64
import json

import pytest

from samtok_eval.mask_tokens import render
from samtok_eval.prediction import Prediction
from tests.support.originals import cases, values_of, write_json


def answer(image_id, said):
    """The triplets of a picture as an answer, object k written with the codes (k, k)."""
    if said is None:
        return Prediction(id=image_id, text="```json\n[]\n```")
    nodes = [{"mask_2d": render([(k, k)]), "label": label} for k, label in enumerate(said["labels"])]
    rows = [{"subject": nodes[s], "predicate": p, "object": nodes[o]} for s, p, o in said["triplets"]]
    decoded = {f"{k},{k}": mask for k, mask in enumerate(said["masks"])}
    return Prediction.model_validate({"id": image_id, "text": f"```json\n{json.dumps(rows)}\n```", "decoded": decoded})


def test_every_benchmark_gives_the_recalls_of_openpsg(tmp_path):
    all_cases = cases("psg_official")
    assert len(all_cases) == 20
    for number, case in enumerate(all_cases):
        root = tmp_path / str(number)
        write_json(root / "psg" / "psg.json", case["psg"])
        for name, content in case["panoptic_png_base64"].items():
            path = root / "coco" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(content))
        answers = [answer(name, said) for name, said in case["predictions"].items() if name in case["scored_image_ids"]]
        found = values_of("scene_graph", root, "test", answers, "official")
        wanted = {
            name.replace("mR@", "mean_recall@").replace("R@", "recall@"): v for name, v in case["openpsg"].items()
        }
        assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-9), (number, case["feature"])
