"""The scorers of GRES and RefCOCO against the golden values of the original scripts, and by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.errors import UsageError
from samtok_eval.metrics.referring import by_phrase
from samtok_eval.passages import Answer
from samtok_eval.prediction import CocoRle, Prediction
from samtok_eval.prompts import SEGMENT_PHRASE, SEGMENT_PHRASE_THINKING
from samtok_eval.registry import find_task, load_tasks
from samtok_eval.run.score import score
from samtok_eval.sample import ImageRef, Sample, Target

HEIGHT, WIDTH = 20, 30
TASKS = load_tasks()


def rectangle(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


BOX = rectangle(0, 0, 10, 10)
NOTHING = rectangle(0, 0, 0, 0)
CASES = {
    "perfect": (BOX, BOX),
    "half": (BOX, rectangle(0, 0, 5, 10)),
    "miss": (BOX, NOTHING),
    "disjoint": (BOX, rectangle(15, 5, 25, 15)),
    "no-target right": (NOTHING, NOTHING),
    "no-target wrong": (NOTHING, rectangle(0, 0, 10, 2)),
}


def sample(name: str, truth: np.ndarray, image: str = "1", phrase: str = "") -> Sample:
    target = Target((masks.encode(truth),) if truth.any() else ())
    return Sample(name, ImageRef(image, Path("none.png"), HEIGHT, WIDTH), (), target, phrase or name)


def foreign(name: str, answer: np.ndarray) -> Prediction:
    rles = [CocoRle.model_validate(masks.encode(answer).to_coco())] if answer.any() else []
    return Prediction(id=name, masks=rles)


def scored(task: str, names: list[str]):
    samples = [sample(name, CASES[name][0]) for name in names]
    return score(TASKS[task], samples, [foreign(name, CASES[name][1]) for name in names]).metrics


def test_gres_golden_values_of_the_released_script():
    metrics = scored("gres", list(CASES))["samtok"]
    percent = {name: round(100 * metrics[name]["value"], 2) for name in ("n_acc", "t_acc", "giou", "ciou")}
    assert percent == {"n_acc": 50.0, "t_acc": 75.0, "giou": 41.67, "ciou": 28.85}


def test_gres_counts_a_false_alarm_in_the_union():
    metrics = scored("gres", list(CASES))["strict"]
    assert metrics["ciou"]["value"] == 150 / 520
    assert metrics["giou"]["value"] == pytest.approx((1 + 0.5 + 0 + 0 + 1 + 0) / 6)
    assert metrics["n_acc"]["n"] == 2
    # An IoU of exactly the threshold counts.
    assert metrics["pr@0.5"] == {**metrics["pr@0.5"], "value": 2 / 4, "n": 4}
    assert metrics["pr@0.6"]["value"] == 1 / 4


def test_refcoco_golden_values_of_the_released_script():
    metrics = scored("refcoco", ["perfect", "half", "miss", "disjoint"])["samtok"]
    assert metrics["box_acc@0.5"]["value"] == 0.25
    assert metrics["giou_by_phrase"]["value"] == 0.375


def test_refcoco_view_on_the_second_list_counts_unseen_rows_as_zero():
    import sys

    released_view = sys.modules[type(TASKS["refcoco"]).__module__].released_view
    names = ["perfect", "half", "miss", "disjoint"]
    samples = [sample(name, CASES[name][0]) for name in names]
    records = score(TASKS["refcoco"], samples, [foreign(n, CASES[n][1]) for n in names], protocols=["samtok"]).records
    rows = [("1", name) for name in names]
    view = released_view(by_phrase(records), [*rows, ("2", "unseen")])
    assert (view["box_acc@0.5"].value, view["giou_by_phrase"].value) == (0.20, 0.30)


def test_repeated_phrases_keep_the_best_mask_but_the_last_box():
    samples = [sample(name, BOX, phrase="same") for name in ("first", "second")]
    answers = [foreign("first", BOX), foreign("second", rectangle(20, 10, 30, 20))]
    metrics = score(TASKS["refcoco"], samples, answers).metrics
    assert metrics["samtok"]["giou_by_phrase"]["value"] == 1.0
    assert metrics["samtok"]["box_acc@0.5"]["value"] == 0.0
    assert metrics["strict"]["giou"]["value"] == 0.5


def test_refcoco_ciou_is_cumulative_and_giou_a_mean():
    metrics = scored("refcoco", ["perfect", "half", "miss", "disjoint"])["strict"]
    assert metrics["ciou"]["value"] == 150 / 500
    assert metrics["giou"]["value"] == 0.375


def test_missing_and_errored_answers_fail_even_where_empty_would_be_right():
    samples = [sample("a", NOTHING), sample("b", NOTHING), sample("c", NOTHING)]
    answers = [Prediction(id="a", text="", status="error", error="boom"), foreign("b", NOTHING)]
    metrics = score(TASKS["gres"], samples, answers).metrics
    assert metrics["strict"]["n_acc"]["value"] == 1 / 3
    assert metrics["strict"]["giou"]["value"] == 1 / 3
    assert metrics["samtok"]["n_acc"]["value"] == 1.0
    assert (metrics["counters"]["errored"], metrics["counters"]["missing"]) == (1, 1)


def test_answers_that_stop_the_reference_script_are_empty_and_counted():
    swapped = "<|mt_start|><|mt_0300|><|mt_0005|><|mt_end|>"
    rle = CocoRle.model_validate(masks.encode(BOX).to_coco())
    answer = Prediction(id="a", text=swapped, decoded={"5,44": rle}, status="repaired")
    metrics = score(TASKS["gres"], [sample("a", BOX)], [answer]).metrics
    assert metrics["strict"]["giou"]["value"] == 1.0
    assert metrics["samtok"]["giou"]["value"] == 0.0
    assert metrics["counters"]["reference_crashes"] == {"samtok": 1, "samtok_rl": 1}


def test_a_lone_first_code_decodes_differently_under_strict_and_samtok():
    lone = "<|mt_start|><|mt_0005|><|mt_end|>"
    decoded = {
        "5,-": CocoRle.model_validate(masks.encode(BOX).to_coco()),
        "5,0": CocoRle.model_validate(masks.encode(rectangle(0, 0, 5, 10)).to_coco()),
    }
    answer = Prediction(id="a", text=lone, decoded=decoded, status="repaired")
    metrics = score(TASKS["gres"], [sample("a", BOX)], [answer]).metrics
    assert metrics["strict"]["giou"]["value"] == 1.0
    assert metrics["samtok"]["giou"]["value"] == pytest.approx(0.5)


def test_masks_of_the_reasoning_do_not_count_after_reinforcement_nor_under_strict():
    first, second = ("<|mt_start|><|mt_0005|><|mt_0263|><|mt_end|>", "<|mt_start|><|mt_0006|><|mt_0264|><|mt_end|>")
    decoded = {
        "5,7": CocoRle.model_validate(masks.encode(rectangle(15, 5, 25, 15)).to_coco()),
        "6,8": CocoRle.model_validate(masks.encode(BOX).to_coco()),
    }
    text = f"<think>{first}</think><answer>{second}</answer>"
    answer = Prediction(id="a", text=text, decoded=decoded, status="ok")
    gres = score(TASKS["gres"], [sample("a", BOX)], [answer]).metrics
    assert {name: gres[name]["giou"]["value"] for name in ("strict", "official", "samtok", "samtok_rl")} == (
        pytest.approx({"strict": 1.0, "official": 1.0, "samtok": 0.5, "samtok_rl": 1.0})
    )
    refcoco = score(TASKS["refcoco"], [sample("a", BOX)], [answer]).metrics
    assert refcoco["samtok_rl"]["giou_by_phrase"]["value"] == refcoco["samtok_rl"]["box_acc@0.5"]["value"] == 1.0
    assert refcoco["samtok_rl"]["giou"]["value"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "tokens"), [("gres", 1024), ("refcoco", 2048), ("refcoco+", 2048), ("refcocog", 2048)]
)
def test_the_prompt_of_thinking_checkpoints_asks_for_reasoning_and_leaves_room_for_it(name, tokens, demo_root):
    task = TASKS[name].asked_with("segment-phrase-rl")
    turn = task.read(demo_root, "val")[0].turns[0].text
    assert turn.startswith("Please segment ")
    assert turn.endswith("</think><answer> answer here </answer>")
    assert (task.max_new_tokens, TASKS[name].max_new_tokens) == (tokens, 128)


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("gcg", "gcg-brief-rl"),
        ("reasonseg", "segment-implied-rl"),
        ("mmr", "segment-implied-rl"),
        ("grounding_suite", "find-described-rl"),
    ],
)
def test_every_prompt_of_thinking_checkpoints_is_the_usual_question_and_the_released_request(name, prompt, demo_root):
    usual, thinking = TASKS[name], TASKS[name].asked_with(prompt)
    split = usual.metadata.default_split
    pairs = zip(usual.read(demo_root, split), thinking.read(demo_root, split), strict=True)
    request = SEGMENT_PHRASE_THINKING.template.removeprefix(SEGMENT_PHRASE.template)
    for before, now in pairs:
        question = before.turns[0].text
        if name == "gcg":
            question = f"{question.removesuffix('.')} and highlight the phrases."
        assert now.turns[0].text == question + request
        assert replace(now, turns=before.turns) == before
    assert (thinking.max_new_tokens, usual.max_new_tokens) == (2048 if name == "gcg" else 1024, 512)


def test_a_target_of_no_pixel_is_a_target_to_relas_scorer_alone():
    meant = replace(sample("a", NOTHING), target=Target((masks.encode(NOTHING),)))
    metrics = score(TASKS["gres"], [meant, sample("b", BOX)], [foreign("a", NOTHING), foreign("b", BOX)]).metrics
    assert metrics["official"]["giou"]["value"] == 0.5
    assert metrics["official"]["t_acc"]["value"] == 0.0
    assert (metrics["strict"]["giou"]["value"], metrics["strict"]["n_acc"]["value"]) == (1.0, 1.0)


def test_order_of_predictions_does_not_matter_and_duplicated_data_keeps_values():
    samples = [sample(name, CASES[name][0]) for name in CASES]
    answers = [foreign(name, CASES[name][1]) for name in CASES]
    forward = score(TASKS["gres"], samples, answers).metrics
    assert score(TASKS["gres"], samples, answers[::-1]).metrics == forward
    twice = [*samples, *(Sample(f"{s.id}-2", s.image, s.turns, s.target, s.phrase) for s in samples)]
    again = score(
        TASKS["gres"], twice, [*answers, *(p.model_copy(update={"id": f"{p.id}-2"}) for p in answers)]
    ).metrics
    for name, value in forward["strict"].items():
        assert again["strict"][name]["value"] == pytest.approx(value["value"])


def test_unknown_tasks_splits_and_protocols_name_the_way_out():
    with pytest.raises(UsageError, match="did you mean gres"):
        find_task(TASKS, "gress")
    with pytest.raises(UsageError, match="val, testA, testB"):
        TASKS["gres"].check_split("test")
    with pytest.raises(UsageError, match="strict, official, samtok"):
        TASKS["gres"].protocol("lenient")


def test_every_task_card_is_complete():
    for task in TASKS.values():
        card = task.metadata
        assert card.default_split in card.splits
        assert set(card.sizes) == set(card.splits)
        assert card.main_metric in card.metrics
        assert task.protocols[0].name == "strict"


def test_where_the_original_would_stop_the_run_says_why():
    metrics = score(TASKS["gres"], [sample("a", BOX)], [foreign("a", BOX)]).metrics
    assert metrics["strict"]["giou"]["value"] == 1.0
    assert set(metrics["stopped"]) == {"samtok", "samtok_rl"}
    assert "sentences without a target, which is 0" in metrics["stopped"]["samtok"]
    crowd = Target((masks.encode(BOX),), other_masks={"official": None})
    metrics = score(TASKS["gres"], [replace(sample("a", BOX), target=crowd)], [foreign("a", BOX)]).metrics
    assert metrics["official"] == {}
    assert metrics["stopped"]["official"].endswith("stops at the annotations of a")


def test_beside_an_answer_in_words_a_bare_mask_is_shown_too(demo_samples):
    task, sample = load_tasks()["gres"], demo_samples("gres", 1)[0]
    bare, worded = (
        "<|mt_start|><|mt_0001|><|mt_0300|><|mt_end|>",
        "The square <|mt_start|><|mt_0001|><|mt_0300|><|mt_end|>.",
    )

    def titles(*texts):
        sides = ("prediction", "baseline")
        answers = [
            Answer(side, Prediction(id=sample.id, text=text), codes=("1,44",))
            for side, text in zip(sides, texts, strict=True)
        ]
        rules = task.protocols[0]
        passages = task.passages(sample, answers, task.score(sample, None, rules), rules)
        return [passage.title for passage in passages]

    assert titles(bare, worded) == ["answer", "the baseline's answer"]
    assert titles(bare, bare) == []
