"""Held-out questions: how answers are scored, and the watch over them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("trl")

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.training.corpus import DEVELOPMENT
from samtok_eval.demo.training.grpo_questions import scene_questions
from samtok_eval.mask_tokens import Codes
from samtok_eval.prediction import Record
from samtok_eval.sample import ImageRef, Sample, Target, Turn
from samtok_eval.training.grpo.held_out import (
    Answered,
    answer_questions,
    attempted,
    bought,
    quality,
    report,
    sample_questions,
)
from samtok_eval.training.grpo.monitor import HeldOutMonitor
from samtok_eval.training.grpo.prompts import GCG, GRES
from samtok_eval.training.grpo.trainer import load_policy
from tests.support.grpo import recipe


def referred(number, inter, union, truth, *codes):
    record = Record(str(number), "x", "strict", "ok", inter=inter, union=union, gt_area=truth, pred_area=union - truth,
                    no_target=not truth)  # fmt: skip
    return Answered(number, GRES, record, list(codes))


def captioned(number, truths, hits, *codes):
    record = Record(str(number), "x", "strict", "ok", values={"truths": truths}, series={"hits": hits})
    return Answered(number, GCG, record, list(codes))


ANSWERS = [
    referred(0, 3, 6, 4, Codes(1, 2)),
    referred(1, 0, 4, 4),
    referred(2, 0, 0, 0),
    captioned(3, 2, [1, 0], Codes(1, 2), Codes(3, 4)),
]


def test_a_report_counts_masks_misses_and_codes():
    found = report(ANSWERS)
    assert found["giou"] == 0.5
    assert found["false_no_target"] == 0.5
    assert found["distinct_codes"] == 2
    assert found["gcg_mask_recall"] == 0.5
    # Half of the truth is reached at a precision of one half: 51 of the 101 points of recall.
    assert found["gcg_ap50"] == pytest.approx(0.5 * 51 / 101, abs=1e-4)
    assert quality(ANSWERS[::-1]) == [0.5, 0.0, 1.0, 0.5]
    assert attempted(ANSWERS[::-1]) == [1.0, 0.0]
    assert report([]) == {"distinct_codes": 0}


@pytest.mark.parametrize(
    ("change", "rewards", "verdict"),
    [
        ([-0.1] * 20, (0.3, 0.4), True),
        ([-0.1] * 20, (0.4, 0.3), False),
        ([0.0] * 20, (0.3, 0.4), False),
        ([0.1] * 20, (0.3, 0.4), False),
        ([0.9, -0.9] * 9 + [-0.1, -0.1], (0.3, 0.4), False),
        ([-0.9], (0.3, 0.4), False),
    ],
)
def test_reward_is_bought_when_it_rises_while_masks_fall_beyond_chance(change, rewards, verdict):
    start = [0.5] * len(change)
    assert bought(start, [a + b for a, b in zip(start, change, strict=True)], *rewards) is verdict


QUALITY = "held-out quality"
ATTEMPTED = "share of targets that get a mask"


def monitored(tmp_path, falls=QUALITY, **changes):
    """A monitor of a run in which one number gets worse after the first report and the other does not."""
    settings = recipe("demo-gcg", {"evaluate_every": 1, **changes})
    monitor = HeldOutMonitor(settings, None, None, [], tmp_path, "", lambda *_: None)
    monitor._start = {QUALITY: [0.9] * 10, ATTEMPTED: [0.9] * 10}
    control = SimpleNamespace(should_training_stop=False, should_save=False)
    stops = []
    for step in range(1, 5):
        state = SimpleNamespace(global_step=step, is_world_process_zero=True)
        monitor._now = {**monitor._start, falls: [0.9 - 0.1 * (step > 1)] * 10}
        monitor.on_log(None, state, control, {"reward": 0.1 * step, "held_out/giou": 0.9})
        stops.append(control.should_training_stop)
    return stops, monitor


@pytest.mark.parametrize("falls", [QUALITY, ATTEMPTED])
def test_a_run_that_buys_reward_is_warned_and_ended(tmp_path, caplog, falls):
    stops, monitor = monitored(tmp_path, falls)
    assert stops == [False, False, True, True]
    assert [line.get("held_out/bought") for line in monitor.lines] == [None, 1, 1, 1]
    assert f"reward rose from 0.100 to 0.200 while {falls} fell from 0.900 to 0.800" in caplog.text
    assert [json.loads(line)["step"] for line in (tmp_path / "training_log.jsonl").open()] == [1, 2, 3, 4]


def test_or_only_warned(tmp_path, caplog):
    stops, _ = monitored(tmp_path, stop_when_bought=False)
    assert stops == [False] * 4
    assert caplog.text.count("raise --kl-weight") == 3


def test_held_out_questions_come_from_scenes_or_from_a_benchmark(tmp_path):
    drawn = scene_questions(DEVELOPMENT, 3)
    assert sum(q.source == GCG for q in drawn) == 3
    assert any(not q.truth for q in drawn)
    Image.fromarray(drawn[0].image).save(tmp_path / "a.png")
    sample = Sample(
        "1", ImageRef("1", tmp_path / "a.png", 128, 128), (Turn("user", ("Where?",)),), Target(drawn[0].truth)
    )
    (read,) = sample_questions([sample], GRES)
    assert (read.text, read.truth, read.source) == ("Where?", drawn[0].truth, GRES)
    assert np.array_equal(read.image, drawn[0].image)


def test_held_out_questions_are_scored_by_the_tasks_of_their_sources_and_leave_training_as_it_was(demo_tokenizer):
    policy, processor = load_policy(DEMO_CHECKPOINT)
    policy.train()
    questions, state = scene_questions(DEVELOPMENT, 1), torch.get_rng_state()
    found = answer_questions(policy, processor, demo_tokenizer, list(enumerate(questions)), 60)
    assert policy.training
    assert torch.equal(torch.get_rng_state(), state)
    assert sorted(answer.number for answer in found) == list(range(len(questions)))
    assert {answer.is_caption: "hits" in answer.record.series for answer in found} == {True: True, False: False}
