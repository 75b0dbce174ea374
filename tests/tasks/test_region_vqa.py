"""Region VQA: regions become masks in the question, letters are read by three rules."""

from __future__ import annotations

import json

import numpy as np
import pytest

from samtok_eval.errors import DataError, UsageError
from samtok_eval.metrics.choices import exact, lenient_letter, official
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.score import score
from samtok_eval.run.settings import RunOptions
from samtok_eval.sample import Region
from tests.conftest import shared

OPTIONS = ("A. red", "B. dark blue", "C. green", "D. <mask 1>")


@pytest.fixture(scope="module")
def task():
    return load_tasks()["region_vqa"]


@pytest.mark.parametrize(
    ("text", "is_exact", "is_official", "letter"),
    [
        ("B", True, True, "B"),
        ("b", True, True, "B"),
        (" B\n", True, True, "B"),
        ("B<|eot_id|>", False, True, "B"),
        ("B<|eot_id|><|eot_id|>", False, True, "B"),
        ("<|eot_id|>B<|eot_id|>\n", False, True, "B"),
        ("<|eot_id|>B", False, False, "B"),
        ("B <|eot_id|>", False, False, "B"),
        ("B<|eot_id|> <|eot_id|>", False, False, "B"),
        ("B.", False, False, "B"),
        ("(B)", False, False, "B"),
        ("B. dark blue", False, False, "B"),
        ("The answer is B", False, False, "B"),
        ("The correct option: (b).", False, False, "B"),
        ("Dark blue.", False, False, "B"),
        ("<think>A or C?</think>B", False, False, "B"),
        ("<think></think>\n<answer>B</answer>", False, False, "B"),
        ("A dark blue one", False, False, None),
        ("", False, False, None),
        ("E", False, False, None),
        ("Because", False, False, None),
        ("答案是 B" * 10_000, False, False, None),
    ],
)
def test_letters(text, is_exact, is_official, letter):
    assert exact(text, "B") == is_exact
    assert official(text, "B") == is_official
    assert lenient_letter(text, OPTIONS) == letter


def test_regions_stand_where_the_question_and_its_options_name_them(tmp_path, task):
    rle = {"size": [2, 2], "counts": [0, 1, 3]}
    write(tmp_path, [row(question="Is <Prompt1> left of <Prompt0>?", mask_rles=[rle, {"size": [2, 2], "counts": [4]}],
                         choices=["A. <Prompt0>", "B. No"])])  # fmt: skip
    parts = task.read(tmp_path, "test")[0].turns[0].parts
    assert [type(part).__name__ for part in parts] == ["str", "Region", "str", "Region", "str", "Region", "str"]
    regions = [part for part in parts if isinstance(part, Region)]
    assert regions[1] == regions[2] != regions[0]
    text = "".join(part if isinstance(part, str) else "#" for part in parts)
    assert text == "Question: Is # left of #?\nOptions:\nA. #\nB. No\nAnswer with the correct option's letter directly."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "<Prompt2>?"}, "names <Prompt2> but has 1 regions"),
        ({"mask_rles": []}, "has no region"),
        ({"mask_rles": [{"size": [2, 2], "counts": [3]}]}, "must sum to"),
        ({"choices": []}, "has no choices"),
        ({"type": ...}, "'type' is missing"),
        ({"answer": None}, "a text is needed, got None"),
    ],
)
def test_broken_items_say_what_is_wrong(tmp_path, task, change, message):
    item = {key: value for key, value in {**row(), **change}.items() if value is not ...}
    write(tmp_path, [item])
    with pytest.raises(DataError, match=message):
        task.read(tmp_path, "test")


def test_missing_answers_are_wrong_and_counted(tmp_path, task):
    write(tmp_path, [row(image=f"images/{i}.png", answer="AAB"[i]) for i in range(3)])
    samples = task.read(tmp_path, "test")
    found = score(task, samples, [Prediction(id="images/0.png", text="a"), Prediction(id="images/2.png", text="B.")])
    values = {name: found.metrics[name]["accuracy"]["value"] for name in ("strict", "lenient", "official")}
    assert values == {"strict": 1 / 3, "lenient": 2 / 3, "official": 1 / 3}
    assert found.metrics["strict"]["majority"]["value"] == 2 / 3
    assert found.metrics["counters"]["missing"] == 1
    assert found.exports["outputs.json"] == [
        {"image": "images/0.png", "model_output": "a"},
        {"image": "images/2.png", "model_output": "B."},
    ]


def test_guesses_are_letters_of_the_question(demo_root, task):
    samples = task.read(demo_root, "test")
    rng = np.random.default_rng(0)
    drawn = {task.guess(sample, samples, rng) for sample in samples}
    assert drawn == set("ABCD")
    assert {sample.slices["type"] for sample in samples} == {"color", "shape", "relation", "ordering"}


def test_recorded_outputs_give_the_published_accuracy(tmp_path):
    outputs = shared("data", "gar_bench", "gar_1b_vqa_outputs.json")
    run = score_file(RunOptions(task="region_vqa", data_root=str(outputs.parents[1]), out=tmp_path), outputs)
    assert run.values("official")["accuracy"]["value"] == pytest.approx(0.4788, abs=5e-5)
    assert run.values("official")["majority"]["value"] == pytest.approx(131 / 424)
    kinds = {name: value["accuracy"]["n"] for name, value in run.metrics["slices"]["strict"]["type"].items()}
    assert kinds == {"relation": 101, "color": 69, "shape": 64, "ordering": 64, "mirror": 61, "material": 36,
                     "texture/pattern": 29}  # fmt: skip


def test_other_json_files_are_refused(tmp_path, demo_root):
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(DataError, match="not in the result format of region_vqa"):
        score_file(RunOptions(task="region_vqa", data_root=str(demo_root), out=tmp_path), tmp_path / "x.json")


def row(**changes):
    item = {"image": "images/x.png", "mask_rles": [{"size": [2, 2], "counts": [0, 1, 3]}], "question": "<Prompt0>?",
            "choices": ["A. Yes", "B. No"], "answer": "A", "type": "color"}  # fmt: skip
    return {**item, **changes}


def write(root, items):
    folder = root / "gar_bench"
    folder.mkdir()
    (folder / "GAR-Bench-VQA.json").write_text(json.dumps(items))


def test_a_judge_that_nothing_would_ask_is_refused(tmp_path, demo_root):
    options = RunOptions(task="region_vqa", data_root=str(demo_root), out=tmp_path, judge="replay:x.json")
    with pytest.raises(UsageError, match="region_vqa has no judged metric"):
        score_file(options, write_lines(tmp_path / "p.jsonl"))


def write_lines(path):
    path.write_text('{"id": "images/vqa_0.png", "text": "A"}\n')
    return path
