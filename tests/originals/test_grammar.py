from __future__ import annotations

import pytest

from tests.support.originals import cases, codes_of, looked_up


@pytest.mark.parametrize("policy", ["ref_gres", "ref_rl_gres", "ref_gcg", "ref_last"])
def test_each_policy_reads_every_answer_as_its_script_does(policy):
    all_cases = cases("grammar")
    wrong = [case["answer"] for case in all_cases if codes_of(case["answer"], policy) != looked_up(case[policy])]
    assert len(all_cases) == 1500
    assert not wrong
