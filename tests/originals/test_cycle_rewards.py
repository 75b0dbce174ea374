"""CycleGRPO's rewards: every case that the original was run on, and what it refuses."""

from __future__ import annotations

import pytest

from samtok_eval.errors import UsageError
from samtok_eval.training.cycle import CYCLED, RELEASED, cycle_sources, grades
from samtok_eval.training.rewards import REWARDS
from tests.support.originals import released

CASES = list(enumerate(released("cyclegrpo_reward")))
WEIGHTS = cycle_sources("cyclegrpo")
PARTS = {
    "no_target": ("no_target_accuracy",),
    "whole_span": ("cap_format",),
    "answer_matching": ("cap_iou_scores",),
    "grounded_masks": ("gcg_accuracy",),
    "grounded_phrases": ("gcg_phrase",),
    "non_repetition": ("no_repeat_score",),
    "format": ("format",),
    "final_answer_matching": ("accuracy",),
    "thinking_non_repetition": ("think_content_no_repeat_score",),
    "final_non_repetition": ("answer_content_no_repeat_score",),
}


def earned(task, given):
    """Every number of the original for one input, as ours are called there."""
    source, response = str(given["source"]), given["response"]
    if task == "segmentation":
        if source not in CYCLED:
            raise UsageError(source)
        found = RELEASED.segmenter(response, given["mask_token_accuracy"], given["iou_scores"])
        return {
            "seg_overall": found.total,
            "seg_iou_scores": found.agreement,
            "seg_answer_content_no_repeat_score": found.non_repetition,
            "seg_mask_token_format_correct": found.whole_span,
        }
    if source in CYCLED:
        caption = RELEASED.caption(response, given["iou_scores"])
        return {
            "cap_overall": caption.total,
            "cap_iou_scores": caption.agreement,
            "cap_answer_content_no_repeat_score": caption.non_repetition,
            "cap_no_mask_token_check_score": caption.plain,
        }
    if source not in WEIGHTS:
        raise UsageError(source)
    reference = given.get("seg_ground_truth", given.get("ground_truth"))
    values = {name: REWARDS[name](response, reference) for name in WEIGHTS[source]}
    parts = {key: value for name, value in values.items() for key in PARTS[name]}
    return {"cap_overall": sum(WEIGHTS[source][name] * value for name, value in values.items()), **parts}


@pytest.mark.parametrize(("number", "case"), CASES)
def test_every_case_earns_what_it_earned_there(number, case):
    stops = case["expected"].get("stops", "")
    if stops.startswith("NotImplementedError"):
        with pytest.raises(UsageError):
            earned(case["task"], case["input"])
    elif stops:
        # Neither text has a phrase, and the original divides by their number.
        assert earned(case["task"], case["input"])["cap_overall"] == 3
    else:
        assert earned(case["task"], case["input"]) == pytest.approx(case["expected"])


def test_grades_are_those_of_the_original_answer_to_a_grounding_question():
    cases = [case for _, case in CASES if case["input"]["source"] == "dam_grounding"]
    for case in cases:
        (grade,) = grades([case["input"]["response"]], case["input"]["seg_ground_truth"])
        assert grade == case["expected"]["cap_iou_scores"]
    assert len(cases) == 5
