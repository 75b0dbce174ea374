"""The shipped checkpoint on held-out scenes: it must refer, not guess."""

from __future__ import annotations

import pytest

from samtok_eval import evaluate
from samtok_eval.demo.baselines import blind_scores, kinds_table
from samtok_eval.registry import load_tasks
from samtok_eval.reports.summary import runs_table
from samtok_eval.run.samples import read_samples
from samtok_eval.run.signature import short_signature


@pytest.fixture(scope="module")
def runs(demo_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return [evaluate("gres", model=name, data_root=str(demo_root), out=out) for name in ("demo", "oracle", "random")]


@pytest.fixture(scope="module")
def samples(demo_root):
    return read_samples(load_tasks()["gres"], "val", str(demo_root), None)


def test_the_checkpoint_beats_every_blind_answer_on_every_kind(runs, samples):
    demo, oracle, random = (run.values("strict")["giou"]["value"] for run in runs)
    blind = blind_scores(samples)
    assert demo >= 0.5
    assert demo >= blind["all"]["all instances"] + 0.10
    assert oracle >= 0.85
    assert oracle > demo > random
    for kind, metrics in runs[0].metrics["slices"]["strict"]["kind"].items():
        assert metrics["giou"]["value"] > blind[kind]["random instance"], kind


def test_few_targets_are_called_absent(runs):
    counters = runs[0].metrics["counters"]
    assert counters["empty_on_target"] <= 0.15 * counters["targets"]


def test_intervals_hold_their_values_and_counts_add_up(runs, samples):
    for run in runs:
        for metric in run.values("strict").values():
            assert metric["low"] <= metric["value"] <= metric["high"]
        assert run.metrics["counters"]["scored"] == len(samples)
        targets = run.metrics["slices"]["strict"]["targets"]
        assert sum(values["giou"]["n"] for values in targets.values()) == len(samples)


def test_tables_name_protocol_model_n_signature_and_folder(runs, samples):
    text = runs_table(load_tasks()["gres"], runs)
    for word in ("strict", "official", "samtok", "oracle", "random", "N-acc", "T-acc", "Pr@0.9", "±", "593"):
        assert word in text
    for run in runs:
        assert str(run.path) in text
        assert short_signature(run.manifest.signature["strict"]) in text
    kinds = kinds_table(samples, runs)
    assert "random instance" in kinds
    assert "all instances" in kinds


def test_reconstruction_is_the_ceiling(demo_root, tmp_path):
    run = evaluate("reconstruction", data_root=str(demo_root), out=tmp_path)
    strict, first = run.values("strict"), run.values("first_code")
    assert strict["giou"]["value"] > 0.85
    assert strict["giou"]["value"] >= first["giou"]["value"] > 0.8
    assert 0.5 < strict["boundary_iou"]["value"] < strict["giou"]["value"]
    assert strict["used_1"]["value"] > 100
    assert 1 < strict["perplexity_1"]["value"] <= strict["used_1"]["value"]
