"""Scene graphs under protocol `samtok` against the scripts of the SAMTok evaluation: answers that count, and recall."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from samtok_eval.datasets.psg import GraphTarget
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import PolicyCrashError
from samtok_eval.masks import encode
from samtok_eval.metrics.scene_graph import RANKS
from samtok_eval.metrics.scene_graph_samtok import entries, is_kept
from samtok_eval.prediction import Prediction
from samtok_eval.prompts import SCENE_GRAPH_CANDIDATES
from samtok_eval.registry import load_tasks
from samtok_eval.run.predict import codes_to_decode
from samtok_eval.run.score import score
from tests.support.originals import released, write_json

TASK = load_tasks()["scene_graph"]
READING, SCORING = released("psg_infer"), released("psg_eval")
CATEGORIES, PREDICATES = (part.partition("}")[0].split(", ") for part in READING["prompt"].split("{")[1:])
THINGS = 80
HEIGHT, WIDTH = SCORING["canvas"]["height"], SCORING["canvas"]["width"]


def mask_of(name):
    """A named mask of the scoring cases."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for x1, y1, x2, y2 in SCORING["codes"][name]["rects"]:
        mask[y1:y2, x1:x2] = True
    return mask


DECODED = {",".join(map(str, entry["codes"])): mask_of(name) for name, entry in SCORING["codes"].items()}


def write_benchmark(root, images):
    """`psg_val.json` and panoptic PNGs of a case, class numbers from 1 on, segment ids from 1 on."""
    annotations = []
    for i, image in enumerate(images):
        segments, relations = image["gt"]["segments"], image["gt"]["relations"]
        ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        for number, (name, _) in enumerate(segments, 1):
            ids[mask_of(name)] = number
        path = root / "coco" / "annotations" / "panoptic_val2017" / f"{1000 + i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([ids, ids * 0, ids * 0], axis=-1)).save(path)
        infos = [{"id": n, "category_id": CATEGORIES.index(c) + 1} for n, (_, c) in enumerate(segments, 1)]
        annotations.append({
            "image_id": 1000 + i, "file_name": f"panoptic_val2017/{1000 + i}.png", "segments_info": infos,
            "relations": [[s, o, PREDICATES.index(p)] for s, o, p in relations],
        })  # fmt: skip
    write_json(root / "psg" / "psg_val.json", {
        "images": [{"id": 1000 + i, "file_name": f"val2017/{1000 + i}.jpg", "height": HEIGHT, "width": WIDTH}
                   for i in range(len(images))],
        "annotations": annotations,
        "categories": [{"id": i, "name": c, "isthing": int(i <= THINGS)} for i, c in enumerate(CATEGORIES, 1)],
        "relations_categories": [{"id": i, "name": p} for i, p in enumerate(PREDICATES, 1)],
    })  # fmt: skip


def predictions(images):
    """The answers of a case as a run would have written them; a picture without one has no file there."""
    for i, image in enumerate(images):
        if image.get("answer") is None:
            continue
        text = f"```json\n{json.dumps(image['answer'])}\n```"
        decoded = {codes.key: encode(DECODED[codes.key]).to_coco() for codes in codes_to_decode(TASK, text)
                   if codes.key in DECODED}  # fmt: skip
        # The look-up table of the original gives entry 0 of book 2 for an absent word.
        yield Prediction.model_validate({"id": str(1000 + i), "text": text, "decoded": decoded})


@pytest.fixture
def scored(tmp_path):
    def of(name):
        images = SCORING["cases"][name]["images"]
        write_benchmark(tmp_path, images)
        return score(TASK, TASK.read(tmp_path, "val"), list(predictions(images)), protocols=["samtok"])

    return of


def test_the_prompt_lists_the_names_of_the_file(tmp_path):
    write_benchmark(tmp_path, SCORING["cases"]["perfect"]["images"])
    task = TASK.asked_with(SCENE_GRAPH_CANDIDATES.id)
    assert [turn.text for turn in task.read(tmp_path, "val")[0].turns] == [READING["prompt"]]
    assert task.max_new_tokens == READING["generation"]["max_new_tokens"]


def test_the_file_tells_things_from_stuff(tmp_path):
    write_benchmark(tmp_path, SCORING["cases"]["perfect"]["images"])
    target = TASK.read(tmp_path, "val")[0].target
    assert isinstance(target, GraphTarget)
    assert (target.classes, target.stuff) == (tuple(CATEGORIES), frozenset(CATEGORIES[THINGS:]))


@pytest.mark.parametrize("name", READING["answers"])
def test_answers_are_kept_and_read_as_there(name):
    case = READING["answers"][name]
    expected = case["expected"]
    if name == "closed_without_end_word":
        # Here the end word is no part of an answer, so that a closed fence at the end is a finished answer.
        assert expected == {"skipped": True} and is_kept(case["text"])
        return
    assert is_kept(case["text"]) == ("skipped" not in expected)
    if "stops" in expected:
        with pytest.raises(PolicyCrashError):
            entries(case["text"])
    elif "psg_list" in expected:
        wanted = expected["psg_list"]
        assert entries(case["text"]) == (wanted if isinstance(wanted, list) else [wanted])


@pytest.mark.parametrize("name", [name for name, case in SCORING["cases"].items() if "stops" not in case["expected"]])
def test_recall_is_that_of_the_script(name, scored):
    expected, found = SCORING["cases"][name]["expected"], scored(name).metrics["samtok"]
    for rank in RANKS:
        assert found[f"recall@{rank}"]["value"] == pytest.approx(expected[f"R@{rank}"], abs=1e-6)
        assert found[f"mean_recall@{rank}"]["value"] == pytest.approx(expected[f"mR@{rank}"], abs=1e-6)


@pytest.mark.parametrize("name", [name for name, case in SCORING["cases"].items() if "stops" in case["expected"]])
def test_what_stops_the_script_is_counted_and_scored_as_an_empty_answer(name, scored):
    if name == "gt_without_relation":
        with pytest.raises(DataError, match="no picture with relations"):
            scored(name)
        return
    found = scored(name)
    assert found.metrics.counters.reference_crashes == {"samtok": 1}
    assert found.metrics["samtok"]["recall@20"]["value"] == 0
