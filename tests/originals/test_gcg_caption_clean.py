from __future__ import annotations

from samtok_eval.metrics.gcg import read_released
from tests.support.originals import cases


def test_caption_and_phrases_of_every_answer_are_those_that_the_script_stores():
    all_cases = cases("gcg_caption_clean")
    wrong = [c for c in all_cases if read_released(c["answer"]) != (c["caption"], c["phrases"])]
    assert len(all_cases) == 400
    assert not wrong, wrong[:2]
