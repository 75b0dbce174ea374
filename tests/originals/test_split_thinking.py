from __future__ import annotations

from samtok_eval.mask_tokens import split_thinking
from tests.support.originals import cases, codes_of, looked_up


def test_every_reply_falls_into_the_same_two_parts():
    all_cases = cases("split_thinking")
    wrong = [c["answer"] for c in all_cases if split_thinking(c["answer"]) != (c["thinking"], c["final_answer"])]
    assert len(all_cases) == 600
    assert not wrong


def test_the_masks_of_every_reply_are_those_of_its_final_answer():
    wrong = [c for c in cases("split_thinking") if codes_of(c["answer"], "ref_rl_gres") != looked_up(c["codes"])]
    assert not wrong
