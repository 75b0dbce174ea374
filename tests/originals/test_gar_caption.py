"""GAR-Bench's scorers of captions: the judge is shown and asked the same, and the same replies count."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samtok_eval.masks import Rle, box
from samtok_eval.metrics.gar_caption import seen_box
from samtok_eval.metrics.judge import Picture
from samtok_eval.prompts import JUDGE_RELATION
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from tests.support.originals import ORIGINALS, cases

FILES = {
    "eval_detailed": ("gar-detail", "GAR-Bench-Caption-Detailed.json"),
    "eval_simple": ("gar-simple", "GAR-Bench-Caption-Simple.json"),
}
CASES = cases("gar_caption")
CYCLEGRPO = json.loads((ORIGINALS.parent / "cyclegrpo" / "gar_detail.json").read_text())


def shown(part: str | Picture) -> object:
    if isinstance(part, str):
        return part
    pixels = np.asarray(Image.open(io.BytesIO(part.png())))
    return {"size": list(pixels.shape), "sha256": hashlib.sha256(pixels.tobytes()).hexdigest()}


def write_pictures(folder: Path) -> None:
    sizes = json.loads((ORIGINALS / "gar_caption.json").read_text())["sizes"]
    for name, (height, width) in sizes.items():
        y, x = np.mgrid[:height, :width]
        pixels = np.stack([(3 * x + y) % 256, x * y % 256, (x + 7 * y) % 256], axis=-1)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}.png")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['script']} {case['replies']}")
def test_the_judge_is_asked_and_understood_as_by_the_original(case, tmp_path):
    split, file = FILES[case["script"]]
    task = load_tasks()["region_caption"]
    folder = tmp_path / "gar_bench"
    folder.mkdir()
    write_pictures(folder)
    (folder / file).write_text(json.dumps(case["rows"]))
    recorded = tmp_path / "theirs_eval.json"
    rows = [row | {"eval_result": reply} for row, reply in zip(case["rows"], case["replies"], strict=True)]
    recorded.write_text(json.dumps(rows))

    samples = task.read(tmp_path, split)
    answers = task.foreign(case["rows"])
    found = score(task, samples, answers, protocols=["official"], judge=f"replay:{recorded}")
    accuracy = found.metrics["official"]["judge_accuracy|replay:theirs_eval"]
    assert (accuracy["value"], accuracy["n"]) == (case["accuracy"], len(rows))
    exported = task.export(samples, {answer.id: answer for answer in answers})["captions.json"]
    assert exported == [{key: value for key, value in row.items() if key != "question"} for row in case["rows"]]

    judging = task.judgings[split]
    for sample, row, asked in zip(samples, case["rows"], case["asked"], strict=True):
        (prompt,) = judging.prompts(sample, row["model_output"])
        assert [shown(part) for part in prompt.parts] == asked
        assert prompt.max_tokens == case["max_tokens"]


@pytest.mark.parametrize("name", CYCLEGRPO["crops"])
def test_a_view_is_that_of_the_released_script(name):
    crop = CYCLEGRPO["crops"][name]
    region = Rle.from_coco(crop["mask"])
    x, y, width, height = crop["box_xywh"]
    assert box(region) == (x, y, x + width - 1, y + height - 1)
    x1, y1, x2, y2 = seen_box(region)
    assert ([x1, x2], [y1, y2]) == (crop["crop_x"], crop["crop_y"])


def test_the_text_is_that_of_the_released_script():
    text = JUDGE_RELATION(subject_name="man", object_name="horse", predicate_name="riding", model_output="OUT")
    assert text == CYCLEGRPO["judge_prompt"]


@pytest.mark.parametrize(("reply", "counts"), CYCLEGRPO["counted_true"].items())
def test_only_the_exact_word_counts(reply, counts):
    judging = load_tasks()["region_caption"].judgings["gar-detail"]
    assert judging.judgement(None, [reply], original=True).values == {"judge_accuracy": float(counts)}
