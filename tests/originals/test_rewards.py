from __future__ import annotations

import pytest

from samtok_eval.training.rewards import REWARDS
from tests.support.originals import cases


def test_every_reward_equals_the_released_function():
    all_cases = cases("rewards")
    assert len(all_cases) == 1000
    for case in all_cases:
        found = REWARDS[case["reward"]](case["prediction"], case["reference"])
        if case["original"] == "crash":
            # Neither text has a phrase or a triplet, and the original divides by their number.
            assert found == 1.0, case
        else:
            assert found == pytest.approx(case["original"], abs=1e-9), case
