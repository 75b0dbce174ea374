"""Multi-round segmentation: the files, the released scorer's golden values, and whose masks a history shows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import render
from samtok_eval.messages import Message
from samtok_eval.models.backend import Answer, request_of
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.predict import with_own_history
from samtok_eval.run.score import score


@pytest.fixture(scope="module")
def task():
    return load_tasks()["interactive"]


def rle(x, y, width, height):
    mask = np.zeros((20, 30), dtype=bool)
    mask[y : y + height, x : x + width] = True
    return masks.encode(mask)


def write(root, content):
    (root / "segllm").mkdir()
    (root / "segllm" / "mr_refcoco_val_sampled.json").write_text(json.dumps(content))


def entry(target, *texts):
    history = [{"from": "gpt" if i % 2 else "human", "value": text} for i, text in enumerate(texts)]
    return {"image": "x.jpg", "history": history, "target_masks": [target]}


def test_golden_values_of_the_released_scorer(tmp_path, task):
    """Perfect, half, miss, disjoint, nothing for nothing, 20 pixels for nothing."""
    full, nothing = rle(0, 0, 10, 10), rle(0, 0, 0, 0)
    targets = [full, full, full, full, nothing, nothing]
    answers = [full, rle(0, 0, 5, 10), nothing, rle(15, 5, 10, 10), nothing, rle(0, 0, 4, 5)]
    write(tmp_path, {"0": [entry(target.to_coco(), "<image>\nq") for target in targets]})
    samples = task.read(tmp_path, "refcoco")
    found = score(
        task, samples, [Prediction(id=s.id, masks=[a.to_coco()]) for s, a in zip(samples, answers, strict=True)]
    )
    assert found.metrics["samtok"]["ciou"]["value"] == pytest.approx(0.28846, abs=1e-5)
    assert found.metrics["samtok"]["giou"]["value"] == pytest.approx(0.41667, abs=1e-5)


def test_rounds_are_told_apart_and_pooled(tmp_path, task):
    target = rle(0, 0, 4, 4)
    write(
        tmp_path, {"0": [entry(target.to_coco(), "<image>\na")], "1": [entry(target.to_coco(), "<image>\na", "b", "c")]}
    )
    samples = task.read(tmp_path, "refcoco")
    assert [sample.id for sample in samples] == ["0-0", "1-0"]
    assert [turn.text for turn in samples[1].turns] == ["a", "b", "c"]
    found = score(task, samples, [Prediction(id="0-0", masks=[target.to_coco()])])
    rounds = found.metrics["slices"]["strict"]["round"]
    assert {name: value["giou"]["value"] for name, value in rounds.items()} == {"0": 1.0, "1": 0.0}
    assert found.metrics["strict"]["giou"]["value"] == 0.5


def test_only_the_last_mask_of_an_answer_counts_under_samtok(tmp_path, task):
    left, right = rle(0, 0, 4, 4), rle(10, 0, 4, 4)
    write(tmp_path, {"0": [entry([left.to_coco(), rle(0, 4, 4, 4).to_coco()], "<image>\na")]})
    samples = task.read(tmp_path, "refcoco")
    found = score(task, samples, [Prediction(id="0-0", masks=[right.to_coco(), left.to_coco()])])
    assert found.metrics["samtok"]["giou"]["value"] == pytest.approx(0.5, abs=1e-5)
    assert found.metrics["strict"]["giou"]["value"] == pytest.approx(16 / 48)


def test_an_answer_with_several_masks_is_united_in_strict_and_counts_for_the_first_target_in_samtok(tmp_path, task):
    left, right = rle(0, 0, 4, 4), rle(10, 0, 4, 4)
    write(tmp_path, {"1": [{**entry({}, "<image>\na"), "target_masks": [left.to_coco(), right.to_coco()]}]})
    samples = task.read(tmp_path, "refcoco")
    found = score(task, samples, [Prediction(id="1-0", masks=[left.to_coco(), right.to_coco()])])
    assert found.metrics["strict"]["giou"]["value"] == 1.0
    # The released scripts keep the last mask of an answer, so that a right one is counted wrong.
    assert found.metrics["samtok"]["giou"]["value"] == pytest.approx(0.0, abs=1e-5)
    found = score(task, samples, [Prediction(id="1-0", masks=[left.to_coco()])])
    assert found.metrics["strict"]["giou"]["value"] == 0.5
    assert found.metrics["samtok"]["giou"]["value"] == pytest.approx(1.0, abs=1e-5)


def test_the_first_turn_is_stripped_of_marks_and_outer_blanks_and_no_other(tmp_path, task):
    target = rle(0, 0, 4, 4).to_coco()
    write(tmp_path, {"1": [entry(target, " <image>\n a  b <image>\n", " c ", " <image>\nd ")]})
    (sample,) = task.read(tmp_path, "refcoco")
    assert [turn.text for turn in sample.turns] == ["a  b", " c ", " <image>\nd "]


@pytest.mark.parametrize("place", ["coco/train2014", "segllm/data/coco/train2014", "data/coco/train2014"])
def test_pictures_are_found_where_the_documentation_puts_them_or_where_the_file_says(tmp_path, task, place):
    target = rle(0, 0, 4, 4).to_coco()
    write(tmp_path, {"1": [{**entry(target, "<image>\na"), "image": "./data/coco/train2014/x.jpg"}]})
    assert task.read(tmp_path, "refcoco")[0].image.path == tmp_path / "coco" / "train2014" / "x.jpg"
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "x.jpg").touch()
    assert task.read(tmp_path, "refcoco")[0].image.path == tmp_path / place / "x.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (3, "must map each round"),
        ([], "holds no conversation that can be used"),
        ({"0": [{"image": "x"}]}, "not {image, history, target_masks}"),
        ({"0": [{**entry({}, "a"), "target_masks": []}]}, "0-0 must have target masks of one size, got none"),
        (
            {"0": [{**entry({}, "a"), "target_masks": [rle(0, 0, 1, 1).to_coco(), {"size": [2, 2], "counts": [4]}]}]},
            r"0-0 must have target masks of one size, got \[\(2, 2\), \(20, 30\)\]",
        ),
        ({"0": [entry({"size": [2, 2], "counts": [1]}, "a")]}, "0-0: the runs of an RLE"),
        ({"0": [entry([[0, 0, 4, 0, 4, 4]], "a")]}, "cannot be read for its size"),
        ({"0": [entry({"size": [2, 2], "counts": [4]}, "a", "b")]}, "must end with a human turn"),
        ({"0": [{**entry({}, "a"), "history": [{"from": "system", "value": "x"}]}]}, "from human or gpt"),
    ],
)
def test_other_structures_say_what_was_expected(tmp_path, task, content, message):
    write(tmp_path, content)
    with pytest.raises(DataError, match=message):
        task.read(tmp_path, "refcoco")


class Scripted:
    """Answers with the given codes, and remembers what it was asked."""

    name = "scripted"

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def identity(self):
        return {}

    def generate(self, requests, max_new_tokens):
        self.asked.append([[m.parts[-1] for m in request.messages] for request in requests])
        return [Answer(self.answers.pop(0)) for _ in requests]


def request(sample_id, image, *texts):
    turns = [Message("assistant" if i % 2 else "user", (text,)) for i, text in enumerate(texts)]
    return request_of(sample_id, image, (Message("user", (image, texts[0])), *turns[1:]))


def test_own_history_replaces_answers_and_the_mask_words_that_later_turns_repeat():
    image = np.zeros((4, 4, 3), np.uint8)
    true, own = render([(1, 2)]), render([(3, 4)])
    backend = Scripted(f"It is {own}.", "No target.")
    conversation = request("1-0", image, "a", f"It is {true}.", f"left of {true}", true, f"and {true}?")
    (found,), _ = with_own_history([conversation], backend, 128)
    assert [message.parts[-1] for message in found.messages] == [
        "a", f"It is {own}.", f"left of {own}", "No target.", f"and {own}?",
    ]  # fmt: skip
    assert backend.asked == [[["a"]], [["a", f"It is {own}.", f"left of {own}"]]]


def test_own_words_that_are_those_of_another_right_mask_are_not_replaced_again():
    image = np.zeros((4, 4, 3), np.uint8)
    first, second = render([(1, 2)]), render([(3, 4)])
    backend = Scripted(f"{second}, {first}")
    conversation = request("1-0", image, "a", f"{first}, {second}", f"{first} or {second}?")
    (found,), _ = with_own_history([conversation], backend, 128)
    assert found.messages[-1].parts == (f"{second} or {first}?",)


def test_mask_words_without_a_counterpart_are_left_out():
    image = np.zeros((4, 4, 3), np.uint8)
    true = render([(1, 2)])
    (found,), _ = with_own_history([request("1-0", image, "a", true, f"left of {true}.")], Scripted("No target."), 128)
    assert found.messages[-1].parts == ("left of .",)


def test_equal_beginnings_are_asked_once():
    image, other = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)
    true = render([(1, 2)])
    backend = Scripted("x", "y")
    requests = [request("1-0", image, "a", true, "b"), request("1-1", image, "a", true, "c"),
                request("1-2", other, "a", true, "b"), request("0-0", image, "a")]  # fmt: skip
    found, _ = with_own_history(requests, backend, 128)
    assert [r.messages[1].parts[0] for r in found[:3]] == ["x", "x", "y"]
    assert found[3] == requests[3]
    assert len(backend.asked) == 1


def test_with_right_answers_both_histories_agree(demo_root, tmp_path):
    """The oracle's earlier answers are the file's own."""
    from samtok_eval import evaluate

    runs = [
        evaluate("interactive", model="oracle", data_root=str(demo_root), out=tmp_path, limit=150, history=history)
        for history in ("gt", "pred")
    ]
    assert runs[0].values("strict") == runs[1].values("strict")
    assert runs[0].path != runs[1].path
    assert runs[0].values("strict")["giou"]["value"] > 0.9
