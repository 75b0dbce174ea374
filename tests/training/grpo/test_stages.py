"""Recipes of several stages, one after another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("trl")

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.training.grpo import stages_of, train_on_scenes
from samtok_eval.errors import UsageError
from samtok_eval.training.grpo import trainer as grpo
from samtok_eval.training.grpo.recipe import GrpoJob
from samtok_eval.training.grpo.trainer import train_grpo


def test_stages_in_turn_are_the_same_recipes_one_by_one_and_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    small = {"steps": 1, "prompts_per_step": 2, "samples": 2, "sequences_per_device": 4, "max_new_tokens": 8}
    changes, bundled = small | {"held_out_tokens": 8, "save_every": 1}, str(DEMO_CHECKPOINT)
    first = GrpoJob(tmp_path / "first", model=bundled, held_out_scenes=1, device="cpu")
    second = replace(first, out=tmp_path / "second", model=str(tmp_path / "first"), tokenizer=bundled)
    train_on_scenes(stages_of("demo-gres", changes), first)
    train_on_scenes(stages_of("demo-gcg", changes), second)
    stages, job = stages_of("demo", changes), replace(first, out=tmp_path / "both")
    begun = []

    def stopped_before_the_second(settings, job, *arguments):
        begun.append((settings.gcg_share, job.resume))
        if settings.gcg_share == 1 and len(begun) == 2:
            raise KeyboardInterrupt
        return train_grpo(settings, job, *arguments)

    monkeypatch.setattr(grpo, "train_grpo", stopped_before_the_second)
    with pytest.raises(KeyboardInterrupt):
        train_on_scenes(stages, job)
    with pytest.raises(UsageError, match="demo-gres holds a run already; give --resume"):
        train_on_scenes(stages, job)
    for _ in range(2):
        train_on_scenes(stages, replace(job, resume=True))
    assert begun == [(0, False), (1, False), (0, False), (0, True), (1, False), (1, True)]
    for ours, alone in (("both/demo-gres", "first"), ("both", "second")):
        found, expected = (load_file(tmp_path / folder / "model.safetensors") for folder in (ours, alone))
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(UsageError, match="both holds a run already; give --resume"):
        train_on_scenes(stages, job)


def test_nothing_is_built_on_a_stage_that_the_watch_ended(tmp_path, monkeypatch, caplog):
    begun = []
    monkeypatch.setattr(grpo, "train_grpo", lambda settings, *_, **__: begun.append(settings) or [{"step": 1}])
    job = GrpoJob(tmp_path, model=str(DEMO_CHECKPOINT), scenes=1, held_out_scenes=1)
    assert train_on_scenes(stages_of("demo", {"steps": 2, "prompts_per_step": 1}), job) == [{"step": 1}]
    assert [settings.gcg_share for settings in begun] == [0]
    assert f"demo-gres ended early, so that nothing is built on it; its run is in {tmp_path}/demo-gres" in caplog.text


def test_a_fresh_run_of_several_stages_clears_all_their_folders_first(tmp_path, monkeypatch):
    left = []
    for folder in (tmp_path, tmp_path / "demo-gres"):
        (folder / "checkpoint-1").mkdir(parents=True)
        (folder / "training.json").write_text("{}")

    def ended_by_the_watch(*_):
        left.extend(path.name for path in tmp_path.rglob("*"))
        return [{"step": 1}]

    monkeypatch.setattr(grpo, "train_grpo", ended_by_the_watch)
    job = GrpoJob(tmp_path, model=str(DEMO_CHECKPOINT), scenes=1, held_out_scenes=1, device="cpu", fresh=True)
    train_on_scenes(stages_of("demo", {"steps": 2, "prompts_per_step": 1}), job)
    assert left == ["demo-gres"]
