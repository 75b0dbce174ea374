"""How far a faster way to compute agrees with float32."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from samtok_eval.cli.main import app
from samtok_eval.errors import UsageError
from samtok_eval.registry import load_tasks
from samtok_eval.run.precision import Agreement, Computed, agreement, audit
from samtok_eval.run.settings import RunSettings

ONE = np.array([[True, True], [False, False]])
BOTH = np.array([[True, True], [True, True]])
NONE = np.zeros((2, 2), dtype=bool)


def computed(codes, decoded, texts):
    return Computed([np.array(codes)], [np.stack(decoded)], texts)


def test_shares_of_equal_codes_and_texts_and_the_iou_of_masks():
    exact = computed([[1, 2], [3, 4], [5, 6]], [ONE, ONE, NONE], ["a", "b"])
    asked = computed([[1, 2], [3, 9], [5, 6]], [ONE, BOTH, NONE], ["a", "c"])
    found = agreement(exact, asked)
    assert found == Agreement(3, pytest.approx(2 / 3), pytest.approx(2.5 / 3), 0.5, 2, 0.5)
    assert not found.is_close and agreement(exact, exact).is_close


def test_float32_agrees_with_itself_and_bfloat16_is_told_apart(demo_samples):
    task, samples = load_tasks()["gres"], demo_samples("gres", 20)
    same, rounded = (audit("demo", RunSettings(device="cpu", dtype=dtype), task, samples) for dtype in ("fp32", "bf16"))
    assert same.is_close and (same.equal_codes, same.least_iou, same.equal_texts) == (1, 1, 1)
    assert same.masks == sum(len(sample.target.masks) for sample in samples) and same.texts == 20
    assert 0.5 < rounded.mean_iou < 1


def test_a_model_without_weights_here_is_refused():
    with pytest.raises(UsageError, match="--model oracle is none"):
        audit("oracle", RunSettings(), load_tasks()["gres"], [])


def test_how_to_compute_is_asked_with_precision_alone():
    refused = CliRunner().invoke(app, ["doctor", "--dtype", "bf16"])
    assert isinstance(refused.exception, UsageError)
